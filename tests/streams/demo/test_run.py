"""The whole demo as a small process: it plays, prints a summary and ends, and leaves no process in any case."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness.process import wait_until

ROOT = Path(__file__).parents[3]
PROC = Path("/proc")


@pytest.fixture
def mark() -> str:
    """An environment variable that the demo passes on to all its child processes."""
    return f"DEMO_MARK_{os.getpid()}_{time.monotonic_ns()}"


def start(mark: str, arguments: str) -> subprocess.Popen[str]:
    program = f"import sys; from streams.demo.run import run; sys.exit(run({arguments}))"
    environment = {**os.environ, mark: "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def marked(mark: str) -> dict[int, str]:
    """The command lines of the processes with a mark in their environment, by process id."""
    found = {}
    for process in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
    return found


def wait_for_worker(mark: str) -> None:
    """Wait until the demo's worker runs: on a busy machine the first events come before it."""
    wait_until(lambda: any("streams worker" in line for line in marked(mark).values()), "the worker runs")


def no_process_remains(mark: str) -> bool:
    """Return whether all child processes have ended, waiting up to a minute."""
    for _ in range(600):
        if not marked(mark):
            return True
        time.sleep(0.1)
    return False


needs_proc = pytest.mark.skipif(not PROC.is_dir(), reason="looks for processes in /proc")


@needs_proc
def test_the_demo_plays_and_prints_a_summary(mark):
    """Progress lines, the summary, exit code 0."""
    demo = start(mark, "days=12, learners=150, seconds=6")
    out, errors = demo.communicate(timeout=300)

    assert (demo.returncode, errors) == (0, "")
    assert "day 12 of 12: " in out
    assert "150 simulated learners, half of them in the hold-out: 12 days" in out
    assert "too few labels to measure it" in out
    assert no_process_remains(mark)


@needs_proc
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_all_processes_within_seconds(mark, number, code):
    """Broker and worker end, and the summary covers the demo so far."""
    demo = start(mark, "learners=150, seconds=100, forever=True")
    assert demo.stdout is not None
    while "events" not in demo.stdout.readline():
        assert demo.poll() is None
    wait_for_worker(mark)
    running = " ".join(marked(mark).values())
    demo.send_signal(number)
    out, errors = demo.communicate(timeout=300)

    assert "streams worker" in running
    assert "embedded.py" in running
    assert (demo.returncode, errors) == (code, "")
    assert "Events" in out
    assert no_process_remains(mark)


@needs_proc
def test_a_killed_worker_ends_the_demo_with_its_log(mark):
    """Exit code 1 and the reason; no traceback."""
    demo = start(mark, "learners=150, seconds=100")
    assert demo.stdout is not None
    while "events" not in demo.stdout.readline():
        assert demo.poll() is None
    wait_for_worker(mark)
    worker = next(pid for pid, line in marked(mark).items() if "streams worker" in line)
    os.kill(worker, signal.SIGKILL)
    _, errors = demo.communicate(timeout=300)

    assert demo.returncode == 1
    assert errors.startswith("encore: the worker ended with status -9")
    assert "Traceback" not in errors
    assert no_process_remains(mark)
