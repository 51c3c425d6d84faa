"""The whole of the business in two functions: what an event does to a person, and what time does.

`step` folds an event, joins it to what we did before, and scores the person where that is due by the event alone.
`wake` does what falls due as time passes: labels, expiries, the score of the silent. Both are pure: the person as they
stood, a cause and the world go in; the person as they stand, what there is to say, and notes to count come out.

Where a score is wanted, both can be had in two halves, so that many people are scored at once: `begin_step` or
`begin_wake` go as far as the score, `scores` gives those of many people together, `answer` does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from msgspec import Struct
from msgspec.structs import replace
from numpy import float32
from numpy.typing import NDArray

from models.offers import attribution
from models.person import activity, features
from models.person.courses import MAX_COURSES, CourseProgress
from models.person.ledger import NEVER, Ledger, add_digest, event_digest, output_id
from models.person.lifecycle import stage
from models.person.person import Person, keeps_training_row, label_due, next_wake
from models.person.preferences import Preferences, fold_interaction
from models.person.rules import Rules
from models.retention import alerts, risk
from models.retention.context import Context
from models.retention.recommending import key_for
from models.retention.risk import Score
from models.schema import events as ev
from models.schema.outputs import Alert, Output, Profile, Tombstone

NOT_ELIGIBLE = "not eligible: silent beyond the look-back"
APPLIED = ("applied",)
"""What is noted of an event that did what events do."""
Vector = NDArray[float32]
_CONSENT = frozenset((ev.ConsentGiven, ev.ConsentWithdrawn))


class Transition(Struct, frozen=True, gc=False):
    """What became of a person: their new state, what is to be told, and what is to be counted."""

    person: Person
    outputs: tuple[Output, ...] = ()
    notes: tuple[str, ...] = ()


@final
class ScoreRequest(Struct, frozen=True, gc=False):
    """A person of whom a score is wanted before anything else may happen to them: as of when, and what for."""

    person: Person
    outputs: tuple[Output, ...]
    notes: tuple[str, ...]
    at: float
    cause: str
    on_grid: bool = False
    finished: str | None = None


def step(person: Person, event: ev.Event, world: Context) -> Transition:
    """Apply one event to a person.

    Args:
        person: as they stand; their due work before `event.time` has been done.
        event: of this person. One whose id is among the last 16 changes nothing; one older than work already done is
            late: it counts, but is not scored.
        world: rules, model and campaign of the moment.

    Returns:
        The person afterwards, outputs in the order in which they are to leave, and notes.
    """
    return _answered(begin_step(person, event, world), world)


def wake(person: Person, due: float, world: Context) -> Transition:
    """Do what is due for a person at a moment, as of that moment.

    Args:
        person: as they stand; they hold exactly their events up to `due`.
        due: the person's `next_due`; afterwards it is a later one.
        world: rules, model and campaign of the moment.

    Returns:
        The person afterwards, outputs in the order in which they are to leave, and notes.
    """
    return _answered(begin_wake(person, due, world), world)


def begin_step(person: Person, event: ev.Event, world: Context) -> Transition | ScoreRequest:
    """Apply one event as far as the score that it asks for, if any: `step` without what follows from that."""
    ledger, time, rules = person.ledger, event.time, world.rules
    digest = event_digest(event.id)
    if ledger.is_duplicate(digest):
        return Transition(person, (), ("duplicate",))
    if time <= ledger.erased_at:
        return Transition(person, (), ("erased",))
    if not person.id:  # forgotten, and back
        person = replace(person, id=event.user_id)
    if type(event) is ev.ErasureRequested:
        return _erased(person, event)
    late = time < ledger.done_until
    active = ev.kind_of(event) in rules.active_kinds
    person, said = _applied(person, event, digest, active, late, rules)
    if late:
        return Transition(person, said, ("late",))
    finished = event.course_id if type(event) is ev.CourseCompleted else None
    if _to_be_scored(person, event.money, active, time, rules):
        return ScoreRequest(person, said, APPLIED, time, f"event {event.id}", finished=finished)
    if finished is not None:
        row = features.row(person.activity, max(time, person.activity.last), rules.horizon)
        person, more = _course_news(person, "finished", finished, time, f"event {event.id}", row, world)
        said += more
    return Transition(person, said, APPLIED)


def begin_wake(person: Person, due: float, world: Context) -> Transition | ScoreRequest:
    """Do what is due as far as the score that it asks for, if any: `wake` without what follows from that."""
    signs = risk.early_signs(person, person.ledger.done_until, due, world.rules)
    if person.ledger.done_until < due:
        person = Person(person.id, person.activity, replace(person.ledger, done_until=due), person.preferences)
    person, labelled = risk.released(person, due, world)
    person, outcomes = attribution.expired(person, due, world.rules)
    said: tuple[Output, ...] = (*labelled, *signs, *outcomes)
    notes = tuple(["label churned" if row.churned else "label stayed" for row in labelled])
    if person.ledger.retries:
        person, more = alerts.retry_alerts(person, due, world)
        said += more
    if person.ledger.grid > due:
        return Transition(person, said, notes)
    if risk.eligible(person, due, world.rules):
        return ScoreRequest(person, said, notes, due, f"due {due!r}", on_grid=True)
    had_tier = bool(person.ledger.tier)
    person = replace(person, ledger=replace(person.ledger, grid=NEVER, tier="", tier_since=due))
    gone = (_profile(person, due, f"due {due!r}", world),) if had_tier else ()
    return Transition(person, said + gone, (*notes, NOT_ELIGIBLE))


def scores(asked: Sequence[ScoreRequest], world: Context) -> list[Score]:
    """Score people together; nobody's score depends on who else is asked about."""
    return risk.scores([one.person for one in asked], [one.at for one in asked], world)


