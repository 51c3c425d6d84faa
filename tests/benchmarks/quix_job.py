"""The job on Quix Streams: a streaming dataframe with one state per user in RocksDB, and its changelog on.

State is kept as bytes (`set_bytes`), which spares Quix's JSON. Quix has no timers and no look at another key: who is
due stands in a heap a partition beside it, and a tick of the log becomes one wake-up for each person due, under that
person's key, as Quix itself re-keys rows in a single partition.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from quixstreams import Application, State, message_context
from quixstreams.models.serializers import SerializationContext, Serializer

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

OUTPUTS = ("retention-alerts", "coupon-triggers", "user-profiles", "examples", "decisions", "interactions")


class OutputSerializer(Serializer):
    """Encodes outputs."""

    def __call__(self, value: Any, ctx: SerializationContext) -> bytes:
        """Return an output's bytes."""
        return encode_output(value)


class Flow:
    """The steps of the dataframe."""

    def __init__(self, task: Task) -> None:
        self.job = Job(task.context())
        self.progress = Progress(task.progress, self.job)
        self.heaps: dict[int, Timers] = defaultdict(Timers)

    def rows(self, value: bytes, key: Any, timestamp: int, headers: Any) -> Iterable[tuple[Any, Any, int, Any]]:
        """Parse a record; a tick becomes a wake-up for each user whose timer is due."""
        self.progress.note()
        if value[0] == SEEDED:
            return [(value, key, timestamp, headers)]
        event = self.job.parse(value, timestamp / 1000.0)
        if event is None:
            return ()
        if not isinstance(event, ev.Tick):
            return [(event, key, timestamp, headers)]
        until = event.time - self.job.lateness
        due = self.heaps[message_context().partition].until(until)
        return [(until, person, timestamp, headers) for person in due]

    def person(self, what: Any, key: bytes, timestamp: int, headers: Any, state: State) -> list[Any]:
        """Apply an event or a wake-up to a user; return the outputs."""
        if isinstance(what, bytes):
            person, outputs = decode_person(what), []
        else:
            value = state.get_bytes("person")
            person = decode_person(value) if value is not None else Person(key.decode())
            if isinstance(what, float):
                person, outputs = self.job.wake(person, what)
            else:
                person, outputs = self.job.event(person, what)
                self.progress.add()
        state.set_bytes("person", encode_person(person))
        self.heaps[message_context().partition].enter(key, self.job.due(person))
        return outputs


def main() -> None:
    """Run until a signal ends it."""
    task = Task.read()
    app = Application(
        broker_address=task.bootstrap,
        consumer_group=task.group,
        auto_offset_reset="earliest",
        state_dir=task.folder,
        commit_interval=task.commit_every,
        auto_create_topics=True,
        loglevel="WARNING",
    )
    events = app.topic(f"{task.prefix}events", key_deserializer="bytes", value_deserializer="bytes")
    outputs = {
        name: app.topic(f"{task.prefix}{name}", key_serializer="str", value_serializer=OutputSerializer())
        for name in OUTPUTS
    }
    flow = Flow(task)
    frame = app.dataframe(events)
    frame = frame.__dataframe_clone__(stream=frame.stream.add_transform(flow.rows, expand=True))
    frame = frame.apply(flow.person, stateful=True, expand=True, metadata=True)
    frame.to_topic(lambda output, *_: outputs[address(output)[0]], key=lambda output: address(output)[1])
    app.run()


if __name__ == "__main__":
    sys.exit(main())
