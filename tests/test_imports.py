"""What a process loads: a worker without the trainer needs no training libraries, and help answers at once."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from models.schema import event_codec
from models.schema import events as ev

ROOT = Path(__file__).parents[1]
TRAINING_LIBRARIES = {"river", "scipy", "sklearn", "pyarrow"}

BUILD_WORKER = """
from streams.app import Worker
from streams.kafka.topics import partitions_of
from streams.settings import Settings

settings = Settings(agents=("ingest", "users", "courses"))
Worker(settings, partitions_of(settings))
"""
SHOW_HELP = """
from streams.__main__ import main

sys.argv = ["encore", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
"""


def loaded_modules(code: str) -> set[str]:
    """Run code in a new interpreter and return the modules that it has loaded by the end."""
    program = f"import sys\n{code}\nimport json\nsys.stderr.write(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_a_worker_without_the_trainer_loads_no_training_libraries() -> None:
    """They cost seconds of start-up time and 100 MB of memory, and only the trainer uses them."""
    modules = loaded_modules(BUILD_WORKER)
    assert "streams.agents.users.agent" in modules
    assert TRAINING_LIBRARIES & modules == set()


def test_help_loads_few_modules() -> None:
    """Commands import what they run inside their functions, so help needs neither Kafka clients nor models."""
    modules = loaded_modules(SHOW_HELP)
    assert "click" in modules
    assert len(modules) < 300


# -- without the extra `evaluation`

WITHOUT_EXTRA = """
import sys

for library in ("pyarrow", "sklearn", "joblib"):
    sys.modules[library] = None  # an import of it raises ModuleNotFoundError

from streams.__main__ import main

sys.argv = ["encore", *sys.argv[1:]]
main()
"""
EVENTS = b"".join(
    event_codec.encode(
        ev.LessonProgress(id=f"e-{n}", user_id=f"u-{n % 7}", time=1_767_596_400.0 + n * 3_600, course_id=f"c-{n % 5}")
    )
    + b"\n"
    for n in range(500)
)


def encore_without_extra(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in an interpreter that has neither pyarrow nor scikit-learn."""
    line = [sys.executable, "-c", WITHOUT_EXTRA, *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["history.jsonl", "history.jsonl.gz"])
def test_replay_needs_no_extra(name: str, tmp_path: Path) -> None:
    """Plain and gzip-compressed lines, with outputs and report."""
    history, out = tmp_path / name, tmp_path / "out"
    history.write_bytes(gzip.compress(EVENTS) if name.endswith(".gz") else EVENTS)
    done = encore_without_extra("replay", history, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["entries"] == 500
    assert (out / "index.html").stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "purpose", "library"),
    [
        (["evaluate"], "encore evaluate", "pyarrow"),
        (["replay", "oulad:somewhere"], "oulad:somewhere", "pyarrow"),
        (["replay", "cdnow:somewhere"], "cdnow:somewhere", "pyarrow"),
        (["replay", "history.jsonl.zst"], "zstd compression", "pyarrow"),
    ],
)
def test_a_missing_library_is_one_line_with_what_to_install(
    arguments: list[str], purpose: str, library: str, tmp_path: Path
) -> None:
    """Said where the library is needed, with exit code 2."""
    zstd = tmp_path / "history.jsonl.zst"
    zstd.write_bytes(b"\x28\xb5\x2f\xfd rest")
    done = encore_without_extra(*(zstd if one == zstd.name else one for one in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    message = done.stderr.splitlines()[-1]
    assert message.startswith("encore: ") and purpose in message
    assert message.endswith(f"needs {library}: pip install 'encore[evaluation]'")
