"""A simulated learner's visits: continues a course, sometimes finishes it, then looks for another."""

from __future__ import annotations

from random import Random
from typing import TypedDict

from models.schema import events as ev
from streams.history.simulation.catalogue import FIELDS, SimulatedCourse
from streams.history.simulation.drift import STEADY, Drift
from streams.history.simulation.traits import Traits

SAME_FIELD_SHARE = 0.7
"""How often the next course is from the learner's own field, if that field has a course left."""


class EventBase(TypedDict):
    """The fields that every event has."""

    id: str
    user_id: str
    time: float


class Study:
    """A learner's progress through the catalogue. It creates the events of their visits."""

    def __init__(self, user: str, traits: Traits, rng: Random, drift: Drift = STEADY) -> None:
        self.user = user
        self.course: SimulatedCourse | None = None
        self.progress = 0.0
        self.finished: set[str] = set()
        self._traits = traits
        self._rng = rng
        self._drift = drift
        self._field = rng.choice(FIELDS)
        self._event_count = 0
        self._now = 0.0

    def sign_up(self, at: float) -> list[ev.Event]:
        """Return the events of signing up: the account, consent if it is given, and the first course."""
        self._now = at
        events: list[ev.Event] = [ev.Signup(**self._event_base())]
        if self._traits.consents:
            events.append(ev.ConsentGiven(**self._event_base()))
        return events + self._browse(purchase_chance=0.85)

    def visit(self, at: float, engagement: float) -> list[ev.Event]:
        """Return the events of one visit in time order. A less engaged learner learns less."""
        self._now = at
        events: list[ev.Event] = [ev.Login(**self._event_base())] if self._rng.random() < 0.15 else []
        if self.course is None:
            events += self._browse(purchase_chance=0.45 * engagement)
        else:
            events += self._learn(self.course, engagement)
        chance = self._rng.random()
        if chance < 0.05:
            events.append(ev.Comment(course_id=self.course.id if self.course else None, **self._event_base()))
        elif chance < 0.08:
            events.append(
                ev.Search(query=self._rng.choice(self._drift.courses(at)).id.replace("-", " "), **self._event_base())
            )
        return events

    def redeem(self, at: float, offer: str, amount: float) -> list[ev.Event]:
        """Return the events of using a coupon: the redemption, and the purchase of a new course at a lower price."""
        self._now = at
        course = self._other_course()
        reduced = min(amount, course.price)
        redeemed = ev.CouponRedeemed(offer_id=offer, amount=reduced, **self._event_base())
        return [redeemed, self._buy(course, course.price - reduced, offer)]

    def _browse(self, purchase_chance: float) -> list[ev.Event]:
        course = self._other_course()
        events: list[ev.Event] = [ev.CourseView(course_id=course.id, **self._event_base())]
        if self._rng.random() < purchase_chance:
            events.append(self._buy(course, course.price))
        return events

    def _buy(self, course: SimulatedCourse, amount: float, offer: str | None = None) -> ev.Event:
        self.course, self.progress = course, 0.0
        amount = round(amount, 2)
        return ev.Purchase(course_id=course.id, amount=amount, currency="EUR", offer_id=offer, **self._event_base())

    def _learn(self, course: SimulatedCourse, engagement: float) -> list[ev.Event]:
        stuck = self._rng.random() < 0.75 * (1.0 - engagement)
        minutes = round(min(180.0, self._rng.lognormvariate(2.9, 0.5) * (0.4 + 0.6 * engagement)), 1)
        before = int(self.progress * course.lessons + 1e-9)
        if not stuck:
            self.progress = min(1.0, self.progress + self._rng.uniform(0.2, 0.6) / course.lessons)
        self._now += minutes * 60.0
        lesson = f"{course.id}/{min(before + 1, course.lessons)}"
        events: list[ev.Event] = [
            ev.LessonProgress(
                course_id=course.id, lesson_id=lesson, progress=self._progress(), minutes=minutes, **self._event_base()
            )
        ]
        if int(self.progress * course.lessons + 1e-9) > before:
            events += self._complete_lesson(course, lesson, engagement)
        return events

    def _complete_lesson(self, course: SimulatedCourse, lesson: str, engagement: float) -> list[ev.Event]:
        events: list[ev.Event] = [
            ev.LessonCompleted(course_id=course.id, lesson_id=lesson, progress=self._progress(), **self._event_base())
        ]
        if self._rng.random() < 0.3:
            score = self._traits.ability * (0.7 + 0.3 * engagement) + self._rng.gauss(0.0, 0.1)
            events.append(ev.Exercise(course_id=course.id, score=_share(score), **self._event_base()))
        if self.progress >= 1.0 - 1e-9:
            events += self._finish_course(course, engagement)
        return events

    def _finish_course(self, course: SimulatedCourse, engagement: float) -> list[ev.Event]:
        events: list[ev.Event] = [ev.CourseCompleted(course_id=course.id, **self._event_base())]
        if self._rng.random() < 0.4:
            rating = _share(0.55 + 0.35 * engagement + self._rng.gauss(0.0, 0.12))
            events.append(ev.Review(course_id=course.id, rating=rating, **self._event_base()))
        self.finished.add(course.id)
        self.course = None
        return events

    def _other_course(self) -> SimulatedCourse:
        """Return a course neither finished nor in progress, mostly of the own field; any course if none is left."""
        running = {self.course.id} if self.course else set()
        courses = self._drift.courses(self._now)
        left = [course for course in courses if course.id not in self.finished | running]
        own = [course for course in left if course.field == self._field]
        if own and self._rng.random() < SAME_FIELD_SHARE:
            return self._rng.choice(own)
        return self._rng.choice(left or courses)

    def _progress(self) -> float:
        return round(min(1.0, self.progress), 4)

    def _event_base(self) -> EventBase:
        """Return id, user and time of the next event, some seconds after the event before."""
        self._event_count += 1
        self._now = round(self._now + self._rng.uniform(5.0, 90.0), 3)
        return {"id": f"{self.user}-{self._event_count}", "user_id": self.user, "time": self._now}


def _share(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 2)
