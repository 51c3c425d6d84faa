"""What a replay leaves behind: a file for every topic, and figures of what happened."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec
import numpy as np
import orjson
from msgspec import Struct
from numpy.typing import NDArray

from models import features, quality
from models.outputs import Alert, Example
from models.quality import Figures
from streams import codec, topics
from streams.admin import OperatorError

WEEK = 7 * 86_400.0
_alert = msgspec.json.Decoder(Alert)


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
    """Scores of one week of event time (from Thursday, as days are counted from 1970), once their labels came."""

    begins: float
    rows: int
    churned: float
    model: Figures
    recency_auc: float


class Matured:
    """Every score of a model whose label has come: 17 bytes each."""

    def __init__(self) -> None:
        self._times, self._scores = array("d"), array("f")
        self._silences, self._outcomes = array("f"), array("B")

    def add(self, example: Example) -> None:
        """Take a labelled row. Those scored before there was a model are left out."""
        if example.model != "prior":
            self._times.append(example.time)
            self._scores.append(example.probability)
            self._silences.append(example.x[features.SILENCE])
            self._outcomes.append(example.churned)

    def pooled(self) -> Week | None:
        """Return the figures of all together; nothing before both outcomes have been seen."""
        return self._week(np.ones(len(self._times), bool))

    def weeks(self) -> list[Week]:
        """Return the figures week by week, without weeks in which everybody churned or nobody did."""
        number = np.floor(np.array(self._times) / WEEK)
        found = (self._week(number == week) for week in np.unique(number))
        return [week for week in found if week is not None]

    def _week(self, among: NDArray[np.bool_]) -> Week | None:
        outcomes = np.array(self._outcomes, np.float64)[among]
        if not outcomes.any() or outcomes.all():
            return None
        return Week(
            begins=float(np.array(self._times)[among].min() // WEEK * WEEK),
            rows=len(outcomes),
            churned=float(outcomes.mean()),
            model=quality.figures(np.array(self._scores, np.float64)[among], outcomes),
            recency_auc=quality.auc(np.array(self._silences, np.float64)[among], outcomes),
        )


class Account:
    """Listens to a replay, and gives account of it."""

    def __init__(self, files: Files) -> None:
        self.matured = Matured()
        self.alerts: Counter[str] = Counter()
        self.coupons = 0
        self._files = files

    def heard(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        """Take what goes to a topic."""
        self._files.write(topic, value, headers)
        if value is None:
            return
        if topic == topics.EXAMPLES:
            self.matured.add(codec.example(value))
        elif topic == topics.ALERTS:
            self.alerts[_alert.decode(value).about] += 1
        elif topic == topics.TRIGGERS:
            self.coupons += 1
