"""Defects while a record or a timer is processed: dead letters, and the limit at which the worker stops."""

from __future__ import annotations

from msgspec.structs import replace

from models.person.ledger import pseudonym
from models.retention import step as retention
from models.schema.errors import InvalidEvent
from streams.agents.users.envelope import Envelope
from streams.delivery.dead_letters import DeadLetterQueue
from streams.kafka.codec import Record
from streams.metrics import Metrics
from streams.settings import Settings


class TooManyFailures(Exception):
    """The processing of too many users in a row failed: to go on would make a dead letter of every record."""


class FailureHandler:
    """Sends failed records and timers to the dead-letter queue, and limits failures in a row.

    Failures of one user in a row count once: a defect that concerns one user must not stop all others.

    Attributes:
        count: users in a row whose processing failed. The caller resets it after a success.
    """

    def __init__(self, partition: int, settings: Settings, dead_letters: DeadLetterQueue, metrics: Metrics) -> None:
        self.count = 0
        self._partition = partition
        self._max_failures = settings.max_failures
        self._rules = settings.rules()
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._last_key = b""

    def reset(self) -> None:
        """Begin to count anew after a success."""
        self.count, self._last_key = 0, b""

    def handle(self, key: bytes, envelope: Envelope, record: Record | None, at: float, error: Exception) -> Envelope:
        """Send a dead letter; return the envelope with which the user continues.

        Args:
            key: key of the user.
            envelope: the user's envelope, marked with the record's position.
            record: the failed record; None for a timer.
            at: time of the event or timer, in seconds since 1970 UTC.
            error: what was raised.

        Raises:
            TooManyFailures: the limit of failures in a row is reached.
        """
        self._metrics.add("encore_failures_total", "step" if record is not None else "wake")
        self.count += key != self._last_key
        self._last_key = key
        if self.count >= self._max_failures:
            raise TooManyFailures(f"{self.count} defects in a row, the last: {error!r}") from error
        if record is not None:
            self._dead_letters.send(record, InvalidEvent("failed", None, repr(error)))
            return envelope
        user = pseudonym(key.decode(), self._rules.pseudonym_key)
        self._dead_letters.send_timer_failure(user, key, self._partition, at, repr(error))
        return replace(envelope, person=retention.skip_timers(envelope.person, at, self._rules))
