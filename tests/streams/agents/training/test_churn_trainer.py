"""The trainer learns each labelled row once, leaves out what it must not learn, and publishes only what is its own."""

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


def at(offset: int, row: Example | bytes | None) -> Record:
    value = codec.encode_output(row) if isinstance(row, Example) else row
    return Record(topics.EXAMPLES, 0, offset, 0, b"hashed", value)


def trained(*records: Record, trainer: ChurnTrainer | None = None) -> ChurnTrainer:
    """A trainer that was given these records."""
    trainer = trainer or ChurnTrainer(Settings(), ManualSink(), Metrics())
    asyncio.run(trainer.process_chunk(list(records)))
    return trainer


def expected(*numbers: int, offset: int = -1, kind: Kind = "net") -> AnySnapshot:
    """What a learner knows of these rows, learned one after the other."""
    learner = ChurnLearner(kind)
    for number in numbers:
        learner.learn(features.array(ROWS[number]), ROWS[number][0] > 0, hash_share(f"e{number}", "replay"))
    return learner.snapshot(offset)


def test_it_learns_each_row_in_the_order_of_the_log() -> None:
    """As a learner would that got the rows themselves; the offset is that of the last one."""
    trainer = trained(*(at(n, example(n)) for n in range(30)))
    assert trainer.learner.snapshot() == expected(*range(30))
    assert trainer.offset == 29


def test_a_record_that_is_given_twice_is_learned_once() -> None:
    """After a crash or a rebalance the log is read again from the committed offset."""
    trainer = trained(*(at(n, example(n)) for n in range(10)))
    trained(*(at(n, example(n)) for n in range(5, 12)), trainer=trainer)
    assert trainer.learner.snapshot() == expected(*range(12))


def test_a_row_that_was_written_twice_is_learned_once() -> None:
    """A worker that crashed writes its examples again, further on, under the same id."""
    metrics = Metrics()
    rows = [*range(10), 3, 9, 10, 10]
    trainer = ChurnTrainer(Settings(), ManualSink(), metrics)
    trained(*(at(offset, example(n)) for offset, n in enumerate(rows)), trainer=trainer)
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
def test_what_must_not_be_learned_is_left_out_and_counted(row: Example | bytes | None, reason: str) -> None:
    """People who were treated, rows of other columns, and whatever is no row; the log goes on behind it."""
    metrics = Metrics()
    trainer = ChurnTrainer(Settings(), ManualSink(), metrics)
    trained(at(0, example(0)), at(1, row), at(2, example(2)), trainer=trainer)
    assert trainer.learner.snapshot() == expected(0, 2)
    assert trainer.offset == 2
    assert metrics.value("encore_examples_left_out_total", reason) == 1
    assert metrics.value("encore_examples_left_out_total") == 1


def test_scores_are_measured_on_everybody() -> None:
    """The treated too: how good a score was does not depend on who may be learned from."""
    metrics = Metrics()
    trainer = ChurnTrainer(Settings(), ManualSink(), metrics)
    rows = [example(n, treated=n % 2 == 0, probability=float(ROWS[n][0] > 0)) for n in range(20)]
    trained(*(at(n, row) for n, row in enumerate(rows)), trainer=trainer)
    auc = measured(metrics, "encore_model_auc")
    assert auc["model"] == 1.0
    assert measured(metrics, "encore_model_lift")["model"] == pytest.approx(20 / sum(ROWS[n][0] > 0 for n in range(20)))
    assert set(auc) == {"model", "recency", "reference"}


def measured(metrics: Metrics, name: str) -> dict[str, float]:
    """A gauge by score."""
    return {sample.labels[0]: sample.value for sample in metrics.samples() if sample.name == name}


@pytest.mark.parametrize(
    ("given", "scores"),
    [
        ({"model": "logistic"}, {"model", "recency"}),
        ({"challenger": "river.naive_bayes.GaussianNB"}, {"model", "recency", "reference", "challenger"}),
    ],
)
def test_others_learn_in_its_shadow(given: dict[str, Any], scores: set[str]) -> None:
    """The reference, unless it is the model itself, and a challenger if one is named."""
    metrics = Metrics()
    trainer = ChurnTrainer(Settings(**given), ManualSink(), metrics)
    trained(*(at(n, example(n)) for n in range(30)), trainer=trainer)
    assert set(measured(metrics, "encore_model_auc")) == scores
    assert trainer.learner.snapshot() == expected(*range(30), kind=given.get("model", "net"))


