"""The demo's worker: a separate process that logs to a file and always ends with the demo."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

STOP_SECONDS = 5.0
LAST_LINES = 25


class WorkerEnded(Exception):
    """The worker ended or made no progress while the demo needed it. The message holds the end of its log."""


class WorkerProcess:
    """A `python -m streams worker` process with its own environment. Enter it to start it, leave it to stop it."""

    def __init__(self, environment: Mapping[str, str], command: tuple[str, ...] = ("-m", "streams", "worker")) -> None:
        foreign = {name: value for name, value in os.environ.items() if not name.startswith("ENCORE_")}
        self._environment = {**foreign, **environment}
        self._command = command
        self._folder = tempfile.TemporaryDirectory(prefix="encore-demo-")
        self._log = Path(self._folder.name) / "worker.log"
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C at a terminal must not reach the worker before the demo stops it.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        self._folder.cleanup()

    def check(self) -> None:
        """Raise `WorkerEnded` if the worker is not running."""
        if self._process is None or self._process.returncode is not None:
            status = self._process.returncode if self._process else "none"
            raise WorkerEnded(self.describe(f"the worker ended with status {status}"))

    def describe(self, failure: str) -> str:
        """Return a description of a failure, followed by the end of the worker's log."""
        lines = self._log.read_text(errors="replace").splitlines()[-LAST_LINES:] if self._log.exists() else []
        return "\n".join([f"{failure}; its log ends with:", *(f"  {line}" for line in lines)]) if lines else failure

    async def stop(self) -> None:
        """Ask the worker to end, and kill it after a few seconds. Return when the process has ended."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
        # The whole process group, because the worker may have started processes of its own.
        self._signal(signal.SIGKILL)
        await process.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
