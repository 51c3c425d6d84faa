"""Lists that a ranker learns from: made for a fixed share of the interactions, and always the same one for an event."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.recommend.candidates import Repeats

OTHERS = 20


class ListExample(Struct, frozen=True):
    """A course that was taken, among candidates that were not.

    Attributes:
        id: of the event.
        repeats: of the surface that the candidates were drawn for.
        columns: numbers in a row.
        rows: the taken course's row, then up to 20 others, two bytes a number.
    """

    id: str
    repeats: Repeats
    columns: int
    rows: bytes

    def unpacked(self) -> NDArray[np.float32]:
        """Return the rows, the taken one first, exactly as they were ranked."""
        return np.frombuffer(self.rows, np.float16).reshape(-1, self.columns).astype(np.float32)


def is_drawn(event_id: str, share: float) -> bool:
    """Return whether an event belongs to the share of which lists are made; the same on every machine.

    Examples:
        >>> sum(is_drawn(f"e{number}", 0.25) for number in range(1_000))
        244
    """
    return _hash(event_id) / 2.0**64 < share


def example(event_id: str, rows: NDArray[np.float32], taken: int, repeats: Repeats) -> ListExample:
    """Make a short list of a long one: the row at `taken` and 20 others, drawn by the event's id.

    Args:
        event_id: names the example, and seeds the draw.
        rows: of all candidates, in float16's precision.
        taken: place of the one that was taken.
        repeats: as the candidates were chosen.
    """
    others = np.delete(np.arange(len(rows)), taken)
    if len(others) > OTHERS:
        others = np.random.default_rng(_hash(event_id)).choice(others, OTHERS, replace=False)
    short = np.concatenate((rows[taken : taken + 1], rows[others]))
    return ListExample(event_id, repeats, rows.shape[1], short.astype(np.float16).tobytes())


def _hash(event_id: str) -> int:
    return int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "little")