def test_a_challenger_that_fails_stops_nothing() -> None:
    """It is counted once and left out; the model goes on learning."""
    metrics = Metrics()
    trainer = ChurnTrainer(Settings(challenger="river.naive_bayes.MultinomialNB"), ManualSink(), metrics)
    trained(*(at(n, example(n, time=0.0, until=n / 100)) for n in range(20)), trainer=trainer)
    trained(*(at(n, example(n, time=1.0 + n)) for n in range(20, 30)), trainer=trainer)
    assert metrics.value("encore_failures_total", "challenger") == 1
    assert set(measured(metrics, "encore_model_auc")) == {"model", "recency", "reference"}
    assert trainer.learner.snapshot() == expected(*range(30))


@pytest.mark.parametrize("path", ["river.tree.NoSuchTree", "river.no_such.Tree", "river.linear_model.LinearRegression",
                                  "river.ensemble.BaggingClassifier"])  # fmt: skip
def test_what_cannot_be_a_challenger_is_refused_by_name(path: str) -> None:
    """No such class, no classifier, or one that cannot be made without arguments."""
    for starting in (
        lambda wrong: ChurnTrainer(wrong, ManualSink(), Metrics()),
        lambda wrong: Worker(wrong, dict.fromkeys((topics.EVENTS, *wrong.inputs), 1)),
    ):
        with pytest.raises(SettingsError, match=f"challenger: .*{path}"):
            starting(Settings(challenger=path))


def test_a_changed_world_is_an_event_on_a_metric() -> None:
    """The log-loss of what was scored jumps: it is counted, and nothing is forgotten for it."""
    metrics = Metrics()
    trainer = ChurnTrainer(Settings(), ManualSink(), metrics)

    def lived(first: int, wrong: float) -> None:
        rows = [
            example(n % 40, id=f"d{n}", churned=n % 10 < 10 * wrong, probability=0.1, model="m")
            for n in range(first, first + 3_000)
        ]
        trained(*(at(first + n, row) for n, row in enumerate(rows)), trainer=trainer)

    lived(0, 0.1)
    assert metrics.value("encore_drift_total") == 0
    lived(3_000, 0.6)
    assert metrics.value("encore_drift_total") >= 1
    assert trainer.learner.labels == 6_000


def test_nothing_is_published_by_who_does_not_own_the_examples() -> None:
    """A worker that was given no examples' partition does not take the others back to where it stands."""
    sink = ManualSink()
    trainer = trained(at(0, example(0)), trainer=ChurnTrainer(Settings(), sink, Metrics()))
    trainer.flush()
    asyncio.run(trainer.own(False))
    trainer.flush()
    assert sink.all == []


@pytest.fixture
def settings(embedded_broker: Callable[[Mapping[str, int]], EmbeddedBroker], prefix: str) -> Settings:
    """Settings of a broker with the trainer's two topics."""
    broker = embedded_broker({prefix + topics.EXAMPLES: 1, prefix + topics.SNAPSHOTS: 1})
    return Settings(broker=broker.url, prefix=prefix, embedded=True)


async def write(settings: Settings, topic: str, records: list[tuple[bytes | None, bytes | None]]) -> None:
    """Append to one of the topics."""
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
        for key, value in records:
            await producer.send_and_wait(settings.prefix + topic, value, key=key, partition=0)


def opened(put: Put) -> dict[str, Any]:
    return decode_snapshot(put.value or b"")


