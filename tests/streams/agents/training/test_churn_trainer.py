"""The churn trainer learns each allowed row once, and publishes only while it owns the topic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import aiokafka
import numpy as np
import pytest
from msgspec.structs import replace

from models.churn.learner import ChurnLearner
from models.churn.snapshot import FEATURES, AnySnapshot, Kind, decode_snapshot, encode_snapshot
from models.person import features
from models.person.ledger import hash_share
from models.schema.outputs import Example
from streams.agents.training.churn_trainer import ChurnTrainer
from streams.app import Worker
from streams.kafka import codec, topics
from streams.kafka.embedded import EmbeddedBroker
from streams.kafka.topics import MODEL_KEY
from streams.metrics import Metrics
from streams.settings import Settings, SettingsError
from tests.streams.doubles import ManualSink, Put, Record

DICE = np.random.default_rng(1)
ROWS = [tuple(DICE.normal(size=len(features.NAMES)).astype(np.float16).astype(float).tolist()) for _ in range(120)]


def example(number: int, **changes: Any) -> Example:
    row = Example(
        id=f"e{number}",
        user="hashed",
        time=1_000.0 * number,
        until=1_000.0 * number + 1,
        features=FEATURES,
        x=ROWS[number],
        churned=ROWS[number][0] > 0,
        probability=0.5,
        model="prior",
        treated=False,
    )
    return replace(row, **changes)


def record(offset: int, row: Example | bytes | None) -> Record:
    value = codec.encode_output(row) if isinstance(row, Example) else row
    return Record(topics.EXAMPLES, 0, offset, 0, b"hashed", value)


def trained(*records: Record, trainer: ChurnTrainer | None = None) -> ChurnTrainer:
    """Return a trainer that has processed these records."""
    trainer = trainer or ChurnTrainer(Settings(), ManualSink(), Metrics())
    asyncio.run(trainer.process_chunk(list(records)))
    return trainer


def expected(*numbers: int, offset: int = -1, kind: Kind = "net") -> AnySnapshot:
    """Return the snapshot of a learner that has learned these rows in order."""
    learner = ChurnLearner(kind)
    for number in numbers:
        learner.learn(features.array(ROWS[number]), ROWS[number][0] > 0, hash_share(f"e{number}", "replay"))
    return learner.snapshot(offset)


def test_it_learns_each_row_in_the_order_of_the_log() -> None:
    """Like a learner that gets the rows directly; the offset is the last record's."""
    trainer = trained(*(record(n, example(n)) for n in range(30)))
    assert trainer.learner.snapshot() == expected(*range(30))
    assert trainer.offset == 29


def test_a_record_that_is_delivered_twice_is_learned_once() -> None:
    """After a crash or a rebalance the log is read again from the committed offset."""
    trainer = trained(*(record(n, example(n)) for n in range(10)))
    trained(*(record(n, example(n)) for n in range(5, 12)), trainer=trainer)
    assert trainer.learner.snapshot() == expected(*range(12))


def test_a_row_that_was_written_twice_is_learned_once() -> None:
    """A worker that crashed writes its examples again, at later offsets, with the same ids."""
    metrics = Metrics()
    rows = [*range(10), 3, 9, 10, 10]
    trainer = ChurnTrainer(Settings(), ManualSink(), metrics)
    trained(*(record(offset, example(n)) for offset, n in enumerate(rows)), trainer=trainer)
    assert trainer.learner.snapshot() == expected(*range(11))
    assert metrics.value("encore_examples_left_out_total", "repeat") == 3
    assert metrics.value("encore_learned_total") == 11


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (example(1, treated=True), "treated"),
        (example(1, features="0123456789ab"), "features"),
        (example(1, x=ROWS[1][:-1]), "features"),
        (example(1, x=()), "features"),
        (b"", "unreadable"),
        (None, "unreadable"),
        (b"{}", "unreadable"),
        (b"\xff", "unreadable"),
        ((codec.encode_output(example(1)) or b"").replace(b"hashed", b"\xff"), "unreadable"),
        (b"[" * 9_999, "unreadable"),
    ],
)
def test_a_row_that_must_not_be_learned_is_left_out_and_counted(row: Example | bytes | None, reason: str) -> None:
    """Rows of treated users, rows with other columns, and records that are no row; later rows are learned."""
    metrics = Metrics()
    trainer = ChurnTrainer(Settings(), ManualSink(), metrics)
    trained(record(0, example(0)), record(1, row), record(2, example(2)), trainer=trainer)
    assert trainer.learner.snapshot() == expected(0, 2)
    assert trainer.offset == 2
    assert metrics.value("encore_examples_left_out_total", reason) == 1
    assert metrics.value("encore_examples_left_out_total") == 1


