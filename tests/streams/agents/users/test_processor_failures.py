"""Defects of ours, old news, shadow and erasure: what the fold does when not everything goes its way."""

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
    """A model that fails at some of the rows it is asked for: at the n-th where `fails[n]`, the last one for ever.

    Of several rows together it knows nothing.
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


def letters(station: ProcessorHarness) -> list[Put]:
    return station.sink.on(topics.DEAD_LETTERS)


def test_a_failing_step_is_buried_with_its_record_and_the_log_goes_on() -> None:
    """The record counts as taken: given again it is known; the person stands as before it, their next event counts."""
    station = ProcessorHarness(context=defective(True, False), max_failures=2)
    log = [record(login(0), 0, ("in", 0, 3)), record(login(1, at=NOON + DAY), 1, ("in", 0, 4))]
    station.process(*log)
    (letter,) = letters(station)
    assert (headers(letter)["reason"], letter.value) == (b"failed", log[0].value)
    assert b"a defect" in headers(letter)["detail"]
    envelope = station.users.get(b"Ada")
    assert (envelope.person.activity.events, envelope.offset, envelope.origins) == (1, 1, {"in/0": 4})
    assert station.count("encore_failures_total", "step") == 1
    station.process(*log)
    assert (len(letters(station)), station.accounted_records()) == (1, 4)


def test_defects_of_so_many_people_in_a_row_stop_the_worker() -> None:
    """The last of them raises, with its cause; one fewer does not."""
    station = ProcessorHarness(context=defective(True), max_failures=3)
    station.process(record(login(0), 0), record(login(1, "Bea"), 1))
    with pytest.raises(TooManyFailures, match=r"3 defects in a row.*a defect"):
        station.process(record(login(2, "Cyd"), 2))


def test_defects_of_one_person_do_not_stop_the_worker() -> None:
    """However many of their events are in a chunk: everybody else's time would stand still with theirs."""
    station = ProcessorHarness(context=defective(True), max_failures=2)
    station.process(*(record(login(n), n) for n in range(30)))
    assert len(letters(station)) == 30


def test_defects_that_are_not_in_a_row_do_not_stop_the_worker() -> None:
    """An event that succeeds in between begins the count anew."""
    station = ProcessorHarness(context=defective(*(True, True, False) * 5), max_failures=3)
    station.process(*(record(login(n, f"u{n}"), n) for n in range(15)))
    assert (len(letters(station)), station.count("encore_events_total", "applied")) == (10, 5)


def crowd(station: ProcessorHarness, size: int) -> None:
    """People who are known, and all due."""
    station.context = make_context(model=make_model(0.0, -9.0))
    station.process(*(record(login(n, f"u{n}"), n) for n in range(size)))
    station.process(record(ev.Tick(time=NOON + DAY + 2 * HOUR), size))


def test_due_work_that_fails_is_mourned_and_the_persons_time_goes_on() -> None:
    """A letter with the person's key and no record; the next grid time is asked again; the others are not held up."""
    station = ProcessorHarness(max_failures=2)
    crowd(station, 2)
    station.context = defective(True, False)
    station.run_timers()
    (letter,) = letters(station)
    assert (headers(letter)["reason"], letter.value) == (b"due_failed", b"")
    assert headers(letter)["key"].decode() in {"u0", "u1"}
    assert headers(letter)["key"] not in (letter.key or b"")
    assert station.count("encore_failures_total", "wake") == 1
    people = [station.users.get(key).person for key in (b"u0", b"u1")]
    assert all(NOON + DAY < person.ledger.grid < NOON + 3 * DAY for person in people)
    assert sorted(person.ledger.scored_at > NOON + 60 for person in people) == [False, True]
    assert station.accounted_records() == 3


def test_due_work_that_fails_for_everybody_stops_the_worker() -> None:
    """As with events: so many in a row, and nothing more is buried."""
    station = ProcessorHarness(max_failures=3)
    crowd(station, 9)
    station.context = defective(True)
    with pytest.raises(TooManyFailures):
        station.run_timers()
    assert len(letters(station)) <= 3


def test_due_work_that_fails_for_some_does_not_stop_the_worker() -> None:
    """Work that succeeds in between begins the count anew, also where no event comes for a night."""
    station = ProcessorHarness(max_failures=3)
    crowd(station, 20)
    station.context = defective(*(True, False) * 10)
    station.run_timers()
    assert len(letters(station)) == 10


def stories(**changes: Any) -> tuple[ProcessorHarness, list[SentOutput]]:
    """A person at high risk, coupon and all, until the offer has expired."""
    wall = changes.pop("wall", 0.0)
    station = ProcessorHarness(context=changes.pop("context", RISKY), **changes)
    station.clock.at = wall
    station.process(record(login(0), 0), record(ev.Tick(time=NOON + 3 * DAY), 1))
    station.run_timers()
    station.commit_all()
    return station, station.outputs


def test_in_shadow_nothing_leaves_but_what_was_decided() -> None:
    """Decisions, profiles and examples are written; alerts and triggers are not, nor kept."""
    _, said = stories()
    shadow, watched = stories(mode="shadow", context=msgspec.structs.replace(RISKY, shadow=True))
    acts = {topics.ALERTS, topics.TRIGGERS}
    assert acts < {each.topic for each in said}
    assert acts.isdisjoint(each.topic for each in watched)
    decided = [(each.topic, each.id) for each in watched if each.topic == topics.DECISIONS]
    assert decided
    assert set(decided) <= {(each.topic, each.id) for each in said}
    assert b'"shadow"' in b"".join(each.value or b"" for each in watched)
    assert shadow.users.get(b"Ada").outbox == ()


