"""A broker that needs no installation: librdkafka's mock cluster, for the demo and for quick tests.

It is part of the `confluent-kafka` wheel, and listens on the loopback interface only. It runs in a process of its
own, which ends when its parent process ends for any reason.

Do not use it for data that matters. It differs from a real Kafka (tested with librdkafka 2.16):

- All data is in memory. A partition keeps its newest 5 MiB (compressed size) and at most 100,000 batches; older
  ones are dropped. Both limits are constants of librdkafka and cannot be changed. There is no compaction and no
  expiry.
- A fetch returns one batch of each partition. Small batches are slow to read, so producers should linger.
- Clients cannot create topics. A topic that is not listed here is created with 4 partitions when it is first used.
- A new group waits `JOIN_DELAY_MS` for its first members. When a member joins or leaves later, the others get their
  partitions back after the session timeout minus 1 s. Members that prefer different assignors crash the broker.
- If the leader of a group syncs before the others, they get one InvalidRequestError and have to join again. This
  happens when they share an event loop.
- Transactions are accepted, but their records are visible before the commit and after an abort.
- Offsets cannot be looked up by time; groups and settings cannot be listed.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self

JOIN_DELAY_MS = 200
START_SECONDS = 30.0
STOP_SECONDS = 5.0
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")


class EmbeddedBroker:
    """A mock cluster of one broker with some topics, as a context manager.

    Args:
        topics: partition counts by topic name.

    Raises:
        ValueError: a name or partition count is not valid in Kafka.
    """

    def __init__(self, topics: Mapping[str, int]) -> None:
        for name, partitions in topics.items():
            if not _TOPIC.fullmatch(name) or name in {".", ".."}:
                raise ValueError(f"not a valid topic name: {name!r}")
            if partitions < 1:
                raise ValueError(f"topic {name} needs at least 1 partition, not {partitions}")
        self.topics = dict(topics)
        self._process: subprocess.Popen[str] | None = None
        self._bootstrap = ""

    @property
    def bootstrap(self) -> str:
        """Address as "127.0.0.1:PORT"; empty while the broker is not running."""
        return self._bootstrap

    @property
    def url(self) -> str:
        """Address as "kafka://127.0.0.1:PORT"."""
        return f"kafka://{self._bootstrap}"

    def start(self) -> None:
        """Start the process and return when clients can connect. A running one is stopped first.

        Raises:
            RuntimeError: it did not start; one line with the reason.
        """
        self.close()
        with tempfile.TemporaryFile() as errors:
            process = _spawn(self.topics, errors)
            address = _first_line(process)
            if not address:
                _stop(process)
                raise RuntimeError(f"the embedded broker did not start: {_reason(errors, process)}")
        self._process, self._bootstrap = process, address

    def close(self) -> None:
        """Stop the process and wait for its end. All data is lost. May be called several times."""
        process, self._process, self._bootstrap = self._process, None, ""
        if process is not None:
            _stop(process)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _spawn(topics: Mapping[str, int], errors: IO[bytes]) -> subprocess.Popen[str]:
    """Start this file as a program; -P keeps its folder off the import path.

    The program has its own process group, so that Ctrl-C in a terminal lets the parent finish its work first.
    """
    return subprocess.Popen(  # noqa: S603 - this interpreter, this file
        [sys.executable, "-P", str(Path(__file__).resolve()), *(f"{name}={n}" for name, n in topics.items())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        start_new_session=True,
    )


def _first_line(process: subprocess.Popen[str]) -> str:
    """Return the first line that the process prints, or an empty text if it ends or takes too long."""
    assert process.stdout is not None
    watchdog = threading.Timer(START_SECONDS, process.kill)
    watchdog.start()
    try:
        return process.stdout.readline().strip()
    finally:
        watchdog.cancel()


def _reason(errors: IO[bytes], process: subprocess.Popen[str]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").splitlines()
    return lines[-1] if lines else f"its process ended with status {process.returncode}"


def _stop(process: subprocess.Popen[str]) -> None:
    """End the process by closing its input, as the end of its parent would, or else by force."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _load_librdkafka() -> ctypes.CDLL:
    """Load the librdkafka of `confluent-kafka`; its symbols are found through the extension module that links to it."""
    try:
        from confluent_kafka import cimpl
    except ImportError as error:
        raise RuntimeError(f"it needs the package confluent-kafka: {error}") from error
    library = ctypes.CDLL(cimpl.__file__)
    pointer, text, number, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
    signatures = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, size]),
        "rd_kafka_new": (pointer, [number, pointer, text, size]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _cluster(library: ctypes.CDLL) -> int:
    """Create a mock cluster of one broker. It exists as long as the process: nothing frees it."""
    reason = ctypes.create_string_buffer(512)
    settings = library.rd_kafka_conf_new()
    library.rd_kafka_conf_set(settings, b"log_level", b"0", reason, len(reason))
    client = library.rd_kafka_new(0, settings, reason, len(reason))
    if not client:
        raise RuntimeError(reason.value.decode(errors="replace"))
    cluster = library.rd_kafka_mock_cluster_new(client, 1)
    if not cluster:
        raise RuntimeError("librdkafka could not open a port on 127.0.0.1")
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, JOIN_DELAY_MS)
    return int(cluster)


def _serve(topics: Mapping[str, int]) -> str:
    """Start the cluster in this process, create its topics, and return its address."""
    cluster = _cluster(library := _load_librdkafka())
    for name, partitions in topics.items():
        if code := library.rd_kafka_mock_topic_create(cluster, name.encode(), partitions, 1):
            raise RuntimeError(f"topic {name} could not be created: librdkafka's error {code}")
    return str(library.rd_kafka_mock_cluster_bootstraps(cluster).decode())


def main(arguments: list[str]) -> int:
    """Serve topics given as NAME=PARTITIONS, print the address, and return when the input ends."""
    pairs = (argument.split("=", 1) for argument in arguments)
    try:
        address = _serve({name: int(count) for name, count in pairs})
    except (AttributeError, OSError, RuntimeError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    # Not sys.exit: librdkafka's threads are still running, and there is nothing to clean up.
    os._exit(main(sys.argv[1:]))
