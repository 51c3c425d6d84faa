"""The world of the moment: the newest model, the campaign that runs, what operators said; and nothing worse."""

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
    """A snapshot that learned from so many rows, written as the trainer writes it."""
    learner, dice = ChurnLearner(), np.random.default_rng(1)
    for _ in range(learned):
        row = dice.normal(size=len(features.NAMES)).astype(np.float32)
        learner.learn(row, bool(row[0] > 0))
    return resealed(learner.snapshot(), **more)


def resealed(known: AnySnapshot, **more: Any) -> bytes:
    """A snapshot with some fields changed to anything, under a checksum that is right."""
    body = msgspec.json.encode({**msgspec.to_builtins(known), **more})
    return msgspec.json.encode(SignedSnapshot(hashlib.sha256(body).hexdigest(), msgspec.Raw(body)))


class Listener:
    """A worker's view of the compacted topics."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.metrics, self.ticker = Metrics(), Ticker(100.0)
        self.newest = GlobalState(settings, self.metrics, self.ticker)

    def hear(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        self.newest.on_record(Record(f"p-{topic}", 0, 0, 0, key, value))

    def model(self, raw: bytes | None) -> None:
        self.hear(topics.SNAPSHOTS, b"churn", raw)

    @property
    def labels(self) -> int | None:
        return self.newest.context.model.labels if self.newest.context.model else None

    def refused(self, reason: str) -> int:
        return self.metrics.value("encore_snapshots_refused_total", reason)


def test_in_the_beginning_there_is_only_what_was_set() -> None:
    """No model, no campaign; the rules and the mode come from the settings."""
    world = Listener().newest.context
    assert (world.model, world.campaign, world.shadow, world.ready) == (None, None, False, False)
    assert world.rules == SETTINGS.rules()
    assert Listener(Settings(mode="shadow")).newest.context.shadow


def test_every_topic_that_is_named_is_read() -> None:
    """With the prefix: models, campaigns, operators' words."""
    assert set(Listener().newest.topics) == {"p-model-snapshots", "p-campaigns", "p-encore-meta"}


def test_a_newer_model_takes_the_place_of_an_older_one() -> None:
    """Newer is: it stands further on in the examples; the same again is fine too."""
    listener = Listener()
    for labels, offset in ((3, 10), (5, 20), (6, 20)):
        listener.model(snapshot(labels, offset=offset))
        assert listener.labels == labels
    assert listener.metrics.value("encore_snapshots_refused_total") == 0


def test_an_older_model_is_refused_and_counted() -> None:
    """A trainer that was frozen and comes back cannot take anybody back in time."""
    listener = Listener()
    listener.model(snapshot(5, offset=20))
    version = listener.newest.context.model.version if listener.newest.context.model else ""
    listener.model(snapshot(3, offset=19))
    assert (listener.labels, listener.refused("older")) == (5, 1)
    assert listener.newest.context.model
    assert listener.newest.context.model.version == version


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
    """Unreadable, changed, of another schema or shape: the one in use stays."""
    listener = Listener()
    listener.model(snapshot(5, offset=20))
    listener.model(raw)
    assert (listener.labels, listener.refused("unreadable")) == (5, 1)


@pytest.mark.parametrize("name", ["line_bias", "labels", "offset", "mean", "line", "squares"])
@pytest.mark.parametrize("word", [None, "much"])
def test_a_model_without_numbers_is_refused(name: str, word: object) -> None:
    """JSON writes what is no number as null: a model that came to that must not reach anybody, nor stop them."""
    listener, many = Listener(), name in ("mean", "line", "squares")
    listener.model(snapshot(5, offset=20))
    listener.model(snapshot(3, **{"offset": 30, name: [word] * len(features.NAMES) if many else word}))
    assert (listener.labels, listener.metrics.value("encore_snapshots_refused_total")) == (5, 1)


