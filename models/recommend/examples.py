"""Training lists for the ranker. They are made for a fixed share of uses, and always the same ones for an event."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.recommend.candidates import Repeats

MAX_NEGATIVES = 20


class ListExample(Struct, frozen=True):
    """A course that a person chose, among candidates that they did not choose.

    Attributes:
        id: id of the example.
        repeats: setting of the surface that the candidates were generated for.
        columns: features per row.
        rows: the chosen course's row, then up to 20 others, as float16 bytes.
    """

    id: str
    repeats: Repeats
    columns: int
    rows: bytes

    def unpack(self) -> NDArray[np.float32]:
        """Return the rows as float32, the chosen one first, exactly as they were ranked."""
        return np.frombuffer(self.rows, np.float16).reshape(-1, self.columns).astype(np.float32)


def is_sampled(event_id: str, share: float) -> bool:
    """Return whether an event belongs to the sampled share. The answer is the same on every machine.

    Examples:
        >>> sum(is_sampled(f"e{number}", 0.25) for number in range(1_000))
        244
    """
    return _hash(event_id) / 2.0**64 < share


def make_list_example(event_id: str, rows: NDArray[np.float32], chosen: int, repeats: Repeats) -> ListExample:
    """Sample a short training list: the row at `chosen`, and 20 others.

    Args:
        event_id: id of the example; it also seeds the sample.
        rows: rows of all candidates, rounded to float16.
        chosen: place of the chosen row.
        repeats: the setting that the candidates were selected with.
    """
    others = np.delete(np.arange(len(rows)), chosen)
    if len(others) > MAX_NEGATIVES:
        others = np.random.default_rng(_hash(event_id)).choice(others, MAX_NEGATIVES, replace=False)
    short = np.concatenate((rows[chosen : chosen + 1], rows[others]))
    return ListExample(event_id, repeats, rows.shape[1], short.astype(np.float16).tobytes())


def _hash(event_id: str) -> int:
    return int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "little")
