"""The only place that decodes Kafka records to events and encodes outputs as Kafka records."""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import lru_cache
from typing import Protocol

import msgspec

from models.person.preferences import Interaction
from models.recommend.audience import AudienceShare
from models.recommend.examples import ListExample
from models.schema import event_codec
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
    """The attributes of a Kafka record that Encore uses; aiokafka's `ConsumerRecord` has them."""

    @property
    def topic(self) -> str:
        """Full name of the topic."""

    @property
    def partition(self) -> int:
        """Partition of the topic."""

    @property
    def offset(self) -> int:
        """Offset in the partition."""

    @property
    def timestamp(self) -> int:
        """Time of writing, or of arrival in the log, in milliseconds since 1970 UTC."""

    @property
    def key(self) -> bytes | None:
        """Key, or None."""

    @property
    def value(self) -> bytes | None:
        """Value, or None for a tombstone."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Header names and values."""


HISTORY_PREFIX = "history:"
"""Prefix of the origin of records that `encore send` wrote; no topic name can contain it."""
_MAX_PLACE_BYTES = 300
"""Bytes of topic/partition: a topic name has at most 249 characters, all of them ASCII."""
ORIGIN_HEADER = "encore-origin"
"""Header of a record that ingest wrote: the topic, partition and offset of its source."""
Origin = tuple[str, int]
"""The source of a record: `topic/partition` and offset."""


def decode_event(value: bytes | None, log_time: float, max_record_bytes: int, skew: float) -> ev.AnyEvent:
    """Decode and check one event: its size, its form, its values, and that it is not from the future.

    Args:
        value: the value of the record, decompressed.
        log_time: time at which the record arrived in the log, in seconds since 1970 UTC.
        max_record_bytes: maximum size of the value.
        skew: seconds by which the event time may be ahead of `log_time`.

    Raises:
        InvalidEvent: with the reason and field.
    """
    if value is None:
        raise InvalidEvent("malformed", None, "the record has no value")
    if len(value) > max_record_bytes:
        raise InvalidEvent("oversize", None, f"{len(value)} bytes, the maximum is {max_record_bytes}")
    event = event_codec.decode(value)
    if event.time > log_time + skew:
        raise InvalidEvent("far_future", "time", f"{event.time - log_time:.0f} s ahead of the log's time")
    return event


def check_user_id(user_id: str) -> None:
    """Check that an id does not look like a key that Encore itself uses.

    Raises:
        InvalidEvent: the id begins with a NUL character.
    """
    if user_id.startswith("\0"):
        raise InvalidEvent(
            "impossible_value", "user_id", "an id must not begin with a NUL character: Encore uses such keys itself"
        )


class LogDecoder:
    """Decodes the records of one partition of `events`, and checks that they belong there.

    Args:
        partition: the partition.
        partitions: partition count of `events`.
        inputs: full names of the topics that ingest reads.
        max_record_bytes: maximum size of a value.
        skew: seconds by which an event time may be ahead of the time at which the record arrived in the log.
        verified: keys that are known to belong to this partition.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        inputs: frozenset[str],
        max_record_bytes: int,
        skew: float,
        verified: Container[bytes] = (),
    ) -> None:
        self._partition = partition
        self._partitions = partitions
        self._inputs = inputs
        self._max_record_bytes = max_record_bytes
        self._skew = skew
        self._verified = verified

    def decode(self, record: Record) -> tuple[ev.Event | ev.Tick | ev.Announced, Origin | None]:
        """Return the event of a record, and its source if the record has a valid origin header.

        Raises:
            InvalidEvent: `decode_event` rejects the value, the event is about a course, or key or partition of the
                record are not those of the user.
        """
        event = decode_event(record.value, record.timestamp / 1000.0, self._max_record_bytes, self._skew)
        if not isinstance(event, ev.Event):
            if isinstance(event, ev.CourseEvent):
                raise InvalidEvent("not_a_person", "type", "catalogue events have to be sent to an input topic")
            return event, None
        key, user_id = record.key, event.user_id
        if user_id.startswith("\0"):  # checked here, because a call for every record costs time
            check_user_id(user_id)
        if key != user_id.encode():
            raise InvalidEvent("wrong_key", "user_id", "the key of the record is not the user id")
        if key not in self._verified and (owner := partition_of(key, self._partitions)) != self._partition:
            raise InvalidEvent("wrong_partition", None, f"in {self._partition}, belongs in {owner}")
        return event, origin_of(record, self._inputs) if record.headers else None


def origin_of(record: Record, inputs: frozenset[str]) -> Origin | None:
    """Return the source of a record (`topic/partition` and offset), or None if the record has no valid origin header.

    Ingest and `encore send` write this header. Others may write to `events` as well, with any headers.

    Args:
        record: a record of `events`.
        inputs: full names of the topics that ingest reads; an origin with another topic is not valid.
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
    """Return a valid topic/partition as text, or None. There are few, so the results are cached."""
    topic, _, partition = place.rpartition(b"/")
    name = topic.decode(errors="replace")
    valid = (name in inputs or name.startswith(HISTORY_PREFIX)) and _is_number(partition)
    return f"{name}/{partition.decode()}" if valid else None


def _is_number(digits: bytes) -> bool:
    return digits.isdigit() and len(digits) < 20


def origin_header(topic: str, partition: int, offset: int) -> list[tuple[str, bytes]]:
    """Return the header that contains the source of a record."""
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
"""Topic and key field of every output but tombstones."""
_TOMBSTONE_TOPICS = {"profile": topics.PROFILES, "recommendations": topics.RECOMMENDATIONS}
"""Topic of a tombstone, by the kind of output that it removes."""


def address(output: Output) -> tuple[str, bytes]:
    """Return the topic (without prefix) and the key of an output."""
    if type(output) is Tombstone:
        return _TOMBSTONE_TOPICS[output.of], output.user_id.encode()
    try:
        topic, field = _ADDRESSES[type(output)]
    except KeyError:
        raise TypeError(f"no topic for {type(output).__name__}") from None
    return topic, getattr(output, field).encode()


def encode_output(output: Output) -> bytes | None:
    """Encode an output; a tombstone has no value."""
    return None if type(output) is Tombstone else _encoder.encode(output)


def decode_example(value: bytes) -> Example | EarlySignal:
    """Decode a record of `examples`: a labelled row, or an early signal.

    Raises:
        msgspec.ValidationError, msgspec.DecodeError: it is neither.
    """
    return _example_decoder.decode(value)


def decode_interaction(value: bytes, key: bytes | None) -> Interaction | AudienceShare:
    """Decode a record of `interactions`: an interaction of a user, or a share of the audience of an announced course.

    Raises:
        InvalidEvent: it is neither, or its key is not the course id.
    """
    try:
        decoded = _interaction_decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidEvent("malformed", None, str(error)) from None
    if key != decoded.course.encode():
        raise InvalidEvent("wrong_key", "course", "the key of the record is not the course id")
    return decoded


def encode_list_example(example: ListExample) -> bytes:
    """Encode training data of the ranker: a short list, in MessagePack because its rows are bytes."""
    return msgspec.msgpack.encode(example)


def decode_list_example(value: bytes) -> ListExample:
    """Decode training data of the ranker: a short list.

    Raises:
        msgspec.ValidationError, msgspec.DecodeError: it is not a short list.
    """
    return _list_example_decoder.decode(value)