def answer(asked: ScoreRequest, score: Score, world: Context) -> Transition:
    """Do what follows from the score that was asked for."""
    person, notes, at, cause, on_grid = asked.person, asked.notes, asked.at, asked.cause, asked.on_grid
    keep = on_grid and keeps_training_row(person.id, at, world.rules)
    late = world.rules.lateness if on_grid else 0.0
    person, said = _assessed(person, at, cause, keep, score, late, world)
    if on_grid:
        person, said = _on_grid(person, at, cause, said, score.row, world)
    if asked.finished is not None:
        person, news = _course_news(person, "finished", asked.finished, at, cause, score.row, world)
        said += news
    return Transition(person, asked.outputs + said, (*notes, "scored"))


def _answered(moved: Transition | ScoreRequest, world: Context) -> Transition:
    return answer(moved, scores([moved], world)[0], world) if type(moved) is ScoreRequest else moved


def skipped(person: Person, due: float, rules: Rules) -> Person:
    """Leave out what was due at a moment, so that a defect in it does not stop the person's time."""
    ledger = person.ledger
    return replace(
        person,
        ledger=replace(
            ledger,
            done_until=max(ledger.done_until, due),
            grid=next_wake(person.id, due, rules) if ledger.grid <= due else ledger.grid,
            retries=tuple(retry for retry in ledger.retries if retry.at > due),
            pending_labels=tuple(row for row in ledger.pending_labels if label_due(row.at, rules) > due),
            offers=tuple(offer for offer in ledger.offers if offer.until > due),
        ),
    )


def _applied(
    person: Person, event: ev.Event, digest: bytes, active: bool, late: bool, rules: Rules
) -> tuple[Person, tuple[Output, ...]]:
    ledger = person.ledger
    grid, rows = ledger.grid, ledger.pending_labels
    if active:
        if grid == NEVER:
            grid = next_wake(person.id, max(event.time, ledger.done_until), rules)
        rows = risk.returned(rows, event.time, rules.horizon)
    said_of = ledger.alerted_courses
    if said_of and isinstance(event, ev.Learning) and event.course_id in said_of:
        said_of = tuple(course for course in said_of if course != event.course_id)
    taste, heard = _liked(person, event, rules)
    person = Person(
        person.id,
        activity.fold(person.activity, event, active, late),
        replace(
            _consent(ledger, event) if type(event) in _CONSENT else ledger,
            recent_events=add_digest(ledger.recent_events, digest),
            grid=grid,
            pending_labels=rows,
            alerted_courses=said_of,
        ),
        taste,
    )
    if event.money:
        person, said = attribution.joined(person, event, rules)
        return person, heard + said
    return person, heard


def _liked(person: Person, event: ev.Event, rules: Rules) -> tuple[Preferences, tuple[Output, ...]]:
    """Fold an event into the person's taste; its course hears of it if it is news."""
    if not rules.recommend:
        return person.preferences, ()
    taste, heard = fold_interaction(person.preferences, event, 0)
    if heard is None:
        return taste, ()
    name = output_id(person.id, "interaction", f"event {event.id}")
    return taste, (replace(heard, id=name, person=key_for(person, rules)),)


def _to_be_scored(person: Person, money: bool, active: bool, time: float, rules: Rules) -> bool:
    if not money and not (active and time - person.ledger.scored_at >= rules.rescore_after):
        return False
    return time >= person.activity.last and risk.eligible(person, time, rules)


