"""A stage for delivery tests: Encore's topics on a real broker, workers as processes, and what ought to come out.

What ought to come out is worked out without any of `streams`: for each person, their events in order through
`retention.wake` and `retention.step` (`Reference`). What did come out is read from the topics (`Scribe`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from math import nextafter
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Self

import aiokafka
import msgspec
import orjson
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from models import churn, features, retention
from models import events as ev
from models.activity import DAY
from models.churn import Learner
from models.offers import Arm, Campaign
from models.outputs import Example, Forgotten, Output
from models.person import Person, next_due
from models.rules import Rules
from models.world import World
from streams import admin, codec, topics
from streams import envelope as env
from streams import settings as settings_
from streams.people import People
from streams.settings import Settings
from streams.topics import partition_of
from tests.brokers import Kafka, free_port

CHECKOUT = Path(__file__).parents[2]
START = 1_760_000_000.0
"""When the histories begin, in event time: long past, so that no event lies beyond its record's log time."""
END = START + 5 * DAY
"""When they are over, and everything that was due has been done."""
HOUR = 3_600.0
PARTITIONS = 4
PATIENCE = 120.0
"""A bound for waiting: it only turns a hang into a failure."""
LAST_WORDS = 45.0
"""A worker that is told to end has two deadlines of 20 s: for what reads and for what writes."""
LEARNING, PURCHASES = "learning-events", "purchase-events"
OUT = (topics.ALERTS, topics.TRIGGERS, topics.DECISIONS, topics.EXAMPLES, topics.PROFILES)
SETTINGS = {
    "ENCORE_PARTITIONS": str(PARTITIONS),
    "ENCORE_INPUTS": f"{LEARNING},{PURCHASES}",
    "ENCORE_CLOCK": "source",
    "ENCORE_EXPIRY": "log",
    "ENCORE_AGENTS": "ingest,users",
    "ENCORE_HORIZON": "1d",
    "ENCORE_LOOKBACK": "2d",
    "ENCORE_WAKE_EVERY": "6h",
    "ENCORE_DWELL": "0s",
    "ENCORE_ALERT_LASTS": "3650d",
    "ENCORE_LABELS_NEEDED": "1",
    "ENCORE_SESSION_TIMEOUT": "6s",
}
CAMPAIGN = Campaign(
    id="spring",
    arm=Arm(name="tenner", amount=10.0, valid_days=0.5),
    cap_per_person=5,
    cool_down_days=0.5,
    contact_cool_down_days=0.25,
    hold_out=0.2,
    needs_consent=False,
    quiet_from=0.0,
    quiet_until=0.0,
    version="1",
)

Outputs = dict[str, dict[str, set[bytes]]]


# -- histories --------------------------------------------------------------------------------------------------------


class Sent(NamedTuple):
    """An event and the input topic it comes in through."""

    event: ev.Event
    topic: str


def history(people: int, days: float = 3.0, seed: int = 1) -> list[Sent]:
    """Return what people do within some days, in order of time: busy at first, later silent for a while or for good.

    Two events of a person are further apart than half an hour, the bound within which topics may drift by default.
    Every twentieth event comes twice, as collectors repeat them; every fiftieth person asks to be forgotten.
    """
    rng = Random(seed)
    sent = [one for number in range(people) for one in _life(number, days, rng)]
    return sorted(sent, key=lambda one: one.event.time)


def by_person(sent: list[Sent]) -> list[Sent]:
    """Return a history in which all events of a person come in through one topic."""
    return [Sent(one.event, (LEARNING, PURCHASES)[one.event.user_id.endswith(("1", "2", "3"))]) for one in sent]


def _life(number: int, days: float, rng: Random) -> list[Sent]:
    user, pace = f"person-{number}", rng.uniform(1.2, 8.0) * HOUR
    at, until, sent = rng.uniform(0, DAY), days * DAY * rng.choice((0.35, 0.6, 1.0, 1.0)), list[Sent]()
    while at < until:
        deed = _deed({"id": f"{user}-{len(sent)}", "user_id": user, "time": START + round(at, 3)}, rng)
        sent += [deed] * (2 if rng.random() < 0.05 else 1)
        at += max(0.75 * HOUR, rng.expovariate(1 / pace)) + (rng.random() < 0.04) * rng.uniform(0.5, 1.2) * DAY
    if number % 50 == 7:
        told: dict[str, Any] = {"id": f"{user}-erase", "user_id": user, "time": START + round(at, 3)}
        sent.append(Sent(ev.ErasureRequested(**told), LEARNING))
    return sent


