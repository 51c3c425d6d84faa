"""A replay says what a worker says: same ids, same contents, same people, and it learns from the past alone."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from models.churn.learner import ChurnLearner
from models.churn.scorer import build_scorer
from models.person.activity import DAY
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from models.schema.outputs import Example
from streams.agents.training.examples import ExampleLearner
from streams.history.replay import Replay
from streams.history.sources import HistoryEntry, UnusableEntry
from streams.kafka import codec, topics
from streams.kafka.topics import partition_of
from streams.metrics import Metrics
from streams.settings import Settings
from tests.models.people import histories, make_campaign, make_model
from tests.streams.doubles import Record
from tests.streams.stations import NIGHTS, Said, Station, record

NAMES = ("Ada", "Bob", "Cyd")
CROWDS = st.tuples(*(histories(max_events=10, max_gap_days=20, user=name) for name in NAMES))
PLAIN = replace(Settings(), clock="source")


class Heard:
    """Notes what a replay says."""

    def __init__(self) -> None:
        self.all: list[Said] = []
        self.letters: list[Mapping[str, bytes]] = []

    def __call__(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        if topic == topics.DEAD_LETTERS:
            self.letters.append(headers)
        else:
            said = msgspec.json.decode(value)["id"] if value is not None else (key or b"").decode()
            self.all.append(Said(topic, said, value))


def played(
    entries: Iterable[HistoryEntry | UnusableEntry], until: float | None = None, chosen: Settings = PLAIN, **given: Any
) -> tuple[Replay, Heard]:
    heard = Heard()

    async def play() -> Replay:
        replay = Replay(chosen, heard, **given)
        await replay.play(entries, until)
        return replay

    return asyncio.run(play()), heard


def in_order(crowd: Iterable[list[ev.Event]]) -> list[HistoryEntry]:
    events = sorted((event for told in crowd for event in told), key=lambda event: event.time)
    return [HistoryEntry(position, event) for position, event in enumerate(events)]


@given(CROWDS)
@settings(max_examples=60, deadline=None)
def test_a_replay_says_what_a_worker_says(crowd: tuple[list[ev.Event], ...]) -> None:
    """With the same model: every output with its id and bytes, and in the end the same people."""
    entries = in_order(crowd)
    end = entries[-1].event.time + 60 * DAY
    station = Station()
    station.apply(*(record(entry.event, entry.position) for entry in entries))
    station.apply(record(ev.Tick(time=end), len(entries)))
    station.drain()
    station.rest()
    replay, heard = played(entries, end, model=NIGHTS.model, campaign=NIGHTS.campaign)
    assert sorted(heard.all) == sorted(station.said)
    assert len(heard.all) == len({(said.topic, said.id) for said in heard.all})
    people = {key: replay.people.get(key).person for key in replay.people.cold}
    assert people == {key: envelope.person for key, envelope in station.known.items()}


@given(CROWDS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_log_is_played_as_it_was(crowd: tuple[list[ev.Event], ...], dice: Random) -> None:
    """With two partitions, each in its own order and time: late events are late, repeats are repeats, ticks tick."""
    told = [event for person in crowd for event in person]
    told.sort(key=lambda event: event.time + dice.choice((0, 0, 0, 2 * DAY)))
    logs: list[list[Record]] = [[], []]
    for number, event in enumerate(told):
        place = partition_of(event.user_id.encode(), 2)
        for _ in range(dice.choice((1, 1, 1, 2))):
            logs[place].append(record(event, len(logs[place]), ("in", 0, number), partition=place))
        if dice.random() < 0.3:
            tick = ev.Tick(time=event.time + dice.uniform(0, 5 * DAY))
            logs[place].append(record(tick, len(logs[place]), partition=place))
    stations = [Station(partition=place, of=2) for place in range(2)]
    for station, log in zip(stations, logs, strict=True):
        station.apply(*log)
        station.drain()
        station.rest()
    heard = Heard()

    async def play() -> Replay:
        replay = Replay(PLAIN, heard, model=NIGHTS.model, campaign=NIGHTS.campaign, partitions=2)
        await replay.play_log(heapq.merge(*logs, key=lambda record: record.timestamp))
        return replay

    replay = asyncio.run(play())
    assert sorted(heard.all) == sorted(said for station in stations for said in station.said)
    for station, fold in zip(stations, replay.folds, strict=True):
        people = {key: fold.people.get(key).person for key in fold.people.cold}
        assert people == {key: envelope.person for key, envelope in station.known.items()}


@given(CROWDS, st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_people_that_do_not_fit_are_put_aside(crowd: tuple[list[ev.Event], ...], hot: int) -> None:
    """However few are held decoded, the same is said."""
    entries = in_order(crowd)
    given = {"model": make_model(), "campaign": make_campaign()}
    _, all_hot = played(entries, **given)
    _, few_hot = played(entries, chosen=replace(PLAIN, cached_users=hot), **given)
    assert sorted(few_hot.all) == sorted(all_hot.all)


def labelled(heard: Heard) -> list[Example]:
    """The labelled rows among what a replay said."""
    lessons = [codec.decode_example(said.value or b"") for said in heard.all if said.topic == topics.EXAMPLES]
    return [lesson for lesson in lessons if isinstance(lesson, Example)]


def regulars(people: int = 12, days: int = 90) -> list[HistoryEntry]:
    """People who come every day, every other day, and so on; every third one stops half-way."""
    told = [
        ev.Login(id=f"{who}-{day}", user_id=f"u{who}", time=19_000 * DAY + day * DAY + who * 997.0)
        for who in range(people)
        for day in range(0, days // 2 if who % 3 == 0 else days, 1 + who % 4)
    ]
    return in_order([told])


def test_what_is_learned_is_scored_with_from_then_on() -> None:
    """Examples come at their maturity; scores name the model that learned from all labels out by then, no later one."""
    learner = ChurnLearner()
    replay, heard = played(regulars(), learner=learner, chosen=replace(PLAIN, labels_needed=20))
    examples = labelled(heard)
    assert learner.labels == len(examples) > 100
    assert (examples[0].model, examples[-1].model != "prior") == ("prior", True)
    again = ChurnLearner()
    pupil, known = ExampleLearner(again, Metrics()), {"prior"}
    for said in heard.all:
        if said.topic == topics.EXAMPLES:
            lesson = codec.decode_example(said.value or b"")
            assert not isinstance(lesson, Example) or lesson.model in known
            pupil.process_record(said.value)
            known.add(build_scorer(again.snapshot()).version)
    assert replay.world.model is not None
    assert replay.world.model.version == build_scorer(learner.snapshot()).version


def test_until_a_model_is_believed_scores_are_the_priors() -> None:
    """They say so: what a model is measured by is what it stated itself."""
    chosen = replace(PLAIN, labels_needed=60)
    _, heard = played(regulars(), learner=ChurnLearner(), chosen=chosen)
    examples = labelled(heard)
    assert {example.probability for example in examples if example.model == "prior"} == {chosen.prior_churn}
    assert chosen.prior_churn not in {example.probability for example in examples if example.model != "prior"}


def test_a_model_that_is_given_stays_without_a_learner() -> None:
    """Frozen: everything is scored with it."""
    _, heard = played(regulars(), model=make_model())
    examples = labelled(heard)
    assert {example.model for example in examples} == {"test-1"}


def test_labels_beyond_the_end_are_not_made_up() -> None:
    """Rows whose horizon has not closed when history ends stay without a label; with `until`, time goes on."""
    entries = regulars()
    end = entries[-1].event.time
    _, short = played(entries, model=make_model())
    _, long = played(entries, end + 30 * DAY, model=make_model())
    times = [example.until for example in labelled(short)]
    assert max(times) <= end
    assert {said.id for said in short.all} < {said.id for said in long.all}


def test_what_is_unusable_is_a_dead_letter_with_its_reason_and_place() -> None:
    """And nothing is lost: in is applied, known already, dead, or of the catalogue."""
    login = ev.Login(id="1", user_id="u", time=19_000 * DAY)
    course = ev.CoursePublished(id="c", course_id="c", time=19_000 * DAY, title="C")
    broken = UnusableEntry(7, b"{", InvalidEvent("malformed", None, "no JSON"))
    replay, heard = played(
        [broken, HistoryEntry(0, login), HistoryEntry(1, course), HistoryEntry(2, login)], names=("some.jsonl",)
    )
    (letter,) = heard.letters
    assert (letter["topic"], letter["offset"], letter["reason"]) == (b"some.jsonl", b"7", b"malformed")
    counted = [replay.metrics.value(name) for name in ("encore_events_total", "encore_duplicates_total")]
    assert counted == [1, 1]


def test_ticks_in_history_move_time() -> None:
    """As they did when it happened: a log that is played again does what was due."""
    login, tick = ev.Login(id="1", user_id="u", time=19_000 * DAY), ev.Tick(time=19_030 * DAY)
    _, quiet = played([HistoryEntry(0, login)], model=make_model())
    _, ticked = played([HistoryEntry(0, login), HistoryEntry(1, tick)], model=make_model())
    examples = [[said for said in heard.all if said.topic == topics.EXAMPLES] for heard in (quiet, ticked)]
    assert (len(examples[0]), len(examples[1]) > 0) == (0, True)


def test_an_id_that_no_worker_takes_is_a_dead_letter() -> None:
    """Such keys are the worker's own; a replay does not take them either."""
    _, heard = played([HistoryEntry(0, ev.Login(id="1", user_id="\0fence", time=19_000 * DAY))])
    (letter,) = heard.letters
    assert (letter["reason"], heard.all) == (b"impossible_value", [])
