"""The rules of the layout: models/ decides and streams/ moves, imports go downwards between layers, without circles."""

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


MAX_LOOSE = 10
MAX_LINES = 300
PLAIN_LISTS = {"models/schema/events.py"}
"""Files that are one list from top to bottom may be longer."""
LAYERS: dict[str, tuple[set[str], ...]] = {
    "models": ({"retention"}, {"recommend"}, {"churn", "offers"}, {"person"}, {"schema"}),
    "streams": (
        {"__main__"},
        {"evaluation"},
        {"demo"},
        {"history"},
        {"app"},
        {"report", "operation", "web"},
        {"agents"},
        {"engine"},
        {"state"},
        {"delivery"},
        {"kafka"},
        {"settings", "metrics", "runtime"},
        {"clock", "errors"},
    ),
}
"""The layers of each package from top to bottom. A module imports from its own layer and from lower ones."""

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


def layer(name: str) -> str:
    """The folder or loose module of its package in which a module is."""
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("package", LAYERS)
def test_no_import_runs_upwards_between_rooms(package: str) -> None:
    """A module imports from its own layer or a lower one; two layers of one level do not import each other."""
    level = {name: place for place, names in enumerate(LAYERS[package]) for name in names}
    upwards = [
        (name, target)
        for name, tree in modules(package).items()
        for target in imported(tree)
        if target in EVERY and target.startswith(f"{package}.") and layer(name)
        if layer(target) != layer(name) and level[layer(target)] <= level[layer(name)]
    ]
    assert upwards == []


@pytest.mark.parametrize("package", LAYERS)
def test_every_room_has_its_level(package: str) -> None:
    """A new folder or loose module is put into the stated order, and none is stated that does not exist."""
    assert {layer(name) for name in modules(package)} - {""} == set().union(*LAYERS[package])


def test_there_are_few_loose_modules() -> None:
    """Nearly all modules are in a layer; in models/ all of them."""
    loose = {package: {path.name for path in (ROOT / package).glob("*.py")} - {"__init__.py"} for package in LAYERS}
    assert loose["models"] == set()
    assert len(loose["streams"]) <= MAX_LOOSE


def test_no_file_is_long() -> None:
    """A long file is usually two; a plain list may be longer."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES and name not in PLAIN_LISTS} == {}


def sources() -> list[Path]:
    """All source files of the two packages."""
    return [path for package in LAYERS for path in sorted((ROOT / package).rglob("*.py"))]
