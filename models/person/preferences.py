"""What a person likes: their recent courses with how strongly they took to them, and what they already have.

This is the third part of a person's value, beside activity and ledger. Its fold says, event by event, whether the
person's interaction with a course is news to anybody else: a course new to them, one they took to more strongly than
before (completed, after only looking), or one they came back to. Only then is there an `Interaction`, which carries
the person's recent courses to the course it is about.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import ClassVar
from zlib import crc32

from msgspec import Struct
from msgspec.structs import replace

from models.person.activity import DAY
from models.schema import events as ev
from models.schema.outputs import Output

WINDOW = 50
"""Distinct courses, newest first, that an interaction carries."""
MOST_RECENT = 80
"""Courses remembered in all: behind the window those that were used most."""
MOST_KEYS = 1_000
HEAT_DAYS = 30.0
RETURN_AFTER = 3_600.0
"""Seconds after which the course somebody never left counts as used again."""
COMPLETED = 4.0
STRENGTHS: dict[type[ev.Event], float] = {
    ev.PageView: 1.0, ev.CourseView: 1.0, ev.Search: 1.0, ev.Like: 1.5, ev.Shared: 1.5, ev.Comment: 1.5,
    ev.Question: 1.5, ev.Answer: 1.5, ev.Favourite: 2.0, ev.TrialStarted: 2.0, ev.LessonProgress: 2.0,
    ev.LiveSession: 2.0, ev.Exercise: 2.0, ev.LessonCompleted: 2.0, ev.Purchase: 3.0, ev.CourseCompleted: COMPLETED,
}  # fmt: skip
"""Implicit ratings: how much an event says of the person's liking for its course, a look at it being 1."""
_OWNING = frozenset((ev.Purchase, ev.CourseCompleted))


class RecentCourse(Struct, frozen=True, array_like=True, gc=False):
    """One of a person's courses.

    `strength` is the strongest so far, `time` the latest use, `uses` counts them, and `heat` counts them with a
    half-life of 30 days as of `time`.
    """

    course: str
    strength: float
    time: float
    first: float = 0.0
    uses: int = 1
    heat: float = 1.0


class Recommendation(Struct, frozen=True, array_like=True, gc=False):
    """A course for a person, and why: `reason` in words, `because` the course of theirs that led to it, if one did."""

    course: str
    score: float
    reason: str
    because: str | None = None


class Preferences(Struct, frozen=True, array_like=True, gc=False):
    """A person's taste; it is replaced, never changed.

    `recent` stands newest first in the order of the log. `seen` and `owned` (bought or finished) hold four bytes a
    course, oldest first: enough to leave a course out, too little to say which it was. `told` is the head of the list
    that was told last; `listed_at` when one was last made.
    """

    recent: tuple[RecentCourse, ...] = ()
    seen: bytes = b""
    owned: bytes = b""
    courses: int = 0
    told: tuple[Recommendation, ...] = ()
    listed_at: float = -1.0

    def has_seen(self, course: str) -> bool:
        """Return whether the person ever used a course (or, once in millions, another one)."""
        return _place(self.seen, key_of(course)) >= 0

    def owns(self, course: str) -> bool:
        """Return whether the person bought or finished a course (or, once in millions, another one)."""
        return _place(self.owned, key_of(course)) >= 0


Other = tuple[str, float]
"""Another course of the person, and how strongly they took to it."""


class Interaction(Output, frozen=True, kw_only=True, tag_field="type", tag="interaction"):
    """What a course must hear of a person: a new, stronger or repeated interaction.

    `before` and `after` are the strengths that the pairs of this course with the `others` counted with so far and
    count with from now on (a repetition counts afresh, from 0). `new` says whether the course is new to the person,
    `others` are their other courses, newest first. `person` is a 63-bit key, not an id.
    """

    course: str
    person: int
    time: float
    before: float
    after: float
    new: bool
    others: tuple[Other, ...] = ()
    urgent: ClassVar[bool] = False
    certain: ClassVar[bool] = True