def test_what_was_learned_is_published_once_by_its_owner(settings: Settings) -> None:
    """With the offset up to which it knows; again only when there is more, and no longer when it is another's."""
    sink = ManualSink()

    async def act() -> None:
        trainer = ChurnTrainer(settings, sink, Metrics())
        await trainer.own(True)
        trainer.flush()
        assert sink.all == []
        for offset in range(2):
            await trainer.process_chunk([at(offset, example(offset))])
            trainer.flush()
            trainer.flush()
        await trainer.own(False)
        await trainer.process_chunk([at(2, example(2))])
        trainer.flush()

    asyncio.run(act())
    assert [put[:2] + put[3:4] for put in sink.all] == [(settings.prefix + topics.SNAPSHOTS, MODEL_KEY, 0)] * 2
    assert [opened(put) for put in sink.all] == [
        expected(0, offset=0),
        expected(0, 1, offset=1),
    ]


@pytest.mark.parametrize("known", [0, 7, 79, 80])
def test_who_takes_over_stands_where_the_examples_end(settings: Settings, known: int) -> None:
    """From the newest snapshot and the rows behind it, each once, whatever of them is delivered again.

    The rows before it are taken back for replay; a snapshot that cannot be read, and none, is learning from the first.
    """

    async def act() -> ChurnTrainer:
        rows = [(b"hashed", codec.encode_output(example(n))) for n in (*range(79), 3)]
        await write(settings, topics.EXAMPLES, rows)
        snapshot = expected(*range(known), offset=known - 1) if known < 80 else expected(offset=1)
        sealed = encode_snapshot(snapshot)
        await write(settings, topics.SNAPSHOTS, [(MODEL_KEY, sealed if known < 80 else sealed[:-9])] * bool(known))
        trainer = ChurnTrainer(settings, ManualSink(), Metrics())
        await trainer.own(True)
        more = [at(offset, example(offset - 1)) for offset in range(80, 110)]
        await trainer.process_chunk([at(79, example(3)), *more, at(110, example(18))])
        return trainer

    trainer = asyncio.run(act())
    assert trainer.learner.snapshot() == expected(*range(109))
    assert trainer.offset == 110


def test_another_kind_of_model_begins_with_the_first_example(settings: Settings) -> None:
    """A snapshot of the one is nothing to the other."""

    async def act() -> ChurnTrainer:
        await write(settings, topics.EXAMPLES, [(b"hashed", codec.encode_output(example(n))) for n in range(20)])
        await write(settings, topics.SNAPSHOTS, [(MODEL_KEY, encode_snapshot(expected(*range(20), offset=19)))])
        trainer = ChurnTrainer(replace(settings, model="logistic"), ManualSink(), Metrics())
        await trainer.own(True)
        return trainer

    trainer = asyncio.run(act())
    assert trainer.learner.snapshot() == expected(*range(20), kind="logistic")
    assert trainer.offset == 19


def test_a_model_put_in_the_place_of_ours_is_gone_on_with(settings: Settings) -> None:
    """What an operator publishes is not published over but learned on; what a frozen trainer publishes is passed by."""
    sink = ManualSink()

    async def act() -> ChurnTrainer:
        await write(settings, topics.EXAMPLES, [(b"hashed", codec.encode_output(example(n))) for n in range(12)])
        trainer = ChurnTrainer(settings, sink, Metrics())
        await trainer.own(True)
        trainer.flush()
        ours, older = sink.all[0].value, encode_snapshot(expected(1, offset=3))
        theirs = encode_snapshot(expected(*range(30, 40), offset=11))
        await write(settings, topics.SNAPSHOTS, [(MODEL_KEY, ours), (MODEL_KEY, older)])
        heard = [
            Record(topics.SNAPSHOTS, 0, offset, 0, MODEL_KEY, value)
            for offset, value in enumerate((ours, older, theirs))
        ]
        trainer.on_record(heard[0])
        trainer.on_record(heard[1])
        await trainer.process_chunk([at(12, example(12))])
        trainer.flush()
        assert [opened(put) for put in sink.all[1:]] == [expected(*range(13), offset=12)]
        await write(settings, topics.SNAPSHOTS, [(MODEL_KEY, theirs)])
        trainer.on_record(heard[2])
        await trainer.process_chunk([at(13, example(13))])
        return trainer

    trainer = asyncio.run(act())
    trainer.flush()
    assert opened(sink.all[-1]) == expected(*range(30, 40), 13, offset=13)
