"""The same history twice: as a replay says it, and as workers on a broker do."""

from __future__ import annotations

import gzip
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import orjson

from models.person.activity import DAY
from models.schema import events as ev
from streams.history.simulation.platform import Platform
from streams.kafka import topics
from tests.operation.encore import PATIENCE, ROOT, Encore, WorkerProcess

OUT = (topics.ALERTS, topics.TRIGGERS, topics.DECISIONS, topics.PROFILES, topics.EXAMPLES)
SAMPLE = ROOT / "streams" / "demo" / "sample.jsonl.gz"
BEGIN = 1_750_032_000.0
"""When the simulated platform opens."""
CAMPAIGN = """
id = "win-back"
hold_out = 0.2
needs_consent = false
contact_cool_down_days = 3
quiet_from = 0
quiet_until = 0
arm = { name = "ten", amount = 10.0 }
"""
RULES = {
    "horizon": "7d", "lookback": "14d", "labels_needed": 20, "stalled_after": "3d", "alert_lasts": "3650d",
    "inputs": "learning-events,purchase-events",
}  # fmt: skip
"""Nothing is old news, so that all that is decided goes out."""

Said = dict[str, dict[str, set[bytes]]]


def sample(most: int) -> list[ev.Event]:
    """The first events of the sample of OULAD."""
    with gzip.open(SAMPLE) as lines:
        decoded = [ev.decode(line) for _, line in zip(range(most), lines, strict=False)]
    return [event for event in decoded if isinstance(event, ev.Event)]


def simulated(learners: int, days: float) -> list[ev.Event]:
    """Some weeks of a platform that nobody sends anything to."""
    return Platform(7, BEGIN, learners, joining_days=days / 2).advance(BEGIN + days * DAY)


def written(events: Iterable[ev.AnyEvent], file: Path) -> Path:
    file.write_bytes(b"".join(ev.encode(event) + b"\n" for event in events))
    return file


class Past:
    """A history in a file, a model that learned from it and stays, and what a replay says with that model."""

    def __init__(self, events: list[ev.Event], folder: Path, **settings: object) -> None:
        self.events = events
        self.file = written(events, folder / "events.jsonl")
        self.model, self.campaign = folder / "model.json", folder / "campaign.toml"
        self.campaign.write_text(CAMPAIGN)
        self.end = events[-1].time
        # Enough time behind the last event for all that waits for the silent.
        self.until = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.end + 10 * DAY))
        encore = Encore("127.0.0.1:1", "past", **{**RULES, **settings})
        learning = ("--out", str(folder / "learning"), "--save-model", str(self.model))
        encore.done("replay", str(self.file), "--until", self.until, "--campaign", str(self.campaign), *learning)
        frozen = ("--out", str(folder / "frozen"), "--model", str(self.model), "--frozen")
        encore.done("replay", str(self.file), "--until", self.until, "--campaign", str(self.campaign), *frozen)
        self.learning, self.frozen = in_files(folder / "learning"), in_files(folder / "frozen")


def in_files(folder: Path) -> Said:
    """What a replay has left in a folder: by topic and id, every content."""
    return {topic: _by_id(_lines(folder / f"{topic}.jsonl")) for topic in OUT}


def on_topics(encore: Encore) -> Said:
    """What workers have said."""
    return {topic: _by_id(record.value for record in encore.read(topic)) for topic in OUT}


def unlike(said: Said, expected: Said) -> list[str]:
    """Where what was said is not what was expected, in words."""
    wrong = []
    for topic in OUT:
        found, wanted = said[topic], expected[topic]
        wrong += [f"{topic}: {name} is missing, {wanted[name]!r}" for name in wanted.keys() - found.keys()]
        wrong += [f"{topic}: {name} should not be, {found[name]!r}" for name in found.keys() - wanted.keys()]
        both = [name for name in found.keys() & wanted.keys() if found[name] != wanted[name]]
        wrong += [f"{topic}: {name} is {found[name]!r}, not {wanted[name]!r}" for name in both]
    return wrong


def agree(said: Said, expected: Said) -> None:
    wrong = unlike(said, expected)
    assert not wrong, f"{len(wrong)} differences, the first:\n" + "\n".join(line[:700] for line in wrong[:8])


def shared(workers: list[WorkerProcess], partitions: int) -> None:
    """Wait until each worker has its share."""
    for worker in workers:
        worker.ready()
    share = partitions // len(workers)
    for worker in workers:
        worker.until(lambda worker=worker: worker.metric("encore_partitions") == share)


def settled(encore: Encore, expected: Said) -> Said:
    """Wait until everything expected is there, or no more comes; return what was said."""
    end, before = time.monotonic() + PATIENCE, -1
    while True:
        said = on_topics(encore)
        count = sum(map(len, said.values()))
        if count == sum(map(len, expected.values())) or time.monotonic() > end:
            return said
        if count == before:
            time.sleep(2.0)
        before = count


def _lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines() if file.exists() else []


def _by_id(values: Iterable[bytes | None]) -> dict[str, set[bytes]]:
    by_id: dict[str, set[bytes]] = defaultdict(set)
    for value in values:
        if value is not None:
            by_id[orjson.loads(value)["id"]].add(value)
    return dict(by_id)
