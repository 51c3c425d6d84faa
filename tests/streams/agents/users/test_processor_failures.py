"""Failures, expired outputs, shadow mode and erasure in the log processor."""

from typing import Any

import msgspec
import pytest

from models.offers.campaign import Arm
from models.person.activity import DAY
from models.person.rules import Rules
from models.retention.context import Context
from models.schema import events as ev
from models.schema.outputs import Undelivered
from streams.agents.users.failures import TooManyFailures
from streams.agents.users.store import TOMBSTONE
from streams.kafka import topics
from tests.models.people import HOUR, NOON, make_campaign, make_context, make_model
from tests.streams.doubles import Put, Record
from tests.streams.processor_harness import ProcessorHarness, SentOutput, record, unerased_keys

RISKY = make_context(
    model=make_model(0.0, 3.0), campaign=make_campaign(arm=Arm(name="ten", amount=10.0, valid_days=1.0))
)


class Defect:
    """A model that fails for the n-th row if `fails[n]`; the last element counts for all later rows.

    It always fails for several rows together.
    """

    version, labels = "defect-1", 1_000

    def __init__(self, *fails: bool) -> None:
        self.fails = fails
        self.asked = 0

    def raw_probabilities(self, rows: Any) -> list[float]:
        if len(rows) > 1:
            raise ZeroDivisionError("a defect somewhere")
        self.asked += 1
        if self.fails[min(self.asked, len(self.fails)) - 1]:
            raise ZeroDivisionError("a defect")
        return [0.1]

    def recalibrate(self, plain: list[float]) -> list[float]:
        return plain


def defective(*fails: bool) -> Context:
    return make_context(model=Defect(*fails))


def login(number: int, user: str = "Ada", at: float = NOON) -> ev.Login:
    return ev.Login(id=f"{user}-{number}", user_id=user, time=at + number)


def headers(put: Put) -> dict[str, bytes]:
    return dict(put.headers or ())


def dead_letters(harness: ProcessorHarness) -> list[Put]:
    return harness.sink.on(topics.DEAD_LETTERS)


def test_a_failed_step_is_a_dead_letter_and_the_log_continues() -> None:
    """The record counts as applied, and a repeat is a duplicate. The user's state stays, and the next event counts."""
    harness = ProcessorHarness(context=defective(True, False), max_failures=2)
    log = [record(login(0), 0, ("in", 0, 3)), record(login(1, at=NOON + DAY), 1, ("in", 0, 4))]
    harness.process(*log)
    (dead_letter,) = dead_letters(harness)
    assert (headers(dead_letter)["reason"], dead_letter.value) == (b"failed", log[0].value)
    assert b"a defect" in headers(dead_letter)["detail"]
    envelope = harness.users.get(b"Ada")
    assert (envelope.person.activity.events, envelope.offset, envelope.origins) == (1, 1, {"in/0": 4})
    assert harness.count("encore_failures_total", "step") == 1
    harness.process(*log)
    assert (len(dead_letters(harness)), harness.accounted_records()) == (1, 4)


def test_failures_of_many_users_in_a_row_stop_the_worker() -> None:
    """The last one raises, with its cause. One fewer does not."""
    harness = ProcessorHarness(context=defective(True), max_failures=3)
    harness.process(record(login(0), 0), record(login(1, "Bea"), 1))
    with pytest.raises(TooManyFailures, match=r"3 defects in a row.*a defect"):
        harness.process(record(login(2, "Cyd"), 2))


def test_failures_of_one_user_do_not_stop_the_worker() -> None:
    """However many of the user's events are in a chunk: otherwise all other users would stop too."""
    harness = ProcessorHarness(context=defective(True), max_failures=2)
    harness.process(*(record(login(n), n) for n in range(30)))
    assert len(dead_letters(harness)) == 30


def test_failures_that_are_not_in_a_row_do_not_stop_the_worker() -> None:
    """A success in between resets the count."""
    harness = ProcessorHarness(context=defective(*(True, True, False) * 5), max_failures=3)
    harness.process(*(record(login(n, f"u{n}"), n) for n in range(15)))
    assert (len(dead_letters(harness)), harness.count("encore_events_total", "applied")) == (10, 5)


