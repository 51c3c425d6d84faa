"""Bytes and types: the one place that turns records into events and outputs into records."""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import lru_cache
from typing import Protocol

import msgspec

from models.person.preferences import Interaction
from models.recommend.audience import AudienceShare
from models.recommend.examples import ListExample
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from models.schema.outputs import (
    Alert,
    CouponTrigger,
    CourseAudience,
    Decision,
    EarlySignal,
    Example,
    OfferOutcome,
    Output,
    Profile,
    Recommendations,
    Tombstone,
    Undelivered,
)
from streams.kafka import topics
from streams.kafka.topics import partition_of

_encoder = msgspec.json.Encoder()
_example_decoder: msgspec.json.Decoder[Example | EarlySignal] = msgspec.json.Decoder(Example | EarlySignal)
_list_example_decoder = msgspec.msgpack.Decoder(ListExample)
_interaction_decoder: msgspec.json.Decoder[Interaction | AudienceShare] = msgspec.json.Decoder(
    Interaction | AudienceShare
)


class Record(Protocol):
    """What we read of a Kafka record: aiokafka's `ConsumerRecord` is one."""

    @property
    def topic(self) -> str:
        """Where it stands."""

    @property
    def partition(self) -> int:
        """Where in the topic."""

    @property
    def offset(self) -> int:
        """Where in the partition."""

    @property
    def timestamp(self) -> int:
        """When it was written, or taken by the log, in milliseconds since 1970 UTC."""

    @property
    def key(self) -> bytes | None:
        """What it is keyed by."""

    @property
    def value(self) -> bytes | None:
        """What it holds."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """What stands beside it."""


HISTORY_PREFIX = "history:"
"""Begins the origin of what `encore send` wrote; no topic can be called so."""
_MAX_PLACE_BYTES = 300
"""Bytes: a topic's name has at most 249 characters, all of them ASCII; then comes a slash and the partition."""
ORIGIN_HEADER = "encore-origin"
"""Header of a record that ingest wrote: topic, partition and offset it came from."""


def decode_event(value: bytes | None, log_time: float, max_record_bytes: int, skew: float) -> ev.AnyEvent:
    """Read one event: within its size, well-formed, possible, and not from the future.

    Args:
        value: the record's value, as it came (decompressed).
        log_time: when the log took it, in seconds since 1970 UTC.
        max_record_bytes: the largest value taken.
        skew: seconds that an event may lie beyond the log's time.

    Raises:
        InvalidEvent: with the reason and field.
    """
    if value is None:
        raise InvalidEvent("malformed", None, "the record has no value")
    if len(value) > max_record_bytes:
        raise InvalidEvent("oversize", None, f"{len(value)} bytes, at most {max_record_bytes} are taken")
    event = ev.decode(value)
    if event.time > log_time + skew:
        raise InvalidEvent("far_future", "time", f"{event.time - log_time:.0f} s after the log's own time")
    return event


def check_log_record(
    event: ev.AnyEvent, key: bytes | None, partition: int, partitions: int, known: Container[bytes] = ()
) -> ev.Event | ev.Tick | ev.Announced:
    """Check that a record of `events` stands where its person's records stand.

    Args:
        event: what the record says.
        key: the record's.
        partition: where it stands.
        partitions: how many there are.
        known: keys of which this has been found true before.

    Raises:
        InvalidEvent: it is about a course, or its key or partition is not the person's.
    """
    if not isinstance(event, ev.Event):
        if isinstance(event, ev.CourseEvent):
            raise InvalidEvent("not_a_person", "type", "catalogue events come in through an input topic")
        return event
    if event.user_id.startswith("\0"):
        raise InvalidEvent("impossible_value", "user_id", "an id cannot begin with a NUL: such keys are ours")
    if key != event.user_id.encode():
        raise InvalidEvent("wrong_key", "user_id", "the record's key is not the person's id")
    if key not in known and partition_of(key, partitions) != partition:
        raise InvalidEvent("wrong_partition", None, f"in {partition}, belongs in {partition_of(key, partitions)}")
    return event


