"""The job on Bytewax: a stateful operator with one logic object per user, and the recovery store written every second.

Bytewax keeps every person decoded in memory and stores the snapshots of those that changed at the end of an epoch. Its
own notifications go by the machine's clock, so, as for any log in event time, who is due stands in a heap a partition,
and a tick of the log becomes one wake-up for each person due.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from models.person.person import Person
from models.schema import events as ev
from tests.benchmarks.job import (
    SEEDED,
    Job,
    Progress,
    Task,
    Timers,
    address,
    decode_person,
    encode_output,
    encode_person,
)

Item = tuple[int, Any]
"""The partition it came from, and its content: an event, a user's state, or the time up to which timers fire."""


class Flow:
    """The steps of the dataflow and what they share: it all runs in one worker."""

    def __init__(self, task: Task) -> None:
        self.job = Job(task.context())
        self.progress = Progress(task.progress, self.job)
        self.heaps: dict[int, Timers] = defaultdict(Timers)

    def rows(self, messages: list[Any]) -> Iterable[tuple[str, Item]]:
        """Parse records; a tick becomes a wake-up for each user whose timer is due."""
        rows: list[tuple[str, Item]] = []
        for message in messages:
            value, partition = message.value, message.partition
            if value[0] == SEEDED:
                rows.append((message.key.decode(), (partition, value)))
                continue
            event = self.job.parse(value, message.timestamp[1] / 1000.0)
            if isinstance(event, ev.Event):
                rows.append((event.user_id, (partition, event)))
            elif event is not None:
                until = event.time - self.job.lateness
                rows += [(key.decode(), (partition, until)) for key in self.heaps[partition].until(until)]
        return rows


class PersonLogic(StatefulLogic[Item, Any, tuple[int, bytes]]):
    """The logic of one user."""

    def __init__(self, flow: Flow, state: tuple[int, bytes] | None) -> None:
        self._flow = flow
        self._person = Person("")
        self._partition = 0
        if state is not None:
            self._partition, self._person = state[0], decode_person(state[1])
            self._enter()

    def on_item(self, value: Item) -> tuple[Iterable[Any], bool]:
        """Apply an event or a wake-up; emit the outputs."""
        flow, (self._partition, what) = self._flow, value
        flow.progress.note()
        if isinstance(what, bytes):
            self._person, outputs = decode_person(what), []
        elif isinstance(what, float):
            self._person, outputs = flow.job.wake(self._person, what)
        else:
            self._person, outputs = flow.job.event(self._person, what)
            flow.progress.add()
        self._enter()
        return outputs, StatefulLogic.RETAIN

    def snapshot(self) -> tuple[int, bytes]:
        """Return the encoded state of the user."""
        return self._partition, encode_person(self._person)

    def _enter(self) -> None:
        self._flow.heaps[self._partition].enter(self._person.id.encode(), self._flow.job.due(self._person))


def dataflow(task: Task) -> Dataflow:
    """Return the dataflow."""
    run = Flow(task)
    flow = Dataflow("encore")
    messages = op.input("events", flow, KafkaSource([task.bootstrap], [f"{task.prefix}events"]))
    rows = op.flat_map_batch("rows", messages, run.rows)
    outputs = op.stateful("person", rows, lambda state: PersonLogic(run, state))

    def message(item: tuple[str, Any]) -> KafkaSinkMessage[bytes, bytes]:
        topic, key = address(item[1])
        return KafkaSinkMessage(key.encode(), encode_output(item[1]), topic=task.prefix + topic)

    op.output("outputs", op.map("message", outputs, message), KafkaSink([task.bootstrap], f"{task.prefix}decisions"))
    return flow


def main() -> None:
    """Run until a signal ends it."""
    task = Task.read()
    store = Path(task.folder) / "recovery"
    if not store.exists():
        store.mkdir(parents=True)
        init_db_dir(store, 1)
    every = timedelta(seconds=task.commit_every)
    cli_main(dataflow(task), epoch_interval=every, recovery_config=RecoveryConfig(store))


if __name__ == "__main__":
    sys.exit(main())
