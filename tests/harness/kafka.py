"""Real brokers for tests: Apache Kafka in a process of its own, or a broker that runs already."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

SCRIPT = Path(__file__).parents[2] / "deploy" / "kafka" / "kafka.sh"
START_SECONDS = 300.0
FETCH_SECONDS = 300.0
FIRST_PORT, LAST_PORT, PORT_RANGES = 10_000, 30_000, 10


def external() -> str | None:
    """Return the address in ENCORE_TEST_BROKER, of a broker that runs already; None without it."""
    return os.environ.get("ENCORE_TEST_BROKER") or None


@functools.cache
def available() -> str | None:
    """Return None if a RealKafka can run here, after fetching its jars if need be; else the reason why not."""
    try:
        with SCRIPT.open() as script:
            fcntl.flock(script, fcntl.LOCK_EX)  # test processes that run side by side fetch in turn
            run = subprocess.run([SCRIPT, "fetch"], capture_output=True, text=True, timeout=FETCH_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if run.returncode == 0 else (run.stderr.strip().splitlines() or ["kafka.sh fetch failed"])[-1]


def free_port() -> int:
    """Return a port that no process listens on.

    It lies below the range from which systems number their clients' sockets: a client that tries to reach a broker
    that is down cannot take the broker's port. Each pytest-xdist worker has a range of its own, so that two of them
    never choose the same port before either listens there.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % PORT_RANGES
    size = (LAST_PORT - FIRST_PORT) // PORT_RANGES
    while True:
        port = FIRST_PORT + worker * size + random.randrange(size)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Kafka:
    """A broker at `bootstrap` ("HOST:PORT")."""

    bootstrap: str

    @property
    def url(self) -> str:
        """The address as "kafka://HOST:PORT"."""
        return f"kafka://{self.bootstrap}"

    async def create(self, topics: Mapping[str, int], **settings: str) -> None:
        """Create topics (name to partition count) with these settings; underscores stand for dots."""
        configs = {name.replace("_", "."): value for name, value in settings.items()}
        wanted = [NewTopic(name, count, 1, topic_configs=configs) for name, count in topics.items()]
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            answer = await admin.create_topics(wanted)
        finally:
            await admin.close()
        failed = [f"{topic}: {message or code}" for topic, code, message in answer.topic_errors if code]
        if failed:
            raise RuntimeError(f"topics were not created: {', '.join(failed)}")

    def close(self) -> None:
        """Stop the broker, if it was started here."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class ExternalKafka(Kafka):
    """A broker that runs already; it cannot be killed from here."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap


class RealKafka(Kafka):
    """A single broker of Apache Kafka on 127.0.0.1, its data in a temporary folder.

    It runs from its creation until `close`, which `with` also calls. `extra` becomes the folder's extra.properties
    (see kafka.sh), with which a test adds listeners.
    """

    def __init__(self, extra: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="encore-kafka-"))
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        if extra:
            (self.folder / "extra.properties").write_text(extra)
        self._start()

    def kill(self) -> None:
        """End the broker as a crash would (SIGKILL); return when its process has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._guard.kill()
        self._guard.communicate()

    def restart(self) -> None:
        """Kill the broker if it runs and start it again on its port and its data."""
        self.kill()
        self._start()

    def close(self) -> None:
        """Kill the broker and remove its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """Return the broker's log so far."""
        return (self.folder / "broker.log").read_text(errors="replace")

    def _start(self) -> None:
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [SCRIPT, "start", self.folder, str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._guard = _guard(self._process.pid, self.folder)
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self) -> None:
        """Wait until the broker answers; raise a RuntimeError if it ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the broker did not start:\n{self.log()[-2000:]}")
            time.sleep(0.1)


def _guard(process: int, folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that kills the broker and removes its data when this process ends, also by SIGKILL."""
    wait_and_clean = 'cat >/dev/null; kill -s KILL -- "-$1"; sleep 1; rm -rf "$2"'
    command = ["sh", "-c", wait_and_clean, "guard", str(process), str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)


def _answers(port: int) -> bool:
    """Return whether the broker on this port says that it is one of a cluster's brokers.

    It is asked in a thread of its own, so that a broker can be restarted where an event loop runs.
    """
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            return False
    with contextlib.suppress(KafkaError, OSError), ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _brokers(f"127.0.0.1:{port}")).result() > 0
    return False


async def _brokers(bootstrap: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        return len((await admin.describe_cluster())["brokers"])
    finally:
        await admin.close()