def add_due_users(harness: ProcessorHarness, size: int) -> None:
    """Add users users timers are all due."""
    harness.context = make_context(model=make_model(0.0, -9.0))
    harness.process(*(record(login(n, f"u{n}"), n) for n in range(size)))
    harness.process(record(ev.Tick(time=NOON + DAY + 2 * HOUR), size))


def test_a_failed_timer_is_a_dead_letter_and_the_user_continues() -> None:
    """The dead letter has the user's key and no record. The next timer scores again. Other users continue."""
    harness = ProcessorHarness(max_failures=2)
    add_due_users(harness, 2)
    harness.context = defective(True, False)
    harness.run_timers()
    (dead_letter,) = dead_letters(harness)
    assert (headers(dead_letter)["reason"], dead_letter.value) == (b"due_failed", b"")
    assert headers(dead_letter)["key"].decode() in {"u0", "u1"}
    assert headers(dead_letter)["key"] not in (dead_letter.key or b"")
    assert harness.count("encore_failures_total", "wake") == 1
    persons = [harness.users.get(key).person for key in (b"u0", b"u1")]
    assert all(NOON + DAY < person.ledger.grid < NOON + 3 * DAY for person in persons)
    assert sorted(person.ledger.scored_at > NOON + 60 for person in persons) == [False, True]
    assert harness.accounted_records() == 3


def test_timers_that_fail_for_all_users_stop_the_worker() -> None:
    """As with events: many in a row, and no further dead letters."""
    harness = ProcessorHarness(max_failures=3)
    add_due_users(harness, 9)
    harness.context = defective(True)
    with pytest.raises(TooManyFailures):
        harness.run_timers()
    assert len(dead_letters(harness)) <= 3


def test_timers_that_fail_for_some_users_do_not_stop_the_worker() -> None:
    """A success in between resets the count, also without any event."""
    harness = ProcessorHarness(max_failures=3)
    add_due_users(harness, 20)
    harness.context = defective(*(True, False) * 10)
    harness.run_timers()
    assert len(dead_letters(harness)) == 10


def run_offer(**changes: Any) -> tuple[ProcessorHarness, list[SentOutput]]:
    """Run a user at high risk with a coupon until the offer has expired."""
    wall = changes.pop("wall", 0.0)
    harness = ProcessorHarness(context=changes.pop("context", RISKY), **changes)
    harness.clock.at = wall
    harness.process(record(login(0), 0), record(ev.Tick(time=NOON + 3 * DAY), 1))
    harness.run_timers()
    harness.commit_all()
    return harness, harness.outputs


def test_shadow_mode_sends_no_alerts_and_triggers() -> None:
    """Decisions, profiles and examples are written. Alerts and triggers are neither sent nor stored."""
    _, outputs = run_offer()
    shadow, shadow_outputs = run_offer(mode="shadow", context=msgspec.structs.replace(RISKY, shadow=True))
    acts = {topics.ALERTS, topics.TRIGGERS}
    assert acts < {each.topic for each in outputs}
    assert acts.isdisjoint(each.topic for each in shadow_outputs)
    decided = [(each.topic, each.id) for each in shadow_outputs if each.topic == topics.DECISIONS]
    assert decided
    assert set(decided) <= {(each.topic, each.id) for each in outputs}
    assert b'"shadow"' in b"".join(each.value or b"" for each in shadow_outputs)
    assert shadow.users.get(b"Ada").outbox == ()


def test_an_expired_output_becomes_a_notice_and_changes_nothing_else() -> None:
    """After an outage: one notice with the same id per alert and trigger. Users and other outputs are the same."""
    live, outputs = run_offer()
    late, late_sent = run_offer(wall=NOON + 99 * DAY)
    assert late.envelopes == live.envelopes
    acts = {topics.ALERTS, topics.TRIGGERS}
    expired = {(each.id, each.topic) for each in outputs if each.topic in acts}
    notices = [msgspec.json.decode(each.value or b"") for each in late_sent if b'"undelivered"' in (each.value or b"")]
    assert {(notice["id"], notice["topic"]) for notice in notices} == expired
    assert len(expired) == len(notices) == late.count("encore_undelivered_total") >= 2
    notified = {msgspec.convert(notice, Undelivered).user for notice in notices}
    assert notified == {
        msgspec.json.decode(each.value or b"")["user"] for each in outputs if each.topic == topics.DECISIONS
    }
    rest = [each for each in late_sent if b'"undelivered"' not in (each.value or b"")]
    assert rest == [each for each in outputs if each.topic not in acts]


