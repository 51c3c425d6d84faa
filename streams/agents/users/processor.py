"""The fold: one partition's log applied to its people, record by record, time included.

The result depends on the log alone: a person's due work is done as of its time, before their first event later than
it, or once the clock has passed it by the lateness. Doing it earlier in the background, in slices, gives the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from models.person.ledger import pseudonym
from models.person.person import Person, next_due, timers_unchanged
from models.retention import step as retention
from models.retention.context import Context
from models.retention.recommending import relisted
from models.retention.risk import Score
from models.retention.step import APPLIED, ScoreRequest, Transition
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.agents.users.envelope import Envelope
from streams.agents.users.log_reader import AcceptedEvent, LogReader, Origin
from streams.agents.users.outbox import Outbox
from streams.agents.users.outputs import OutputPacker
from streams.agents.users.store import UserStore
from streams.agents.users.timers import TimerQueue
from streams.clock import PartitionClock, TimeBudget
from streams.delivery.dead_letters import DeadLetterQueue
from streams.kafka.codec import Record
from streams.metrics import Metrics
from streams.settings import Settings

MOST_PARCELS = 100
MOST_ORIGINS = 128
AT_ONCE = 512
"""How many people are scored together when due work is done."""
TOGETHER = 256
"""How many people are written together while a commit is written ahead."""


class TooManyFailures(Exception):
    """So many defects in a row that going on would bury everything."""


class Cause(Struct, frozen=True, gc=False):
    """What moves a person: a record, or else their due work, and of which moment."""

    record: Record | None
    at: float


class PendingScore(Struct, frozen=True, gc=False):
    """A person in the middle of being moved, whose score is asked for: the envelope held, and how far it is."""

    held: Envelope
    envelope: Envelope
    asked: ScoreRequest
    cause: Cause


class ActivityListener(Protocol):
    """Whoever makes recommendations beside the fold, and is told of whom."""

    def used(self, fold: LogProcessor, key: bytes, before: Person, event: ev.Event) -> None:
        """A person's taste changed with an event."""

    def woken(self, fold: LogProcessor, key: bytes, person: Person) -> None:
        """A person's due work was done."""


