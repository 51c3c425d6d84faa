"""A person: what they did, what we owe them, what they like, and when they are next due."""

from __future__ import annotations

from zlib import crc32

from msgspec import Struct

from models.person.activity import Activity
from models.person.ledger import Ledger
from models.person.preferences import Preferences
from models.person.rules import EARLY_SIGNAL, Rules


class Person(Struct, frozen=True, array_like=True, gc=False):
    """One person's whole state. It is replaced, never changed."""

    id: str
    activity: Activity = Activity()
    ledger: Ledger = Ledger()
    preferences: Preferences = Preferences()


def next_due(person: Person, rules: Rules) -> float:
    """Return the earliest moment at which something is to be done for the person, infinity if nothing is."""
    ledger = person.ledger
    due, rows = ledger.grid, ledger.rows
    if rows:
        if (label := label_due(rows[0].at, rules)) < due:
            due = label
        early, lateness, done = EARLY_SIGNAL * rules.horizon, rules.lateness, ledger.done
        for row in rows:
            if (sign := row.at + early + lateness) > done:  # as `sign_due` has it
                if sign < due:
                    due = sign
                break
    for retry in ledger.retries:
        due = min(due, retry.at)
    for offer in ledger.offers:
        due = min(due, offer.until)
    return due


def same_due(before: Person, after: Person) -> bool:
    """Return whether it is plain that somebody is next due when they were: all that `next_due` looks at is the same."""
    was, now = before.ledger, after.ledger
    return (
        now.rows is was.rows
        and now.grid == was.grid
        and now.done == was.done
        and now.offers is was.offers
        and now.retries is was.retries
    )


def label_due(at: float, rules: Rules) -> float:
    """Return when the label of a row scored at `at` may be released."""
    return at + rules.horizon + rules.lateness


def sign_due(at: float, rules: Rules) -> float:
    """Return when it is known of a row scored at `at` whether the person was back early."""
    return at + EARLY_SIGNAL * rules.horizon + rules.lateness


def next_wake(person_id: str, after: float, rules: Rules) -> float:
    """Return the person's first grid time after a moment; people are spread evenly over the interval."""
    phase, every = phase_of(person_id, rules), rules.wake_every
    wake = ((after - phase) // every + 1) * every + phase
    return wake if wake > after else wake + every


def keeps_row(person_id: str, wake: float, rules: Rules) -> bool:
    """Return whether the score taken at this grid time is kept as a training row."""
    spread = _spread(person_id)
    step = round((wake - _phase(spread, rules)) / rules.wake_every)
    return (step + spread) % rules.rows_every == 0


def phase_of(person_id: str, rules: Rules) -> float:
    """Return the person's eighths of seconds into the interval of wakes.

    Not whole seconds, at each of which a crowd would wake and others wait behind it; and no finer than floats add
    without rounding, since what is due is named by its time.
    """
    return _phase(_spread(person_id), rules)


def _phase(spread: int, rules: Rules) -> float:
    interval = int(rules.wake_every) or 1
    return spread % interval + spread // interval % 8 / 8


def _spread(person_id: str) -> int:
    return crc32(person_id.encode())