ERASURE = ev.ErasureRequested(id="gone", user_id="Ada", time=NOON + 4 * DAY)


def erased_user(offset: int = 2, wall: float = 0.0) -> ProcessorHarness:
    harness, _ = run_offer(wall=wall)
    harness.process(record(ERASURE, offset, ("in", 0, 9)))
    harness.commit_all()
    return harness


def test_an_erasure_deletes_the_profile_and_leaves_no_user_id() -> None:
    """The last outputs are deletions. No value in the changelog contains the id."""
    harness = erased_user()
    assert harness.outputs[-2:] == [
        SentOutput(topics.PROFILES, "Ada", None),
        SentOutput(topics.RECOMMENDATIONS, "Ada", None),
    ]
    assert unerased_keys(harness.users.cold) == []
    kept = dict(harness.changelog)
    left = {key: value for key, value in kept.items() if value is not None}
    assert all(b"Ada" not in key + value for key, value in left.items())
    assert (kept[b"Ada"], sum(key.startswith(TOMBSTONE) for key in left)) == (None, 1)
    assert harness.count("encore_erasures_total") == 1


@pytest.mark.parametrize("restarted", [True, False])
def test_events_before_an_erasure_do_not_restore_the_user(restarted: bool) -> None:
    """Replayed records, old events in new records, and repeats of ingest are all duplicates or erased."""
    harness = erased_user()
    harness = ProcessorHarness(harness.changelog, context=RISKY) if restarted else harness
    sent_before = len(harness.outputs)
    harness.process(
        record(login(0), 0),
        record(ERASURE, 2),
        record(login(0, at=NOON + DAY), 3),
        record(ERASURE, 4, ("in", 0, 9)),
        record(ERASURE, 5),
        record(ev.Tick(time=NOON + 90 * DAY), 6),
    )
    harness.run_timers()
    harness.commit_all()
    assert unerased_keys(harness.users.cold) == []
    assert len(harness.outputs) == sent_before
    assert harness.count("encore_events_total", "erased") == 2


def test_a_user_who_returns_after_an_erasure_is_new() -> None:
    """The user has their own key again, and nothing from before but the offsets."""
    harness = erased_user()
    harness.process(record(login(0, at=NOON + 5 * DAY), 3))
    harness.commit_all()
    envelope = ProcessorHarness(harness.changelog).users.get(b"Ada")
    assert (envelope.person.id, envelope.person.activity.events, envelope.offset) == ("Ada", 1, 3)
    assert envelope.person.activity.first == NOON + 5 * DAY
    assert envelope.origins == {"in/0": 9}


def test_two_users_erased_by_events_with_one_id_are_both_deleted() -> None:
    """A platform may number its events per user."""
    harness, names = ProcessorHarness(), ("Ada", "Bob")
    harness.process(*(record(ev.ErasureRequested(id="1", user_id=name, time=NOON), n) for n, name in enumerate(names)))
    harness.commit_all()
    deleted = (topics.PROFILES, topics.RECOMMENDATIONS)
    assert sorted(harness.outputs) == sorted(SentOutput(topic, name, None) for name in names for topic in deleted)


def test_the_erasure_of_an_unknown_user_is_stored() -> None:
    """The user's events may come later, from a slower source."""
    harness = ProcessorHarness()
    harness.process(record(ERASURE, 0), record(login(0), 1))
    harness.commit_all()
    assert unerased_keys(harness.users.cold) == []
    assert harness.count("encore_events_total", "erased") == 1


def test_a_dead_letter_does_not_depend_on_the_rules() -> None:
    """Even a user without active kinds of events is stored with the offset."""
    harness = ProcessorHarness(
        active_kinds=("purchase",), context=make_context(rules=Rules(active_kinds=frozenset({"purchase"})))
    )
    harness.process(record(login(0), 0), Record("events", 0, 1, 0, b"Ada", b"x"))
    harness.commit_all()
    assert (harness.envelopes[b"Ada"].offset, harness.accounted_records()) == (0, 2)
