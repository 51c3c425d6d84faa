"""The ranker's trainer learns each list once and publishes whichever of its two foresees better."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from models.recommend import ranker_snapshot
from models.recommend.examples import OTHERS, ListExample, example
from models.recommend.features import names_for
from models.recommend.ranker_snapshot import RankerSnapshot
from streams.agents.training.ranker_trainer import RankerTrainer
from streams.kafka import codec, topics
from streams.metrics import Metrics
from streams.settings import Settings
from tests.streams.doubles import ManualSink, Record

COLUMNS = len(names_for("none"))


def lesson(number: int) -> ListExample:
    """A list in which the course with the highest first number was taken."""
    dice = np.random.default_rng(number)
    rows = dice.normal(size=(OTHERS + 1, COLUMNS)).astype(np.float16).astype(np.float32)
    return example(f"e{number}", rows, int(rows[:, 0].argmax()), "none")


def at(offset: int, said: ListExample | bytes) -> Record:
    value = said if isinstance(said, bytes) else codec.encode_list_example(said)
    return Record(topics.LISTS, 0, offset, 0, None, value)


class Trained:
    """A trainer that was given these records, as the only owner."""

    def __init__(self, *records: Record) -> None:
        self.sink, self.metrics = ManualSink(), Metrics()
        self.ranking = RankerTrainer(Settings(), self.sink, self.metrics)
        self.ranking._owned = True
        self.take(*records)

    def take(self, *records: Record) -> None:
        asyncio.run(self.ranking.process_chunk(list(records)))

    def published(self) -> RankerSnapshot:
        self.ranking.flush()
        put = self.sink.on(topics.SNAPSHOTS)[-1]
        assert put.key == b"ranker/none"
        return ranker_snapshot.decode_ranker(put.value or b"")

    def left_out(self, reason: str) -> int:
        return self.metrics.value("encore_examples_left_out_total", reason)


LISTS = [at(n, lesson(n)) for n in range(200)]


def test_it_learns_what_is_taken() -> None:
    """What is published puts the course first that would be taken, in most lists it has not seen."""
    said = Trained(*LISTS).published()
    ranker = ranker_snapshot.restore_ranker(said)
    fresh = [lesson(n).unpacked() for n in range(1_000, 1_100)]
    assert np.mean([ranker.scores(rows).argmax() == 0 for rows in fresh]) > 0.5
    assert (said.lists, said.offset) == (200, 199)


def test_a_list_that_comes_twice_is_learned_once() -> None:
    """The same record after a crash, or another record of the same use."""
    trained = Trained(*LISTS[:50], *LISTS[20:50], at(50, lesson(3)))
    assert (trained.published().lists, trained.published().offset) == (50, 50)


def test_nothing_new_is_published_twice() -> None:
    """A snapshot says something, or is not there."""
    trained = Trained(*LISTS[:20])
    trained.published()
    trained.ranking.flush()
    assert len(trained.sink.on(topics.SNAPSHOTS)) == 1


ONE = lesson(1)
NAN = np.full((3, COLUMNS), np.nan, np.float16).tobytes()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"\xc1", "unreadable"),
        (ListExample("x", "none", COLUMNS, ONE.rows[:-2]), "unreadable"),
        (ListExample("x", "none", COLUMNS, ONE.rows[: 2 * COLUMNS]), "unreadable"),
        (ListExample("x", "none", COLUMNS, ONE.rows * 2), "unreadable"),
        (ListExample("x", "none", COLUMNS, NAN), "unreadable"),
        (ListExample("x", "none", COLUMNS - 1, ONE.rows), "features"),
        (ListExample("x", "all", COLUMNS, ONE.rows), "features"),
    ],
)
def test_what_would_spoil_the_ranker_is_left_out(said: ListExample | bytes, reason: str) -> None:
    """Broken, of another version's columns, of another surface, or no numbers; it is counted."""
    trained = Trained(*LISTS[:40], at(40, said))
    assert trained.left_out(reason) == 1
    assert (trained.published().lists, trained.published().offset) == (40, 40)
