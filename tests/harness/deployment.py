"""One Encore on a broker, as an operator has it: settings, commands, workers, and records in and out as bytes."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models.schema import event_codec
from models.schema import events as ev
from streams import settings as settings_
from streams.kafka import clients
from streams.kafka.embedded import EmbeddedBroker
from streams.kafka.readers import read_all
from streams.kafka.topics import partitions_of
from streams.settings import Settings
from tests.harness import commands
from tests.harness.commands import Result
from tests.harness.kafka import Kafka
from tests.harness.process import wait_until
from tests.harness.shared import VARIABLE
from tests.harness.worker import WorkerProcess, as_environment

Embedded = Callable[[Mapping[str, int]], EmbeddedBroker]
DEFAULTS = {"session_timeout": 60, "partitions": 4, "clock": "source", "expiry": "log", "pseudonym_key": "k"}
SHORT_SESSION = {"session_timeout": 6}
"""For tests that kill or freeze a worker. Elsewhere a session is long, so that no busy machine expels a worker."""


class Deployment:
    """The settings of one Encore under a prefix of its own; the logs of its workers lie in `folder`.

    Args:
        bootstrap: the broker's address, HOST:PORT.
        prefix: a name that no other deployment has: the group, and with a dash the prefix of all topics.
        settings: further settings by name.
    """

    def __init__(self, bootstrap: str, prefix: str, **settings: object) -> None:
        own = {"broker": f"kafka://{bootstrap}", "prefix": f"{prefix}-", "group": prefix}
        self.environment = as_environment({**own, **DEFAULTS, **settings})
        self.folder = Path(tempfile.mkdtemp(prefix="deployment-", dir=os.environ.get(VARIABLE)))

    @classmethod
    def on(cls, broker: Kafka | Embedded, prefix: str, **settings: object) -> Deployment:
        """Return a deployment whose topics exist, on a real Kafka or on a new embedded broker."""
        if isinstance(broker, Kafka):
            deployment = cls(broker.bootstrap, prefix, **settings)
            deployment.check("topics", "create")
            return deployment
        topics = partitions_of(cls("", prefix, **settings).settings)
        # The embedded broker lets members wait for the rest of a session after each change of the group.
        return cls(broker(topics).bootstrap, prefix, **{"embedded": 1, **SHORT_SESSION, **settings})

    @property
    def settings(self) -> Settings:
        """The settings as its workers have them."""
        return settings_.load(self.environment)

    # -- commands

    def run(self, *arguments: object) -> Result:
        """Run a command in this process."""
        return commands.run(*arguments, environment=self.environment)

    def run_process(self, *arguments: object) -> Result:
        """Run a command in a process of its own: `worker`, and one command of each family."""
        return commands.run_process(*arguments, environment=self.environment)

    def check(self, *arguments: object, process: bool = False) -> str:
        """Run a command that has to succeed; return what it printed."""
        ended = (self.run_process if process else self.run)(*arguments)
        assert (ended.returncode, ended.stderr.count("Traceback")) == (0, 0), ended.stderr
        return ended.stdout

    # -- workers

    def worker(self, **settings: object) -> WorkerProcess:
        """Start a worker; `with` ends it."""
        return WorkerProcess({**self.environment, **as_environment(settings)}, self.folder)

    # -- records

    def send(self, topic: str, *events: ev.AnyEvent | bytes, partition: int | None = None) -> None:
        """Write events, or raw bytes, to a topic; an event's key is its user."""

        async def send() -> None:
            async with clients.producer(self.settings, acks=1, enable_idempotence=False) as producer:
                for event in events:
                    key = event.user_id.encode() if isinstance(event, ev.Event) else None
                    value = event if isinstance(event, bytes) else event_codec.encode(event)
                    await producer.send(self.settings.prefix + topic, value, key=key, partition=partition)
                await producer.flush()

        asyncio.run(send())

    def tick(self, time: float) -> None:
        """Write a tick to every partition of the log."""
        for partition in range(self.settings.partitions):
            self.send("events", ev.Tick(time=time), partition=partition)

    def read(self, topic: str) -> list[Any]:
        """Return all records of a topic."""
        return asyncio.run(read_all(self.settings, self.settings.prefix + topic))

    def read_until(self, topic: str, enough: Callable[[list[Any]], object]) -> list[Any]:
        """Read a topic again and again until its records are enough; return them."""
        records: list[Any] = []

        def holds() -> object:
            records[:] = self.read(topic)
            return enough(records)

        wait_until(holds, f"enough records in {topic}", every=0.2)
        return records
