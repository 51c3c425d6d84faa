"""What a replay leaves behind: a file for every topic, and figures of what happened."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

import msgspec
import numpy as np
import orjson
from msgspec import Struct

from models import features, quality
from models.outputs import Alert, Example
from models.quality import Figures
from models.rules import Rules
from streams import codec, topics
from streams.errors import OperatorError
from streams.report.collected import Crowd, Reasons, Tiers
from streams.report.rows import NOWHERE, Floats, Rival, Rows
from streams.report.weeks import begin_of, week_at


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


class Week(Struct, frozen=True, kw_only=True):
    """Scores of one week of event time (from Monday, in UTC), once their labels came.

    `rival_auc` is that of the rows which the model's rival scored as well, if it did.
    """

    begins: float
    rows: int
    churned: float
    model: Figures
    recency_auc: float
    rival_auc: float | None = None


class Scores(NamedTuple):
    """Scores whose label has come, side by side.

    Attributes:
        times: when, in seconds since 1970 UTC.
        model: the probability that was stated.
        recency: how long the person had been silent, as a logarithm.
        rival: what the model's rival would have stated; NaN where it was not asked or had nothing to say yet.
        churned: what came, 0 or 1.
    """

    times: Floats
    model: Floats
    recency: Floats
    rival: Floats
    churned: Floats


class Matured:
    """Every score of a model whose label has come: 17 bytes each.

    Args:
        most_rows: how many rows are kept for a rival to score as well: some 100 bytes each.
    """

    def __init__(self, most_rows: int = 0) -> None:
        self._times, self._scores = array("d"), array("f")
        self._silences, self._outcomes = array("f"), array("B")
        self._rows = Rows(most_rows)
        self._rival: Floats | None = None

    def add(self, example: Example) -> None:
        """Take a labelled row. Those scored before there was a model are left out."""
        learned = example.model != "prior"
        self._rows.add(example, len(self._times) if learned else NOWHERE)
        if learned:
            self._times.append(example.time)
            self._scores.append(example.probability)
            self._silences.append(example.x[features.SILENCE])
            self._outcomes.append(example.churned)

    def compare(self, rival: Rival) -> None:
        """Have a rival score the rows that were kept."""
        self._rival = self._rows.scored(rival, len(self._times))

    def scores(self) -> Scores:
        """Return all of them, in the order in which their labels came."""
        times, model, recency, churned = (
            np.array(column, np.float64) for column in (self._times, self._scores, self._silences, self._outcomes)
        )
        rival = np.full(len(times), np.nan) if self._rival is None else self._rival
        return Scores(times, model, recency, rival, churned)

    def pooled(self) -> Week | None:
        """Return the figures of all together; nothing before both outcomes have been seen."""
        return _week(self.scores())

    def weeks(self) -> list[Week]:
        """Return the figures week by week, without weeks in which everybody churned or nobody did."""
        scores = self.scores()
        order = np.argsort(scores.times, kind="stable")
        numbers = np.array([week_at(time) for time in scores.times[order].tolist()])
        parts = np.split(order, np.flatnonzero(np.diff(numbers)) + 1) if len(order) else []
        found = (_week(Scores(*(column[part] for column in scores))) for part in parts)
        return [week for week in found if week is not None]


def _week(scores: Scores) -> Week | None:
    churned = scores.churned
    if not churned.any() or churned.all():
        return None
    return Week(
        begins=begin_of(week_at(float(scores.times.min()))),
        rows=len(churned),
        churned=float(churned.mean()),
        model=quality.figures(scores.model, churned),
        recency_auc=quality.auc(scores.recency, churned),
        rival_auc=_auc(scores.rival, churned),
    )


def _auc(scores: Floats, churned: Floats) -> float | None:
    """Return the AUC of the scores that are there; nothing if they have not seen both outcomes."""
    known = ~np.isnan(scores)
    outcomes = churned[known]
    return quality.auc(scores[known], outcomes) if outcomes.any() and not outcomes.all() else None


class Account:
    """Listens to a replay, and gives account of it.

    What it holds grows with people and weeks, and by 17 bytes with every label.

    Args:
        files: where everything is written as well.
        rules: what counts as being active.
        most_rows: how many labelled rows are kept for a rival of the model to score.

    Attributes:
        matured: scores with their labels.
        crowd: who was active when; whoever reads the events tells it.
        tiers: people by risk tier, as time goes.
        reasons: what alerts of risk gave as reasons.
        alerts: how many there were, by what they are about.
        coupons: how many would have been sent.
        changes: moments at which the world is found to have changed; whoever finds that out puts them here.
    """

    def __init__(self, files: Files, rules: Rules, most_rows: int = 0) -> None:
        self.matured = Matured(most_rows)
        self.crowd = Crowd(rules.active_kinds)
        self.tiers = Tiers()
        self.reasons = Reasons()
        self.alerts: Counter[str] = Counter()
        self.coupons = 0
        self.changes: list[float] = []
        self._files = files

    def heard(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        """Take what goes to a topic."""
        self._files.write(topic, value, headers)
        if topic == topics.PROFILES:
            self._profile(key, value)
        elif value is None:
            return
        elif topic == topics.EXAMPLES:
            lesson = codec.lesson(value)
            if isinstance(lesson, Example):
                self.matured.add(lesson)
        elif topic == topics.ALERTS:
            alert = _alert.decode(value)
            self.alerts[alert.about] += 1
            self.reasons.heard(alert)
        elif topic == topics.TRIGGERS:
            self.coupons += 1

    def _profile(self, key: bytes | None, value: bytes | None) -> None:
        if value is None:
            self.tiers.forgotten((key or b"").decode())
        else:
            profile = _tiered.decode(value)
            self.tiers.moved(profile.user_id, profile.tier, profile.time)
