"""What the processes of one test run share: a folder, and a single Kafka that starts when a test first asks for it.

pytest-xdist runs tests in several worker processes. Their controller keeps the broker, because it ends last.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.harness.kafka import RealKafka

VARIABLE = "ENCORE_TEST_RUN"
"""The environment variable by which workers learn of the folder."""
FAILED = "failed: "


class RunFolder:
    """The shared folder of a run, and the service in it that starts the broker. Kept by the controller."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="encore-tests-"))
        self._broker: RealKafka | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._folder / "broker.sock"))
        self._listener.listen(16)
        os.environ[VARIABLE] = str(self._folder)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop the broker and remove the folder."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._broker is not None:
            self._broker.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client:
                    client.sendall(self._address().encode())

    def _address(self) -> str:
        try:
            self._broker = self._broker or RealKafka()
        except (RuntimeError, OSError) as error:
            return f"{FAILED}{error}"
        return self._broker.bootstrap


def shared_broker() -> str:
    """Return the address of the run's broker; it is started first if need be."""
    with socket.socket(socket.AF_UNIX) as service:
        service.connect(str(folder() / "broker.sock"))
        answer = b"".join(iter(lambda: service.recv(4_096), b"")).decode()
    if answer.startswith(FAILED) or not answer:
        raise RuntimeError(answer.removeprefix(FAILED) or "the controller has ended")
    return answer


def folder() -> Path:
    """Return the folder that all processes of the run share."""
    return Path(os.environ[VARIABLE])


@contextlib.contextmanager
def once(name: str) -> Iterator[Path | None]:
    """Do something once in a run: the first process gets a new folder, later ones get None.

    The others wait until the first has left the block. If the first fails, the next one gets the folder.
    """
    place = folder() / name
    with (folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (place / "done").exists():
            yield None
            return
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        yield place
        (place / "done").touch()
