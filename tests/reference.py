"""The reference tables of the documents, generated from the code; `python -m tests.reference FILE...` renews them.

A table is between two comments, such as `<!-- settings -->` and `<!-- /settings -->`. A file gets the tables whose
comments it contains.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import click
import msgspec

from models.offers import campaign
from models.schema import errors
from models.schema import events as ev
from streams import metrics
from streams.__main__ import cli
from streams.kafka import topics
from streams.operation import message_examples
from streams.settings import Settings

TABLE_NAMES = ("commands", "settings", "metrics", "topics", "dead-letters", "decisions", "event-types")
_TYPES = {"counter": metrics.COUNTERS, "gauge": metrics.GAUGES, "histogram": metrics.HISTOGRAMS}
_DIRECTIONS = {"in": "input", "log": "input and log", "out": "output", "own": "internal"}
_DURATIONS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def tables() -> dict[str, str]:
    """Return every table in Markdown, by the name in its comments."""
    return {
        "commands": _table(("Command", "What it does"), _commands(cli, "encore")),
        "settings": _table(("Setting", "Environment", "Default", "Meaning"), _settings()),
        "metrics": _table(("Metric", "Type", "Labels", "Meaning"), _metrics()),
        "topics": _table(("Topic", "Direction", "Partitions", "Clean-up", "Purpose"), _topics()),
        "dead-letters": _table(("Reason", "Meaning"), _reasons(errors.REASONS)),
        "decisions": _table(("Reason", "Meaning"), _reasons(campaign.REASONS)),
        "event-types": _table(_EVENT_COLUMNS, _event_types()),
    }


def tables_in(text: str) -> list[str]:
    """Return the names of the tables whose comments a text contains."""
    return [name for name in TABLE_NAMES if f"<!-- {name} -->" in text]


def renew(text: str) -> str:
    """Return a text with new contents between the comments of each table that it has.

    Raises:
        ValueError: it has no table, or the second comment of one is missing; the message names it.
    """
    names, generated = tables_in(text), tables()
    if not names:
        raise ValueError("no table: it has no comment such as <!-- settings -->")
    for name in names:
        found = re.search(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", text, re.DOTALL)
        if found is None:
            raise ValueError(f"<!-- /{name} --> is missing after <!-- {name} -->")
        text = text[: found.end(1)] + f"\n{generated[name]}\n" + text[found.start(2) :]
    return text


def setting_meanings() -> dict[str, str]:
    """Return what each setting means: the text after its field."""
    (module,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(module, ast.ClassDef)
    return {
        field.target.id: ast.literal_eval(text.value)
        for field, text in zip(module.body, module.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr)
    }


def _settings() -> Iterator[tuple[str, ...]]:
    standard, meaning = Settings(), setting_meanings()
    for name in Settings.__struct_fields__:
        shown = _default_text(name, getattr(standard, name))
        yield f"`{name}`", f"`ENCORE_{name.upper()}`", f"`{shown}`" if shown else "empty", meaning[name]


def _default_text(name: str, value: Any) -> str:
    """Return a value as it can be written in the environment."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, float) and _is_duration(name):
        sizes = ((unit, size) for unit, size in _DURATIONS if value and value % size == 0)
        unit, size = next(sizes, ("s", 1))
        return f"{value / size:g}{unit}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_duration(name: str) -> bool:
    hint = get_type_hints(Settings, include_extras=True)[name]
    return any(meta.extra == {"unit": "duration"} for meta in getattr(hint, "__metadata__", ()))


def _metrics() -> Iterator[tuple[str, ...]]:
    for kind, rows in _TYPES.items():
        for name, info in rows.items():
            yield f"`{name}`", kind, ", ".join(f"`{label}`" for label in info.labels), info.help


def _topics() -> Iterator[tuple[str, ...]]:
    for topic in topics.topics(Settings()):
        policy = topic.config["cleanup.policy"]
        yield f"`{topic.name}`", _DIRECTIONS[topic.direction], str(topic.partitions), policy, topic.about


def _reasons(reasons: dict[str, str]) -> Iterator[tuple[str, ...]]:
    for reason, meaning in reasons.items():
        yield f"`{reason}`", meaning


_EVENT_COLUMNS = ("Type", "Meaning", "Required, with `id` and `time`", "Optional", "Example")
_UNITS = {"minutes": " minutes", "amount": " currency units", "price": " currency units", "points": " points",
          "audience": " users", "lessons": " lessons"}  # fmt: skip


def _event_types() -> Iterator[tuple[str, ...]]:
    """Yield the types that a platform may send."""
    for example in message_examples.events((*ev.PERSON_KINDS, *ev.COURSE_KINDS)):
        info = msgspec.inspect.type_info(type(example.payload))
        assert isinstance(info, msgspec.inspect.StructType) and example.value is not None
        fields = [field for field in info.fields if field.name not in ("id", "time")]
        required = ", ".join(_field(field) for field in fields if field.required)
        optional = ", ".join(_field(field) for field in fields if not field.required)
        meaning = " ".join(example.about.split())
        yield f"`{example.name}`", meaning, required, optional, f"`{example.value.decode()}`"


def _field(field: msgspec.inspect.Field) -> str:
    return f"`{field.name}` ({_limits(field.type)}{_UNITS.get(field.name, '')})"


def _limits(kind: msgspec.inspect.Type) -> str:
    """Describe the values of a type in words."""
    match kind:
        case msgspec.inspect.UnionType(types=types):
            return " or ".join(_limits(one) for one in types if not isinstance(one, msgspec.inspect.NoneType))
        case msgspec.inspect.StrType(pattern=str()):
            return "three capital letters"
        case msgspec.inspect.StrType(min_length=least, max_length=most):
            return f"text, {least or 0} to {most:,} characters"
        case msgspec.inspect.IntType(ge=low, le=high):
            return f"integer, {low:,} to {high:,}"
        case msgspec.inspect.FloatType(ge=low, le=high):
            return f"number, {low:g} to {high:,.10g}"
        case msgspec.inspect.VarTupleType(item_type=item, max_length=most):
            return f"list of 0 to {most} items: {_limits(item)}"
    raise TypeError(f"no words for {kind}")


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, ...]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")
            continue
        yield f"`{' '.join([path, name, *_arguments(command)])}`", command.get_short_help_str(limit=200)


def _arguments(command: click.Command) -> Iterator[str]:
    for param in command.params:
        if isinstance(param, click.Argument):
            yield (param.name or "").upper() + ("..." if param.nargs == -1 else "")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


def main(arguments: list[str]) -> int:
    """Renew the tables of some files; return the exit code."""
    if not arguments:
        click.echo("usage: python -m tests.reference FILE...", err=True)
        return 2
    for file in map(Path, arguments):
        try:
            file.write_text(renew(file.read_text()))
        except (OSError, ValueError) as error:
            click.echo(f"{file}: {error}", err=True)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
