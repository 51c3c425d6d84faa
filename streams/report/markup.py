"""Elements of HTML and SVG. Every value is escaped, unless it is `Markup` already; there is no way around it."""

from __future__ import annotations

from html import escape

_INVISIBLE = {*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)}
_REPLACEMENTS = dict.fromkeys(_INVISIBLE - {0x09, 0x0A}, "\N{REPLACEMENT CHARACTER}") | {0xFFFE: None, 0xFFFF: None}
"""Replaces control characters, characters that change the text direction, and unpaired surrogates."""


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Return a value as markup: escaped, and without invisible characters.

    Examples:
        >>> text("<b> & 'c'\\x00")
        '&lt;b&gt; &amp; &#x27;c&#x27;\N{REPLACEMENT CHARACTER}'
        >>> text(Markup("<b/>"))
        '<b/>'
        >>> text(0.125), text(2.0)
        ('0.12', '2')
    """
    if isinstance(value, Markup):
        return value
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return Markup(escape(str(value).translate(_REPLACEMENTS)))


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """Return an element. Attributes that are None are left out; `_` in a name becomes `-`.

    Examples:
        >>> tag("a", "x < y", tag("b", 1), class_="c", stroke_width=2.5, id=None)
        '<a class="c" stroke-width="2.5">x &lt; y<b>1</b></a>'
        >>> tag("br")
        '<br/>'
    """
    attribute_text = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if not content and name in _EMPTY:
        return Markup(f"<{name}{attribute_text}/>")
    return Markup(f"<{name}{attribute_text}>{join(*content)}</{name}>")


def join(*parts: object) -> Markup:
    """Return several parts as one piece of markup."""
    return Markup("".join(map(text, parts)))


_EMPTY = {"meta", "br", "path", "line", "rect", "circle"}
