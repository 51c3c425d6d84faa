"""What a process loads: a worker without the trainer needs no training libraries, and help answers at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
