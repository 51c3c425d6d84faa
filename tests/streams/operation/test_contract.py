"""The contract agrees with the types: its examples fit its schemas and decode to the same objects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from aiokafka import ConsumerRecord
from jsonschema import Draft7Validator

from models.offers.campaign import Campaign
from models.schema import event_codec
from models.schema import events as ev
from models.schema import outputs as out
from models.schema.errors import InvalidEvent
from streams.delivery.dead_letters import parse_dead_letter
from streams.kafka import codec, topics
from streams.operation import message_examples
from streams.operation.contract import OWN_TOPICS, TYPES, as_yaml, document
from streams.operation.message_examples import MessageExample
from streams.settings import Settings

FILE = Path(__file__).parents[3] / "deploy" / "asyncapi.yaml"
RENEW = "encore contract --out deploy/asyncapi.yaml"

DOCUMENT = document()
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
EVENTS = [
    *message_examples.events(ev.PERSON_KINDS),
    *message_examples.events(ev.COURSE_KINDS),
    *message_examples.keyless_records(),
]
OUTPUTS = [one for some in message_examples.outputs().values() for one in some]


def validator(schema: dict[str, Any]) -> Draft7Validator:
    """A validator of a schema that may refer to other schemas of the document."""
    return Draft7Validator({"components": DOCUMENT["components"], **schema})


def references(value: Any) -> Iterator[str]:
    """Every `$ref` in a value."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    if isinstance(value, list):
        for item in value:
            yield from references(item)


def resolved(reference: str) -> Any:
    """The target of a reference."""
    found = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def named(one: MessageExample) -> str:
    """The id of a test case."""
    return one.name


def test_the_file_is_not_stale() -> None:
    """deploy/asyncapi.yaml is what the command writes."""
    assert FILE.exists() and FILE.read_text() == as_yaml(), f"deploy/asyncapi.yaml is stale, renew it: {RENEW}"


def test_the_yaml_contains_the_document() -> None:
    """A YAML parser returns the document, and writing it twice gives the same text."""
    assert yaml.safe_load(as_yaml()) == DOCUMENT
    assert as_yaml() == as_yaml()


def test_every_public_topic_is_a_channel() -> None:
    """All topics but those that only Encore uses."""
    assert [channel["address"] for channel in DOCUMENT["channels"].values()] == [
        topic.name for topic in topics.topics(Settings()) if topic.name not in OWN_TOPICS
    ]


def test_addresses_follow_the_settings() -> None:
    """Other prefixes, inputs and partition counts give another contract."""
    contract = document(Settings(prefix="shop.", inputs=("clicks",), partitions=3))
    channel = contract["channels"]["clicks"]

    assert channel["address"] == channel["bindings"]["kafka"]["topic"] == "shop.clicks"
    assert channel["bindings"]["kafka"]["partitions"] == 3
    assert "learning-events" not in contract["channels"]


def test_retention_of_a_history_is_shown() -> None:
    """With `clock = source` the inputs keep records of any time, and the contract shows it."""
    kafka = document(Settings(clock="source"))["channels"]["learning-events"]["bindings"]["kafka"]
    assert kafka["topicConfiguration"]["retention.ms"] == -1


@pytest.mark.parametrize("reference", sorted(set(references(DOCUMENT))))
def test_every_reference_has_a_target(reference: str) -> None:
    """No `$ref` is broken."""
    assert resolved(reference)


def test_every_kind_and_every_output_has_a_message() -> None:
    """Every kind of record on a public topic is in the contract."""
    found = {type(one.payload) for one in (*EVENTS, *OUTPUTS)}

    assert found == {*ev.KINDS.values(), *out.OUTPUTS, out.Tombstone}
    assert {one.name for one in (*EVENTS, *OUTPUTS)} < set(MESSAGES)
    assert {kind.__name__ for kind in TYPES} <= set(DOCUMENT["components"]["schemas"])


def test_every_field_of_an_event_is_shown() -> None:
    """The examples contain all fields, so that a reader sees everything that a platform may send."""
    for one in EVENTS:
        assert set(msgspec.json.decode(one.value or b"")) == {"type", *one.payload.__struct_fields__}


