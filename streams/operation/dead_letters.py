"""Replay dead letters: read them, repair them, append them to the log, and mark them as replayed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import aiokafka
import orjson
from msgspec.structs import replace

from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.agents.ingest import mapping_file
from streams.clock import wall
from streams.delivery.dead_letters import DeadLetter, parse_dead_letter
from streams.errors import OperatorError
from streams.kafka import clients, codec, topics
from streams.kafka.readers import read_all
from streams.kafka.topics import name, partition_of
from streams.settings import Settings

REPLAYED_HEADER = "dead-letter"
"""Header of a replayed record: the id of its dead letter."""


async def read_dead_letters(settings: Settings) -> dict[str, DeadLetter]:
    """Return the current dead letters by id, oldest first."""
    letters: dict[str, DeadLetter] = {}
    for record in await read_all(settings, name(settings, topics.DEAD_LETTERS)):
        if record.value is None:
            letters.pop((record.key or b"").decode(errors="replace"), None)
            continue
        try:
            letter = parse_dead_letter(record)
        except (KeyError, ValueError):
            continue
        letters[letter.id] = letter
    return dict(sorted(letters.items(), key=lambda item: (item[1].log_time, item[0])))


def repair(letter: DeadLetter, fields: dict[str, Any], settings: Settings) -> ev.Event | ev.CourseEvent:
    """Return the event of a dead letter after setting some fields.

    Raises:
        OperatorError: it is still not a valid event, or only a part of it was kept.
    """
    if letter.cut_from:
        raise OperatorError(
            f"{letter.id}: too large to be kept whole ({letter.cut_from} bytes); send it again from its source"
        )
    value: bytes | None = letter.value
    mapped = mapping_file.load_mappings(settings).get(letter.topic)
    try:
        if mapped is not None:
            value = mapped.translate(letter.value)
        if value is None:
            raise OperatorError(f"{letter.id}: the mapping file skips it")
        if fields:
            value = orjson.dumps({**orjson.loads(value), **fields})
        event = codec.decode_event(value, wall(), settings.max_record_bytes, settings.skew)
    except (orjson.JSONDecodeError, TypeError) as error:
        raise OperatorError(f"{letter.id}: not a JSON object, so no field can be set ({error})") from None
    except InvalidEvent as bad:
        raise OperatorError(f"{letter.id}: still {bad}") from None
    if isinstance(event, ev.Tick | ev.Announced):
        raise OperatorError(
            f"{letter.id}: a {ev.kind_of(event)} record is written by Encore itself and cannot be replayed"
        )
    return event


async def replay(letters: Iterable[DeadLetter], fields: dict[str, Any], settings: Settings) -> tuple[int, list[str]]:
    """Append dead letters to the log and mark them; those that were replayed before are skipped.

    Returns:
        The number of replayed letters, and one line for each that could not be replayed.
    """
    replayed, problems = 0, []
    producer = clients.producer(settings)
    await producer.start()
    try:
        log = name(settings, topics.EVENTS)
        partitions = len(await producer.partitions_for(log))
        for letter in letters:
            if letter.replayed:
                continue
            try:
                event = repair(letter, fields, settings)
            except OperatorError as error:
                problems.append(str(error))
                continue
            await _append(producer, event, letter, settings, partitions)
            marked = replace(letter, replayed=repr(wall()))
            await producer.send_and_wait(
                name(settings, topics.DEAD_LETTERS), letter.value, key=letter.id.encode(), headers=marked.headers()
            )
            replayed += 1
    finally:
        await producer.stop()
    return replayed, problems


async def _append(
    producer: aiokafka.AIOKafkaProducer,
    event: ev.Event | ev.CourseEvent,
    letter: DeadLetter,
    settings: Settings,
    partitions: int,
) -> None:
    headers = [(REPLAYED_HEADER, letter.id.encode())]
    if isinstance(event, ev.CourseEvent):
        topic, key, place = name(settings, topics.CATALOG), event.course_id.encode(), None
    else:
        topic, key = name(settings, topics.EVENTS), event.user_id.encode()
        place = partition_of(key, partitions)
    await producer.send_and_wait(topic, event_codec.encode(event), key=key, partition=place, headers=headers)
