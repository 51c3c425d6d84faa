"""The demo's worker process: it never outlives the demo, and what it said last is told."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from streams.demo import worker as demo_worker
from streams.demo.worker import WorkerEnded, WorkerProcess, free_port


def command(program: str) -> tuple[str, ...]:
    return ("-u", "-c", program)


def test_a_worker_that_ends_is_told_with_its_last_words():
    """The end of its log stands in the error."""

    async def run() -> None:
        async with WorkerProcess(
            {}, command("print('first'); print('broken: no disk'); raise SystemExit(3)")
        ) as worker:
            for _ in range(2_000):
                worker.check()
                await asyncio.sleep(0.05)

    with pytest.raises(WorkerEnded, match=r"status 3; its log ends with:\n  first\n  broken: no disk"):
        asyncio.run(run())


def test_a_worker_that_does_not_want_to_end_is_made_to(monkeypatch, tmp_path):
    """Neither it nor what it started is there afterwards."""
    monkeypatch.setattr(demo_worker, "STOP_SECONDS", 0.5)
    pids = tmp_path / "pids"
    stubborn = (
        "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}} '); time.sleep(60)"
    )

    async def run() -> float:
        async with WorkerProcess({}, command(stubborn)) as worker:
            while not pids.exists() or not pids.read_text().endswith(" "):
                worker.check()
                await asyncio.sleep(0.05)
            began = time.monotonic()
        return time.monotonic() - began

    assert asyncio.run(run()) < 50  # its sleep of 60 seconds was cut short
    for pid in map(int, pids.read_text().split()):
        wait_until_gone(pid)


def wait_until_gone(pid: int) -> None:
    for _ in range(1_000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return  # dead, and only not yet reaped by whoever inherited it
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")


def test_a_worker_has_the_demos_settings_and_nobody_elses(monkeypatch, tmp_path):
    """What the shell set for another Encore does not reach it."""
    monkeypatch.setenv("ENCORE_PREFIX", "production-")
    out = tmp_path / "environment"
    program = (
        f"import os; open({str(out)!r}, 'w').write(' '.join(sorted(n for n in os.environ if n[:7] == 'ENCORE_')) + '.')"
    )

    async def run() -> None:
        async with WorkerProcess({"ENCORE_CLOCK": "source"}, command(program)):
            while not out.exists() or not out.read_text().endswith("."):
                await asyncio.sleep(0.05)

    asyncio.run(run())
    assert out.read_text() == "ENCORE_CLOCK."


def test_a_free_port_is_one():
    """Between 1024 and the end."""
    assert 1_024 <= free_port() <= 65_535
