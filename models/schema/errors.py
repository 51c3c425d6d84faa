"""What can be wrong with what comes in. These are values with a destination: each ends in the dead letters."""

from __future__ import annotations


class InvalidEvent(Exception):
    """A record that is not an event we can apply.

    Attributes:
        reason: a short code, one of those listed in `REASONS`.
        field: the field at fault, where there is one.
        detail: what was wrong with it, in words.
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
    "malformed": "not UTF-8 JSON, or not one object",
    "unknown_type": "`type` names no event kind",
    "missing_field": "a required field is absent",
    "wrong_type": "a field holds another type than it must",
    "impossible_value": "a number, share, text or time outside its bounds",
    "wrong_key": "the record's key on `events` is not the person's id",
    "wrong_partition": "the record stands in another partition of `events` than its key belongs to",
    "oversize": "the record is larger than a record may be, also after decompression",
    "far_future": "the event's time lies beyond the skew over the log's own time",
    "not_a_person": "a catalogue event stands on `events`, which holds what happens to people",
    "state_too_large": "too many of the person's outputs are on their way for one changelog record to hold more",
    "failed": "applying it raised an error: a defect of ours, kept with the record",
    "due_failed": "a person's due work raised an error: a defect of ours, kept with the person's key",
}
