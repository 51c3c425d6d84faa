"""Errors of invalid input. Every invalid record is sent to the dead-letter queue with one of these reasons."""

from __future__ import annotations


class InvalidEvent(Exception):
    """A record that is not an event that can be applied.

    Attributes:
        reason: a reason code, one of `REASONS`.
        field: the invalid field, if there is one.
        detail: description of the error.
    """

    def __init__(self, reason: str, field: str | None, detail: str) -> None:
        super().__init__(reason, field, detail)
        self.reason = reason
        self.field = field
        self.detail = detail

    def __str__(self) -> str:
        where = f" ({self.field})" if self.field else ""
        return f"{self.reason}{where}: {self.detail}"


REASONS: dict[str, str] = {
    "malformed": "not UTF-8 JSON, or not a single object",
    "unknown_type": "`type` is not an event type",
    "missing_field": "a required field is missing",
    "wrong_type": "a field has a value of the wrong type",
    "impossible_value": "a number, share, text or time is out of range",
    "wrong_key": "the key of a record on `events` is not the user id",
    "wrong_partition": "the record is not in the partition of `events` that its key belongs to",
    "oversize": "the record is larger than `max_record_bytes` after decompression",
    "far_future": "the event time is ahead of the log's time by more than `skew`",
    "not_a_person": "a catalogue event on `events`, which holds user events only",
    "state_too_large": "too many undelivered outputs of the user: their changelog record has no room for more",
    "failed": "processing the record raised an exception: a bug in Encore; the record is kept",
    "due_failed": "a timer of the user raised an exception: a bug in Encore; the user's key is kept",
}