def _on_grid(
    person: Person, due: float, cause: str, said: tuple[Output, ...], row: Vector, world: Context
) -> tuple[Person, tuple[Output, ...]]:
    """Set a silent person's next grid time, and see whether a course has stalled."""
    ledger = replace(person.ledger, grid=next_wake(person.id, due, world.rules))
    person = Person(person.id, person.activity, ledger, person.preferences)
    course = _stalled_course(person, due, world)
    if course is None or not _speaks(world):
        return person, said
    told = (*person.ledger.alerted_courses, course.id)[-MAX_COURSES:]
    person = replace(person, ledger=replace(person.ledger, alerted_courses=told))
    if any(isinstance(output, Alert) for output in said):  # it says what happened in the course
        return person, said
    person, more = _course_news(person, "stalled", course.id, due, cause, row, world, world.rules.lateness)
    return person, said + more


def _speaks(world: Context) -> bool:
    return world.ready or not world.rules.alerts_wait


def _stalled_course(person: Person, at: float, world: Context) -> CourseProgress | None:
    """Return the course the person stopped in the middle of, once a stop: not while it is their usual pace."""
    course = features.current_course(person.activity)
    if (
        course is None
        or course.completed_at
        or not 0 < course.progress < 1
        or course.id in person.ledger.alerted_courses
    ):
        return None
    usual = features.mean_gap(person.activity, world.rules.horizon / activity.DAY) * activity.DAY
    return course if at - course.last >= max(world.rules.stalled_after, 3 * usual) else None


def _assessed(
    person: Person, at: float, cause: str, keep: bool, score: Score, late: float, world: Context
) -> tuple[Person, tuple[Output, ...]]:
    """Note a score as of a moment; where it changes the person's tier, tell it."""
    before = person.ledger.tier
    tier = risk.tier_of(person.ledger, score.probability, at, world)
    ledger = risk.scored(person.ledger, score, at, world, keep)
    if tier == before:
        return Person(person.id, person.activity, ledger, person.preferences), ()
    person = replace(person, ledger=replace(ledger, tier=tier, tier_since=at))
    said: tuple[Output, ...] = (_profile(person, at, cause, world),)
    if before or tier != "low":
        news = alerts.AlertCause(about="risk", at=at, cause=cause, row=score.row, tier_before=before, late=late)
        person, alert = alerts.publish_alert(person, news, world)
        said = (*alert, *said)
    return person, said


def _course_news(
    person: Person,
    about: alerts.About,
    course_id: str,
    at: float,
    cause: str,
    row: Vector,
    world: Context,
    late: float = 0.0,
) -> tuple[Person, tuple[Output, ...]]:
    if not _speaks(world):
        return person, ()
    before = person.ledger.tier
    news = alerts.AlertCause(
        about=about, at=at, cause=cause, row=row, tier_before=before, course_id=course_id, late=late
    )
    return alerts.publish_alert(person, news, world)


def _consent(ledger: Ledger, event: ev.Event) -> Ledger:
    """Note a person's word on being written to: an event of `_CONSENT`; the latest stands."""
    if event.time < ledger.consent_at:
        return ledger
    if event.time == ledger.consent_at and ledger.consent < 0:
        return ledger  # of two words of the same moment, the withdrawal counts
    return replace(ledger, consent=1 if type(event) is ev.ConsentGiven else -1, consent_at=event.time)


def _erased(person: Person, event: ev.ErasureRequested) -> Transition:
    """Forget everything but that it was asked for and when."""
    tombstone = Person("", ledger=Ledger(erased_at=event.time, done_until=event.time))
    taken_back = (
        Tombstone(id=output_id(person.id, "forgotten", event.id), user_id=person.id),
        Tombstone(id=output_id(person.id, "unlisted", event.id), user_id=person.id, of="recommendations"),
    )
    return Transition(tombstone, taken_back, ("erasure",))


def _profile(person: Person, at: float, cause: str, world: Context) -> Profile:
    wallet = person.activity.wallet
    return Profile(
        id=output_id(person.id, "profile", cause),
        user_id=person.id,
        time=at,
        tier=person.ledger.tier,
        probability=person.ledger.probability,
        stage=stage(person.activity, at, world.rules),
        retention_rate=round(features.retention_rate(person.activity, at), 4),
        repurchase_rate=round(features.repurchase_rate(person.activity, at), 4),
        purchases=wallet.purchases,
        spend=round(wallet.spend - wallet.refunded, 2),
        last_active=person.activity.last,
    )
