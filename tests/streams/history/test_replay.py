"""A replay gives the outputs of a worker: same ids, contents and users; it learns only from the past."""

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
from tests.streams.processor_harness import DEFAULT_CONTEXT, ProcessorHarness, SentOutput, record

NAMES = ("Ada", "Bob", "Cyd")
USERS = st.tuples(*(histories(max_events=10, max_gap_days=20, user=name) for name in NAMES))
PLAIN = replace(Settings(), clock="source")


class RecordedOutputs:
    """Records the outputs of a replay."""

    def __init__(self) -> None:
        self.all: list[SentOutput] = []
        self.dead_letters: list[Mapping[str, bytes]] = []

    def __call__(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        if topic == topics.DEAD_LETTERS:
            self.dead_letters.append(headers)
        else:
            said = msgspec.json.decode(value)["id"] if value is not None else (key or b"").decode()
            self.all.append(SentOutput(topic, said, value))


def run_replay(
    entries: Iterable[HistoryEntry | UnusableEntry], until: float | None = None, chosen: Settings = PLAIN, **given: Any
) -> tuple[Replay, RecordedOutputs]:
    recorded = RecordedOutputs()

    async def play() -> Replay:
        replay = Replay(chosen, recorded, **given)
        await replay.play(entries, until)
        return replay

    return asyncio.run(play()), recorded


def history_entries(users: Iterable[list[ev.Event]]) -> list[HistoryEntry]:
    events = sorted((event for timeline in users for event in timeline), key=lambda event: event.time)
    return [HistoryEntry(position, event) for position, event in enumerate(events)]


@given(USERS)
@settings(max_examples=60, deadline=None)
def test_a_replay_gives_the_outputs_of_a_worker(users: tuple[list[ev.Event], ...]) -> None:
    """With the same model, every output has the same id and bytes, and the final users are the same."""
    entries = history_entries(users)
    end = entries[-1].event.time + 60 * DAY
    station = ProcessorHarness()
    station.process(*(record(entry.event, entry.position) for entry in entries))
    station.process(record(ev.Tick(time=end), len(entries)))
    station.run_timers()
    station.commit_all()
    replay, recorded = run_replay(entries, end, model=DEFAULT_CONTEXT.model, campaign=DEFAULT_CONTEXT.campaign)
    assert sorted(recorded.all) == sorted(station.outputs)
    assert len(recorded.all) == len({(said.topic, said.id) for said in recorded.all})
    people = {key: replay.users.get(key).person for key in replay.users.cold}
    assert people == {key: envelope.person for key, envelope in station.envelopes.items()}


@given(USERS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_replaying_the_log_gives_the_outputs_of_its_workers(users: tuple[list[ev.Event], ...], rng: Random) -> None:
    """Two partitions, each in its own order and time, with late events, duplicates and ticks."""
    timeline = [event for person in users for event in person]
    timeline.sort(key=lambda event: event.time + rng.choice((0, 0, 0, 2 * DAY)))
    logs: list[list[Record]] = [[], []]
    for number, event in enumerate(timeline):
        place = partition_of(event.user_id.encode(), 2)
        for _ in range(rng.choice((1, 1, 1, 2))):
            logs[place].append(record(event, len(logs[place]), ("in", 0, number), partition=place))
        if rng.random() < 0.3:
            tick = ev.Tick(time=event.time + rng.uniform(0, 5 * DAY))
            logs[place].append(record(tick, len(logs[place]), partition=place))
    stations = [ProcessorHarness(partition=place, of=2) for place in range(2)]
    for station, log in zip(stations, logs, strict=True):
        station.process(*log)
        station.run_timers()
        station.commit_all()
    recorded = RecordedOutputs()

    async def play() -> Replay:
        replay = Replay(PLAIN, recorded, model=DEFAULT_CONTEXT.model, campaign=DEFAULT_CONTEXT.campaign, partitions=2)
        await replay.play_log(heapq.merge(*logs, key=lambda record: record.timestamp))
        return replay

    replay = asyncio.run(play())
    assert sorted(recorded.all) == sorted(said for station in stations for said in station.outputs)
    for station, processor in zip(stations, replay.processors, strict=True):
        people = {key: processor.users.get(key).person for key in processor.users.cold}
        assert people == {key: envelope.person for key, envelope in station.envelopes.items()}


@given(USERS, st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_a_small_cache_does_not_change_the_outputs(users: tuple[list[ev.Event], ...], hot: int) -> None:
    """The outputs do not depend on how many users are held decoded."""
    entries = history_entries(users)
    given = {"model": make_model(), "campaign": make_campaign()}
    _, all_hot = run_replay(entries, **given)
    _, few_hot = run_replay(entries, chosen=replace(PLAIN, cached_users=hot), **given)
    assert sorted(few_hot.all) == sorted(all_hot.all)


def labelled(recorded: RecordedOutputs) -> list[Example]:
    """Return the labelled rows among the outputs of a replay."""
    examples = [codec.decode_example(said.value or b"") for said in recorded.all if said.topic == topics.EXAMPLES]
    return [example for example in examples if isinstance(example, Example)]


def regulars(people: int = 12, days: int = 90) -> list[HistoryEntry]:
    """Users who come every day, every second day, and so on; every third user stops half-way."""
    timeline = [
        ev.Login(id=f"{who}-{day}", user_id=f"u{who}", time=19_000 * DAY + day * DAY + who * 997.0)
        for who in range(people)
        for day in range(0, days // 2 if who % 3 == 0 else days, 1 + who % 4)
    ]
    return history_entries([timeline])


def test_scores_use_the_newest_model() -> None:
    """Examples come when they mature. Each score names the model that had learned exactly the labels known by then."""
    learner = ChurnLearner()
    replay, recorded = run_replay(regulars(), learner=learner, chosen=replace(PLAIN, labels_needed=20))
    examples = labelled(recorded)
    assert learner.labels == len(examples) > 100
    assert (examples[0].model, examples[-1].model != "prior") == ("prior", True)
    second_learner = ChurnLearner()
    example_learner, known = ExampleLearner(second_learner, Metrics()), {"prior"}
    for said in recorded.all:
        if said.topic == topics.EXAMPLES:
            example = codec.decode_example(said.value or b"")
            assert not isinstance(example, Example) or example.model in known
            example_learner.process_record(said.value)
            known.add(build_scorer(second_learner.snapshot()).version)
    assert replay.context.model is not None
    assert replay.context.model.version == build_scorer(learner.snapshot()).version


def test_scores_are_the_prior_before_the_model_has_enough_labels() -> None:
    """Examples state the prior, because a model is judged by the scores that it stated itself."""
    chosen = replace(PLAIN, labels_needed=60)
    _, recorded = run_replay(regulars(), learner=ChurnLearner(), chosen=chosen)
    examples = labelled(recorded)
    assert {example.probability for example in examples if example.model == "prior"} == {chosen.prior_churn}
    assert chosen.prior_churn not in {example.probability for example in examples if example.model != "prior"}


def test_a_given_model_does_not_change_without_a_learner() -> None:
    """A frozen model scores everything."""
    _, recorded = run_replay(regulars(), model=make_model())
    examples = labelled(recorded)
    assert {example.model for example in examples} == {"test-1"}


def test_no_label_is_created_beyond_the_end() -> None:
    """A row whose horizon is still open at the end has no label; `until` moves the end."""
    entries = regulars()
    end = entries[-1].event.time
    _, short = run_replay(entries, model=make_model())
    _, long = run_replay(entries, end + 30 * DAY, model=make_model())
    times = [example.until for example in labelled(short)]
    assert max(times) <= end
    assert {said.id for said in short.all} < {said.id for said in long.all}


def test_an_unusable_entry_becomes_a_dead_letter_with_reason_and_place() -> None:
    """Every entry is accounted for: applied, a duplicate, a dead letter, or a catalogue event."""
    login = ev.Login(id="1", user_id="u", time=19_000 * DAY)
    course = ev.CoursePublished(id="c", course_id="c", time=19_000 * DAY, title="C")
    broken = UnusableEntry(7, b"{", InvalidEvent("malformed", None, "no JSON"))
    replay, recorded = run_replay(
        [broken, HistoryEntry(0, login), HistoryEntry(1, course), HistoryEntry(2, login)], names=("some.jsonl",)
    )
    (dead_letter,) = recorded.dead_letters
    assert (dead_letter["topic"], dead_letter["offset"], dead_letter["reason"]) == (b"some.jsonl", b"7", b"malformed")
    counted = [replay.metrics.value(name) for name in ("encore_events_total", "encore_duplicates_total")]
    assert counted == [1, 1]


def test_ticks_in_history_advance_time() -> None:
    """A log that is replayed runs the timers as its ticks did."""
    login, tick = ev.Login(id="1", user_id="u", time=19_000 * DAY), ev.Tick(time=19_030 * DAY)
    _, quiet = run_replay([HistoryEntry(0, login)], model=make_model())
    _, ticked = run_replay([HistoryEntry(0, login), HistoryEntry(1, tick)], model=make_model())
    examples = [[said for said in recorded.all if said.topic == topics.EXAMPLES] for recorded in (quiet, ticked)]
    assert (len(examples[0]), len(examples[1]) > 0) == (0, True)


def test_an_id_that_workers_refuse_is_a_dead_letter() -> None:
    """Such keys are reserved for the worker, so a replay refuses them too."""
    _, recorded = run_replay([HistoryEntry(0, ev.Login(id="1", user_id="\0fence", time=19_000 * DAY))])
    (dead_letter,) = recorded.dead_letters
    assert (dead_letter["reason"], recorded.all) == (b"impossible_value", [])