def _deed(told: dict[str, Any], rng: Random) -> Sent:
    kind, course = rng.random(), f"course-{rng.randrange(3)}"
    if kind < 0.08:
        return Sent(ev.Purchase(**told, amount=round(rng.uniform(5, 90), 2)), PURCHASES)
    if kind < 0.10:
        return Sent(ev.ConsentGiven(**told), PURCHASES)
    if kind < 0.13:
        return Sent(ev.CourseCompleted(**told, course_id=course), LEARNING)
    if kind < 0.40:
        return Sent(ev.Login(**told), LEARNING)
    progress, minutes = round(rng.random() * 0.9, 2), round(rng.uniform(1, 60), 1)
    return Sent(ev.LessonProgress(**told, course_id=course, progress=progress, minutes=minutes), LEARNING)


def slices(sent: list[Sent], seconds: float) -> list[list[Sent]]:
    """Cut a history into pieces of so many seconds of event time."""
    cut: dict[int, list[Sent]] = defaultdict(list)
    for one in sent:
        cut[int((one.event.time - START) // seconds)].append(one)
    return [cut[number] for number in sorted(cut)]


# -- what ought to come out -------------------------------------------------------------------------------------------


class Reference(NamedTuple):
    """The people and outputs of an undisturbed run, by the two functions of `models.retention` alone."""

    people: dict[str, Person]
    outputs: Outputs
    rules: Rules

    @classmethod
    def of(cls, sent: Iterable[Sent], world: World, until: float) -> Reference:
        """Work it out for a history, up to a last tick."""
        by_user: dict[str, list[ev.Event]] = defaultdict(list)
        for one in sent:
            by_user[one.event.user_id].append(one.event)
        people, outputs = {}, {topic: defaultdict(set) for topic in OUT}
        for user, events in by_user.items():
            people[user], said = lived(user, events, world, until)
            for output in said:
                if not isinstance(output, Forgotten):
                    outputs[codec.address(output)[0]][output.id].add(codec.written(output) or b"")
        return cls(people, {topic: dict(by_id) for topic, by_id in outputs.items()}, world.rules)


def lived(user: str, events: Iterable[ev.Event], world: World, until: float) -> tuple[Person, list[Output]]:
    """Take a person through their events and, as it falls due in between, through time."""
    person, said = Person(user), list[Output]()
    for event in events:
        person, more = _woken(person, nextafter(event.time, 0.0), world)
        moved = retention.step(person, event, world)
        person, said = moved.person, [*said, *more, *moved.outputs]
        if not person.id:  # forgotten: whoever comes back under the same name is somebody new
            person = msgspec.structs.replace(person, id=user)
    person, more = _woken(person, until - world.rules.lateness, world)
    return person, said + more


def _woken(person: Person, until: float, world: World) -> tuple[Person, list[Output]]:
    said = list[Output]()
    while (due := next_due(person, world.rules)) <= until:
        moved = retention.wake(person, due, world)
        person, said = moved.person, [*said, *moved.outputs]
    return person, said


@cache
def frozen_model(horizon: float) -> bytes:
    """Return the snapshot of a model that learned from other people's history and learns no more."""
    rules = settings_.load({**SETTINGS, "ENCORE_HORIZON": f"{horizon}s"}).rules()
    learner = Learner()
    for user, events in _by_user(history(80, 6.0, seed=77)).items():
        for output in lived(user, events, World(rules=rules), START + 9 * DAY)[1]:
            if isinstance(output, Example):
                learner.learn(features.array(output.x), output.churned)
    assert learner.labels > 100
    return churn.sealed(learner.snapshot(0))


def _by_user(sent: Iterable[Sent]) -> dict[str, list[ev.Event]]:
    by_user: dict[str, list[ev.Event]] = defaultdict(list)
    for one in sent:
        by_user[one.event.user_id].append(one.event)
    return by_user


# -- what does come out -----------------------------------------------------------------------------------------------


class Scribe:
    """Writes down every committed record of some topics, from a thread of its own; a broker that is away is awaited."""

    def __init__(self, broker: Kafka, prefix: str, wanted: Iterable[str]) -> None:
        self.records: dict[str, list[Any]] = defaultdict(list)
        self._seen: dict[tuple[str, int], int] = {}
        self._broker, self._prefix, self._wanted = broker, prefix, [prefix + topic for topic in wanted]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._write()), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(PATIENCE)

    async def _write(self) -> None:
        while not self._stop.is_set():
            consumer = aiokafka.AIOKafkaConsumer(
                *self._wanted,
                bootstrap_servers=self._broker.bootstrap,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                fetch_max_wait_ms=100,
            )
            with suppress(KafkaError, OSError):
                await consumer.start()
                while not self._stop.is_set():
                    self._note(await consumer.getmany(timeout_ms=100))
            await consumer.stop()

    def _note(self, batches: Mapping[Any, list[Any]]) -> None:
        for place, records in batches.items():
            at = place.topic, place.partition
            fresh = [record for record in records if record.offset > self._seen.get(at, -1)]
            if fresh:
                self._seen[at] = fresh[-1].offset
                self.records[place.topic.removeprefix(self._prefix)] += fresh

    def last(self, topic: str, partition: int) -> int:
        """Return the offset of the last record seen in a partition; -1 before the first."""
        return self._seen.get((self._prefix + topic, partition), -1)

    def people(self, rules: Rules) -> dict[bytes, env.Envelope]:
        """Return people as a recovery finds them in the changelog."""
        partitions: dict[int, People] = {}
        for record in list(self.records[topics.PEOPLE]):
            people = partitions.setdefault(record.partition, People(rules, 1_000_000, _nowhere))
            people.restore(record.key, record.value)
        return {
            key: env.unseal(value)
            for people in partitions.values()
            for key, value in people.cold.items()
            if not key.startswith(b"\0")
        }

    def outputs(self) -> Outputs:
        """Return what was said: by topic and id, every content that went out under it."""
        said: Outputs = {}
        for topic in OUT:
            by_id = said[topic] = defaultdict(set)
            for record in list(self.records[topic]):
                if record.value is not None:
                    by_id[orjson.loads(record.value)["id"]].add(record.value)
        return {topic: dict(by_id) for topic, by_id in said.items()}

    def ingested(self) -> dict[tuple[str, int], int]:
        """Return how far each input partition has come into the log."""
        far: dict[tuple[str, int], int] = {}
        for record in list(self.records[topics.EVENTS]):
            origin = codec.origin_of(record, (self._prefix + LEARNING, self._prefix + PURCHASES))
            if origin is not None:
                source, _, partition = origin[0].removeprefix(self._prefix).rpartition("/")
                far[source, int(partition)] = max(origin[1], far.get((source, int(partition)), -1))
        return far


def _nowhere(key: bytes, value: bytes | None) -> asyncio.Future[Any]:
    raise AssertionError("people are read here, not written")


# -- workers ----------------------------------------------------------------------------------------------------------


class Worker:
    """A worker in a process of its own."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self.port = free_port()
        self.log = folder / f"worker-{self.port}.log"
        command = [sys.executable, "-m", "streams", "worker", "--web-port", str(self.port)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, env=dict(environment), cwd=CHECKOUT, stdout=log, stderr=log)

    def kill(self) -> None:
        """End it as a crash would."""
        self.send(signal.SIGKILL)
        self._process.wait(PATIENCE)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; return its exit code."""
        self.send(number)
        return self._process.wait(LAST_WORDS)

    def send(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def metrics(self) -> dict[str, float]:
        """Return its figures by name with labels; none while its server does not answer."""
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
            return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}
        return {}

    def count(self, name: str) -> float:
        """Return a figure, summed over its labels."""
        return sum(value for key, value in self.metrics().items() if key == name or key.startswith(name + "{"))


# -- the stage --------------------------------------------------------------------------------------------------------


class Stage:
    """Encore on a broker under a prefix of its own: `with Stage(...) as stage`."""

    def __init__(self, broker: Kafka, prefix: str, **changed: str) -> None:
        given = {f"ENCORE_{name.upper()}": value for name, value in changed.items()}
        own = {"ENCORE_BROKER": broker.url, "ENCORE_PREFIX": f"{prefix}-", "ENCORE_GROUP": prefix}
        self.given = {**SETTINGS, **own, **given}
        self.settings: Settings = settings_.load(self.given)
        self.broker = broker
        self.workers: list[Worker] = []
        self._folder = tempfile.TemporaryDirectory(prefix="encore-delivery-")

    def __enter__(self) -> Self:
        admin.create(self.settings)
        snapshot = frozen_model(self.settings.horizon)
        self._publish(topics.SNAPSHOTS, b"churn", snapshot)
        self._publish(topics.CAMPAIGNS, CAMPAIGN.id.encode(), msgspec.json.encode(CAMPAIGN))
        self.world = World(rules=self.rules, model=churn.scorer(churn.opened(snapshot)), campaign=CAMPAIGN)
        self.scribe = Scribe(
            self.broker, self.settings.prefix, (topics.EVENTS, topics.PEOPLE, topics.DEAD_LETTERS, *OUT)
        )
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self.workers:
            if worker.running:
                worker.kill()
        if error[0] is not None:
            print(self.story())
        self.scribe.close()
        self._folder.cleanup()

    @property
    def rules(self) -> Rules:
        """The rules of the settings."""
        return self.settings.rules()

    def worker(self, **changed: str) -> Worker:
        """Start a worker."""
        given = {f"ENCORE_{name.upper()}": value for name, value in changed.items()}
        path = os.environ.get("PYTHONPATH", "")
        environment = {**os.environ, "PYTHONPATH": f"{CHECKOUT}:{path}", **self.given, **given}
        self.workers.append(Worker(environment, Path(self._folder.name)))
        return self.workers[-1]

    def story(self) -> str:
        """Return what the workers wrote to their logs, for a test that failed."""
        return "\n".join(f"--- {worker.log.name}\n{worker.log.read_text()[-4_000:]}" for worker in self.workers)

    # -- sending

    def send(
        self, *pieces: list[Sent], transaction: str | None = None, abort: bool = False
    ) -> dict[tuple[str, int], int]:
        """Send events to their input topics, a person always to one partition, under keys that are not the person's.

        Returns:
            By topic and partition, the offset of the last one.
        """

        async def put(producer: aiokafka.AIOKafkaProducer) -> dict[tuple[str, int], int]:
            sent = [await self._put(producer, one) for piece in pieces for one in piece]
            marks = [await acknowledged for acknowledged in sent]
            return {(mark.topic.removeprefix(self.settings.prefix), mark.partition): mark.offset for mark in marks}

        return asyncio.run(self._produce(put, transaction, abort))

    def tell(
        self, records: Iterable[tuple[int, ev.Event | ev.Tick]], transaction: str | None = None, abort: bool = False
    ) -> None:
        """Write straight into partitions of the log."""

        async def put(producer: aiokafka.AIOKafkaProducer) -> dict[tuple[str, int], int]:
            topic = self.settings.prefix + topics.EVENTS
            for partition, event in records:
                key = event.user_id.encode() if isinstance(event, ev.Event) else None
                await producer.send(topic, ev.encode(event), key=key, partition=partition)
            await producer.flush()
            return {}

        asyncio.run(self._produce(put, transaction, abort))

    def told(self, sent: Iterable[Sent]) -> list[tuple[int, ev.Event | ev.Tick]]:
        """Return events with the partitions of the log in which they belong."""
        return [(partition_of(one.event.user_id.encode(), PARTITIONS), one.event) for one in sent]

    def tick(self, moment: float) -> None:
        """Write a tick into every partition of the log."""
        self.tell([(partition, ev.Tick(time=moment)) for partition in range(PARTITIONS)])

    async def _put(self, producer: aiokafka.AIOKafkaProducer, one: Sent) -> asyncio.Future[Any]:
        key = one.event.user_id.encode()
        place = partition_of(key[::-1], PARTITIONS)
        acknowledged: asyncio.Future[Any] = await producer.send(
            self.settings.prefix + one.topic, ev.encode(one.event), key=b"device of " + key, partition=place
        )
        return acknowledged

    async def _produce(self, put: Callable[[Any], Any], transaction: str | None, abort: bool) -> Any:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self.broker.bootstrap, linger_ms=2, transactional_id=transaction, enable_idempotence=True
        )
        await producer.start()
        try:
            if transaction is None:
                return await put(producer)
            await producer.begin_transaction()
            marks = await put(producer)
            await (producer.abort_transaction() if abort else producer.commit_transaction())
            return marks
        finally:
            await producer.stop()

    def play(self, sent: list[Sent], seconds: float, between: Mapping[int, Callable[[], object]]) -> None:
        """Send a history in slices of event time, never more than two ahead of what has come into the log.

        Args:
            sent: the history.
            seconds: of event time in a slice.
            between: what to do right after a slice was sent, by its number.
        """
        marks: list[dict[tuple[str, int], int]] = []
        for number, piece in enumerate(slices(sent, seconds)):
            marks.append(self.send(piece))
            between.get(number, lambda: None)()
            if number >= 2:
                self.until_ingested(marks[number - 2])
        for mark in marks[-2:]:
            self.until_ingested(mark)

    def _publish(self, topic: str, key: bytes, value: bytes) -> None:
        asyncio.run(admin.publish(self.settings, topic, key, value))

    # -- waiting

    def held(self, worker: Worker, partitions: int) -> None:
        """Wait until a worker holds so many partitions of the log and is ready."""

        def holds() -> bool:
            figures = worker.metrics()
            return figures.get("encore_partitions") == partitions and figures.get("encore_ready") == 1

        self.until(holds, f"{partitions} partitions held")

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}"
            time.sleep(0.05)

    def until_ingested(self, marks: Mapping[tuple[str, int], int]) -> None:
        """Wait until the log has what was sent up to some offsets."""
        self.until(lambda: all(self.scribe.ingested().get(at, -1) >= mark for at, mark in marks.items()), "ingested")

    def until_applied(self) -> None:
        """Wait until the users agents have committed everything that stands in the log."""
        self.until(lambda: self.behind() == 0, "applied and committed")

    def behind(self) -> int:
        """Return how many records of the log, as far as it is seen, the users agents have not committed."""
        committed = asyncio.run(self._committed(self.settings.group, topics.EVENTS))
        return sum(
            max(0, self.scribe.last(topics.EVENTS, place) + 1 - committed.get(place, 0)) for place in range(PARTITIONS)
        )

    async def _committed(self, group: str, topic: str) -> dict[int, int]:
        client = AIOKafkaAdminClient(bootstrap_servers=self.broker.bootstrap)
        await client.start()
        try:
            offsets = await client.list_consumer_group_offsets(group)
        finally:
            await client.close()
        return {
            place.partition: mark.offset
            for place, mark in offsets.items()
            if place.topic == self.settings.prefix + topic
        }

    # -- comparing

    def finish(self, sent: Iterable[Sent], until: float) -> None:
        """Tick a last time, and wait until people and outputs are those of an undisturbed run; then end all workers."""
        self.until_applied()
        self.tick(until)
        self.settle(sent, until)
        for worker in self.workers:
            if worker.running:
                assert worker.stop() == 0
        agree(self.scribe, Reference.of(sent, self.world, until))

    def settle(self, sent: Iterable[Sent], until: float) -> None:
        """Wait until people and outputs are those of an undisturbed run."""
        reference = Reference.of(sent, self.world, until)
        deadline = time.monotonic() + PATIENCE / 2
        while differences(self.scribe, reference) and time.monotonic() < deadline:
            time.sleep(0.3)
        agree(self.scribe, reference)


