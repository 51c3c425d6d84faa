"""The README's reference tables, made from the code; `python -m tests.reference README.md` renews them.

Each stands between two comments, such as `<!-- settings -->` and `<!-- /settings -->`.
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

from models.offers import campaign
from models.schema import errors
from streams import metrics
from streams.__main__ import cli
from streams.kafka import topics
from streams.settings import Settings

_TYPES = {"counter": metrics.COUNTERS, "gauge": metrics.GAUGES, "histogram": metrics.HISTOGRAMS}
_DIRECTIONS = {"in": "in", "log": "in, and Encore's own log", "out": "out", "own": "Encore's own"}
_DURATIONS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def tables() -> dict[str, str]:
    """Return every table in Markdown, by the name in its comments."""
    return {
        "commands": _table(("Command", "What it does"), _commands(cli, "encore")),
        "settings": _table(("Setting", "Environment", "Default", "Meaning"), _settings()),
        "metrics": _table(("Metric", "Type", "Labels", "Meaning"), _metrics()),
        "topics": _table(("Topic", "Direction", "Partitions", "Clean-up", "What for"), _topics()),
        "dead-letters": _table(("Reason", "Meaning"), _reasons(errors.REASONS)),
        "decisions": _table(("Reason", "Meaning"), _reasons(campaign.REASONS)),
    }


def renewed(text: str) -> str:
    """Return a text with what stands between the comments of each table replaced by the table.

    Raises:
        ValueError: the comments of a table are missing; the message names them.
    """
    for name, table in tables().items():
        found = re.search(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", text, re.DOTALL)
        if found is None:
            raise ValueError(f"<!-- {name} --> and <!-- /{name} --> are missing")
        text = text[: found.end(1)] + f"\n{table}\n" + text[found.start(2) :]
    return text


def described() -> dict[str, str]:
    """Return what each setting means: the text after its field."""
    (module,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(module, ast.ClassDef)
    return {
        field.target.id: ast.literal_eval(text.value)
        for field, text in zip(module.body, module.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr)
    }


def _settings() -> Iterator[tuple[str, ...]]:
    standard, meaning = Settings(), described()
    for name in Settings.__struct_fields__:
        shown = _shown(name, getattr(standard, name))
        yield f"`{name}`", f"`ENCORE_{name.upper()}`", f"`{shown}`" if shown else "empty", meaning[name]


def _shown(name: str, value: Any) -> str:
    """Return a value as it may stand in the environment."""
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
    """Renew the tables of a file; return the exit code."""
    if len(arguments) != 1:
        click.echo("usage: python -m tests.reference README.md", err=True)
        return 2
    file = Path(arguments[0])
    try:
        file.write_text(renewed(file.read_text()))
    except (OSError, ValueError) as error:
        click.echo(f"{file}: {error}", err=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