def test_scores_are_measured_on_all_users() -> None:
    """Also on treated users: the quality of a score does not depend on which rows may be learned."""
    metrics = Metrics()
    trainer = ChurnTrainer(Settings(), ManualSink(), metrics)
    rows = [example(n, treated=n % 2 == 0, probability=float(ROWS[n][0] > 0)) for n in range(20)]
    trained(*(record(n, row) for n, row in enumerate(rows)), trainer=trainer)
    auc = measured(metrics, "encore_model_auc")
    assert auc["model"] == 1.0
    assert measured(metrics, "encore_model_lift")["model"] == pytest.approx(20 / sum(ROWS[n][0] > 0 for n in range(20)))
    assert set(auc) == {"model", "recency", "reference"}


def measured(metrics: Metrics, name: str) -> dict[str, float]:
    """Return a gauge's values, by score."""
    return {sample.labels[0]: sample.value for sample in metrics.samples() if sample.name == name}


@pytest.mark.parametrize(
    ("given", "scores"),
    [
        ({"model": "logistic"}, {"model", "recency"}),
        ({"challenger": "river.naive_bayes.GaussianNB"}, {"model", "recency", "reference", "challenger"}),
    ],
)
def test_other_models_learn_in_shadow_mode(given: dict[str, Any], scores: set[str]) -> None:
    """Recency, the reference unless it is the model itself, and a challenger if one is named."""
    metrics = Metrics()
    trainer = ChurnTrainer(Settings(**given), ManualSink(), metrics)
    trained(*(record(n, example(n)) for n in range(30)), trainer=trainer)
    assert set(measured(metrics, "encore_model_auc")) == scores
    assert trainer.learner.snapshot() == expected(*range(30), kind=given.get("model", "net"))


def test_a_challenger_that_fails_stops_nothing() -> None:
    """It is counted once and left out; the model goes on learning."""
    metrics = Metrics()
    trainer = ChurnTrainer(Settings(challenger="river.naive_bayes.MultinomialNB"), ManualSink(), metrics)
    trained(*(record(n, example(n, time=0.0, until=n / 100)) for n in range(20)), trainer=trainer)
    trained(*(record(n, example(n, time=1.0 + n)) for n in range(20, 30)), trainer=trainer)
    assert metrics.value("encore_failures_total", "challenger") == 1
    assert set(measured(metrics, "encore_model_auc")) == {"model", "recency", "reference"}
    assert trainer.learner.snapshot() == expected(*range(30))


@pytest.mark.parametrize("path", ["river.tree.NoSuchTree", "river.no_such.Tree", "river.linear_model.LinearRegression",
                                  "river.ensemble.BaggingClassifier"])  # fmt: skip
def test_an_unusable_challenger_is_refused_by_name(path: str) -> None:
    """There is no such class, it is no classifier, or it cannot be created without arguments."""
    for start in (
        lambda wrong: ChurnTrainer(wrong, ManualSink(), Metrics()),
        lambda wrong: Worker(wrong, dict.fromkeys((topics.EVENTS, *wrong.inputs), 1)),
    ):
        with pytest.raises(SettingsError, match=f"challenger: .*{path}"):
            start(Settings(challenger=path))


def test_drift_is_counted() -> None:
    """When the log-loss of stated scores jumps, a metric counts it, and the model forgets nothing."""
    metrics = Metrics()
    trainer = ChurnTrainer(Settings(), ManualSink(), metrics)

    def process_rows(first: int, churn_rate: float) -> None:
        rows = [
            example(n % 40, id=f"d{n}", churned=n % 10 < 10 * churn_rate, probability=0.1, model="m")
            for n in range(first, first + 3_000)
        ]
        trained(*(record(first + n, row) for n, row in enumerate(rows)), trainer=trainer)

    process_rows(0, 0.1)
    assert metrics.value("encore_drift_total") == 0
    process_rows(3_000, 0.6)
    assert metrics.value("encore_drift_total") >= 1
    assert trainer.learner.labels == 6_000


def test_only_the_owner_publishes() -> None:
    """A worker that does not own the examples must not replace the owner's snapshot."""
    sink = ManualSink()
    trainer = trained(record(0, example(0)), trainer=ChurnTrainer(Settings(), sink, Metrics()))
    trainer.flush()
    asyncio.run(trainer.own(False))
    trainer.flush()
    assert sink.all == []


@pytest.fixture
def settings(embedded_broker: Callable[[Mapping[str, int]], EmbeddedBroker], prefix: str) -> Settings:
    """Return settings of a broker with the trainer's two topics."""
    broker = embedded_broker({prefix + topics.EXAMPLES: 1, prefix + topics.SNAPSHOTS: 1})
    return Settings(broker=broker.url, prefix=prefix, embedded=True)


