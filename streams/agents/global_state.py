"""The global state of every worker: the newest model and the running campaign, from compacted topics."""

from __future__ import annotations

import logging
from math import isfinite

import msgspec
from msgspec.structs import replace

from models.churn.scorer import build_scorer
from models.churn.snapshot import InvalidSnapshot, decode_snapshot
from models.offers.campaign import Campaign
from models.retention.context import Context
from streams.clock import Ticker, monotonic
from streams.kafka import topics
from streams.kafka.codec import Record
from streams.kafka.topics import CLOCK_RELEASE_KEY, INGEST_PROGRESS_KEY, MODEL_KEY, name
from streams.metrics import GaugeName, Metrics
from streams.settings import Settings

_log = logging.getLogger(__name__)


class GlobalState:
    """Processes the compacted topics, and keeps the current context.

    A model that has learned from fewer examples than the one in use is refused. So a trainer that was paused and
    continues cannot replace the model by an older one.

    Attributes:
        context: the rules, model, campaign and catalogue in use.
    """

    def __init__(self, settings: Settings, metrics: Metrics, ticker: Ticker) -> None:
        self.context = Context(rules=settings.rules(), shadow=settings.mode == "shadow")
        self._settings = settings
        self._metrics = metrics
        self._ticker = ticker
        self._campaigns: dict[str, Campaign] = {}
        self._model_offset = -1
        self._model_loaded_at = 0.0
        self._handlers = {
            name(settings, topics.SNAPSHOTS): self._on_model,
            name(settings, topics.CAMPAIGNS): self._on_campaign,
            name(settings, topics.META): self._on_clock_record,
        }
        metrics.watch(self._gauges)

    @property
    def topics(self) -> list[str]:
        """Full names of the topics to read."""
        return list(self._handlers)

    def on_record(self, record: Record) -> None:
        """Process a record of one of the topics."""
        self._handlers[record.topic](record.key or b"", record.value)

    def _on_model(self, key: bytes, value: bytes | None) -> None:
        if value is None or key != MODEL_KEY:
            return
        try:
            snapshot = decode_snapshot(value)
        except InvalidSnapshot as bad:
            self._metrics.add("encore_snapshots_refused_total", "unreadable")
            _log.warning("a model snapshot is refused: %s", bad)
            return
        if snapshot.offset < self._model_offset:
            self._metrics.add("encore_snapshots_refused_total", "older")
            return
        self._model_offset = snapshot.offset
        self._model_loaded_at = monotonic()
        self.context = replace(self.context, model=build_scorer(snapshot))

    def _on_campaign(self, key: bytes, value: bytes | None) -> None:
        campaign_id = key.decode(errors="replace")
        if value is None:
            self._campaigns.pop(campaign_id, None)
        else:
            try:
                self._campaigns[campaign_id] = msgspec.json.decode(value, type=Campaign)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                _log.warning("campaign %s is refused: %s", campaign_id, error)
                return
        running = [campaign for _, campaign in sorted(self._campaigns.items()) if campaign.enabled]
        self.context = replace(self.context, campaign=running[0] if running else None)

    def _on_clock_record(self, key: bytes, value: bytes | None) -> None:
        if key not in (CLOCK_RELEASE_KEY, INGEST_PROGRESS_KEY) or value is None:
            return
        try:
            time = float(value)
        except ValueError:
            time = float("nan")
        if not isfinite(time):
            _log.warning("the record %s does not contain a time and is ignored", key.decode())
        elif key == CLOCK_RELEASE_KEY:
            self._ticker.released_at = max(self._ticker.released_at, time)
        else:
            self._ticker.ingested = time  # not the maximum: ingest may have moved to a machine with another clock

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        if self.context.model is None:
            return {("encore_model_labels", ()): 0.0}
        return {
            ("encore_model_labels", ()): float(self.context.model.labels),
            ("encore_model_age_seconds", ()): monotonic() - self._model_loaded_at,
        }
