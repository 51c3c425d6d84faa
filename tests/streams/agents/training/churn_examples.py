"""Labelled rows for tests of the churn trainer, and what a learner makes of them."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from msgspec.structs import replace

from models.churn.learner import ChurnLearner
from models.churn.snapshot import FEATURES, AnySnapshot, Kind
from models.person import features
from models.person.ledger import hash_share
from models.schema.outputs import Example
from streams.agents.training.churn_trainer import ChurnTrainer
from streams.kafka import codec, topics
from streams.metrics import Metrics
from streams.settings import Settings
from tests.streams.doubles import ManualSink, Record

DICE = np.random.default_rng(1)
ROWS = [tuple(DICE.normal(size=len(features.NAMES)).astype(np.float16).astype(float).tolist()) for _ in range(120)]


def example(number: int, **changes: Any) -> Example:
    """Return the labelled row of this number, with some fields changed."""
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
    """Return a record of the examples' topic."""
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
