"""What is learned of labelled rows, and what is left out: one rule, for the trainer and for a replay."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from models import churn, features
from models.churn import Learner
from models.ledger import share_of
from models.outputs import Example
from streams import codec
from streams.metrics import Metrics

WINDOW = 50_000
"""Repeats come from a crash or a rebalance, so an id comes back within the rows of some seconds."""

Measure = Callable[[Example, float], None]
"""Takes an example before it is learned, and its place among all of them."""


class Pupil:
    """Learns every labelled row once, in the order in which they come, and counts those that it must not learn.

    Left out are rows that are repeated, of people who had been treated, of other features, and what is no row.

    Args:
        learner: what learns; none if the model stays as it is.
        metrics: where it is counted.
    """

    def __init__(self, learner: Learner | None, metrics: Metrics) -> None:
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
        example = _read(value)
        why = "unreadable" if example is None else self._objection(example)
        if example is not None and not why:
            place = share_of(example.id, "replay")
            if measure is not None:
                measure(example, place)
            why = self._learn(example, place, learned)
        if why and not learned:
            self._metrics.add("encore_examples_left_out_total", why)

    def _objection(self, example: Example) -> str:
        """Say why a row is none to be looked at, or nothing."""
        repeat = example.id in self._recent
        self._recent[example.id] = None
        self._recent.move_to_end(example.id)
        if len(self._recent) > WINDOW:
            self._recent.popitem(last=False)
        if repeat:
            return "repeat"
        fits = example.features == churn.FEATURES and len(example.x) == len(features.NAMES)
        return "" if fits else "features"

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
            self.learner.learn(row, example.churned, place)
            self._metrics.add("encore_learned_total")
        return ""


def _read(value: bytes | None) -> Example | None:
    try:
        return codec.example(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
