"""Which labelled rows are learned and which are left out: one rule, for the trainer and for a replay."""

from __future__ import annotations

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
from streams.state.recent_ids import RecentIds

MAX_RECENT_IDS = 50_000
"""Repeats come from a crash or a rebalance, so an id comes back within the rows of a few seconds."""

Measure = Callable[[Example, float], None]
"""Called with an example before it is learned, and with the example's hash, evenly spread over [0, 1)."""


class ExampleLearner:
    """Learns every labelled row once, in the order of arrival. It counts the rows that it must not learn.

    It leaves out repeats, rows of treated users, rows with other features, and records that are no row. Between the
    rows come early signals of rows whose label is not known yet. They too are learned once, and only of untreated
    users.

    Args:
        learner: the model that learns; None if the model stays as it is.
        metrics: count what is learned and what is left out.
    """

    def __init__(self, learner: ChurnLearner | None, metrics: Metrics) -> None:
        self.learner = learner
        self._metrics = metrics
        self._recent_ids = RecentIds(MAX_RECENT_IDS)

    def process_record(self, value: bytes | None, learned: bool = False, measure: Measure | None = None) -> None:
        """Learn a record of `examples`, or count why not.

        Args:
            value: the record's value.
            learned: whether the learner knows the row already. Then it keeps the row for replay, and counts nothing.
            measure: is called with every row that fits, also of treated users, because a score's quality does not
                depend on what is learned.
        """
        example = _decode(value)
        repeat = example is not None and self._recent_ids.add(example.id)
        if isinstance(example, EarlySignal):
            if not repeat and not learned:
                self._learn_signal(example)
            return
        reason = "unreadable" if example is None else "repeat" if repeat else _mismatch(example)
        if example is not None and not reason:
            share = hash_share(example.id, "replay")
            if measure is not None:
                measure(example, share)
            reason = self._learn(example, share, learned)
        if reason and not learned:
            self._metrics.add("encore_examples_left_out_total", reason)

    def _learn_signal(self, signal: EarlySignal) -> None:
        """Learn the early signal of an untreated user whom a model has scored."""
        span = signal.until - signal.time
        if self.learner is not None and not signal.treated and signal.probability >= 0 and span > 0:
            self.learner.learn_signal(signal.probability, SignalOutcome(signal.back, signal.until, span))

    def _learn(self, example: Example, share: float, learned: bool) -> str:
        """Learn a row, or keep a learned one for replay; return the reason if the row is left out."""
        if example.treated:
            return "treated"
        if self.learner is None:
            return ""
        row = features.array(example.x)
        if learned:
            self.learner.restore_row(row, example.churned, share)
        else:
            self.learner.learn(row, example.churned, share, _signal_outcome(example))
            self._metrics.add("encore_learned_total")
        return ""


def _decode(value: bytes | None) -> Example | EarlySignal | None:
    try:
        return codec.decode_example(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _signal_outcome(example: Example) -> SignalOutcome | None:
    """Return the outcome of the row's early signal; None if the row has none, or if no model had scored the row.

    The first labels create a model that knows next to nothing. The meaning of signals is learned from later rows.
    """
    span = EARLY_SIGNAL * (example.until - example.time)
    if example.back is None or example.model == NO_MODEL or span <= 0:
        return None
    return SignalOutcome(example.back, example.time + span, span)


def _mismatch(example: Example) -> str:
    """Return why the row's columns do not fit, or an empty text."""
    fits = example.features == FEATURES and len(example.x) == len(features.NAMES)
    return "" if fits else "features"
