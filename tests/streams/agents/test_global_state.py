"""The global state: the newest model, the running campaign, releases of the clock, and refused records."""

import hashlib
from typing import Any

import msgspec
import numpy as np
import pytest

from models.churn.learner import ChurnLearner
from models.churn.snapshot import AnySnapshot, SignedSnapshot, encode_snapshot
from models.offers.campaign import Arm, Campaign
from models.person import features
from streams.agents.global_state import GlobalState
from streams.clock import NOT_YET, Ticker
from streams.kafka import topics
from streams.kafka.topics import CLOCK_RELEASE_KEY, INGEST_PROGRESS_KEY
from streams.metrics import Metrics
from streams.operation import campaigns
from streams.settings import Settings
from tests.streams.doubles import Record

SETTINGS = Settings(prefix="p-", horizon=5 * 86_400.0)


def snapshot(learned: int, **more: Any) -> bytes:
    """A snapshot of a model with this many labels, encoded as the trainer does."""
    learner, dice = ChurnLearner(), np.random.default_rng(1)
    for _ in range(learned):
        row = dice.normal(size=len(features.NAMES)).astype(np.float32)
        learner.learn(row, bool(row[0] > 0))
    return sign_again(learner.snapshot(), **more)


def sign_again(known: AnySnapshot, **more: Any) -> bytes:
    """A snapshot with some fields changed, with a correct checksum."""
    body = msgspec.json.encode({**msgspec.to_builtins(known), **more})
    return msgspec.json.encode(SignedSnapshot(hashlib.sha256(body).hexdigest(), msgspec.Raw(body)))