def test_old_news_is_not_sent_and_changes_nothing_else() -> None:
    """After an outage: for each alert and trigger one notice of the same id; people and other outputs are the same."""
    live, said = stories()
    late, told = stories(wall=NOON + 99 * DAY)
    assert late.envelopes == live.envelopes
    acts = {topics.ALERTS, topics.TRIGGERS}
    news = {(each.id, each.topic) for each in said if each.topic in acts}
    notices = [msgspec.json.decode(each.value or b"") for each in told if b'"undelivered"' in (each.value or b"")]
    assert {(notice["id"], notice["topic"]) for notice in notices} == news
    assert len(news) == len(notices) == late.count("encore_undelivered_total") >= 2
    whose = {msgspec.convert(notice, Undelivered).user for notice in notices}
    assert whose == {msgspec.json.decode(each.value or b"")["user"] for each in said if each.topic == topics.DECISIONS}
    rest = [each for each in told if b'"undelivered"' not in (each.value or b"")]
    assert rest == [each for each in said if each.topic not in acts]


ERASURE = ev.ErasureRequested(id="gone", user_id="Ada", time=NOON + 4 * DAY)


def forgotten(offset: int = 2, wall: float = 0.0) -> ProcessorHarness:
    station, _ = stories(wall=wall)
    station.process(record(ERASURE, offset, ("in", 0, 9)))
    station.commit_all()
    return station


def test_an_erasure_takes_back_the_profile_and_leaves_no_name() -> None:
    """Deletions are the last words; in all that the changelog keeps, the id is nowhere."""
    station = forgotten()
    assert station.outputs[-2:] == [
        SentOutput(topics.PROFILES, "Ada", None),
        SentOutput(topics.RECOMMENDATIONS, "Ada", None),
    ]
    assert unerased_keys(station.users.cold) == []
    kept = dict(station.changelog)
    left = {key: value for key, value in kept.items() if value is not None}
    assert all(b"Ada" not in key + value for key, value in left.items())
    assert (kept[b"Ada"], sum(key.startswith(TOMBSTONE) for key in left)) == (None, 1)
    assert station.count("encore_erasures_total") == 1


@pytest.mark.parametrize("restarted", [True, False])
def test_what_was_before_an_erasure_does_not_raise_the_person(restarted: bool) -> None:
    """The log again, a platform that sends old events anew, what ingest repeats: all of it is known or erased."""
    station = forgotten()
    station = ProcessorHarness(station.changelog, context=RISKY) if restarted else station
    heard = len(station.outputs)
    station.process(
        record(login(0), 0),
        record(ERASURE, 2),
        record(login(0, at=NOON + DAY), 3),
        record(ERASURE, 4, ("in", 0, 9)),
        record(ERASURE, 5),
        record(ev.Tick(time=NOON + 90 * DAY), 6),
    )
    station.run_timers()
    station.commit_all()
    assert unerased_keys(station.users.cold) == []
    assert len(station.outputs) == heard
    assert station.count("encore_events_total", "erased") == 2


def test_a_person_who_comes_back_after_an_erasure_is_somebody_new() -> None:
    """Under their own key, with nothing of before but the offsets."""
    station = forgotten()
    station.process(record(login(0, at=NOON + 5 * DAY), 3))
    station.commit_all()
    envelope = ProcessorHarness(station.changelog).users.get(b"Ada")
    assert (envelope.person.id, envelope.person.activity.events, envelope.offset) == ("Ada", 1, 3)
    assert envelope.person.activity.first == NOON + 5 * DAY
    assert envelope.origins == {"in/0": 9}


def test_two_people_who_are_erased_by_events_of_one_name_are_both_taken_back() -> None:
    """A platform may number its events by person."""
    station, names = ProcessorHarness(), ("Ada", "Bob")
    station.process(*(record(ev.ErasureRequested(id="1", user_id=name, time=NOON), n) for n, name in enumerate(names)))
    station.commit_all()
    taken_back = (topics.PROFILES, topics.RECOMMENDATIONS)
    assert sorted(station.outputs) == sorted(SentOutput(topic, name, None) for name in names for topic in taken_back)


def test_an_erasure_of_somebody_unknown_is_kept_too() -> None:
    """Their events may come later, out of a slower source."""
    station = ProcessorHarness()
    station.process(record(ERASURE, 0), record(login(0), 1))
    station.commit_all()
    assert unerased_keys(station.users.cold) == []
    assert station.count("encore_events_total", "erased") == 1


def test_rules_have_no_say_in_what_is_buried() -> None:
    """Even a person whom nobody asks about (no kind counts as active) is kept with their offsets."""
    station = ProcessorHarness(
        active_kinds=("purchase",), context=make_context(rules=Rules(active_kinds=frozenset({"purchase"})))
    )
    station.process(record(login(0), 0), Record("events", 0, 1, 0, b"Ada", b"x"))
    station.commit_all()
    assert (station.envelopes[b"Ada"].offset, station.accounted_records()) == (0, 2)