def interactions(taste: Preferences, event: ev.Event, person: int) -> tuple[Preferences, Interaction | None]:
    """Fold one event; with it comes what its course must hear, if that is anything.

    Args:
        taste: before the event.
        event: of any kind; what names no course, or says nothing about liking it, changes nothing.
        person: the key that stands for the person where things cannot be forgotten.

    Examples:
        >>> taste, first = interactions(Preferences(), ev.CourseView(id="e1", user_id="u", time=5.0, course_id="a"), 7)
        >>> first.course, first.before, first.after, first.new
        ('a', 0.0, 1.0, True)
        >>> interactions(taste, ev.CourseView(id="e2", user_id="u", time=6.0, course_id="a"), 7)[1] is None
        True
        >>> taste, stronger = interactions(taste, ev.CourseCompleted(id="e3", user_id="u", time=7.0, course_id="a"), 7)
        >>> stronger.before, stronger.after, stronger.new
        (1.0, 4.0, False)
    """
    course = getattr(event, "course_id", None)
    if course is None:
        return taste, None
    if type(event) is ev.Refund:
        return replace(taste, owned=_without(taste.owned, key_of(course))), None
    strength = STRENGTHS.get(type(event))
    if strength is None:
        return taste, None
    if type(event) in _OWNING:
        taste = replace(taste, owned=_with(taste.owned, key_of(course)))
    return touched(taste, event.id, course, person, event.time, strength)


def touched(
    taste: Preferences, id: str, course: str, person: int, time: float, strength: float
) -> tuple[Preferences, Interaction | None]:
    """Fold one use of a course, of a given strength. See `interactions`."""
    place = -1
    for index, recent in enumerate(taste.recent):
        if recent.course == course:
            place = index
            break
    if place < 0:
        key = key_of(course)
        known = _place(taste.seen, key) >= 0
        now = RecentCourse(course, strength, time, time)
        before, others, said = 0.0, taste.recent, True
        kept = _fitted((now, *others), time)
        taste = Preferences(
            kept, _with(taste.seen, key), taste.owned, taste.courses + (not known), taste.told, taste.listed_at
        )
        new = not known
    else:
        old = taste.recent[place]
        others = taste.recent[:place] + taste.recent[place + 1 :]
        now = _used(old, strength, time)
        before = old.strength if strength > old.strength else 0.0
        said = strength > old.strength or place > 0 or time - old.time >= RETURN_AFTER
        taste = Preferences((now, *others), taste.seen, taste.owned, taste.courses, taste.told, taste.listed_at)
        new = False
    if not said:
        return taste, None
    told = tuple([(other.course, other.strength) for other in others[:WINDOW]])
    heard = Interaction(
        id=id, course=course, person=person, time=time, before=before, after=strength, new=new, others=told
    )
    return taste, heard


def key_of(course: str) -> bytes:
    """Return the four bytes that stand for a course in `seen` and `owned`."""
    return crc32(course.encode()).to_bytes(4, "little")


def person_key(name: str) -> int:
    """Return 63 bits that stand for a person in rows; `name` is the id, or a pseudonym of it."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") >> 1


def _used(old: RecentCourse, strength: float, time: float) -> RecentCourse:
    days = (time - old.time) / DAY / HEAT_DAYS
    heat = old.heat * 2.0**-days + 1.0 if days >= 0 else old.heat + 2.0**days
    if strength < old.strength:
        strength = old.strength
    return RecentCourse(old.course, strength, time if time > old.time else old.time, old.first, old.uses + 1, heat)


def _fitted(recent: tuple[RecentCourse, ...], time: float) -> tuple[RecentCourse, ...]:
    """Drop the course used least from behind the window, if there are too many."""
    if len(recent) <= MOST_RECENT:
        return recent
    weakest = min(range(WINDOW, len(recent)), key=lambda place: (_heat(recent[place], time), -place))
    return recent[:weakest] + recent[weakest + 1 :]


def _heat(recent: RecentCourse, time: float) -> float:
    return recent.heat * float(2.0 ** (-max(0.0, time - recent.time) / DAY / HEAT_DAYS))


def _place(keys: bytes, key: bytes) -> int:
    place = keys.find(key)
    while place >= 0 and place % 4:
        place = keys.find(key, place + 1)
    return place


def _with(keys: bytes, key: bytes) -> bytes:
    return keys if _place(keys, key) >= 0 else (keys + key)[-4 * MOST_KEYS :]


def _without(keys: bytes, key: bytes) -> bytes:
    place = _place(keys, key)
    return keys if place < 0 else keys[:place] + keys[place + 4 :]
