"""The business logic in two functions: `step` applies an event to a person, `wake` runs the timers that are due.

`step` folds an event into the person's state, attributes it to earlier offers, and scores the person if the event
requires it. `wake` does what only depends on time: it releases labels, closes offers, and scores silent persons. Both
are pure. They take a person, a cause and the context, and return the new person, outputs, and results to count.

Both exist in two halves, so that many persons are scored together. `begin_step` and `begin_wake` run until a score is
needed, `score_requests` computes the scores, and `apply_score` does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from msgspec import Struct
from msgspec.structs import replace

from models.offers import attribution
from models.person import activity, features
from models.person.ledger import NEVER, Ledger, add_digest, event_digest, output_id
from models.person.person import Person, keeps_training_row, label_due, next_wake
from models.person.preferences import Preferences, fold_interaction
from models.person.rules import Rules
from models.retention import alerts, risk
from models.retention.context import Context
from models.retention.course_alerts import alert_stalled_course, publish_course_alert
from models.retention.profile import make_profile
from models.retention.recommendations import key_for
from models.retention.risk import Score
from models.schema import events as ev
from models.schema.outputs import Output, Tombstone

NOT_ELIGIBLE = "not eligible: silent beyond the look-back"
APPLIED = ("applied",)
"""Results of an event that was applied in the normal way."""
_CONSENT = frozenset((ev.ConsentGiven, ev.ConsentWithdrawn))


class Transition(Struct, frozen=True, gc=False):
    """The result of an event or a timer: the new person, the outputs to publish, and results to count."""

    person: Person
    outputs: tuple[Output, ...] = ()
    results: tuple[str, ...] = ()


@final
class ScoreRequest(Struct, frozen=True, gc=False):
    """A transition that stopped because it needs a score of the person as of `at`.

    Attributes:
        person: the person so far.
        outputs: outputs so far; `results`: results so far.
        at: the moment of the score.
        cause: the event or timer, for output ids.
        on_grid: whether this is the scheduled score of a silent person.
        finished: the course that the event completed, if it did.
    """

    person: Person
    outputs: tuple[Output, ...]
    results: tuple[str, ...]
    at: float
    cause: str
    on_grid: bool = False
    finished: str | None = None


def step(person: Person, event: ev.Event, context: Context) -> Transition:
    """Apply one event to a person.

    Args:
        person: before the event. All timers before `event.time` have run.
        event: an event of this person. If its id is among the last 16, it changes nothing. If it is older than timers
            that have run, it is late: it counts, but it is not scored.
        context: current rules, model and campaign.

    Returns:
        The person after the event, the outputs in publishing order, and the results to count.
    """
    return _complete(begin_step(person, event, context), context)


def wake(person: Person, due: float, context: Context) -> Transition:
    """Run a person's timers of one moment, as of that moment.

    Args:
        person: a person to whom exactly the events up to `due` were applied.
        due: the person's `next_due`. Afterwards it is later.
        context: current rules, model and campaign.

    Returns:
        The person afterwards, the outputs in publishing order, and the results to count.
    """
    return _complete(begin_wake(person, due, context), context)


def begin_step(person: Person, event: ev.Event, context: Context) -> Transition | ScoreRequest:
    """Apply one event until it needs a score. If it needs none, the transition is complete."""
    ledger, time, rules = person.ledger, event.time, context.rules
    digest = event_digest(event.id)
    if ledger.is_duplicate(digest):
        return Transition(person, (), ("duplicate",))
    if time <= ledger.erased_at:
        return Transition(person, (), ("erased",))
    if not person.id:  # the person was erased and is back
        person = replace(person, id=event.user_id)
    if type(event) is ev.ErasureRequested:
        return _erase(person, event)
    late = time < ledger.done_until
    active = ev.kind_of(event) in rules.active_kinds
    person, published = _apply_event(person, event, digest, active, late, rules)
    if late:
        return Transition(person, published, ("late",))
    finished = event.course_id if type(event) is ev.CourseCompleted else None
    if _needs_score(person, event.money, active, time, rules):
        return ScoreRequest(person, published, APPLIED, time, f"event {event.id}", finished=finished)
    if finished is not None:
        row = features.row(person.activity, max(time, person.activity.last), rules.horizon)
        person, more = publish_course_alert(person, "finished", finished, time, f"event {event.id}", row, context)
        published += more
    return Transition(person, published, APPLIED)


def begin_wake(person: Person, due: float, context: Context) -> Transition | ScoreRequest:
    """Run the timers of one moment until they need a score. If they need none, the transition is complete."""
    signals = risk.early_signals(person, person.ledger.done_until, due, context.rules)
    if person.ledger.done_until < due:
        person = Person(person.id, person.activity, replace(person.ledger, done_until=due), person.preferences)
    person, examples = risk.release_labels(person, due, context)
    person, outcomes = attribution.expire_offers(person, due, context.rules)
    published: tuple[Output, ...] = (*examples, *signals, *outcomes)
    results = tuple(["label churned" if example.churned else "label stayed" for example in examples])
    if person.ledger.retries:
        person, more = alerts.retry_alerts(person, due, context)
        published += more
    if person.ledger.grid > due:
        return Transition(person, published, results)
    if risk.is_eligible(person, due, context.rules):
        return ScoreRequest(person, published, results, due, f"due {due!r}", on_grid=True)
    had_tier = bool(person.ledger.tier)
    person = replace(person, ledger=replace(person.ledger, grid=NEVER, tier="", tier_since=due))
    profile = (make_profile(person, due, f"due {due!r}", context),) if had_tier else ()
    return Transition(person, published + profile, (*results, NOT_ELIGIBLE))


def score_requests(requests: Sequence[ScoreRequest], context: Context) -> list[Score]:
    """Score many persons together. A score does not depend on the other persons of the batch."""
    return risk.score_persons([one.person for one in requests], [one.at for one in requests], context)


def apply_score(request: ScoreRequest, score: Score, context: Context) -> Transition:
    """Complete a transition with the score that it requested."""
    person, results, at, cause, on_grid = request.person, request.results, request.at, request.cause, request.on_grid
    keep_row = on_grid and keeps_training_row(person.id, at, context.rules)
    delay = context.rules.lateness if on_grid else 0.0
    person, published = _update_tier(person, at, cause, keep_row, score, delay, context)
    if on_grid:
        ledger = replace(person.ledger, grid=next_wake(person.id, at, context.rules))
        person = Person(person.id, person.activity, ledger, person.preferences)
        person, published = alert_stalled_course(person, at, cause, published, score.row, context)
    if request.finished is not None:
        person, more = publish_course_alert(person, "finished", request.finished, at, cause, score.row, context)
        published += more
    return Transition(person, request.outputs + published, (*results, "scored"))


def _complete(transition: Transition | ScoreRequest, context: Context) -> Transition:
    if type(transition) is ScoreRequest:
        return apply_score(transition, score_requests([transition], context)[0], context)
    return transition


def skip_timers(person: Person, due: float, rules: Rules) -> Person:
    """Drop the timers up to a moment without running them, so that an error in one does not block the person."""
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


def _apply_event(
    person: Person, event: ev.Event, digest: bytes, active: bool, late: bool, rules: Rules
) -> tuple[Person, tuple[Output, ...]]:
    """Fold an event into activity, ledger and preferences, and attribute a money event to open offers."""
    ledger = person.ledger
    grid, rows = ledger.grid, ledger.pending_labels
    if active:
        if grid == NEVER:
            grid = next_wake(person.id, max(event.time, ledger.done_until), rules)
        rows = risk.record_return(rows, event.time, rules.horizon)
    alerted = ledger.alerted_courses
    if alerted and isinstance(event, ev.Learning) and event.course_id in alerted:
        alerted = tuple(course for course in alerted if course != event.course_id)
    preferences, interactions = _fold_preferences(person, event, rules)
    person = Person(
        person.id,
        activity.fold(person.activity, event, active, late),
        replace(
            _update_consent(ledger, event) if type(event) in _CONSENT else ledger,
            recent_events=add_digest(ledger.recent_events, digest),
            grid=grid,
            pending_labels=rows,
            alerted_courses=alerted,
        ),
        preferences,
    )
    if event.money:
        person, outcomes = attribution.attribute(person, event, rules)
        return person, interactions + outcomes
    return person, interactions


def _fold_preferences(person: Person, event: ev.Event, rules: Rules) -> tuple[Preferences, tuple[Output, ...]]:
    """Fold an event into the preferences. If the interaction is new information, it is an output for the course."""
    if not rules.recommend:
        return person.preferences, ()
    preferences, interaction = fold_interaction(person.preferences, event, 0)
    if interaction is None:
        return preferences, ()
    id = output_id(person.id, "interaction", f"event {event.id}")
    return preferences, (replace(interaction, id=id, person=key_for(person, rules)),)


def _needs_score(person: Person, money: bool, active: bool, time: float, rules: Rules) -> bool:
    if not money and not (active and time - person.ledger.scored_at >= rules.rescore_after):
        return False
    return time >= person.activity.last and risk.is_eligible(person, time, rules)


def _update_tier(
    person: Person, at: float, cause: str, keep_row: bool, score: Score, delay: float, context: Context
) -> tuple[Person, tuple[Output, ...]]:
    """Record a score. If the tier changes, publish an alert and the profile; a first tier `low` is no alert."""
    before = person.ledger.tier
    tier = risk.next_tier(person.ledger, score.probability, at, context)
    ledger = risk.record_score(person.ledger, score, at, context, keep_row)
    if tier == before:
        return Person(person.id, person.activity, ledger, person.preferences), ()
    person = replace(person, ledger=replace(ledger, tier=tier, tier_since=at))
    published: tuple[Output, ...] = (make_profile(person, at, cause, context),)
    if before or tier != "low":
        alert_cause = alerts.AlertCause(
            about="risk", at=at, cause_id=cause, row=score.row, tier_before=before, delay=delay
        )
        person, alert = alerts.publish_alert(person, alert_cause, context)
        published = (*alert, *published)
    return person, published


def _update_consent(ledger: Ledger, event: ev.Event) -> Ledger:
    """Record a marketing consent or its withdrawal. The latest one by event time counts."""
    if event.time < ledger.consent_at:
        return ledger
    if event.time == ledger.consent_at and ledger.consent < 0:
        return ledger  # if both have the same time, the withdrawal counts
    return replace(ledger, consent=1 if type(event) is ev.ConsentGiven else -1, consent_at=event.time)


def _erase(person: Person, event: ev.ErasureRequested) -> Transition:
    """Forget everything about a person except the time of the request."""
    erased = Person("", ledger=Ledger(erased_at=event.time, done_until=event.time))
    tombstones = (
        Tombstone(id=output_id(person.id, "forgotten", event.id), user_id=person.id),
        Tombstone(id=output_id(person.id, "unlisted", event.id), user_id=person.id, of="recommendations"),
    )
    return Transition(erased, tombstones, ("erasure",))
