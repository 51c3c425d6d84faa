"""The documents: what they name exists, their links lead somewhere, their examples work, and they read easily."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import click
import msgspec
import pytest
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from models.schema import event_codec
from models.schema import events as ev
from models.schema.outputs import Alert, CouponTrigger
from streams.__main__ import cli
from streams.kafka.embedded import EmbeddedBroker
from streams.settings import Settings

ROOT = Path(__file__).parents[1]
FILES = [
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "streams/README.md", "models/README.md",
    "deploy/README.md", "deploy/EVENTS.md", "tests/README.md",
]  # fmt: skip
MAX_README_LINES = 150
MAX_WORDS = 40
MAX_MEDIAN = 18
TEXTS = {name: (ROOT / name).read_text() for name in FILES}
TOPS = ("models/", "streams/", "tests/", "deploy/", ".ci/")


def prose(text: str) -> str:
    """The running text: no code blocks, tables, headings, HTML comments or pictures."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"(?m)^(\||#|!\[|<!--).*$", "", text)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def sentences(text: str) -> list[list[str]]:
    """The words of each sentence of the running text. A list item begins a new sentence."""
    blocks = re.split(r"\n\s*\n|\n\s*(?:[-*]|\d+\.)\s", prose(text))
    parts = [part for block in blocks for part in re.split(r"(?<=[.!?:;])\s+", " ".join(block.split()))]
    return [words for part in parts if len(words := part.split()) > 2]


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def code(text: str) -> list[str]:
    """What is set as code in the running text and in tables."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def anchor(heading: str) -> str:
    """The anchor that a heading gets on a code host."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_the_readme_is_one_page() -> None:
    """The README is read once, from top to bottom."""
    assert len(TEXTS["README.md"].splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("name", FILES)
def test_sentences_are_short(name: str) -> None:
    """No sentence has more than forty words, and half of them have at most eighteen."""
    lengths = {" ".join(words): len(words) for words in sentences(TEXTS[name])}
    assert [sentence for sentence, length in lengths.items() if length > MAX_WORDS] == []
    assert median(lengths.values()) <= MAX_MEDIAN


@pytest.mark.parametrize("name", FILES)
def test_links_lead_somewhere(name: str) -> None:
    """Files and headings that a document links to exist."""
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if target.startswith(("http:", "https:")):
            continue
        path, _, heading = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), f"{name} links to {target}"
        if heading:
            headings = re.findall(r"(?m)^#+ (.+)$", file.read_text())
            assert heading in {anchor(text) for text in headings}, f"{name} links to {target}"


@pytest.mark.parametrize("name", FILES)
def test_paths_exist(name: str) -> None:
    """A path of the project that a document names exists."""
    for text in code(TEXTS[name]):
        for path in re.findall(r"[\w./*-]+", text):
            if path.startswith(TOPS) and "/jars" not in path:
                assert list(ROOT.glob(path.rstrip("/"))), f"{name} names {path}"


def commands(text: str) -> list[list[str]]:
    """Every call of `encore` in code blocks and in running text, without what the shell adds."""
    lines = [line for block in re.findall(r"```\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()]
    found = []
    for line in [*lines, *code(text)]:
        line = line.split("#")[0].split(" | ")[0].rstrip(" &")
        if match := re.match(r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?encore ((?:[a-z-]+ ?)+.*)$", line):
            found.append(shlex.split(match[1]))
    return found


@pytest.mark.parametrize("name", FILES)
def test_commands_exist(name: str) -> None:
    """Each command that a document shows exists, with the options that it shows."""
    for words in commands(TEXTS[name]):
        command: click.Command = cli
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            assert words[0] in command.commands, f"{name}: encore {' '.join(words)}"
            command = command.commands[words.pop(0)]
        known = {option for param in command.params for option in param.opts}
        unknown = {word.split("=")[0] for word in words if word.startswith("--")} - known - {"--help"}
        assert not unknown, f"{name}: {command.name} has no {unknown}"


@pytest.mark.parametrize("name", FILES)
def test_settings_exist(name: str) -> None:
    """An environment variable or `setting = value` in a document is a setting."""
    known = set(Settings.__struct_fields__) | {"settings"}
    named = {variable.removeprefix("ENCORE_").lower() for variable in re.findall(r"ENCORE_[A-Z_]*[A-Z]", TEXTS[name])}
    assert {setting for setting in named if not setting.startswith(("test_", "kafka_"))} <= known
    assert {match[1] for text in code(TEXTS[name]) if (match := re.match(r"([a-z_]+) = \S+$", text))} <= known | {
        "otherwise"
    }


def test_walks_name_what_the_files_define() -> None:
    """A class or function in parentheses after a file is defined there."""
    named = re.findall(r"`([\w/]+\.py)`\s+\(`(\w+)`\)", TEXTS["streams/README.md"])
    assert len(named) > 40
    for path, name in named:
        body = ast.parse((ROOT / path).read_text()).body
        defined = {
            node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in defined, f"{path} has no {name}"


def test_targets_of_make_exist() -> None:
    """`make TARGET` in a document is a target of the Makefile."""
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
    named = {
        target for text in TEXTS.values() for target in re.findall(r"(?:^|`)make ([a-z]+)", text, flags=re.MULTILINE)
    }
    assert named <= targets
    assert {"demo", "test"} <= named


def test_the_json_of_the_readme_is_real() -> None:
    """The event decodes as ours; alert and trigger decode as the types that go out."""
    event, alert, trigger = (" ".join(block.split()) for block in blocks(TEXTS["README.md"], "json"))
    assert isinstance(event_codec.decode(event.encode()), ev.LessonProgress)
    told, coupon = msgspec.json.decode(alert, type=Alert), msgspec.json.decode(trigger, type=CouponTrigger)
    assert told.user_id == coupon.user_id
    for text, output in ((alert, told), (trigger, coupon)):
        assert list(json.loads(text)) == list(json.loads(msgspec.json.encode(output)))


def test_every_alert_has_its_runbook() -> None:
    """Each rule of Prometheus has a section that says what to do, in the order of the rules."""
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert re.findall(r"(?m)^### (Encore\w+)$", TEXTS["deploy/README.md"]) == alerts


def test_the_mapping_example_is_one(tmp_path: Path) -> None:
    """The mapping file in the document can be loaded."""
    from streams.agents.ingest.mapping_file import load_mapping

    file = tmp_path / "mapping.toml"
    file.write_text(blocks(TEXTS["deploy/EVENTS.md"], "toml")[0])
    load_mapping(file)


def test_the_consumer_of_the_readme_works(embedded_broker: Callable[[Mapping[str, int]], EmbeddedBroker]) -> None:
    """It reports each coupon once as delivered, also if its trigger comes twice, and the report is an event of ours."""
    broker = embedded_broker({"coupon-triggers": 1, "coupon-events": 1})
    source = blocks(TEXTS["README.md"], "python")[0]
    assert "127.0.0.1:9092" in source
    trigger = " ".join(blocks(TEXTS["README.md"], "json")[2].split()).encode()
    other = trigger.replace(b"ca15ac1d", b"ffffffff")
    consumer = subprocess.Popen([sys.executable, "-c", source.replace("127.0.0.1:9092", broker.bootstrap)])
    try:
        reports = asyncio.run(sent_and_reported(broker.bootstrap, [trigger, trigger, other]))
    finally:
        consumer.kill()
        consumer.wait()
    events = [event_codec.decode(report) for report in reports]
    assert [type(event) for event in events] == [ev.CouponDelivered] * 2
    assert [event.offer_id for event in events] == [json.loads(value)["id"] for value in (trigger, other)]


async def sent_and_reported(bootstrap: str, triggers: list[bytes]) -> list[bytes]:
    """Write coupon triggers, and return the reports that come back: as many as there are different triggers."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for trigger in triggers:
            await producer.send_and_wait("coupon-triggers", trigger)
    reports = AIOKafkaConsumer("coupon-events", bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    async with reports, asyncio.timeout(60):
        return [(await reports.getone()).value for _ in set(triggers)]
