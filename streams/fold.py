"""The fold: one partition's log applied to its people, record by record, time included.

The result depends on the log alone: a person's due work is done as of its time, before their first event later than
it, or once the clock has passed it by the lateness. Doing it earlier in the background, in slices, gives the same.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from math import nextafter

from msgspec.structs import replace

from models import events as ev
from models import retention
from models.activity import DAY
from models.errors import BadEvent
from models.ledger import pseudonym
from models.outputs import Alert, CouponTrigger, Decision, Forgotten, OfferOutcome, Output
from models.person import next_due
from models.world import World
from streams import codec
from streams.clock import Clock, Slice
from streams.codec import Record
from streams.deadletters import Cemetery
from streams.due import DueQueue
from streams.envelope import Envelope, Parcel
from streams.metrics import CounterName, Metrics
from streams.outbox import Outbox
from streams.people import People
from streams.settings import Settings

BUSY = 24
MOST_PARCELS = 100
MOST_ORIGINS = 128


class TooManyFailures(Exception):
    """So many defects in a row that going on would bury everything."""


class Fold:
    """Applies the log of one partition. Everything it touches belongs to that partition alone."""

    def __init__(
        self,
        partition: int,
        partitions: int,
        settings: Settings,
        people: People,
        outbox: Outbox,
        cemetery: Cemetery,
        clock: Clock,
        metrics: Metrics,
        world: Callable[[], World],
    ) -> None:
        self.partition = partition
        self.people = people
        self.outbox = outbox
        self.clock = clock
        self.due = DueQueue()
        self._latest: deque[float] = deque(maxlen=BUSY)
        self._partitions = partitions
        self._settings = settings
        self._rules = settings.rules()
        self._cemetery = cemetery
        self._metrics = metrics
        self._world = world
        self._failures = 0
        self._since = 0.0

    @property
    def last_event(self) -> float:
        """When the partition's latest event happened, as far as is known."""
        return self._latest[-1] if self._latest else 0.0

    @property
    def busy(self) -> bool:
        """Whether the log is one in which silence means something: many events in the day before the latest."""
        return len(self._latest) == BUSY and self._latest[-1] - self._latest[0] <= DAY

    def recovered(self) -> None:
        """Take up what the changelog gave: who is due when, and outputs that nobody knows to have arrived."""
        waiting, lasts = [], list[float]()
        for key, prefix in self.people.scan():
            self.due.enter(key, prefix.due)
            lasts.append(prefix.last_active)
            if prefix.has_outbox:
                waiting.append(key)
        self._latest.extend(sorted(heapq.nlargest(BUSY, lasts)))
        for key in waiting:
            self.outbox.deliver(key, self.people.get(key).outbox)

    def apply(self, records: Iterable[Record]) -> None:
        """Apply records in the log's order; what cannot be applied is buried with its reason.

        Raises:
            TooManyFailures: the worker has to stop; nothing of this chunk is committed.
        """
        world = self._world()
        for record in records:
            try:
                event = codec.read(
                    record.value, record.timestamp / 1000.0, self._settings.most_bytes, self._settings.skew
                )
                event = codec.of_person(event, record.key, self.partition, self._partitions)
            except BadEvent as bad:
                self._cemetery.bury(record, bad)
                continue
            self.clock.advance(event.time)
            if isinstance(event, ev.Tick):
                self._metrics.add("encore_ticks_total")
            else:
                self._event(record, event, world)
        self.people.shrink()

    def drain(self, slice_: Slice) -> bool:
        """Do due work until the slice is over; return whether some is left."""
        world = self._world()
        self._since = 0.0
        until = self.clock.now - self._rules.lateness
        while (key := self.due.take(until)) is not None:
            envelope = self.people.get(key)
            self._hold(key, envelope, self._woken(key, envelope, until, world))
            if slice_.over():
                return True
        return False

    def flush(self) -> None:
        """Write every person that changed; called before offsets are chosen."""
        for key in list(self.people.dirty):
            self.outbox.save(key)
        self.people.shrink()

    def _event(self, record: Record, event: ev.Event, world: World) -> None:
        key = record.key or b""
        envelope = self.people.get(key)
        origin = codec.origin_of(record)
        known = self._known(record, origin, envelope)
        if known:
            self._metrics.add("encore_duplicates_total", known)
            self._again(key, envelope, record, origin)
            return
        if self._full(envelope):
            self._cemetery.bury(record, BadEvent("state_too_large", None, "too many of the person's outputs wait"))
            self.people.put(key, _marked(envelope, record, origin))
            return
        self._since = record.timestamp / 1000.0 if self._settings.clock == "wall" else self.clock.wall()
        until = max(self.clock.now - self._rules.lateness, nextafter(event.time, 0.0))
        woken = self._woken(key, envelope, until, world)
        self._hold(key, envelope, _marked(self._stepped(woken, record, event, world), record, origin))
        self._latest.append(max(self.last_event, event.time))

    def _full(self, envelope: Envelope) -> bool:
        """Whether what waits in the outbox leaves no room for more in a changelog record."""
        if len(envelope.outbox) < MOST_PARCELS:
            return False
        return sum(len(parcel.value or b"") for parcel in envelope.outbox) > self._settings.most_bytes * 2 // 3

    def _known(self, record: Record, origin: tuple[str, int] | None, envelope: Envelope) -> str | None:
        if record.offset <= envelope.offset:
            return "offset"
        if origin is not None and origin[1] <= envelope.origins.get(origin[0], -1):
            return "origin"
        return None

    def _again(self, key: bytes, envelope: Envelope, record: Record, origin: tuple[str, int] | None) -> None:
        """A record that is in the state already: have the state written and its outbox delivered once more."""
        if record.offset > envelope.offset:
            self.people.put(key, _marked(envelope, record, origin))
        else:
            self.people.touch(key)
        if envelope.outbox:
            self.outbox.save(key)

    def _woken(self, key: bytes, envelope: Envelope, until: float, world: World) -> Envelope:
        """Do a person's due work up to a moment, each as of its own time."""
        while (due := next_due(envelope.person, self._rules)) <= until:
            try:
                envelope = self._moved(envelope, retention.wake(envelope.person, due, world))
                self._failures = 0
            except Exception as error:  # noqa: BLE001 - a defect of ours must not stop everybody else's time
                envelope = self._postponed(key, envelope, due, error)
        return envelope

    def _stepped(self, envelope: Envelope, record: Record, event: ev.Event, world: World) -> Envelope:
        try:
            envelope = self._moved(envelope, retention.step(envelope.person, event, world))
            self._failures = 0
        except Exception as error:  # noqa: BLE001 - a defect of ours must not cost the record: it is buried with it
            self._failed("step", error)
            self._cemetery.bury(record, BadEvent("failed", None, repr(error)))
        return envelope

    def _moved(self, envelope: Envelope, moved: retention.Moved) -> Envelope:
        """Put a person's new state and what it says into their envelope."""
        self._count(moved)
        parcels = tuple(self._parcel(output, envelope) for output in moved.outputs if self._goes_out(output))
        return replace(envelope, person=moved.person, outbox=envelope.outbox + parcels)

    def _hold(self, key: bytes, before: Envelope, after: Envelope) -> None:
        """Hold a person's new envelope; with urgent words in it, it is written through at once."""
        self.people.put(key, after)
        self.due.enter(key, next_due(after.person, self._rules))
        if any(parcel.urgent for parcel in after.outbox[len(before.outbox) :]):
            self.outbox.save(key, self._since)

    def _goes_out(self, output: Output) -> bool:
        return self._settings.mode == "live" or not isinstance(output, Alert | CouponTrigger)

    def _parcel(self, output: Output, envelope: Envelope) -> Parcel:
        topic, key = codec.address(output)
        news = isinstance(output, Alert | CouponTrigger)
        return Parcel(
            id=output.id,
            topic=topic,
            key=key,
            value=codec.written(output),
            expires_at=output.expires_at if isinstance(output, Alert | CouponTrigger) else float("inf"),
            urgent=output.urgent,
            user=self._pseudonym(envelope.person.id) if news else "",
        )

    def _pseudonym(self, person_id: str) -> str:
        return pseudonym(person_id, self._rules.pseudonym_key)

    def _count(self, moved: retention.Moved) -> None:
        for note in moved.notes:
            counter, label = _NOTES[note]
            self._metrics.add(counter, label)
        for output in moved.outputs:
            if isinstance(output, Decision):
                self._metrics.add("encore_decisions_total", output.candidate, output.reason)
            elif isinstance(output, OfferOutcome):
                self._metrics.add("encore_outcomes_total", output.outcome)
            elif isinstance(output, Forgotten):
                self._metrics.add("encore_erasures_total")

    def _failed(self, where: str, error: Exception) -> None:
        self._metrics.add("encore_failures_total", where)
        self._failures += 1
        if self._failures >= self._settings.most_failures:
            raise TooManyFailures(f"{self._failures} defects in a row, the last: {error!r}") from error

    def _postponed(self, key: bytes, envelope: Envelope, due: float, error: Exception) -> Envelope:
        """Due work that failed: bury its notice, and let the person's time go on behind it."""
        self._failed("wake", error)
        self._cemetery.mourn(self._pseudonym(key.decode()), key, self.partition, due, repr(error))
        return replace(envelope, person=retention.skipped(envelope.person, due, self._rules))


_NOTES: dict[str, tuple[CounterName, str]] = {
    "applied": ("encore_events_total", "applied"),
    "late": ("encore_events_total", "late"),
    "erased": ("encore_events_total", "erased"),
    "erasure": ("encore_events_total", "applied"),
    "duplicate": ("encore_duplicates_total", "id"),
    "scored": ("encore_scores_total", "churn"),
    "label churned": ("encore_labels_total", "churned"),
    "label stayed": ("encore_labels_total", "stayed"),
    "not eligible: silent beyond the look-back": ("encore_not_eligible_total", "silent beyond the look-back"),
}


def _marked(envelope: Envelope, record: Record, origin: tuple[str, int] | None) -> Envelope:
    """Note on the envelope that a record is in it."""
    if origin is None:
        return replace(envelope, offset=max(envelope.offset, record.offset))
    origins = {source: offset for source, offset in envelope.origins.items() if source != origin[0]}
    while len(origins) >= MOST_ORIGINS:
        del origins[next(iter(origins))]  # the one not heard of for longest
    origins[origin[0]] = max(origin[1], envelope.origins.get(origin[0], -1))
    return replace(envelope, offset=max(envelope.offset, record.offset), origins=origins)
