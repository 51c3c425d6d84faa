"""Histories played by `encore replay`, whose outputs are what live workers have to publish as well."""

from __future__ import annotations

import gzip
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import orjson

from models.person.activity import DAY
from models.schema import event_codec
from models.schema import events as ev
from streams.history.simulation.platform import Platform
from streams.kafka import topics
from tests.harness import shared
from tests.harness.deployment import Deployment
from tests.harness.process import CHECKOUT, PATIENCE
from tests.harness.worker import WorkerProcess

OUTPUT_TOPICS = (topics.ALERTS, topics.TRIGGERS, topics.DECISIONS, topics.PROFILES, topics.EXAMPLES)
SAMPLE = CHECKOUT / "streams" / "demo" / "sample.jsonl.gz"
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
"""Alerts never expire, so that all that is decided is published."""

Outputs = dict[str, dict[str, set[bytes]]]
"""By topic and id, every content that was published under that id."""


def sample(count: int) -> list[ev.Event]:
    """Return the first events of the sample of OULAD."""
    with gzip.open(SAMPLE) as lines:
        decoded = [event_codec.decode(line) for _, line in zip(range(count), lines, strict=False)]
    return [event for event in decoded if isinstance(event, ev.Event)]


def simulate(learners: int, days: float) -> list[ev.Event]:
    """Return the events of a simulated platform that sends no message."""
    return Platform(7, BEGIN, learners, joining_days=days / 2).advance(BEGIN + days * DAY)


def write_events(events: Iterable[ev.AnyEvent], file: Path) -> Path:
    """Write events to a file, one a line; return the file."""
    file.write_bytes(b"".join(event_codec.encode(event) + b"\n" for event in events))
    return file


class ReplayedHistory:
    """A history in a file, and what replays of it publish: one that learns, and one with the learned model, frozen.

    Args:
        folder: where `play` has put all of it.
    """

    def __init__(self, folder: Path) -> None:
        self.file, self.model, self.campaign = (
            folder / name for name in ("events.jsonl", "model.json", "campaign.toml")
        )
        self.events = [
            event for line in self.file.open("rb") if isinstance(event := event_codec.decode(line), ev.Event)
        ]
        self.end = self.events[-1].time
        self.until = _long_after(self.end)
        self.learning, self.frozen = read_files(folder / "learning"), read_files(folder / "frozen")

    @classmethod
    def play(cls, events: list[ev.Event], folder: Path, **settings: object) -> ReplayedHistory:
        """Replay a history twice into a folder: first learning, then with what was learned."""
        file = write_events(events, folder / "events.jsonl")
        model, campaign = folder / "model.json", folder / "campaign.toml"
        campaign.write_text(CAMPAIGN)
        deployment = Deployment("127.0.0.1:1", "replayed", **{**RULES, **settings})
        command = ("replay", file, "--until", _long_after(events[-1].time), "--campaign", campaign)
        deployment.check(*command, "--out", folder / "learning", "--save-model", model)
        deployment.check(*command, "--out", folder / "frozen", "--model", model, "--frozen")
        return cls(folder)

    @classmethod
    def play_once(cls, name: str, events: Callable[[], list[ev.Event]]) -> ReplayedHistory:
        """Return the history of this name; the first test process of the run that asks for it plays it."""
        with shared.once(f"replayed-{name}") as folder:
            if folder is not None:
                cls.play(events(), folder)
        return cls(shared.folder() / f"replayed-{name}")


def _long_after(moment: float) -> str:
    """Return a day so long after the last event that all timers of silent users have fired."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment + 10 * DAY))


def read_files(folder: Path) -> Outputs:
    """Return the outputs that a replay has written to a folder."""
    return {topic: _by_id(_lines(folder / f"{topic}.jsonl")) for topic in OUTPUT_TOPICS}


def read_topics(deployment: Deployment) -> Outputs:
    """Return the outputs that workers have published."""
    return {topic: _by_id(record.value for record in deployment.read(topic)) for topic in OUTPUT_TOPICS}


def differences(found: Outputs, expected: Outputs) -> list[str]:
    """Return each difference between two sets of outputs, in words."""
    wrong = []
    for topic in OUTPUT_TOPICS:
        mine, theirs = found[topic], expected[topic]
        wrong += [f"{topic}: {name} is missing, {theirs[name]!r}" for name in theirs.keys() - mine.keys()]
        wrong += [f"{topic}: {name} should not be, {mine[name]!r}" for name in mine.keys() - theirs.keys()]
        both = [name for name in mine.keys() & theirs.keys() if mine[name] != theirs[name]]
        wrong += [f"{topic}: {name} is {mine[name]!r}, not {theirs[name]!r}" for name in both]
    return wrong


def assert_same_outputs(found: Outputs, expected: Outputs) -> None:
    """Assert that outputs have the expected ids and contents."""
    wrong = differences(found, expected)
    assert not wrong, f"{len(wrong)} differences, the first:\n" + "\n".join(line[:700] for line in wrong[:8])


def wait_for_shares(workers: list[WorkerProcess], partitions: int) -> None:
    """Wait until all workers are ready and hold equally many partitions."""
    for worker in workers:
        worker.ready()
    share = partitions // len(workers)
    for worker in workers:
        worker.until(lambda worker=worker: worker.metric("encore_partitions") == share, f"{share} partitions held")


def wait_for_outputs(deployment: Deployment, expected: Outputs) -> Outputs:
    """Wait until workers have published as many outputs as expected; return the outputs, also if some never come."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = read_topics(deployment)
        if sum(map(len, found.values())) >= sum(map(len, expected.values())) or time.monotonic() > deadline:
            return found
        time.sleep(0.3)


def _lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines() if file.exists() else []


def _by_id(values: Iterable[bytes | None]) -> dict[str, set[bytes]]:
    by_id: dict[str, set[bytes]] = defaultdict(set)
    for value in values:
        if value is not None:
            by_id[orjson.loads(value)["id"]].add(value)
    return dict(by_id)
