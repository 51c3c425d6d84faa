"""The churn trainer's snapshots: only the owner publishes them, and the next owner continues from the newest one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import aiokafka
import pytest
from msgspec.structs import replace

from models.churn.snapshot import decode_snapshot, encode_snapshot
from streams.agents.training.churn_trainer import ChurnTrainer
from streams.kafka import codec, topics
from streams.kafka.embedded import EmbeddedBroker
from streams.kafka.topics import MODEL_KEY
from streams.metrics import Metrics
from streams.settings import Settings
from tests.streams.agents.training.churn_examples import example, expected, record
from tests.streams.doubles import ManualSink, Put, Record


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
