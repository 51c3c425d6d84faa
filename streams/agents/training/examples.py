"""What is learned of labelled rows, and what is left out: one rule, for the trainer and for a replay."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from models.churn.early_signal import SignalOutcome
from models.churn.learner import ChurnLearner
from models.churn.snapshot import FEATURES
from models.person import features
from models.person.ledger import hash_share
from models.person.rules import EARLY_SIGNAL
from models.schema.outputs import NO_MODEL, EarlySignal, Example
from streams.kafka import codec
from streams.metrics import Metrics

WINDOW = 50_000
"""Repeats come from a crash or a rebalance, so an id comes back within the rows of some seconds."""

Measure = Callable[[Example, float], None]
"""Takes an example before it is learned, and its place among all of them."""


class ExampleLearner:
    """Learns every labelled row once, in the order in which they come, and counts those that it must not learn.

    Left out are rows that are repeated, of people who had been treated, of other features, and what is no row. Between
    the rows stand early signs of rows still waiting: they too are learned once, and only of the untreated.

    Args:
        learner: what learns; none if the model stays as it is.
        metrics: where it is counted.
    """

    def __init__(self, learner: ChurnLearner | None, metrics: Metrics) -> None:
        self.learner = learner
        self._metrics = metrics
        self._recent: OrderedDict[str, None] = OrderedDict()

    def take(self, value: bytes | None, learned: bool = False, measure: Measure | None = None) -> None:
        """Take a record of `examples`.

        Args:
            value: the row as it is written.
            learned: whether the learner knows it from before: then it is taken back for replay, and not counted.
            measure: is told of a row that fits, also of the treated: how good a score was depends on nobody's learning.
        """
        lesson = _read(value)
        repeat = lesson is not None and self._known(lesson.id)
        if isinstance(lesson, EarlySignal):
            if not repeat and not learned:
                self._notice(lesson)
            return
        why = "unreadable" if lesson is None else "repeat" if repeat else _objection(lesson)
        if lesson is not None and not why:
            place = hash_share(lesson.id, "replay")
            if measure is not None:
                measure(lesson, place)
            why = self._learn(lesson, place, learned)
        if why and not learned:
            self._metrics.add("encore_examples_left_out_total", why)

    def _known(self, lesson_id: str) -> bool:
        """Note an id, and say whether it was among the newest."""
        known = lesson_id in self._recent
        self._recent[lesson_id] = None
        self._recent.move_to_end(lesson_id)
        if len(self._recent) > WINDOW:
            self._recent.popitem(last=False)
        return known

    def _notice(self, sign: EarlySignal) -> None:
        """Learn a sign of somebody untreated whom a model has scored."""
        span = sign.until - sign.time
        if self.learner is not None and not sign.treated and sign.probability >= 0 and span > 0:
            self.learner.notice(sign.probability, SignalOutcome(sign.back, sign.until, span))

    def _learn(self, example: Example, place: float, learned: bool) -> str:
        """Learn a row or take it back; or say why not."""
        if example.treated:
            return "treated"
        if self.learner is None:
            return ""
        row = features.array(example.x)
        if learned:
            self.learner.recall(row, example.churned, place)
        else:
            self.learner.learn(row, example.churned, place, _sign(example))
            self._metrics.add("encore_learned_total")
        return ""


def _read(value: bytes | None) -> Example | EarlySignal | None:
    try:
        return codec.decode_example(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _sign(example: Example) -> SignalOutcome | None:
    """Return what the row's early sign had been, if it says, and if a model had scored the row.

    With the first labels a model is born that knows next to nothing; what signs mean is asked of those behind them.
    """
    span = EARLY_SIGNAL * (example.until - example.time)
    if example.back is None or example.model == NO_MODEL or span <= 0:
        return None
    return SignalOutcome(example.back, example.time + span, span)


def _objection(example: Example) -> str:
    """Say why a row is none to be looked at, or nothing."""
    fits = example.features == FEATURES and len(example.x) == len(features.NAMES)
    return "" if fits else "features"
