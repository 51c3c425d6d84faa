"""The demo's worker process: it always ends with the demo, and the end of its log is reported."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from streams.demo import worker as demo_worker
from streams.demo.worker import WorkerEnded, WorkerProcess, free_port


def command(program: str) -> tuple[str, ...]:
    return ("-u", "-c", program)


def test_an_ended_worker_is_reported_with_the_end_of_its_log():
    """The error contains the last log lines."""

    async def run() -> None:
        async with WorkerProcess(
            {}, command("print('first'); print('broken: no disk'); raise SystemExit(3)")
        ) as worker:
            for _ in range(2_000):
                worker.check()
                await asyncio.sleep(0.05)

    with pytest.raises(WorkerEnded, match=r"status 3; its log ends with:\n  first\n  broken: no disk"):
        asyncio.run(run())


def test_a_worker_that_ignores_sigterm_is_killed(monkeypatch, tmp_path):
    """Neither the worker nor its child processes remain."""
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
            return  # a zombie that its new parent has not reaped yet
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")


def test_a_worker_gets_only_the_demos_settings(monkeypatch, tmp_path):
    """Settings in the environment of the shell do not reach it."""
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


def test_free_port_returns_an_unprivileged_port():
    """The port is at least 1024."""
    assert 1_024 <= free_port() <= 65_535
