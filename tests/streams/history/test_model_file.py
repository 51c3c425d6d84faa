"""A model from a file takes its place behind all examples there are, and never unasked in the place of another."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from models.churn.snapshot import AnySnapshot, decode_snapshot
from streams.agents.global_state import GlobalState
from streams.clock import Ticker
from streams.errors import OperatorError
from streams.history import model_file
from streams.kafka import admin, topics
from streams.kafka.readers import read_all
from streams.kafka.topics import MODEL_KEY
from streams.metrics import Metrics
from streams.settings import Settings
from tests.streams.agents.test_global_state import snapshot


@pytest.fixture
def settings(embedded_broker, prefix) -> Settings:
    broker = embedded_broker({prefix + topics.EXAMPLES: 1, prefix + topics.SNAPSHOTS: 1})
    return Settings(broker=broker.url, prefix=prefix, embedded=True)


def published(settings: Settings) -> list[AnySnapshot]:
    records = asyncio.run(read_all(settings, settings.prefix + topics.SNAPSHOTS))
    assert {record.key for record in records} == {MODEL_KEY}
    return [decode_snapshot(record.value) for record in records]


def used(settings: Settings) -> int:
    """How many labels the model has learned from that a worker uses which hears all there is."""
    newest = GlobalState(settings, Metrics(), Ticker(1.0))
    for record in asyncio.run(read_all(settings, settings.prefix + topics.SNAPSHOTS)):
        newest.heard(record)
    assert newest.world.model is not None
    return newest.world.model.labels


def test_it_stands_behind_all_examples(settings: Settings, tmp_path: Path) -> None:
    """The first has the place behind what is there; another is refused, unless it is to take that place."""
    (tmp_path / "model.json").write_bytes(snapshot(40))
    model = model_file.read(tmp_path / "model.json")
    asyncio.run(model_file.begin_with(settings, model))
    assert [known.offset for known in published(settings)] == [-1]
    with pytest.raises(OperatorError, match="--replace"):
        asyncio.run(model_file.begin_with(settings, model))
    for number in range(3):
        asyncio.run(admin.publish(settings, topics.EXAMPLES, None, b"row %d" % number))
    asyncio.run(model_file.begin_with(settings, model, instead=True))
    assert [known.offset for known in published(settings)] == [-1, 2]


def test_workers_take_it_for_the_newest(settings: Settings, tmp_path: Path) -> None:
    """Even if the trainer was further than the examples that are left; what cannot be read holds nobody up."""
    (tmp_path / "model.json").write_bytes(snapshot(40))
    for value in (snapshot(60, offset=9), b"{}"):
        asyncio.run(admin.publish(settings, topics.SNAPSHOTS, MODEL_KEY, value))
    asyncio.run(model_file.begin_with(settings, model_file.read(tmp_path / "model.json"), instead=True))
    assert used(settings) == 40


@pytest.mark.parametrize("contents", [None, b"", b"{}", snapshot(40)[:-5]])
def test_a_file_that_is_no_model_is_one_line(contents: bytes | None, tmp_path: Path) -> None:
    """With its name."""
    file = tmp_path / "model.json"
    if contents is not None:
        file.write_bytes(contents)
    with pytest.raises(OperatorError, match=r"^.*model\.json: [^\n]+$"):
        model_file.read(file)
