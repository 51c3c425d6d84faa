"""Model files: reads the model that a replay has trained, and publishes it for a live system to start with.

A model file does not hold the rows that the replay net keeps, and no other snapshot does. The trainer reads those rows
from the examples topic, which holds them if the history was sent to Kafka.
"""

from __future__ import annotations

from pathlib import Path

import aiokafka
from msgspec.structs import replace

from models.churn.snapshot import AnySnapshot, InvalidSnapshot, decode_snapshot, encode_snapshot, snapshot_kind
from streams.errors import OperatorError
from streams.kafka import clients, topics
from streams.kafka.admin import publish
from streams.kafka.readers import read_all
from streams.kafka.topics import MODEL_KEY, name
from streams.settings import Settings

MAX_ATTEMPTS = 5


def read_model(file: Path) -> AnySnapshot:
    """Read and check a file that `--save-model` wrote.

    Raises:
        OperatorError: the file cannot be used; one line that says why.
    """
    try:
        return decode_snapshot(file.read_bytes())
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None
    except InvalidSnapshot as error:
        raise OperatorError(f"{file}: {error}") from None


async def publish_model(settings: Settings, snapshot: AnySnapshot, replace_existing: bool = False) -> None:
    """Publish a model for workers to score with. The trainer continues from it.

    The model gets the offset of the last example: the examples of a history that was sent are in the model already.
    Workers also refuse a model with a lower offset than their own. If the trainer publishes at the same time, this
    function publishes again.

    Args:
        settings: of the live system.
        snapshot: the model; its own offset is ignored.
        replace_existing: whether it may replace a published model.

    Raises:
        OperatorError: a model is published already and may not be replaced, or the trainer published first every time.
    """
    if snapshot_kind(snapshot) != settings.model:
        raise OperatorError(
            f"the file holds a {snapshot_kind(snapshot)} model, but the setting `model` is {settings.model}"
        )
    published = await _published_models(settings)
    if published and not replace_existing:
        raise OperatorError(
            f"{name(settings, topics.SNAPSHOTS)} already holds a model: use --replace to publish this one over it"
        )
    for _ in range(MAX_ATTEMPTS):
        offset = max([await _last_example(settings), *(offset for _, offset in published)])
        encoded = encode_snapshot(replace(snapshot, offset=offset))
        await publish(settings, topics.SNAPSHOTS, MODEL_KEY, encoded)
        published = await _published_models(settings)
        before = published[: [value for value, _ in published].index(encoded)]
        if all(other <= offset for _, other in before):
            return
    raise OperatorError(
        f"the trainer published a newer model during each of {MAX_ATTEMPTS} attempts: stop the trainer first"
    )


async def _last_example(settings: Settings) -> int:
    """Return the offset of the last labelled row, -1 if there is none."""
    partition = aiokafka.TopicPartition(name(settings, topics.EXAMPLES), 0)
    consumer = clients.consumer(settings, group_id=None)
    await consumer.start()
    try:
        return int((await consumer.end_offsets([partition]))[partition]) - 1
    finally:
        await consumer.stop()


async def _published_models(settings: Settings) -> list[tuple[bytes, int]]:
    """Return the readable models on the topic, oldest first, with the examples offset of each."""
    models = []
    for record in await read_all(settings, name(settings, topics.SNAPSHOTS)):
        if record.key == MODEL_KEY and record.value is not None:
            try:
                models.append((record.value, decode_snapshot(record.value).offset))
            except InvalidSnapshot:
                continue
    return models
