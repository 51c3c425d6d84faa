"""A model in a file: what a replay learned, checked, and published so that a live system begins with it.

The rows that the replay net keeps are not in it, as in no snapshot: the trainer finds them among the examples, which
stand there if the history was sent.
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

TRIES = 5


def read(file: Path) -> AnySnapshot:
    """Read and check what `--save-model` wrote.

    Raises:
        OperatorError: it cannot be used; one line that says why.
    """
    try:
        return decode_snapshot(file.read_bytes())
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None
    except InvalidSnapshot as bad:
        raise OperatorError(f"{file}: {bad}") from None


async def begin_with(settings: Settings, snapshot: AnySnapshot, instead: bool = False) -> None:
    """Publish a model that workers score with and the trainer goes on with.

    It stands behind all examples there are: those of a history that was sent are in it already, and workers refuse a
    model that stands behind fewer than theirs. Should the trainer publish in the meantime, it is published once more.

    Args:
        settings: of the live system.
        snapshot: the model; the offset in it does not matter.
        instead: whether it may take the place of one that is there.

    Raises:
        OperatorError: there is one, and it may not; or the trainer is always faster.
    """
    if snapshot_kind(snapshot) != settings.model:
        raise OperatorError(
            f"this is a model of kind {snapshot_kind(snapshot)}, but the system learns {settings.model} (setting model)"
        )
    there = await _published(settings)
    if there and not instead:
        raise OperatorError(
            f"{name(settings, topics.SNAPSHOTS)} holds a model already: --replace puts this one in its place"
        )
    for _ in range(TRIES):
        offset = max([await _last_example(settings), *(offset for _, offset in there)])
        mine = encode_snapshot(replace(snapshot, offset=offset))
        await publish(settings, topics.SNAPSHOTS, MODEL_KEY, mine)
        there = await _published(settings)
        before = there[: [value for value, _ in there].index(mine)]
        if all(other <= offset for _, other in before):
            return
    raise OperatorError(f"the trainer has published newer models {TRIES} times meanwhile: stop it first")


async def _last_example(settings: Settings) -> int:
    """Return the offset of the last labelled row, -1 if there is none."""
    place = aiokafka.TopicPartition(name(settings, topics.EXAMPLES), 0)
    consumer = clients.consumer(settings, group_id=None)
    await consumer.start()
    try:
        return int((await consumer.end_offsets([place]))[place]) - 1
    finally:
        await consumer.stop()


async def _published(settings: Settings) -> list[tuple[bytes, int]]:
    """Return the models that stand on the topic and can be read, oldest first, with their offsets."""
    found = []
    for record in await read_all(settings, name(settings, topics.SNAPSHOTS)):
        if record.key == MODEL_KEY and record.value is not None:
            try:
                found.append((record.value, decode_snapshot(record.value).offset))
            except InvalidSnapshot:
                continue
    return found
