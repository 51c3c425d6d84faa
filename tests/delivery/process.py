"""Workers as processes of their own, which a test may kill, freeze, and ask for their figures."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.brokers import free_port

CHECKOUT = Path(__file__).parents[2]
LAST_WORDS = 45.0
"""A worker that is told to end has two deadlines of 20 s: for what reads and for what writes."""


class Worker:
    """A worker in a process of its own."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self.port = free_port()
        self.log = folder / f"worker-{self.port}.log"
        command = [sys.executable, "-m", "streams", "worker", "--web-port", str(self.port)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, env=dict(environment), cwd=CHECKOUT, stdout=log, stderr=log)

    def kill(self) -> None:
        """End it as a crash would."""
        self.send(signal.SIGKILL)
        self._process.wait(LAST_WORDS)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; return its exit code."""
        self.send(number)
        return self._process.wait(LAST_WORDS)

    def send(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def metrics(self) -> dict[str, float]:
        """Return its figures by name with labels; none while its server does not answer."""
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
            return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}
        return {}

    def count(self, name: str) -> float:
        """Return a figure, summed over its labels."""
        return sum(value for key, value in self.metrics().items() if key == name or key.startswith(name + "{"))
