"""A broker that needs no installation: librdkafka's mock cluster, for the demo and for quick tests.

It comes inside the `confluent-kafka` wheel (extra `demo`), speaks Kafka's protocol on the loopback
interface only, and runs in a process of its own that ends when its parent does, however that ends.

It is no place for data that matters. Where it differs from a real Kafka (tried with librdkafka 2.16):

- Everything is in memory. A partition keeps its newest 5 MiB (batches as sent, so compressed ones count
  compressed) and at most 100,000 batches; older ones are dropped. Both are constants of librdkafka: no
  setting and no call changes them. Nothing is compacted and nothing expires.
- A fetch returns one batch of each partition, so small batches read slowly: let producers linger.
- Clients cannot create topics; one that is not listed here appears with 4 partitions on its first use.
- A group's first members are awaited for `JOIN_DELAY_MS`; when one joins or leaves later, the others get
  their partitions back after the session timeout less 1 s. Members that prefer different assignors end
  the broker. Should the group's leader sync before the others, as it does when they share an event loop,
  the others get an InvalidRequestError, once, and have to join again.
- Transactions are accepted, yet their records can be read before the commit and after an abort.
  Offsets cannot be looked up by time; groups and settings cannot be listed.
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
    """A running mock cluster of one broker that has `topics` (name to partition count).

    Starts when it is entered (or by `start`) and stops when it is left (or by `close`). Whatever keeps it
    from starting is one RuntimeError of one line; a topic that Kafka would not take is a ValueError.
    """

    def __init__(self, topics: Mapping[str, int]) -> None:
        for name, partitions in topics.items():
            if not _TOPIC.fullmatch(name) or name in {".", ".."}:
                raise ValueError(f"not a topic's name: {name!r}")
            if partitions < 1:
                raise ValueError(f"topic {name} needs at least 1 partition, not {partitions}")
        self.topics = dict(topics)
        self._process: subprocess.Popen[str] | None = None
        self._bootstrap = ""

    @property
    def bootstrap(self) -> str:
        """The broker's address as "127.0.0.1:PORT"; empty while it does not run."""
        return self._bootstrap

    @property
    def url(self) -> str:
        """The broker's address as "kafka://127.0.0.1:PORT"."""
        return f"kafka://{self._bootstrap}"

    def start(self) -> None:
        """Start the process and return once clients can connect; one that runs already is stopped first."""
        self.close()
        with tempfile.TemporaryFile() as errors:
            process = _spawn(self.topics, errors)
            address = _first_line(process)
            if not address:
                _stop(process)
                raise RuntimeError(f"the embedded broker did not start: {_reason(errors, process)}")
        self._process, self._bootstrap = process, address

    def close(self) -> None:
        """Stop the process and wait until it is gone; its data is gone, too. May be called again."""
        process, self._process, self._bootstrap = self._process, None, ""
        if process is not None:
            _stop(process)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _spawn(topics: Mapping[str, int], errors: IO[bytes]) -> subprocess.Popen[str]:
    """Start this very file as a program: -P keeps the folder it is in off the import path.

    In a process group of its own, so that Ctrl-C at a terminal lets the parent finish its work first.
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
    """What the process says first, or nothing if it ends or is silent for too long."""
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
    """End the process: by the end of its input, as its parent's death would, or else by force."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _library() -> ctypes.CDLL:
    """librdkafka as `confluent-kafka` brought it: its symbols are found through the module linked to it."""
    try:
        from confluent_kafka import cimpl
    except ImportError as error:
        raise RuntimeError(f"it needs the package confluent-kafka (extra: demo): {error}") from error
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
    """A mock cluster of one broker. It lives as long as the process: nothing here frees it."""
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
    """Start the cluster in this process, create its topics and return its address."""
    cluster = _cluster(library := _library())
    for name, partitions in topics.items():
        if code := library.rd_kafka_mock_topic_create(cluster, name.encode(), partitions, 1):
            raise RuntimeError(f"topic {name} could not be created: librdkafka's error {code}")
    return str(library.rd_kafka_mock_cluster_bootstraps(cluster).decode())


def main(arguments: list[str]) -> int:
    """Serve topics given as NAME=PARTITIONS, print the address, and end when the input does."""
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
    # Not sys.exit: librdkafka's threads still run, and nothing is left to tidy up.
    os._exit(main(sys.argv[1:]))
