"""What every worker knows of the world: the newest model and the campaign that runs, as the compacted topics say."""

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
    """Listens to the compacted topics and makes the world of the moment.

    A model older than the one in use (by the examples it has learned from) is refused, so that a trainer that was
    frozen and comes back cannot take workers back in time.
    """

    def __init__(self, settings: Settings, metrics: Metrics, ticker: Ticker) -> None:
        self.world = Context(rules=settings.rules(), shadow=settings.mode == "shadow")
        self._settings = settings
        self._metrics = metrics
        self._ticker = ticker
        self._campaigns: dict[str, Campaign] = {}
        self._model_offset = -1
        self._model_since = 0.0
        self._heard_by = {
            name(settings, topics.SNAPSHOTS): self._model,
            name(settings, topics.CAMPAIGNS): self._campaign,
            name(settings, topics.META): self._word,
        }
        metrics.watch(self._gauges)

    @property
    def topics(self) -> list[str]:
        """The topics to be read."""
        return list(self._heard_by)

    def heard(self, record: Record) -> None:
        """Take a record of one of the topics."""
        self._heard_by[record.topic](record.key or b"", record.value)

    def _model(self, key: bytes, value: bytes | None) -> None:
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
        self._model_since = monotonic()
        self.world = replace(self.world, model=build_scorer(snapshot))

    def _campaign(self, key: bytes, value: bytes | None) -> None:
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
        self.world = replace(self.world, campaign=running[0] if running else None)

    def _word(self, key: bytes, value: bytes | None) -> None:
        if key not in (CLOCK_RELEASE_KEY, INGEST_PROGRESS_KEY) or value is None:
            return
        try:
            moment = float(value)
        except ValueError:
            moment = float("nan")
        if not isfinite(moment):
            _log.warning("a word on the clock (%s) is no time and is passed over", key.decode())
        elif key == CLOCK_RELEASE_KEY:
            self._ticker.released_at = max(self._ticker.released_at, moment)
        else:
            self._ticker.ingested = moment  # the last word counts: ingest may have moved to another machine's clock

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        if self.world.model is None:
            return {("encore_model_labels", ()): 0.0}
        return {
            ("encore_model_labels", ()): float(self.world.model.labels),
            ("encore_model_age_seconds", ()): monotonic() - self._model_since,
        }