async def write(settings: Settings, topic: str, records: list[tuple[bytes | None, bytes | None]]) -> None:
    """Append to one of the topics."""
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
        for key, value in records:
            await producer.send_and_wait(settings.prefix + topic, value, key=key, partition=0)


def decode(put: Put) -> dict[str, Any]:
    return decode_snapshot(put.value or b"")


def test_the_owner_publishes_each_state_once(settings: Settings) -> None:
    """With the offset of the last row learned; again only after more rows, and only while it owns the topic."""
    sink = ManualSink()

    async def act() -> None:
        trainer = ChurnTrainer(settings, sink, Metrics())
        await trainer.own(True)
        trainer.flush()
        assert sink.all == []
        for offset in range(2):
            await trainer.process_chunk([record(offset, example(offset))])
            trainer.flush()
            trainer.flush()
        await trainer.own(False)
        await trainer.process_chunk([record(2, example(2))])
        trainer.flush()

    asyncio.run(act())
    assert [put[:2] + put[3:4] for put in sink.all] == [(settings.prefix + topics.SNAPSHOTS, MODEL_KEY, 0)] * 2
    assert [decode(put) for put in sink.all] == [
        expected(0, offset=0),
        expected(0, 1, offset=1),
    ]


@pytest.mark.parametrize("known", [0, 7, 79, 80])
def test_the_next_owner_continues_at_the_end_of_the_examples(settings: Settings, known: int) -> None:
    """It restores the newest snapshot, and learns each later row once, even if it is delivered again.

    It keeps earlier rows for replay. Without a readable snapshot, it learns from the first row.
    """

    async def act() -> ChurnTrainer:
        rows = [(b"hashed", codec.encode_output(example(n))) for n in (*range(79), 3)]
        await write(settings, topics.EXAMPLES, rows)
        snapshot = expected(*range(known), offset=known - 1) if known < 80 else expected(offset=1)
        sealed = encode_snapshot(snapshot)
        await write(settings, topics.SNAPSHOTS, [(MODEL_KEY, sealed if known < 80 else sealed[:-9])] * bool(known))
        trainer = ChurnTrainer(settings, ManualSink(), Metrics())
        await trainer.own(True)
        more = [record(offset, example(offset - 1)) for offset in range(80, 110)]
        await trainer.process_chunk([record(79, example(3)), *more, record(110, example(18))])
        return trainer

    trainer = asyncio.run(act())
    assert trainer.learner.snapshot() == expected(*range(109))
    assert trainer.offset == 110


def test_another_kind_of_model_begins_with_the_first_example(settings: Settings) -> None:
    """It does not use a snapshot of the former kind."""

    async def act() -> ChurnTrainer:
        await write(settings, topics.EXAMPLES, [(b"hashed", codec.encode_output(example(n))) for n in range(20)])
        await write(settings, topics.SNAPSHOTS, [(MODEL_KEY, encode_snapshot(expected(*range(20), offset=19)))])
        trainer = ChurnTrainer(replace(settings, model="logistic"), ManualSink(), Metrics())
        await trainer.own(True)
        return trainer

    trainer = asyncio.run(act())
    assert trainer.learner.snapshot() == expected(*range(20), kind="logistic")
    assert trainer.offset == 19


def test_the_trainer_continues_from_an_operators_snapshot(settings: Settings) -> None:
    """It does not overwrite an operator's snapshot, but learns on from it. It ignores a frozen trainer's snapshot."""
    sink = ManualSink()

    async def act() -> ChurnTrainer:
        await write(settings, topics.EXAMPLES, [(b"hashed", codec.encode_output(example(n))) for n in range(12)])
        trainer = ChurnTrainer(settings, sink, Metrics())
        await trainer.own(True)
        trainer.flush()
        ours, older = sink.all[0].value, encode_snapshot(expected(1, offset=3))
        theirs = encode_snapshot(expected(*range(30, 40), offset=11))
        await write(settings, topics.SNAPSHOTS, [(MODEL_KEY, ours), (MODEL_KEY, older)])
        records = [
            Record(topics.SNAPSHOTS, 0, offset, 0, MODEL_KEY, value)
            for offset, value in enumerate((ours, older, theirs))
        ]
        trainer.on_record(records[0])
        trainer.on_record(records[1])
        await trainer.process_chunk([record(12, example(12))])
        trainer.flush()
        assert [decode(put) for put in sink.all[1:]] == [expected(*range(13), offset=12)]
        await write(settings, topics.SNAPSHOTS, [(MODEL_KEY, theirs)])
        trainer.on_record(records[2])
        await trainer.process_chunk([record(13, example(13))])
        return trainer

    trainer = asyncio.run(act())
    trainer.flush()
    assert decode(sink.all[-1]) == expected(*range(30, 40), 13, offset=13)
