"""Processes that tests and benchmarks start: a log file each, signals by process id, and an end in every case."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Self

CHECKOUT = Path(__file__).parents[2]
PATIENCE = 300.0
"""Seconds that a test waits for anything: so many that only a hang reaches it, on the slowest machine."""
STOP_SECONDS = 90.0
"""Seconds from SIGTERM to the end. A worker has two deadlines of 20 s: one for what reads, one for what writes."""
LOG_TAIL = 4_000
"""Characters of a log that are printed after a failure."""


class Process:
    """A process with its output in a log file.

    A `with` block ends the process. If the block fails, the end of the log is printed, so that pytest shows it.

    Args:
        command: the program and its arguments.
        environment: all variables of the process. PYTHONPATH is set to the checkout.
        log: the file for standard output and standard error.
        cores: the CPU cores that the process may use; empty for all.
        max_memory: bytes of data memory that it may have; 0 for no limit.
    """

    def __init__(
        self,
        command: list[str],
        environment: Mapping[str, str],
        log: Path,
        cores: Iterable[int] = (),
        max_memory: int = 0,
    ) -> None:
        pinned = ["taskset", "-c", ",".join(map(str, sorted(cores)))] if cores else []
        path = f"{CHECKOUT}:{environment.get('PYTHONPATH', '')}".rstrip(":")
        self.log = log
        self.started_at = time.monotonic()
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [*pinned, *command],
                env={**environment, "PYTHONPATH": path},
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=(lambda: limit_memory(max_memory)) if max_memory else None,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def check_running(self) -> None:
        """Raise a RuntimeError with the end of the log if the process has ended."""
        if not self.running:
            raise RuntimeError(f"the process ended with status {self._process.returncode}:\n{self.log_tail()}")

    def until(
        self,
        condition: Callable[[], object],
        what: str = "the condition holds",
        every: float = 0.1,
        patience: float = PATIENCE,
    ) -> None:
        """Wait until a condition holds; fail if the process ends first."""

        def holds() -> object:
            self.check_running()
            return condition()

        wait_until(holds, what, every, patience)

    def send(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal that ends the process; wait, and return its exit code."""
        self.send(number)
        return self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """End the process as a crash would (SIGKILL)."""
        self.stop(signal.SIGKILL)

    def wait_for_usage(self) -> tuple[int, resource.struct_rusage]:
        """Wait for the end of the process; return its exit code and what it used."""
        _, status, usage = os.wait4(self.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return self._process.returncode, usage

    def log_tail(self) -> str:
        """Return the end of the log."""
        return self.log.read_text(errors="replace")[-LOG_TAIL:]

    def close(self) -> None:
        """Stop the process if it runs; kill it if it does not stop in time."""
        if self.running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
        if self.running:
            self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self.close()
            return
        if self.running:
            self.kill()
        print(f"--- {self.log.name}\n{self.log_tail()}")


def limit_memory(limit: int) -> None:
    """Limit the data memory of this process to so many bytes."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def wait_until(condition: Callable[[], object], what: str, every: float = 0.05, patience: float = PATIENCE) -> None:
    """Ask for a condition again and again until it holds; an AssertionError after so many seconds of patience."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience:.0f} s: {what}"
        time.sleep(every)