class LogProcessor:
    """Applies the log of one partition. Everything it touches belongs to that partition alone."""

    def __init__(
        self,
        partition: int,
        partitions: int,
        settings: Settings,
        people: UserStore,
        outbox: Outbox,
        dead_letters: DeadLetterQueue,
        clock: PartitionClock,
        metrics: Metrics,
        world: Callable[[], Context],
        listing: ActivityListener | None = None,
    ) -> None:
        self.partition = partition
        self.people = people
        self.outbox = outbox
        self.clock = clock
        self.log = LogReader(partition, partitions, settings, people.hot, dead_letters, clock, metrics)
        self.due = TimerQueue(people.due_of)
        self._settings = settings
        self._rules = settings.rules()
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._world = world
        self._listing = listing
        self._packer = OutputPacker(settings, metrics, outbox.ahead)
        self._open: dict[bytes, PendingScore] = {}
        self._times: list[float] = []
        self._quiet = 0
        self._failures = 0
        self._failing = b""

    def recovered(self) -> None:
        """Take up what the changelog gave: who is due when, and outputs that nobody knows to have arrived."""
        waiting, lasts = [], list[float]()
        for key, prefix in self.people.scan():
            self.due.enter(key, prefix.due)
            lasts.append(prefix.last_active)
            if prefix.has_outbox:
                waiting.append(key)
        self.log.recovered(lasts)
        for key in waiting:
            self.outbox.deliver(key, self.people.get(key).outbox)

    def apply(self, records: Iterable[Record]) -> None:
        """Apply records in the log's order; what cannot be applied is buried with its reason.

        Raises:
            TooManyFailures: the worker has to stop; nothing of this chunk is committed.
        """
        self.move([taken for record in records if (taken := self.log.taken(record)) is not None])

    def move(self, left: Sequence[AcceptedEvent]) -> None:
        """Apply records that were read and accepted; the clock has moved with them.

        Those of a person follow one another, while what is known of them is at hand; people do not touch each other.
        """
        world, runs = self._world(), dict[bytes, list[AcceptedEvent]]()
        for taken in left:
            runs.setdefault(taken.key, []).append(taken)
        while runs:  # whoever waits for a score has their next records wait as well; the others go on
            runs = {key: rest for key, run in runs.items() if (rest := self._run(run, world))}
            self._answer(world)
        self.log.applied(self._times)
        self._metrics.add("encore_events_total", "applied", by=self._quiet)
        self._times.clear()
        self._quiet = 0
        self.people.evict()

    def drain(self, slice_: TimeBudget) -> bool:
        """Do due work until the slice is over; return whether some is left."""
        world, until = self._world(), self.clock.now - self._rules.lateness
        while keys := self.due.take(until, AT_ONCE):
            for key in keys:
                self._wake(key, until, world)
            self._answer(world)
            if slice_.over():
                return True
        return False

    @property
    def now(self) -> float:
        """The clock of the partition."""
        return self.clock.now

    def relist(self, key: bytes) -> bool:
        """Make a person's list of recommendations anew; return whether it is news, and told."""
        envelope = self.people.get(key)
        at = max(self.now, envelope.person.activity.last)  # after a recovery there is no time before the next record
        person, said = relisted(envelope.person, at, self._world())
        if person is not envelope.person:
            self._hold(key, envelope, self._packed(key, envelope, Transition(person, said)), None)
        return bool(said)

    def flush(self) -> None:
        """Write every person that changed; called before offsets are chosen."""
        if self.people.dirty:
            self.outbox.ahead.send()
            self.outbox.save_all(sorted(self.people.dirty))  # what is said is said in the same order every time
        self.people.evict()

    def write(self, left: deque[bytes], slice_: TimeBudget) -> None:
        """Write people who are still to be written, until the slice is over; those that were looked at are gone."""
        while left and not slice_.over():
            some = [left.popleft() for _ in range(min(TOGETHER, len(left)))]
            if still := [key for key in some if key in self.people.dirty]:
                self.outbox.save_all(still)

    def _run(self, run: list[AcceptedEvent], world: Context) -> list[AcceptedEvent]:
        """Apply a person's records as far as one behind which they are to be scored; return those that are left."""
        key, done = run[0].key, 0
        while done < len(run) and key not in self._open:
            held = self.people.get(key)
            done, envelope = self._stepped(run, done, held, world)
            if envelope is not held:
                self._hold(key, held, envelope, run[done - 1].record)
            if done < len(run) and key not in self._open:
                done += self._unusual(run[done], world)
        return run[done:]

    def _stepped(self, run: list[AcceptedEvent], done: int, held: Envelope, world: Context) -> tuple[int, Envelope]:
        """Apply a person's records from one on, while nothing but that is to be done; return how far, and who they are.

        It ends early where somebody is to be told something, or a score is asked for: then it is all in `_open`.
        """
        key, envelope, due = run[done].key, held, self.people.due_of(run[done].key)
        for taken in run[done:]:
            record, origin, event = taken.record, taken.origin, taken.event
            if due <= taken.until or self._known(record, origin, envelope) or self._full(envelope):
                break
            done += 1
            self._times.append(event.time)
            before = envelope.person
            try:
                moved = retention.begin_step(before, event, world)
            except Exception as error:  # noqa: BLE001 - a defect of ours must not cost the record: it is buried with it
                envelope = self._failed(key, _marked(envelope, record, origin), Cause(record, event.time), error)
                continue
            if self._listing is not None and moved.person.preferences is not before.preferences:
                self._listing.used(self, key, before, event)
            if type(moved) is ScoreRequest:
                self._open[key] = PendingScore(
                    held, _marked(envelope, record, origin), moved, Cause(record, event.time)
                )
                return done, held
            waiting = len(envelope.outbox)
            envelope = _marked(envelope, record, origin, moved.person)
            if moved.outputs or moved.notes != APPLIED:
                envelope = self._packed(key, envelope, moved)
                if len(envelope.outbox) > waiting:
                    break
            else:
                self._went_well()
                self._quiet += 1
            if done < len(run) and not timers_unchanged(before, moved.person):
                due = next_due(moved.person, self._rules)
        return done, envelope

    def _unusual(self, taken: AcceptedEvent, world: Context) -> bool:
        """Deal with what stands before a record; return whether that was all there is to do with it."""
        key, record, origin = taken.key, taken.record, taken.origin
        envelope = self.people.get(key)
        if known := self._known(record, origin, envelope):
            self._metrics.add("encore_duplicates_total", known)
            self._again(key, envelope, record, origin)
            return True
        if self._full(envelope):
            self._dead_letters.send(
                record, InvalidEvent("state_too_large", None, "too many of the person's outputs wait")
            )
            self.people.put(key, _marked(envelope, record, origin))
            return True
        if self.people.due_of(key) <= taken.until:
            self._wake(key, taken.until, world)
        return False

    def _full(self, envelope: Envelope) -> bool:
        """Whether what waits in the outbox leaves no room for more in a changelog record."""
        if len(envelope.outbox) < MOST_PARCELS:
            return False
        return sum(len(parcel.value or b"") for parcel in envelope.outbox) > self._settings.max_record_bytes * 2 // 3

    def _known(self, record: Record, origin: Origin, envelope: Envelope) -> str | None:
        if record.offset <= envelope.offset:
            return "offset"
        if origin is not None and origin[1] <= envelope.origins.get(origin[0], -1):
            return "origin"
        return None

    def _again(self, key: bytes, envelope: Envelope, record: Record, origin: Origin) -> None:
        """A record that is in the state already: have the state written and its outbox delivered once more."""
        if record.offset > envelope.offset:
            self.people.put(key, _marked(envelope, record, origin))
        else:
            self.people.touch(key)
        if envelope.outbox:
            self.outbox.save(key)

    def _wake(self, key: bytes, until: float, world: Context) -> None:
        """Do a person's due work up to a moment, or to the first score that it asks for."""
        held = envelope = self.people.get(key)
        if self._listing is not None:
            self._listing.woken(self, key, held.person)
        due = self.people.due_of(key)
        while due <= until:
            try:
                moved = retention.begin_wake(envelope.person, due, world)
            except Exception as error:  # noqa: BLE001 - a defect of ours must not stop everybody else's time
                envelope = self._failed(key, envelope, Cause(None, due), error)
            else:
                if type(moved) is ScoreRequest:
                    self._open[key] = PendingScore(held, envelope, moved, Cause(None, due))
                    return
                envelope = self._packed(key, envelope, moved)
            due = next_due(envelope.person, self._rules)
        self._hold(key, held, envelope, None)

    def _answer(self, world: Context) -> None:
        """Score everybody who is open, together, and hold what becomes of them."""
        if not self._open:
            return
        opened, self._open = self._open, {}
        scores = self._scores([one.asked for one in opened.values()], world)
        for (key, one), score in zip(opened.items(), scores, strict=True):
            try:
                score = score or retention.scores((one.asked,), world)[0]
                envelope = self._packed(key, one.envelope, retention.answer(one.asked, score, world))
            except Exception as error:  # noqa: BLE001 - as where it began
                envelope = self._failed(key, one.envelope, one.cause, error)
            self._hold(key, one.held, envelope, one.cause.record)

    def _scores(self, asked: Sequence[ScoreRequest], world: Context) -> Sequence[Score | None]:
        if len(asked) == 1:
            return [None]
        try:
            return retention.scores(asked, world)
        except Exception:  # noqa: BLE001 - each is asked for alone then, and whose fails is dealt with there
            return [None] * len(asked)

    def _packed(self, key: bytes, envelope: Envelope, moved: Transition) -> Envelope:
        self._went_well()
        outbox = envelope.outbox + self._packer.parcels(key, moved, envelope.person.id)
        return Envelope(moved.person, envelope.offset, envelope.origins, outbox)

    def _went_well(self) -> None:
        if self._failures:
            self._failures, self._failing = 0, b""

    def _hold(self, key: bytes, before: Envelope, after: Envelope, record: Record | None) -> None:
        """Hold a person's new envelope; with urgent words in it, it is written through at once."""
        people = self.people
        was_due = people.due_of(key)
        people.put(key, after)
        if (due := people.due_of(key)) != was_due:
            self.due.enter(key, due)
        known = len(before.outbox)
        if len(after.outbox) > known and any(word.urgent for word in after.outbox[known:]):
            self.outbox.save(key, self._arrival(record))

    def _arrival(self, record: Record | None) -> float:
        """Return when what caused an output arrived, where that is to be measured."""
        if record is None:
            return 0.0
        return record.timestamp / 1000.0 if self._settings.clock == "wall" else self.clock.wall()

    def _failed(self, key: bytes, envelope: Envelope, cause: Cause, error: Exception) -> Envelope:
        """Bury what failed (the record, or a notice of due work), and return the person as they go on behind it.

        Raises:
            TooManyFailures: those of so many people in a row that something is wrong with all of them.
        """
        self._metrics.add("encore_failures_total", "step" if cause.record else "wake")
        self._failures += key != self._failing
        self._failing = key
        if self._failures >= self._settings.max_failures:
            raise TooManyFailures(f"{self._failures} defects in a row, the last: {error!r}") from error
        if cause.record is not None:
            self._dead_letters.send(cause.record, InvalidEvent("failed", None, repr(error)))
            return envelope
        name = pseudonym(key.decode(), self._rules.pseudonym_key)
        self._dead_letters.send_timer_failure(name, key, self.partition, cause.at, repr(error))
        return replace(envelope, person=retention.skipped(envelope.person, cause.at, self._rules))


def _marked(envelope: Envelope, record: Record, origin: Origin, person: Person | None = None) -> Envelope:
    """Note on the envelope that a record is in it, and what became of the person with it."""
    offset, origins = envelope.offset, envelope.origins
    if record.offset > offset:
        offset = record.offset
    if origin is not None:
        origins = dict(origins)
        before = origins.pop(origin[0], -1)
        while len(origins) >= MOST_ORIGINS:
            del origins[next(iter(origins))]  # the one not heard of for longest
        origins[origin[0]] = max(origin[1], before)
    return Envelope(person or envelope.person, offset, origins, envelope.outbox)