def origin_of(record: Record, inputs: frozenset[str]) -> tuple[str, int] | None:
    """Return where a record came from (`topic/partition`) and at which offset, if ingest or `encore send` wrote it.

    Args:
        record: of `events`, where others may write as well, with any headers.
        inputs: full names of the topics that ingest reads; what names another place is none of its words.
    """
    for header, value in record.headers:
        if header == ORIGIN_HEADER:
            place, _, offset = (value or b"").rpartition(b"/")
            if len(place) > _MAX_PLACE_BYTES or not _is_number(offset):
                return None
            known = _parse_place(place, inputs)
            return None if known is None else (known, int(offset))
    return None


@lru_cache(4_096)
def _parse_place(place: bytes, inputs: frozenset[str]) -> str | None:
    """Return a place in words, if it is one that ingest or `encore send` writes; there are few, so they are kept."""
    topic, _, partition = place.rpartition(b"/")
    name = topic.decode(errors="replace")
    ours = (name in inputs or name.startswith(HISTORY_PREFIX)) and _is_number(partition)
    return f"{name}/{partition.decode()}" if ours else None


def _is_number(digits: bytes) -> bool:
    return digits.isdigit() and len(digits) < 20


def origin_header(topic: str, partition: int, offset: int) -> list[tuple[str, bytes]]:
    """Return the header that names where a record came from."""
    return [(ORIGIN_HEADER, f"{topic}/{partition}/{offset}".encode())]


_ADDRESSES: dict[type[Output], tuple[str, str]] = {
    Alert: (topics.ALERTS, "user_id"),
    CouponTrigger: (topics.TRIGGERS, "user_id"),
    Profile: (topics.PROFILES, "user_id"),
    Recommendations: (topics.RECOMMENDATIONS, "user_id"),
    CourseAudience: (topics.AUDIENCES, "course_id"),
    Interaction: (topics.INTERACTIONS, "course"),
    AudienceShare: (topics.INTERACTIONS, "course"),
    Example: (topics.EXAMPLES, "user"),
    EarlySignal: (topics.EXAMPLES, "user"),
    Decision: (topics.DECISIONS, "user"),
    OfferOutcome: (topics.DECISIONS, "user"),
    Undelivered: (topics.DECISIONS, "user"),
}
"""To which topic an output goes, and which of its fields is the key; what is forgotten goes where it stood."""
_TOMBSTONE_TOPICS = {"profile": topics.PROFILES, "recommendations": topics.RECOMMENDATIONS}


def address(output: Output) -> tuple[str, bytes]:
    """Return the topic (without prefix) and key of an output."""
    if type(output) is Tombstone:
        return _TOMBSTONE_TOPICS[output.of], output.user_id.encode()
    try:
        topic, field = _ADDRESSES[type(output)]
    except KeyError:
        raise TypeError(f"no topic for {type(output).__name__}") from None
    return topic, getattr(output, field).encode()


def encode_output(output: Output) -> bytes | None:
    """Return the bytes of an output; none for one that takes back what was said."""
    return None if type(output) is Tombstone else _encoder.encode(output)


def decode_example(value: bytes) -> Example | EarlySignal:
    """Read what the model learns from: a labelled row, or a sign long before the label.

    Raises:
        msgspec.ValidationError, msgspec.DecodeError: it is neither.
    """
    return _example_decoder.decode(value)


def decode_interaction(value: bytes, key: bytes | None) -> Interaction | AudienceShare:
    """Read what a course hears: of a person, or of people it was announced to.

    Raises:
        InvalidEvent: it is none of these, or stands under another key than its course's.
    """
    try:
        said = _interaction_decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidEvent("malformed", None, str(error)) from None
    if key != said.course.encode():
        raise InvalidEvent("wrong_key", "course", "the record's key is not the course's id")
    return said


def encode_list_example(example: ListExample) -> bytes:
    """Write a short list that a ranker learns from: MessagePack, since its rows are bytes."""
    return msgspec.msgpack.encode(example)


def decode_list_example(value: bytes) -> ListExample:
    """Read a short list.

    Raises:
        msgspec.ValidationError, msgspec.DecodeError: it is none.
    """
    return _list_example_decoder.decode(value)
