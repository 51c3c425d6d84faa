"""What a replay leaves behind: a file for every topic, and figures of what happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec
import orjson
from msgspec import Struct

from models.person.ledger import hash_share
from models.person.rules import Rules
from models.schema.outputs import Alert, Example
from streams.agents.training.challengers import ChallengerPanel
from streams.errors import OperatorError
from streams.kafka import codec, topics
from streams.report.aggregates import ActivityByWeek, ReasonCounts, Tiers
from streams.report.matured_scores import MaturedScores


class Tiered(Struct, frozen=True):
    """What is read of a profile."""

    user_id: str
    time: float
    tier: str


_alert = msgspec.json.Decoder(Alert)
_tiered = msgspec.json.Decoder(Tiered)


class Files:
    """Writes what went to each topic to `TOPIC.jsonl` in a folder, one object a line; without a folder, nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._open: dict[str, BinaryIO] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Make the folder.

        Raises:
            OperatorError: it cannot be made.
        """
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OperatorError(f"{self._folder}: {error.strerror}") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close what is open."""
        self._stack.close()

    def write(self, topic: str, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        """Write a record; of a dead letter also why it is one."""
        if self._folder is None or value is None:
            return
        if topic not in self._open:
            file = (self._folder / f"{topic}.jsonl").open("wb")
            self._open[topic] = self._stack.enter_context(file)
        if topic == topics.DEAD_LETTERS:
            said: dict[str, Any] = {name: text.decode(errors="backslashreplace") for name, text in headers.items()}
            value = orjson.dumps(said | {"value": value.decode(errors="backslashreplace")})
        self._open[topic].write(value + b"\n")


class ReplayCollector:
    """Listens to a replay, and gives account of it.

    What it holds grows with people and weeks, and by some 20 bytes with every label.

    Args:
        files: where everything is written as well.
        rules: what counts as being active.
        beside: measures scores beside those of others, and finds the world changed.
        most_rows: how many labelled rows are kept for gradient boosting to score.

    Attributes:
        matured: scores with their labels.
        crowd: who was active when; whoever reads the events tells it.
        tiers: people by risk tier, as time goes.
        reasons: what alerts of risk gave as reasons.
        alerts: how many there were, by what they are about.
        coupons: how many would have been sent.
        changes: moments at which labels came that show the world to have changed, in seconds since 1970 UTC.
    """

    def __init__(self, files: Files, rules: Rules, beside: ChallengerPanel, most_rows: int = 0) -> None:
        self.matured = MaturedScores(most_rows)
        self.crowd = ActivityByWeek(rules.active_kinds)
        self.tiers = Tiers()
        self.reasons = ReasonCounts()
        self.alerts: Counter[str] = Counter()
        self.coupons = 0
        self.changes: list[float] = []
        self._files = files
        self._beside = beside

    def heard(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        """Take what goes to a topic."""
        self._files.write(topic, value, headers)
        if topic == topics.PROFILES:
            self._profile(key, value)
        elif value is None:
            return
        elif topic == topics.EXAMPLES:
            lesson = codec.decode_example(value)
            if isinstance(lesson, Example):
                self._label(lesson)
        elif topic == topics.ALERTS:
            alert = _alert.decode(value)
            self.alerts[alert.about] += 1
            self.reasons.heard(alert)
        elif topic == topics.TRIGGERS:
            self.coupons += 1

    def _label(self, example: Example) -> None:
        seen = self._beside.score(example, hash_share(example.id, "replay"))
        self.matured.add(example, seen.scores)
        if seen.drifted:
            self.changes.append(example.until)

    def _profile(self, key: bytes | None, value: bytes | None) -> None:
        if value is None:
            self.tiers.forgotten((key or b"").decode())
        else:
            profile = _tiered.decode(value)
            self.tiers.moved(profile.user_id, profile.tier, profile.time)