class GlobalStateHarness:
    """A global state, with helpers to send it records."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.metrics, self.ticker = Metrics(), Ticker(100.0)
        self.state = GlobalState(settings, self.metrics, self.ticker)

    def receive(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        self.state.on_record(Record(f"p-{topic}", 0, 0, 0, key, value))

    def model(self, raw: bytes | None) -> None:
        self.receive(topics.SNAPSHOTS, b"churn", raw)

    @property
    def labels(self) -> int | None:
        return self.state.context.model.labels if self.state.context.model else None

    def refused(self, reason: str) -> int:
        return self.metrics.value("encore_snapshots_refused_total", reason)


def test_the_initial_context_comes_from_the_settings() -> None:
    """There is no model and no campaign. Rules and mode come from the settings."""
    context = GlobalStateHarness().state.context
    assert (context.model, context.campaign, context.shadow, context.ready) == (None, None, False, False)
    assert context.rules == SETTINGS.rules()
    assert GlobalStateHarness(Settings(mode="shadow")).state.context.shadow


def test_the_topics_have_the_prefix() -> None:
    """Models, campaigns, and the records of operators."""
    assert set(GlobalStateHarness().state.topics) == {"p-model-snapshots", "p-campaigns", "p-encore-meta"}


def test_a_newer_model_replaces_an_older_one() -> None:
    """A model is newer if its offset in the examples is higher. An equal offset is accepted as well."""
    harness = GlobalStateHarness()
    for labels, offset in ((3, 10), (5, 20), (6, 20)):
        harness.model(snapshot(labels, offset=offset))
        assert harness.labels == labels
    assert harness.metrics.value("encore_snapshots_refused_total") == 0


def test_an_older_model_is_refused_and_counted() -> None:
    """A trainer that was paused and continues cannot replace a newer model."""
    harness = GlobalStateHarness()
    harness.model(snapshot(5, offset=20))
    version = harness.state.context.model.version if harness.state.context.model else ""
    harness.model(snapshot(3, offset=19))
    assert (harness.labels, harness.refused("older")) == (5, 1)
    assert harness.state.context.model
    assert harness.state.context.model.version == version


DAMAGED = encode_snapshot({"schema": 1})


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\xff", b'{"checksum":"\xff","snapshot":{}}', b"[]", DAMAGED, snapshot(3, offset=30)[:-9] + b'"}}',
        snapshot(3, offset=30).replace(b'"labels":3', b'"labels":4'), snapshot(3, offset=30, schema=99),
        snapshot(3, offset=30, model="forest"), snapshot(3, offset=30, model="logistic"),
        snapshot(3, offset=30, mean=[0.0]),
    ],
)  # fmt: skip
def test_a_damaged_model_is_refused_and_counted(raw: bytes) -> None:
    """Unreadable, changed, or of another schema or shape: the model in use stays."""
    harness = GlobalStateHarness()
    harness.model(snapshot(5, offset=20))
    harness.model(raw)
    assert (harness.labels, harness.refused("unreadable")) == (5, 1)


@pytest.mark.parametrize("name", ["line_bias", "labels", "offset", "mean", "line", "squares"])
@pytest.mark.parametrize("word", [None, "much"])
def test_a_model_without_numbers_is_refused(name: str, word: object) -> None:
    """JSON encodes NaN as null. Such a model must neither be used nor stop the worker."""
    harness, many = GlobalStateHarness(), name in ("mean", "line", "squares")
    harness.model(snapshot(5, offset=20))
    harness.model(snapshot(3, **{"offset": 30, name: [word] * len(features.NAMES) if many else word}))
    assert (harness.labels, harness.metrics.value("encore_snapshots_refused_total")) == (5, 1)


def test_a_deletion_does_not_remove_the_model() -> None:
    """A tombstone on the topic leaves the model in use."""
    harness = GlobalStateHarness()
    harness.model(snapshot(5, offset=20))
    harness.model(None)
    assert harness.labels == 5


def campaign(name: str, **changes: Any) -> bytes:
    return campaigns.encode_campaign(Campaign(id=name, arm=Arm(name="ten", amount=10.0), version="1", **changes))


def running(*records: tuple[str, bytes | None]) -> str | None:
    harness = GlobalStateHarness()
    for name, value in records:
        harness.receive(topics.CAMPAIGNS, name.encode(), value)
    context = harness.state.context
    return context.campaign.id if context.campaign else None


def test_a_campaign_runs_from_its_record_until_its_end() -> None:
    """It is published, changed, paused and ended."""
    assert running(("back", campaign("back"))) == "back"
    assert running(("back", campaign("back")), ("back", campaign("back", enabled=False))) is None
    assert running(("back", campaign("back", enabled=False)), ("back", campaign("back"))) == "back"
    assert running(("back", campaign("back")), ("back", None)) is None
    assert running(("back", None)) is None


def test_every_worker_chooses_the_same_of_several_campaigns() -> None:
    """The first by name, in any order of arrival. When it ends, the next one runs."""
    assert running(("b", campaign("b")), ("a", campaign("a"))) == "a"
    assert running(("a", campaign("a")), ("b", campaign("b"))) == "a"
    assert running(("a", campaign("a")), ("b", campaign("b")), ("a", None)) == "b"


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff", b'{"id":"\xff"}', b"[" * 9_999, b'{"id":"a","arm":{},"x":1}'])
def test_an_invalid_campaign_leaves_the_running_one(raw: bytes) -> None:
    """An invalid record neither stops the worker nor changes the running campaign."""
    assert running(("back", campaign("back")), ("back", raw)) == "back"
    assert running(("new", raw)) is None


def test_an_operator_can_release_the_clock() -> None:
    """The latest release counts. Other keys and tombstones are ignored."""
    harness = GlobalStateHarness()
    harness.receive(topics.META, b"topics", b"{}")
    assert harness.ticker.released_at == NOT_YET
    harness.receive(topics.META, CLOCK_RELEASE_KEY, b"1000.5")
    harness.receive(topics.META, CLOCK_RELEASE_KEY, b"900.0")
    harness.receive(topics.META, CLOCK_RELEASE_KEY, None)
    assert harness.ticker.released_at == 1000.5


def test_the_progress_of_ingest_is_noted() -> None:
    """The last record counts, even if a later ingest has a clock that is behind."""
    harness = GlobalStateHarness()
    assert harness.ticker.ingested == NOT_YET
    for value in (b"1000.5", b"2000.5", b"1500.5"):
        harness.receive(topics.META, INGEST_PROGRESS_KEY, value)
        assert harness.ticker.ingested == float(value)


@pytest.mark.parametrize("word", [b"", b"soon", b"\xff", b"nan", b"inf"])
def test_a_record_without_a_time_is_ignored(word: bytes) -> None:
    """It releases nothing, and does not stop the worker."""
    harness = GlobalStateHarness()
    for key in (CLOCK_RELEASE_KEY, INGEST_PROGRESS_KEY):
        harness.receive(topics.META, key, b"1000.5")
        harness.receive(topics.META, key, word)
    assert (harness.ticker.released_at, harness.ticker.ingested) == (1000.5, 1000.5)


def test_gauges_describe_the_model_in_use() -> None:
    """The labels of the model; 0 if there is none."""
    harness = GlobalStateHarness()

    def gauges() -> dict[str, float]:
        return {sample.name: sample.value for sample in harness.metrics.samples()}

    assert gauges() == {"encore_model_labels": 0.0}
    harness.model(snapshot(5, offset=20))
    assert gauges()["encore_model_labels"] == 5.0
    assert gauges()["encore_model_age_seconds"] >= 0.0