def agree(scribe: Scribe, reference: Reference) -> None:
    """Assert that people and outputs are those of an undisturbed run."""
    wrong = differences(scribe, reference)
    assert not wrong, f"{len(wrong)} differences, the first:\n" + "\n".join(line[:600] for line in wrong[:12])


def differences(scribe: Scribe, reference: Reference) -> list[str]:
    """Return in words where people and outputs differ from an undisturbed run."""
    found = scribe.people(reference.rules)
    wrong = _unlike(reference.people, found)
    wrong += [f"{key.decode()}: {len(one.outbox)} outputs never left" for key, one in found.items() if one.outbox]
    for topic, said in scribe.outputs().items():
        expected = reference.outputs[topic]
        wrong += [f"{topic}: {name} is missing" for name in expected.keys() - said.keys()]
        wrong += [f"{topic}: {name} should not be: {said[name]!r}" for name in said.keys() - expected.keys()]
        both = said.keys() & expected.keys()
        wrong += [
            f"{topic}: {name} is {said[name]!r}, not {expected[name]!r}"
            for name in both
            if said[name] != expected[name]
        ]
    return wrong


def _changed(name: str, found: object, expected: object) -> list[str]:
    """Return the innermost fields in which two structs differ."""
    if not isinstance(found, msgspec.Struct):
        return [] if found == expected else [f"{name[1:]} is {found!r}, not {expected!r}"]
    fields = found.__struct_fields__
    return [
        one for field in fields for one in _changed(f"{name}.{field}", getattr(found, field), getattr(expected, field))
    ]


def _unlike(people: Mapping[str, Person], found: Mapping[bytes, env.Envelope]) -> list[str]:
    wrong = []
    for user, person in people.items():
        envelope = found.get(user.encode())
        forgotten = person.ledger.erased_at >= 0 and not person.activity.events
        if forgotten != (envelope is None):
            wrong.append(f"{user}: " + ("was not forgotten" if forgotten else "is missing"))
        elif envelope is not None and envelope.person != person:
            wrong.append(f"{user}: " + "; ".join(_changed("", envelope.person, person)))
    return wrong + [f"{key.decode()}: nobody" for key in found if key.decode() not in people]
