"""Users who wait for a score: they are scored together, because one batch is faster than many single scores."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from models.retention import step as retention
from models.retention.context import Context
from models.retention.risk import Score
from models.retention.step import ScoreRequest
from streams.agents.users.envelope import Envelope
from streams.kafka.codec import Record


class PendingScore(Struct, frozen=True, gc=False):
    """A user between the two halves of a step or a wake, who waits for a score.

    Attributes:
        stored: the envelope in the store.
        envelope: the envelope up to this step or wake.
        request: the score request.
        record: the record that caused it; None for a timer.
    """

    stored: Envelope
    envelope: Envelope
    request: ScoreRequest
    record: Record | None


def score_batch(requests: Sequence[ScoreRequest], context: Context) -> Sequence[Score | None]:
    """Score many users together. None means that the caller scores the user alone, and handles a failure there."""
    if len(requests) == 1:
        return [None]
    try:
        return retention.score_requests(requests, context)
    except Exception:  # noqa: BLE001 - one failing user must not fail the batch
        return [None] * len(requests)
