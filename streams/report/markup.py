"""Elements of HTML and SVG. Whatever is put into one is escaped, unless it is markup already: there is no other way."""

from __future__ import annotations

from html import escape

_UNSEEN = {*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)}
_HARMLESS = dict.fromkeys(_UNSEEN - {0x09, 0x0A}, "\N{REPLACEMENT CHARACTER}") | {0xFFFE: None, 0xFFFF: None}
"""Control characters, those that turn the direction of all text behind them, and halves of characters."""


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Return what says a value in markup: escaped, and without characters that one does not see.

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
    return Markup(escape(str(value).translate(_HARMLESS)))


def tag(name: str, /, *inside: object, **attributes: object) -> Markup:
    """Return an element; attributes that are None are left out, `_` in their names stands for `-`.

    Examples:
        >>> tag("a", "x < y", tag("b", 1), class_="c", stroke_width=2.5, id=None)
        '<a class="c" stroke-width="2.5">x &lt; y<b>1</b></a>'
        >>> tag("br")
        '<br/>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if not inside and name in _EMPTY:
        return Markup(f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{joined(*inside)}</{name}>")


def joined(*parts: object) -> Markup:
    """Return markup of several parts, one after another."""
    return Markup("".join(map(text, parts)))


_EMPTY = {"meta", "br", "path", "line", "rect", "circle"}
