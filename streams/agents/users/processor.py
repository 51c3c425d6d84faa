"""The log processor: applies one partition's log to its users, record by record, and runs their timers.

The result depends on the log alone. A user's timer runs as of its own time: before the user's first later event, or
when the clock has passed it by the lateness. Running it earlier in the background, in slices, gives the same result.
In this package a *wake* is the run of one timer of a user.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from models.person.person import next_due, timers_unchanged
from models.retention import step as retention
from models.retention.context import Context
from models.retention.recommendations import refresh_list
from models.retention.step import APPLIED, ScoreRequest, Transition
from models.schema.errors import InvalidEvent
from streams.agents.users.activity_listener import ActivityListener
from streams.agents.users.envelope import Envelope
from streams.agents.users.failures import FailureHandler
from streams.agents.users.log_reader import AcceptedEvent, LogReader
from streams.agents.users.outbox import Outbox
from streams.agents.users.outputs import OutputPacker, outbox_full
from streams.agents.users.positions import duplicate_kind, mark_applied
from streams.agents.users.scoring import PendingScore, score_batch
from streams.agents.users.store import UserStore
from streams.agents.users.timers import TimerQueue
from streams.clock import PartitionClock, TimeBudget
from streams.delivery.dead_letters import DeadLetterQueue
from streams.kafka.codec import Record
from streams.metrics import Metrics
from streams.settings import Settings

SCORE_BATCH = 512
"""Users who are scored together when timers run."""
WRITE_BATCH = 256
"""Users who are written together before a commit."""


class LogProcessor:
    """Applies the log of one partition. It touches nothing of other partitions.

    Attributes:
        partition: the partition.
        users: the store of its users.
        outbox: sends its outputs.
        clock: its clock.
        reader: reads its log.
        timers: the timers of its users.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        settings: Settings,
        users: UserStore,
        outbox: Outbox,
        dead_letters: DeadLetterQueue,
        clock: PartitionClock,
        metrics: Metrics,
        context: Callable[[], Context],
        listener: ActivityListener | None = None,
    ) -> None:
        self.partition = partition
        self.users = users
        self.outbox = outbox
        self.clock = clock
        self.reader = LogReader(partition, partitions, settings, users.hot, dead_letters, clock, metrics)
        self.timers = TimerQueue(users.due_of)
        self._max_record_bytes = settings.max_record_bytes
        self._wall_clock = settings.clock == "wall"
        self._rules = settings.rules()
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._context = context
        self._listener = listener
        self._packer = OutputPacker(settings, metrics, outbox.write_ahead)
        self._failures = FailureHandler(partition, settings, dead_letters, metrics)
        self._pending: dict[bytes, PendingScore] = {}
        self._applied_times: list[float] = []
        self._applied_uncounted = 0

    def resume(self) -> None:
        """Continue from the recovered users: schedule their timers, and send outputs that may not have arrived."""
        waiting, last_active = [], list[float]()
        for key, prefix in self.users.scan():
            self.timers.schedule(key, prefix.due)
            last_active.append(prefix.last_active)
            if prefix.has_outbox:
                waiting.append(key)
        self.reader.resume(last_active)
        for key in waiting:
            self.outbox.send(key, self.users.get(key).outbox)

    def process(self, records: Iterable[Record]) -> None:
        """Apply records in log order. A record that cannot be applied becomes a dead letter with the reason.

        Raises:
            TooManyFailures: the worker must stop and commit nothing of this chunk.
        """
        read = self.reader.read
        self.process_accepted([accepted for record in records if (accepted := read(record)) is not None])

    def process_accepted(self, events: Sequence[AcceptedEvent]) -> None:
        """Apply events that the reader has accepted; the clock is already at the last one.

        Events are grouped by user, so that a user's state is looked up once. Users do not affect each other. A user
        who needs a score waits with their further events while the others continue; then all are scored together.
        """
        context, runs = self._context(), dict[bytes, list[AcceptedEvent]]()
        for accepted in events:
            runs.setdefault(accepted.key, []).append(accepted)
        while runs:
            runs = {key: rest for key, run in runs.items() if (rest := self._process_user(run, context))}
            self._score_pending(context)
        self.reader.note_applied(self._applied_times)
        self._metrics.add("encore_events_total", "applied", by=self._applied_uncounted)
        self._applied_times.clear()
        self._applied_uncounted = 0
        self.users.evict()

    def run_timers(self, budget: TimeBudget) -> bool:
        """Run due timers until the time budget is spent; return whether more may be due."""
        context, until = self._context(), self.clock.now - self._rules.lateness
        while keys := self.timers.pop_due(until, SCORE_BATCH):
            for key in keys:
                self._wake(key, until, context)
            self._score_pending(context)
            if budget.over():
                return True
        return False

    def refresh_recommendations(self, key: bytes) -> bool:
        """Compute a user's recommendations again; return whether they changed and are published."""
        envelope = self.users.get(key)
        at = max(self.clock.now, envelope.person.activity.last)  # the clock has no time before the first record
        person, outputs = refresh_list(envelope.person, at, self._context())
        if person is not envelope.person:
            self._store(key, envelope, self._pack(key, envelope, Transition(person, outputs)), None)
        return bool(outputs)

    def flush(self) -> None:
        """Write every changed user; called before offsets are chosen."""
        if self.users.dirty:
            self.outbox.write_ahead.send()
            self.outbox.write_then_send(sorted(self.users.dirty))  # the same order of outputs every time
        self.users.evict()

    def write_some(self, keys: deque[bytes], budget: TimeBudget) -> None:
        """Write those users of the queue that are still dirty, until the time budget is spent; remove them from it."""
        while keys and not budget.over():
            batch = [keys.popleft() for _ in range(min(WRITE_BATCH, len(keys)))]
            if dirty := [key for key in batch if key in self.users.dirty]:
                self.outbox.write_then_send(dirty)

    def _process_user(self, run: list[AcceptedEvent], context: Context) -> list[AcceptedEvent]:
        """Apply a user's events up to the first that needs a score; return the remaining events."""
        key, done = run[0].key, 0
        while done < len(run) and key not in self._pending:
            stored = self.users.get(key)
            done, envelope = self._process_run(run, done, stored, context)
            if envelope is not stored:
                self._store(key, stored, envelope, run[done - 1].record)
            if done < len(run) and key not in self._pending:
                done += self._process_exception(run[done], context)
        return run[done:]

    def _process_run(
        self, run: list[AcceptedEvent], done: int, stored: Envelope, context: Context
    ) -> tuple[int, Envelope]:
        """Apply a user's events from index `done` on; return the next index and the envelope to store.

        It ends before an exceptional event, after new outbox messages, and where a score is needed (see `_pending`).
        """
        key, envelope, limit = run[done].key, stored, self._max_record_bytes
        due = self.users.due_of(key)
        for accepted in run[done:]:
            record, origin, event = accepted.record, accepted.origin, accepted.event
            if due <= accepted.until or duplicate_kind(envelope, record, origin) or outbox_full(envelope, limit):
                break
            done += 1
            self._applied_times.append(event.time)
            before = envelope.person
            try:
                result = retention.begin_step(before, event, context)
            except Exception as error:  # noqa: BLE001 - a defect must not lose the record: it becomes a dead letter
                marked = mark_applied(envelope, record, origin)
                envelope = self._failures.handle(key, marked, record, event.time, error)
                continue
            if self._listener is not None and result.person.preferences is not before.preferences:
                self._listener.on_course_interest(self, key, before, event)
            if type(result) is ScoreRequest:
                self._pending[key] = PendingScore(stored, mark_applied(envelope, record, origin), result, record)
                return done, stored
            waiting = len(envelope.outbox)
            envelope = mark_applied(envelope, record, origin, result.person)
            if result.outputs or result.results != APPLIED:
                envelope = self._pack(key, envelope, result)
                if len(envelope.outbox) > waiting:
                    break
            else:
                if self._failures.count:
                    self._failures.reset()
                self._applied_uncounted += 1
            if done < len(run) and not timers_unchanged(before, result.person):
                due = next_due(result.person, self._rules)
        return done, envelope

    def _process_exception(self, accepted: AcceptedEvent, context: Context) -> bool:
        """Handle a duplicate, a full outbox or a due timer; return whether the event itself is done with that."""
        key, record, origin = accepted.key, accepted.record, accepted.origin
        envelope = self.users.get(key)
        if kind := duplicate_kind(envelope, record, origin):
            self._metrics.add("encore_duplicates_total", kind)
            self._write_again(key, envelope, accepted)
            return True
        if outbox_full(envelope, self._max_record_bytes):
            self._dead_letters.send(record, InvalidEvent("state_too_large", None, "too many outputs of the user wait"))
            self.users.put(key, mark_applied(envelope, record, origin))
            return True
        if self.users.due_of(key) <= accepted.until:
            self._wake(key, accepted.until, context)
        return False

    def _write_again(self, key: bytes, envelope: Envelope, accepted: AcceptedEvent) -> None:
        """Write the state that already contains a duplicate record, and send its outbox again."""
        if accepted.record.offset > envelope.offset:
            self.users.put(key, mark_applied(envelope, accepted.record, accepted.origin))
        else:
            self.users.touch(key)
        if envelope.outbox:
            self.outbox.write_then_send((key,))

    def _wake(self, key: bytes, until: float, context: Context) -> None:
        """Run a user's timers up to a time, or up to the first one that needs a score."""
        stored = envelope = self.users.get(key)
        if self._listener is not None:
            self._listener.on_wake(self, key, stored.person)
        due = self.users.due_of(key)
        while due <= until:
            try:
                result = retention.begin_wake(envelope.person, due, context)
            except Exception as error:  # noqa: BLE001 - a defect must not stop the timers of all other users
                envelope = self._failures.handle(key, envelope, None, due, error)
            else:
                if type(result) is ScoreRequest:
                    self._pending[key] = PendingScore(stored, envelope, result, None)
                    return
                envelope = self._pack(key, envelope, result)
            due = next_due(envelope.person, self._rules)
        self._store(key, stored, envelope, None)

    def _score_pending(self, context: Context) -> None:
        """Score all pending users together, finish their steps and wakes, and store the results."""
        if not self._pending:
            return
        pending, self._pending = self._pending, {}
        scores = score_batch([one.request for one in pending.values()], context)
        for (key, one), score in zip(pending.items(), scores, strict=True):
            request = one.request
            try:
                score = score or retention.score_requests((request,), context)[0]
                envelope = self._pack(key, one.envelope, retention.apply_score(request, score, context))
            except Exception as error:  # noqa: BLE001 - as in `_process_run` and `_wake`
                envelope = self._failures.handle(key, one.envelope, one.record, request.at, error)
            self._store(key, one.stored, envelope, one.record)

    def _pack(self, key: bytes, envelope: Envelope, transition: Transition) -> Envelope:
        """Return the envelope with the new state, and with the outputs of a transition in its outbox."""
        if self._failures.count:
            self._failures.reset()
        outbox = envelope.outbox + self._packer.messages(key, transition, envelope.person.id)
        return Envelope(transition.person, envelope.offset, envelope.origins, outbox)

    def _store(self, key: bytes, before: Envelope, after: Envelope, record: Record | None) -> None:
        """Store a new envelope and schedule its timer; write it at once if it has a new urgent message."""
        users = self.users
        previous_due = users.due_of(key)
        users.put(key, after)
        if (due := users.due_of(key)) != previous_due:
            self.timers.schedule(key, due)
        known = len(before.outbox)
        if len(after.outbox) > known and any(message.urgent for message in after.outbox[known:]):
            self.outbox.write_then_send((key,), self._arrival_time(record))

    def _arrival_time(self, record: Record | None) -> float:
        """Return when a record arrived, to measure latency; 0 for a timer, which is not measured."""
        if record is None:
            return 0.0
        return record.timestamp / 1000.0 if self._wall_clock else self.clock.wall()
