"""What a simulated learner does on a visit: goes on with a course, finishes one at times, then looks for another."""

from __future__ import annotations

from random import Random
from typing import TypedDict

from models.schema import events as ev
from streams.history.simulation.catalogue import FIELDS, SimulatedCourse
from streams.history.simulation.drift import STEADY, Drift
from streams.history.simulation.traits import Traits

FAITHFUL = 0.7
"""How often the next course is one of the learner's own field, as long as there is one left."""


class What(TypedDict):
    """What every event has."""

    id: str
    user_id: str
    time: float


class Study:
    """Where a learner is in the catalogue, and the pen that writes the events of their visits."""

    def __init__(self, user: str, traits: Traits, rng: Random, drift: Drift = STEADY) -> None:
        self.user = user
        self.course: SimulatedCourse | None = None
        self.progress = 0.0
        self.done: set[str] = set()
        self._traits = traits
        self._rng = rng
        self._drift = drift
        self._field = rng.choice(FIELDS)
        self._written = 0
        self._now = 0.0

    def arrives(self, at: float) -> list[ev.Event]:
        """Return the events of signing up: the account, consent where it is given, and the first course."""
        self._now = at
        said: list[ev.Event] = [ev.Signup(**self._what())]
        if self._traits.consents:
            said.append(ev.ConsentGiven(**self._what()))
        return said + self._looks(buys=0.85)

    def visit(self, at: float, engagement: float) -> list[ev.Event]:
        """Return the events of one visit in time order; the less engaged, the less is learned in it."""
        self._now = at
        said: list[ev.Event] = [ev.Login(**self._what())] if self._rng.random() < 0.15 else []
        if self.course is None:
            said += self._looks(buys=0.45 * engagement)
        else:
            said += self._learns(self.course, engagement)
        chance = self._rng.random()
        if chance < 0.05:
            said.append(ev.Comment(course_id=self.course.id if self.course else None, **self._what()))
        elif chance < 0.08:
            said.append(ev.Search(query=self._rng.choice(self._drift.courses(at)).id.replace("-", " "), **self._what()))
        return said

    def buys(self, at: float, offer: str, amount: float) -> list[ev.Event]:
        """Return the events of using a coupon: a new course for that much less."""
        self._now = at
        course = self._other_course()
        reduced = min(amount, course.price)
        redeemed = ev.CouponRedeemed(offer_id=offer, amount=reduced, **self._what())
        return [redeemed, self._bought(course, course.price - reduced, offer)]

    def _looks(self, buys: float) -> list[ev.Event]:
        course = self._other_course()
        said: list[ev.Event] = [ev.CourseView(course_id=course.id, **self._what())]
        if self._rng.random() < buys:
            said.append(self._bought(course, course.price))
        return said

    def _bought(self, course: SimulatedCourse, amount: float, offer: str | None = None) -> ev.Event:
        self.course, self.progress = course, 0.0
        amount = round(amount, 2)
        return ev.Purchase(course_id=course.id, amount=amount, currency="EUR", offer_id=offer, **self._what())

    def _learns(self, course: SimulatedCourse, engagement: float) -> list[ev.Event]:
        stuck = self._rng.random() < 0.75 * (1.0 - engagement)
        minutes = round(min(180.0, self._rng.lognormvariate(2.9, 0.5) * (0.4 + 0.6 * engagement)), 1)
        before = int(self.progress * course.lessons + 1e-9)
        if not stuck:
            self.progress = min(1.0, self.progress + self._rng.uniform(0.2, 0.6) / course.lessons)
        self._now += minutes * 60.0
        lesson = f"{course.id}/{min(before + 1, course.lessons)}"
        said: list[ev.Event] = [
            ev.LessonProgress(
                course_id=course.id, lesson_id=lesson, progress=self._reached(), minutes=minutes, **self._what()
            )
        ]
        if int(self.progress * course.lessons + 1e-9) > before:
            said += self._completes(course, lesson, engagement)
        return said

    def _completes(self, course: SimulatedCourse, lesson: str, engagement: float) -> list[ev.Event]:
        said: list[ev.Event] = [
            ev.LessonCompleted(course_id=course.id, lesson_id=lesson, progress=self._reached(), **self._what())
        ]
        if self._rng.random() < 0.3:
            score = self._traits.ability * (0.7 + 0.3 * engagement) + self._rng.gauss(0.0, 0.1)
            said.append(ev.Exercise(course_id=course.id, score=_share(score), **self._what()))
        if self.progress >= 1.0 - 1e-9:
            said += self._finishes(course, engagement)
        return said

    def _finishes(self, course: SimulatedCourse, engagement: float) -> list[ev.Event]:
        said: list[ev.Event] = [ev.CourseCompleted(course_id=course.id, **self._what())]
        if self._rng.random() < 0.4:
            rating = _share(0.55 + 0.35 * engagement + self._rng.gauss(0.0, 0.12))
            said.append(ev.Review(course_id=course.id, rating=rating, **self._what()))
        self.done.add(course.id)
        self.course = None
        return said

    def _other_course(self) -> SimulatedCourse:
        """Return a course neither finished nor running, mostly of their own field; whoever is through begins again."""
        running = {self.course.id} if self.course else set()
        courses = self._drift.courses(self._now)
        left = [course for course in courses if course.id not in self.done | running]
        own = [course for course in left if course.field == self._field]
        if own and self._rng.random() < FAITHFUL:
            return self._rng.choice(own)
        return self._rng.choice(left or courses)

    def _reached(self) -> float:
        return round(min(1.0, self.progress), 4)

    def _what(self) -> What:
        """Return id, person and time of the next event, each some seconds after the one before."""
        self._written += 1
        self._now = round(self._now + self._rng.uniform(5.0, 90.0), 3)
        return {"id": f"{self.user}-{self._written}", "user_id": self.user, "time": self._now}


def _share(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 2)
