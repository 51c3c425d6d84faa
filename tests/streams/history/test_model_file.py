"""A model from a file gets the offset of the last example, and replaces a published model only on request."""

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


def published_models(settings: Settings) -> list[AnySnapshot]:
    records = asyncio.run(read_all(settings, settings.prefix + topics.SNAPSHOTS))
    assert {record.key for record in records} == {MODEL_KEY}
    return [decode_snapshot(record.value) for record in records]


def labels_of_worker_model(settings: Settings) -> int:
    """Return how many labels the model of a worker has learned from, if the worker reads all snapshots."""
    state = GlobalState(settings, Metrics(), Ticker(1.0))
    for record in asyncio.run(read_all(settings, settings.prefix + topics.SNAPSHOTS)):
        state.on_record(record)
    assert state.context.model is not None
    return state.context.model.labels


def test_model_gets_the_offset_of_the_last_example(settings: Settings, tmp_path: Path) -> None:
    """The first model gets the last offset. A second model is refused unless it may replace the first."""
    (tmp_path / "model.json").write_bytes(snapshot(40))
    model = model_file.read_model(tmp_path / "model.json")
    asyncio.run(model_file.publish_model(settings, model))
    assert [known.offset for known in published_models(settings)] == [-1]
    with pytest.raises(OperatorError, match="--replace"):
        asyncio.run(model_file.publish_model(settings, model))
    for number in range(3):
        asyncio.run(admin.publish(settings, topics.EXAMPLES, None, b"row %d" % number))
    asyncio.run(model_file.publish_model(settings, model, replace_existing=True))
    assert [known.offset for known in published_models(settings)] == [-1, 2]


def test_workers_use_the_published_model(settings: Settings, tmp_path: Path) -> None:
    """Workers use it even if an older model has a higher offset; unreadable records are ignored."""
    (tmp_path / "model.json").write_bytes(snapshot(40))
    for value in (snapshot(60, offset=9), b"{}"):
        asyncio.run(admin.publish(settings, topics.SNAPSHOTS, MODEL_KEY, value))
    asyncio.run(
        model_file.publish_model(settings, model_file.read_model(tmp_path / "model.json"), replace_existing=True)
    )
    assert labels_of_worker_model(settings) == 40


@pytest.mark.parametrize("contents", [None, b"", b"{}", snapshot(40)[:-5]])
def test_an_invalid_model_file_is_reported_in_one_line(contents: bytes | None, tmp_path: Path) -> None:
    """The line names the file."""
    file = tmp_path / "model.json"
    if contents is not None:
        file.write_bytes(contents)
    with pytest.raises(OperatorError, match=r"^.*model\.json: [^\n]+$"):
        model_file.read_model(file)
