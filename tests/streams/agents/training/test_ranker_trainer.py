"""The ranker's trainer learns each list once, and publishes the better one of its two rankers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import aiokafka
import numpy as np
import pytest

from models.recommend import ranker_snapshot, ranker_state
from models.recommend.examples import MAX_NEGATIVES, ListExample, make_list_example
from models.recommend.features import column_names
from models.recommend.ranker_snapshot import RankerSnapshot
from streams.agents.training.ranker_trainer import RankerTrainer
from streams.kafka import codec, topics
from streams.kafka.embedded import EmbeddedBroker
from streams.metrics import Metrics
from streams.settings import Settings
from tests.streams.doubles import ManualSink, Record

COLUMNS = len(column_names("none"))


def list_example(number: int) -> ListExample:
    """A list in which the course with the highest first number was taken."""
    dice = np.random.default_rng(number)
    rows = dice.normal(size=(MAX_NEGATIVES + 1, COLUMNS)).astype(np.float16).astype(np.float32)
    return make_list_example(f"e{number}", rows, int(rows[:, 0].argmax()), "none")


def record(offset: int, message: ListExample | bytes) -> Record:
    value = message if isinstance(message, bytes) else codec.encode_list_example(message)
    return Record(topics.LISTS, 0, offset, 0, None, value)


class Trained:
    """A trainer that owns its topic and has processed these records."""

    def __init__(self, *records: Record) -> None:
        self.sink, self.metrics = ManualSink(), Metrics()
        self.trainer = RankerTrainer(Settings(), self.sink, self.metrics)
        self.trainer._owned = True
        self.process(*records)

    def process(self, *records: Record) -> None:
        asyncio.run(self.trainer.process_chunk(list(records)))

    def published(self) -> RankerSnapshot:
        self.trainer.flush()
        put = self.sink.on(topics.SNAPSHOTS)[-1]
        assert put.key == b"ranker/none"
        return ranker_snapshot.decode_ranker(put.value or b"")

    def left_out(self, reason: str) -> int:
        return self.metrics.value("encore_examples_left_out_total", reason)


LISTS = [record(n, list_example(n)) for n in range(200)]


def test_it_learns_which_course_is_taken() -> None:
    """In most unseen lists, the published ranker puts the course first that would be taken."""
    snapshot = Trained(*LISTS).published()
    ranker = ranker_state.restore_ranker(snapshot)
    fresh = [list_example(n).unpack() for n in range(1_000, 1_100)]
    assert np.mean([ranker.scores(rows).argmax() == 0 for rows in fresh]) > 0.5
    assert (snapshot.lists, snapshot.offset) == (200, 199)


def test_a_list_that_comes_twice_is_learned_once() -> None:
    """The same record after a crash, or another record with the same id."""
    trained = Trained(*LISTS[:50], *LISTS[20:50], record(50, list_example(3)))
    assert (trained.published().lists, trained.published().offset) == (50, 50)


def test_a_flush_without_new_lists_publishes_nothing() -> None:
    """The second flush sends no snapshot."""
    trained = Trained(*LISTS[:20])
    trained.published()
    trained.trainer.flush()
    assert len(trained.sink.on(topics.SNAPSHOTS)) == 1


ONE = list_example(1)
NAN = np.full((3, COLUMNS), np.nan, np.float16).tobytes()


@pytest.mark.parametrize(
    ("message", "reason"),
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
def test_an_unusable_list_is_left_out_and_counted(message: ListExample | bytes, reason: str) -> None:
    """It is broken, not finite, or has the columns of another version or the courses of another surface."""
    trained = Trained(*LISTS[:40], record(40, message))
    assert trained.left_out(reason) == 1
    assert (trained.published().lists, trained.published().offset) == (40, 40)


@pytest.mark.parametrize("known", [0, 40, 60])
def test_the_next_owner_continues_at_the_end_of_the_lists(
    embedded_broker: Callable[[Mapping[str, int]], EmbeddedBroker], prefix: str, known: int
) -> None:
    """It restores the newest snapshot, and learns each later list once, even if it is delivered again.

    Lists that the snapshot has learned are only kept for replay.
    """
    broker = embedded_broker({prefix + topics.LISTS: 1, prefix + topics.SNAPSHOTS: 1})
    settings, sink, metrics = Settings(broker=broker.url, prefix=prefix, embedded=True), ManualSink(), Metrics()

    async def take_over() -> None:
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
            for one in LISTS[:60]:
                await producer.send_and_wait(prefix + topics.LISTS, one.value, partition=0)
            if former is not None:
                snapshot = ranker_snapshot.encode_ranker(former)
                await producer.send_and_wait(prefix + topics.SNAPSHOTS, snapshot, key=b"ranker/none", partition=0)
        trainer = RankerTrainer(settings, sink, metrics)
        await trainer.own(True)
        assert trainer.offset == 59
        await trainer.process_chunk([*LISTS[50:70], record(70, list_example(3))])
        trainer.flush()

    former = Trained(*LISTS[:known]).published() if known else None
    asyncio.run(take_over())
    published = ranker_snapshot.decode_ranker(sink.on(prefix + topics.SNAPSHOTS)[-1].value or b"")
    assert (published.lists, published.offset) == (70, 70)
    assert metrics.value("encore_lists_learned_total") == 70 - known
