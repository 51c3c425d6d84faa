"""A person: activity, ledger and preferences, and the times at which timers are due."""

from __future__ import annotations

from zlib import crc32

from msgspec import Struct

from models.person.activity import Activity
from models.person.ledger import Ledger
from models.person.preferences import Preferences
from models.person.rules import EARLY_SIGNAL, Rules


class Person(Struct, frozen=True, array_like=True, gc=False):
    """The whole state of one person. It is immutable: every change makes a new one."""

    id: str
    activity: Activity = Activity()
    ledger: Ledger = Ledger()
    preferences: Preferences = Preferences()


def next_due(person: Person, rules: Rules) -> float:
    """Return the time of the person's earliest timer, infinity if there is none.

    Timers are the next grid time, early signals and labels of pending rows, retries, and the expiry of offers.
    """
    ledger = person.ledger
    due, rows = ledger.grid, ledger.pending_labels
    if rows:
        if (label := label_due(rows[0].at, rules)) < due:
            due = label
        early, lateness, done = EARLY_SIGNAL * rules.horizon, rules.lateness, ledger.done_until
        for row in rows:
            if (signal := row.at + early + lateness) > done:  # the same sum as in `signal_due`
                if signal < due:
                    due = signal
                break
    for retry in ledger.retries:
        due = min(due, retry.at)
    for offer in ledger.offers:
        due = min(due, offer.until)
    return due


def timers_unchanged(before: Person, after: Person) -> bool:
    """Return whether everything that `next_due` reads is the same. Then `next_due` need not be computed again."""
    old, new = before.ledger, after.ledger
    return (
        new.pending_labels is old.pending_labels
        and new.grid == old.grid
        and new.done_until == old.done_until
        and new.offers is old.offers
        and new.retries is old.retries
    )


def label_due(at: float, rules: Rules) -> float:
    """Return when the label of a row scored at `at` may be released."""
    return at + rules.horizon + rules.lateness


def signal_due(at: float, rules: Rules) -> float:
    """Return when the early signal of a row scored at `at` is known."""
    return at + EARLY_SIGNAL * rules.horizon + rules.lateness


def next_wake(person_id: str, after: float, rules: Rules) -> float:
    """Return the person's first grid time after a moment. Persons are spread evenly over the interval."""
    phase, every = wake_phase(person_id, rules), rules.wake_every
    wake = ((after - phase) // every + 1) * every + phase
    return wake if wake > after else wake + every


def keeps_training_row(person_id: str, wake: float, rules: Rules) -> bool:
    """Return whether the score at this grid time becomes a training row."""
    id_hash = _id_hash(person_id)
    step = round((wake - _wake_phase(id_hash, rules)) / rules.wake_every)
    return (step + id_hash) % rules.rows_every == 0


def wake_phase(person_id: str, rules: Rules) -> float:
    """Return the person's offset into the wake interval, in seconds, a multiple of 1/8.

    Whole seconds are too coarse: many persons would wake in the same moment and delay others. Eighths are exact in
    binary, so sums of floats are not rounded. This matters because a timer is named by its time.
    """
    return _wake_phase(_id_hash(person_id), rules)


def _wake_phase(id_hash: int, rules: Rules) -> float:
    interval = int(rules.wake_every) or 1
    return id_hash % interval + id_hash // interval % 8 / 8


def _id_hash(person_id: str) -> int:
    return crc32(person_id.encode())
