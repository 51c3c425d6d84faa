"""Collects the outputs of a replay: one file per topic, and the figures of the report."""

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
from streams.report.aggregates import ActivityByWeek, ReasonCounts, TierHistory
from streams.report.matured_scores import MaturedScores


class TierChange(Struct, frozen=True):
    """The part of a profile that the collector reads."""

    user_id: str
    time: float
    tier: str


_alert = msgspec.json.Decoder(Alert)
_tier_change = msgspec.json.Decoder(TierChange)


class OutputFiles:
    """Writes the records of each topic to `TOPIC.jsonl` in a folder, one object per line; without a folder, nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._open: dict[str, BinaryIO] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Create the folder.

        Raises:
            OperatorError: it cannot be created.
        """
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OperatorError(f"{self._folder}: {error.strerror}") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close all open files."""
        self._stack.close()

    def write(self, topic: str, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        """Write a record. For a dead letter, also write its headers, which hold the reason."""
        if self._folder is None or value is None:
            return
        if topic not in self._open:
            file = (self._folder / f"{topic}.jsonl").open("wb")
            self._open[topic] = self._stack.enter_context(file)
        if topic == topics.DEAD_LETTERS:
            metadata: dict[str, Any] = {name: text.decode(errors="backslashreplace") for name, text in headers.items()}
            value = orjson.dumps(metadata | {"value": value.decode(errors="backslashreplace")})
        self._open[topic].write(value + b"\n")


class ReplayCollector:
    """Receives the outputs of a replay, and collects the figures of the report.

    Its memory grows with users and weeks, and by about 20 bytes per label.

    Args:
        files: where every output is written as well.
        rules: define which events count as activity.
        challengers: scores every labelled row with other models, and detects drift.
        max_rows: how many labelled rows are kept for gradient boosting to score.

    Attributes:
        matured: scores with their labels.
        activity: active users by week; the reader of the events updates it.
        tiers: users by risk tier over time.
        reasons: the reasons on alerts about risk.
        alerts: the number of alerts by subject.
        coupons: the number of coupons that would have been sent.
        drift_times: moments at which labels showed drift, in seconds since 1970 UTC.
    """

    def __init__(self, files: OutputFiles, rules: Rules, challengers: ChallengerPanel, max_rows: int = 0) -> None:
        self.matured = MaturedScores(max_rows)
        self.activity = ActivityByWeek(rules.active_kinds)
        self.tiers = TierHistory()
        self.reasons = ReasonCounts()
        self.alerts: Counter[str] = Counter()
        self.coupons = 0
        self.drift_times: list[float] = []
        self._files = files
        self._challengers = challengers

    def on_record(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        """Process a record that a worker would send to a topic."""
        self._files.write(topic, value, headers)
        if topic == topics.PROFILES:
            self._on_profile(key, value)
        elif value is None:
            return
        elif topic == topics.EXAMPLES:
            example = codec.decode_example(value)
            if isinstance(example, Example):
                self._on_label(example)
        elif topic == topics.ALERTS:
            alert = _alert.decode(value)
            self.alerts[alert.about] += 1
            self.reasons.on_alert(alert)
        elif topic == topics.TRIGGERS:
            self.coupons += 1

    def _on_label(self, example: Example) -> None:
        result = self._challengers.score(example, hash_share(example.id, "replay"))
        self.matured.add(example, result.scores)
        if result.drifted:
            self.drift_times.append(example.until)

    def _on_profile(self, key: bytes | None, value: bytes | None) -> None:
        if value is None:
            self.tiers.remove((key or b"").decode())
        else:
            profile = _tier_change.decode(value)
            self.tiers.set_tier(profile.user_id, profile.tier, profile.time)