def test_a_model_is_not_taken_back() -> None:
    """A deletion on the topic leaves the one that is known."""
    listener = Listener()
    listener.model(snapshot(5, offset=20))
    listener.model(None)
    assert listener.labels == 5


def campaign(name: str, **changes: Any) -> bytes:
    return campaigns.encode_campaign(Campaign(id=name, arm=Arm(name="ten", amount=10.0), version="1", **changes))


def running(*heard: tuple[str, bytes | None]) -> str | None:
    listener = Listener()
    for name, value in heard:
        listener.hear(topics.CAMPAIGNS, name.encode(), value)
    world = listener.newest.context
    return world.campaign.id if world.campaign else None


def test_a_campaign_runs_from_its_word_until_its_end() -> None:
    """Published, changed, paused, ended."""
    assert running(("back", campaign("back"))) == "back"
    assert running(("back", campaign("back")), ("back", campaign("back", enabled=False))) is None
    assert running(("back", campaign("back", enabled=False)), ("back", campaign("back"))) == "back"
    assert running(("back", campaign("back")), ("back", None)) is None
    assert running(("back", None)) is None


def test_of_several_campaigns_every_worker_chooses_the_same() -> None:
    """By name, whatever came first; when it ends, the next one runs."""
    assert running(("b", campaign("b")), ("a", campaign("a"))) == "a"
    assert running(("a", campaign("a")), ("b", campaign("b"))) == "a"
    assert running(("a", campaign("a")), ("b", campaign("b")), ("a", None)) == "b"


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff", b'{"id":"\xff"}', b"[" * 9_999, b'{"id":"a","arm":{},"x":1}'])
def test_a_broken_campaign_leaves_the_one_that_runs(raw: bytes) -> None:
    """Whoever writes nonsense to the topic neither stops the workers nor changes what is sent."""
    assert running(("back", campaign("back")), ("back", raw)) == "back"
    assert running(("new", raw)) is None


def test_an_operators_word_lets_the_clock_go_on() -> None:
    """The latest release counts; other words, and words taken back, do not matter."""
    listener = Listener()
    listener.hear(topics.META, b"topics", b"{}")
    assert listener.ticker.released_at == NOT_YET
    listener.hear(topics.META, CLOCK_RELEASE_KEY, b"1000.5")
    listener.hear(topics.META, CLOCK_RELEASE_KEY, b"900.0")
    listener.hear(topics.META, CLOCK_RELEASE_KEY, None)
    assert listener.ticker.released_at == 1000.5


def test_ingest_says_how_far_it_is() -> None:
    """Its last word counts, also where a later ingest's clock is behind an earlier one's."""
    listener = Listener()
    assert listener.ticker.ingested == NOT_YET
    for said in (b"1000.5", b"2000.5", b"1500.5"):
        listener.hear(topics.META, INGEST_PROGRESS_KEY, said)
        assert listener.ticker.ingested == float(said)


@pytest.mark.parametrize("word", [b"", b"soon", b"\xff", b"nan", b"inf"])
def test_a_word_that_is_no_time_is_passed_over(word: bytes) -> None:
    """It lets nothing go on, and stops nobody."""
    listener = Listener()
    for key in (CLOCK_RELEASE_KEY, INGEST_PROGRESS_KEY):
        listener.hear(topics.META, key, b"1000.5")
        listener.hear(topics.META, key, word)
    assert (listener.ticker.released_at, listener.ticker.ingested) == (1000.5, 1000.5)


def test_figures_say_what_is_in_use() -> None:
    """Labels of the model, 0 before there is one."""
    listener = Listener()

    def shown() -> dict[str, float]:
        return {sample.name: sample.value for sample in listener.metrics.samples()}

    assert shown() == {"encore_model_labels": 0.0}
    listener.model(snapshot(5, offset=20))
    assert shown()["encore_model_labels"] == 5.0
    assert shown()["encore_model_age_seconds"] >= 0.0
