"""Collects the rows that a replay labels, and scores the same rows with the baselines."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.churn.learner import logistic_pipeline
from models.person import features
from models.person.ledger import hash_share
from models.schema import events as ev
from models.schema.outputs import NO_MODEL, Example
from streams.history.sources import HistoryEntry, HistorySource, UnusableEntry
from streams.kafka import codec, topics
from streams.report.baselines import Boosting, score_online, weeks_of
from streams.settings import Settings

PRIOR = Settings().prior_churn
"""The probability that is stated while there are too few labels for the model."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class SampledSource:
    """A source that contains only the users in the sample."""

    repeatable = False

    def __init__(self, source: HistorySource, user_share: float) -> None:
        self._source = source
        self._user_share = user_share
        self._sampled: dict[str, bool] = {}
        self.name, self.has_log_time, self.skipped = source.name, source.has_log_time, 0

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        for entry in self._source:
            if (
                isinstance(entry, HistoryEntry)
                and isinstance(entry.event, ev.Event)
                and self._is_sampled(entry.event.user_id)
            ):
                yield entry

    def describe_position(self, position: int) -> str:
        """Return a description of a position."""
        return self._source.describe_position(position)

    def _is_sampled(self, user: str) -> bool:
        if user not in self._sampled:
            self._sampled[user] = hash_share(user, "evaluate") < self._user_share
        return self._sampled[user]


class ComparedScores(NamedTuple):
    """Rows that all models have scored: (n,) scores by model, labels and weeks, and the gradient boosting."""

    scores: dict[str, Floats]
    churned: Bools
    weeks: NDArray[np.int64]
    boosting: Boosting


class ScoreCollector:
    """The labelled rows of one protocol with the scores of the model: about 100 bytes per row."""

    def __init__(self) -> None:
        self._x, self._churned, self._has_model = bytearray(), array("B"), array("B")
        self._times, self._until, self._probabilities = array("d"), array("d"), array("d")

    def on_record(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        """Process a record that a worker would send to a topic."""
        if topic != topics.EXAMPLES or value is None:
            return
        example = codec.decode_example(value)
        if not isinstance(example, Example):
            return
        self._x += features.pack(features.array(example.x))
        self._churned.append(example.churned)
        self._has_model.append(example.model != NO_MODEL and example.probability != PRIOR)
        self._times.append(example.time)
        self._until.append(example.until)
        self._probabilities.append(example.probability)

    def compare(self, min_labels: int) -> ComparedScores:
        """Score the same rows with the baselines.

        Args:
            min_labels: the number of labels that gradient boosting requires for a fit.
        """
        boosting = Boosting(min_labels)
        rows = features.unpack(bytes(self._x)).reshape(-1, len(features.NAMES))
        churned, times, until = np.array(self._churned, bool), np.array(self._times), np.array(self._until)
        columns = rows, churned, times, until
        scores = {
            "value": np.array(self._probabilities),
            "silence": rows[:, features.SILENCE].astype(np.float64),
            "recency": score_online(logistic_pipeline(), *columns, feature_names=("log_silence",)),
            "reference": score_online(logistic_pipeline(), *columns),
            "gradient_boosting": boosting(*columns),
        }
        comparable = np.array(self._has_model, bool) & ~np.isnan(scores["gradient_boosting"])
        of_all = {name: score[comparable] for name, score in scores.items()}
        return ComparedScores(of_all, churned[comparable], weeks_of(times[comparable]), boosting)