@pytest.mark.parametrize("name", MESSAGES)
def test_examples_fit_their_schemas(name: str) -> None:
    """Payload and headers of each example are valid."""
    message = MESSAGES[name]
    (example,) = message["examples"]
    found = [message, *(resolved(trait["$ref"]) for trait in message.get("traits", []))]

    validator(message["payload"]).validate(example["payload"])
    for schema in (part["headers"] for part in found if "headers" in part):
        validator({**schema, "additionalProperties": False}).validate(example["headers"])


@pytest.mark.parametrize("one", EVENTS, ids=named)
def test_event_examples_decode_to_themselves(one: MessageExample) -> None:
    """An example of an event decodes to that event."""
    (example,) = MESSAGES[one.name]["examples"]
    assert event_codec.decode(msgspec.json.encode(example["payload"])) == one.payload


@pytest.mark.parametrize("one", OUTPUTS, ids=named)
def test_output_examples_decode_to_themselves(one: MessageExample) -> None:
    """An example of an output decodes to that output for a consumer with the same types."""
    (example,) = MESSAGES[one.name]["examples"]
    if isinstance(one.payload, out.Tombstone):
        assert example["payload"] is None
    else:
        assert msgspec.convert(example["payload"], type(one.payload)) == one.payload


def test_the_campaign_decodes_to_itself() -> None:
    """A worker reads the same campaign from its topic."""
    running, ended = message_examples.campaign()
    assert msgspec.convert(MESSAGES["campaign"]["examples"][0]["payload"], Campaign) == running.payload
    assert MESSAGES["campaign_ended"]["examples"][0]["payload"] is ended.value is None


def test_the_dead_letter_decodes_to_itself() -> None:
    """The contract shows all headers of a dead letter."""
    one = message_examples.dead_letter()
    (example,) = MESSAGES["dead_letter"]["examples"]
    headers = tuple((name, text.encode()) for name, text in example["headers"].items())
    value = example["payload"].encode()
    record = ConsumerRecord(topics.DEAD_LETTERS, 0, 0, 0, 0, one.key, value, None, 0, len(value), headers)

    assert parse_dead_letter(record) == one.payload
    assert set(MESSAGES["dead_letter"]["headers"]["properties"]) == set(one.headers)


def test_outputs_are_on_the_channel_of_the_codec() -> None:
    """Topic and key of every message are those of the codec."""
    for one in OUTPUTS:
        topic, key = codec.address(one.payload)
        assert one.name in DOCUMENT["channels"][topic]["messages"]
        assert MESSAGES[one.name]["bindings"]["kafka"]["key"]["examples"] == [key.decode()]


@pytest.mark.parametrize("one", EVENTS, ids=named)
def test_the_schema_rejects_what_the_codec_rejects(one: MessageExample) -> None:
    """A missing field or a value of the wrong type is invalid in the schema exactly if the codec rejects it."""
    schema = validator(MESSAGES[one.name]["payload"])
    payload: dict[str, Any] = msgspec.json.decode(one.value or b"")
    wrong_values: tuple[Any, ...] = (None, {}, -1, "", "x" * 30_000, 1e12)
    invalid = [{name: value for name, value in payload.items() if name != gone} for gone in payload]
    invalid += [{**payload, name: wrong} for name in payload for wrong in wrong_values]

    for candidate in invalid:
        assert schema.is_valid(candidate) == _is_read(candidate), candidate


def test_a_time_is_a_number_or_a_text_with_a_time_zone() -> None:
    """Both forms of the example are the same time."""
    payload = {"type": "login", "id": "e-1", "user_id": "u-42"}
    forms = DOCUMENT["components"]["schemas"]["Time"]["examples"]
    moments = {event_codec.decode(msgspec.json.encode({**payload, "time": form})).time for form in forms}

    assert len(forms) == 2 and len(moments) == 1


def _is_read(payload: dict[str, Any]) -> bool:
    try:
        event_codec.decode(msgspec.json.encode(payload))
    except InvalidEvent:
        return False
    return True
