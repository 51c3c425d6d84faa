"""The laws of the layout: models/ knows and streams/ moves, imports go one way, and there are no circles."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARIES = {"models", "msgspec", "numpy", "orjson", "river"}
WORLDLY = {
    "os", "time", "logging", "io", "pathlib", "socket", "ssl", "subprocess", "threading", "asyncio",
    "tempfile", "shutil", "http", "urllib", "glob", "sched", "signal", "select", "multiprocessing", "fileinput",
    "random", "secrets", "pickle",
}  # fmt: skip
CLOCKS = {"now", "utcnow", "today", "time_ns", "monotonic", "perf_counter"}
BUILTINS = {"open", "print", "input", "exec", "eval"}


def modules(package: str) -> dict[str, ast.Module]:
    """Every module of a package, by its dotted name."""
    paths = sorted((ROOT / package).rglob("*.py"))
    named = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    return {name: ast.parse(path.read_text()) for name, path in named.items()}


MODELS, STREAMS = modules("models"), modules("streams")
EVERY = {**MODELS, **STREAMS}


def imported(tree: ast.Module) -> Iterator[str]:
    """The modules a module imports; of `from package import name` both, as the name may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a thing comes from"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in EVERY else node.module or "" for name in names)


@pytest.mark.parametrize("name", MODELS)
def test_models_import_nothing_of_the_world(name: str) -> None:
    """Only models, four libraries, and what of the standard library needs no file, clock or network."""
    allowed = LIBRARIES | (sys.stdlib_module_names - WORLDLY)
    assert {module.partition(".")[0] for module in imported(MODELS[name])} - allowed == set()


@pytest.mark.parametrize("name", MODELS)
def test_models_read_no_clock_and_open_nothing(name: str) -> None:
    """Every moment comes with an event or a due time; nothing is printed, opened or evaluated."""
    calls = [node.func for node in ast.walk(MODELS[name]) if isinstance(node, ast.Call)]
    attributes = {call.attr for call in calls if isinstance(call, ast.Attribute)}
    functions = {call.id for call in calls if isinstance(call, ast.Name)}
    assert (attributes & CLOCKS, functions & BUILTINS) == (set(), set())


@pytest.mark.parametrize("name", sorted(set(STREAMS) - {"streams.clock"}))
def test_one_module_reads_the_machines_clock(name: str) -> None:
    """Whoever needs the time, or a duration, asks streams.clock; waiting is no reading."""
    used = [node for node in ast.walk(STREAMS[name]) if isinstance(node, ast.Attribute) and node.attr != "sleep"]
    read = {f"{node.value.id}.{node.attr}" for node in used if isinstance(node.value, ast.Name)}
    named = {node.module for node in ast.walk(STREAMS[name]) if isinstance(node, ast.ImportFrom)}
    assert {word for word in read if word.startswith("time.")} | (named & {"time"}) == set()
    assert read & {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"} == set()


def test_there_are_no_circles() -> None:
    """The modules of models and streams can be put in an order in which each imports only earlier ones."""
    graph = {name: {module for module in imported(tree) if module in EVERY} for name, tree in EVERY.items()}
    order = list(TopologicalSorter(graph).static_order())
    assert set(order) == set(EVERY)
    assert {"models.retention.step", "models.schema.events"} <= set(order)
