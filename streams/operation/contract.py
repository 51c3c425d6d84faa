"""The contract of all topics that a platform or a consumer uses, as AsyncAPI 3.0.

It is generated: schemas from the types, examples from the codec, topics from their table.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from models.offers import campaign
from models.offers.campaign import Campaign
from models.schema import events as ev
from models.schema import outputs as out
from models.schema.errors import REASONS
from streams.kafka import codec, topics
from streams.kafka.topics import Topic
from streams.operation import message_examples
from streams.operation.dead_letters import REPLAYED_HEADER
from streams.operation.message_examples import MessageExample
from streams.settings import Settings

VERSION = "1.1.0"
"""Version of the contract: an incompatible change increases the first number, an addition the second."""

OWN_TOPICS = (topics.SNAPSHOTS, topics.META, topics.PEOPLE, topics.INTERACTIONS, topics.ROWS, topics.LISTS)
"""Topics that only Encore reads and writes; they may change with any version."""

TYPES: tuple[type[Any], ...] = (*ev.PERSON_KINDS, *ev.COURSE_KINDS, *ev.INTERNAL_KINDS, *out.OUTPUTS, Campaign)

KEYS = {
    topics.EVENTS: "`user_id` in UTF-8, none for records without a user; partition: murmur2, like Kafka's Java client",
    topics.CATALOG: "`course_id` in UTF-8",
    topics.ALERTS: "`user_id` in UTF-8",
    topics.TRIGGERS: "`user_id` in UTF-8",
    topics.PROFILES: "`user_id` in UTF-8",
    topics.RECOMMENDATIONS: "`user_id` in UTF-8",
    topics.AUDIENCES: "`course_id` in UTF-8",
    topics.DECISIONS: "`user` in UTF-8, the keyed hash of the user id",
    topics.EXAMPLES: "`user` in UTF-8, the keyed hash of the user id",
    topics.CAMPAIGNS: "the campaign's `id` in UTF-8",
    topics.DEAD_LETTERS: "topic/partition/offset of the original record; a tombstone deletes the dead letter",
}
_ANY_KEY = "any, or none"

_ACTIONS = {topics.EVENTS: ("receive", "send"), topics.CAMPAIGNS: ("receive",)}
_ACTION_WORDS = {"receive": "Encore reads", "send": "Encore writes"}

_TRAITS = {topics.EVENTS: "event", topics.CATALOG: "course_event"}
_EVENT_HEADERS = {
    codec.ORIGIN_HEADER: "topic/partition/offset of the record that ingest read; others must not set it",
    REPLAYED_HEADER: "id of the dead letter that was replayed; absent in other records",
}
_LETTER_HEADERS = {
    "topic": "topic of the original record",
    "partition": "its partition",
    "offset": "its offset",
    "reason": f"why the record could not be applied: {', '.join(REASONS)}",
    "field": "the invalid field; empty if there is none",
    "detail": "description of the error",
    "log_time": "when the record arrived in Kafka, in seconds since 1970 UTC",
    "cut_from": "original size in bytes if only the first part was kept; otherwise 0",
    "replayed": "when it was replayed, in seconds since 1970 UTC; empty before that",
    "key": "key of the original record; absent if it had none",
}
_SECONDS, _MOMENT = msgspec.json.schema(ev.Time)["anyOf"]
_TIME = {
    "title": "Time",
    "description": "When it happened: seconds since 1970 UTC, or an RFC 3339 string with a time zone.",
    "anyOf": [_SECONDS, {**_MOMENT, "pattern": r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$"}],
    "examples": [1_767_596_400.0, "2026-01-05T08:00:00+01:00"],
}


def document(settings: Settings | None = None) -> dict[str, Any]:
    """Return the contract, with topic names and partition counts from the settings."""
    chosen = settings or Settings()
    channels = list(_public_topics(chosen))
    homes = {one.name: (short, one) for short, _, examples in channels for one in examples}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Encore",
            "version": VERSION,
            "description": "Reads events of a learning platform and publishes which users are about to leave, and why.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {short: _channel(short, topic, examples) for short, topic, examples in channels},
        "operations": dict(_operations(channels)),
        "components": {
            "messageTraits": {trait: _trait(home) for home, trait in _TRAITS.items()},
            "messages": {name: _message(home, one) for name, (home, one) in homes.items()},
            "schemas": _schemas(),
        },
    }


def as_yaml(settings: Settings | None = None) -> str:
    """Return the contract as YAML; the text is deterministic."""
    return "# Written by `encore contract`; a test fails if it is stale.\n" + _yaml(document(settings))


def _public_topics(settings: Settings) -> Iterator[tuple[str, Topic, list[MessageExample]]]:
    """Yield each topic that others use: its name without prefix, the topic, and an example of each kind of record."""
    user_events, course_events = message_examples.events(ev.PERSON_KINDS), message_examples.events(ev.COURSE_KINDS)
    examples = {
        **{topic: [*user_events, *course_events] for topic in settings.inputs},
        topics.EVENTS: [*user_events, *message_examples.keyless_records()],
        topics.CATALOG: course_events,
        topics.CAMPAIGNS: message_examples.campaign(),
        topics.DEAD_LETTERS: [message_examples.dead_letter()],
        **message_examples.outputs(),
    }
    for topic in topics.topics(settings):
        short = topic.name.removeprefix(settings.prefix)
        if short not in OWN_TOPICS:
            yield short, topic, examples[short]


def _channel(short: str, topic: Topic, examples: Iterable[MessageExample]) -> dict[str, Any]:
    config: dict[str, Any] = {**topic.config, "cleanup.policy": topic.config["cleanup.policy"].split(",")}
    if "retention.ms" in config:
        config["retention.ms"] = int(config["retention.ms"])
    return {
        "address": topic.name,
        "title": short,
        "description": f"{topic.about[0].upper()}{topic.about[1:]}.\n\nKey: {KEYS.get(short, _ANY_KEY)}.",
        "messages": {one.name: {"$ref": f"#/components/messages/{one.name}"} for one in examples},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": config,
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operations(channels: list[tuple[str, Topic, list[MessageExample]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for short, topic, _ in channels:
        for action in _ACTIONS.get(short, ("receive" if topic.direction == "in" else "send",)):
            yield (
                f"{action}-{short}",
                {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{short}"},
                    "summary": f"{_ACTION_WORDS[action]} {topic.about}.",
                },
            )


def _message(home: str, one: MessageExample) -> dict[str, Any]:
    """Describe a kind of record; `home` is the last topic that contains it."""
    letter = home == topics.DEAD_LETTERS
    summary, _, more = inspect.cleandoc(one.about).partition("\n\n")
    example: dict[str, Any] = {"name": one.name, "payload": _payload(letter, one)}
    message: dict[str, Any] = {
        "name": one.name,
        "title": one.name.replace("_", " ").capitalize(),
        "summary": summary.replace("\n", " "),
        **({"description": more} if more else {}),
        "contentType": "application/octet-stream" if letter else "application/json",
        "payload": _payload_schema(letter, one),
    }
    if letter:
        message["headers"] = _headers(_LETTER_HEADERS, [name for name in _LETTER_HEADERS if name != "key"])
    if home in _TRAITS and one.key is not None:
        message["traits"] = [{"$ref": f"#/components/messageTraits/{_TRAITS[home]}"}]
    elif one.key is not None:
        message["bindings"] = _keyed(KEYS[home], one.key.decode())
    if one.headers:
        example["headers"] = {name: value.decode() for name, value in one.headers.items()}
    return {**message, "examples": [example]}


def _trait(home: str) -> dict[str, Any]:
    """Describe what all events of a topic have in common: key and headers."""
    return {"headers": _headers(_EVENT_HEADERS, []), "bindings": _keyed(f"{KEYS[home]}; on the inputs {_ANY_KEY}")}


def _keyed(about: str, *examples: str) -> dict[str, Any]:
    key = {"type": "string", "description": about, **({"examples": [*examples]} if examples else {})}
    return {"kafka": {"key": key, "bindingVersion": "0.5.0"}}


def _payload(letter: bool, one: MessageExample) -> Any:
    if one.value is None:
        return None
    return one.value.decode() if letter else msgspec.json.decode(one.value)


def _payload_schema(letter: bool, one: MessageExample) -> dict[str, Any]:
    if letter:
        return {
            "type": "string",
            "format": "binary",
            "description": "the bytes of the original record, which may be anything",
        }
    if one.value is None:
        return {"type": "null", "description": "no value: a tombstone that deletes the key"}
    return {"$ref": f"#/components/schemas/{type(one.payload).__name__}"}


def _headers(texts: dict[str, str], always: list[str]) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": about} for name, about in texts.items()}
    return {"type": "object", "properties": properties, "required": always}


def _schemas() -> dict[str, Any]:
    """Return the schema of every type. Times of events share one schema, because they have two forms."""
    _, found = msgspec.json.schema_components(TYPES, ref_template="#/components/schemas/{name}")
    schemas: dict[str, Any] = json.loads(msgspec.json.encode(found))
    time = msgspec.json.schema(ev.Time)
    for schema in schemas.values():
        schema["description"] = inspect.cleandoc(schema["description"])
        for field, kind in schema["properties"].items():
            if kind == time:
                schema["properties"][field] = {"$ref": "#/components/schemas/Time"}
    schemas["Decision"]["properties"]["reason"]["description"] = f"one of: {', '.join(campaign.REASONS)}"
    return {"Time": _TIME, **dict(sorted(schemas.items()))}


# -- YAML: JSON values in block style

_PLAIN = re.compile(r"[A-Za-z$][\w $.,()/'`<>=;-]*(?<! )")
_RESERVED = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


def _yaml(value: Any, pad: str = "") -> str:
    """Write a mapping or list that is not empty, one entry per line."""
    if isinstance(value, dict):
        return "".join(f"{pad}{_scalar(key)}:{_entry(item, pad)}" for key, item in value.items())
    return "".join(f"{pad}-{_entry(item, pad, in_list=True)}" for item in value)


def _entry(value: Any, pad: str, in_list: bool = False) -> str:
    deeper = pad + "  "
    if isinstance(value, str) and "\n" in value:
        lines = "".join(f"{deeper}{line}\n" if line else "\n" for line in value.split("\n"))
        return f" |-\n{lines}"
    if not isinstance(value, dict | list) or not value or _is_short(value):
        return f" {_scalar(value)}\n"
    block = _yaml(value, deeper)
    return f" {block.lstrip()}" if in_list else f"\n{block}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    return json.dumps(value, ensure_ascii=False)


def _is_short(value: Any) -> bool:
    """Return whether a value fits on one line: a list of numbers, or a reference."""
    return list(value) == ["$ref"] if isinstance(value, dict) else all(isinstance(item, float) for item in value)
