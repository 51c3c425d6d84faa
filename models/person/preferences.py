"""What a person likes: recent courses with the strength of interest, and courses already seen or owned.

This is the third part of a person's state, after activity and ledger. Its fold decides for each event whether the
interaction changes anything for the course: the course is new to the person, the interest is stronger than before
(completed after only viewed), or the person came back to it. Only then does it return an `Interaction`, which carries
the person's other recent courses to the course.
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
"""Number of other courses, newest first, that an interaction carries."""
MAX_RECENT = 80
"""Recent courses kept in total. Beyond the window, the most used ones are kept."""
MAX_KEYS = 1_000
USE_HALF_LIFE_DAYS = 30.0
RETURN_AFTER = 3_600.0
"""Seconds after which another use of the latest course counts as a return."""
COMPLETED = 4.0
STRENGTHS: dict[type[ev.Event], float] = {
    ev.PageView: 1.0, ev.CourseView: 1.0, ev.Search: 1.0, ev.Like: 1.5, ev.Shared: 1.5, ev.Comment: 1.5,
    ev.Question: 1.5, ev.Answer: 1.5, ev.Favourite: 2.0, ev.TrialStarted: 2.0, ev.LessonProgress: 2.0,
    ev.LiveSession: 2.0, ev.Exercise: 2.0, ev.LessonCompleted: 2.0, ev.Purchase: 3.0, ev.CourseCompleted: COMPLETED,
}  # fmt: skip
"""Implicit rating of a course by the type of event; a page view is 1."""
_OWNING = frozenset((ev.Purchase, ev.CourseCompleted))


class RecentCourse(Struct, frozen=True, array_like=True, gc=False):
    """One of a person's courses.

    Attributes:
        course: id of the course.
        strength: the highest implicit rating so far.
        time: time of the latest use.
        first: time of the first use.
        uses: number of uses.
        decayed_uses: number of uses with a half-life of 30 days, as of `time`.
    """

    course: str
    strength: float
    time: float
    first: float = 0.0
    uses: int = 1
    decayed_uses: float = 1.0


class Recommendation(Struct, frozen=True, array_like=True, gc=False):
    """A recommended course: `reason` in words, `because` the person's own course that led to it, if there is one."""

    course: str
    score: float
    reason: str
    because: str | None = None


class Preferences(Struct, frozen=True, array_like=True, gc=False):
    """A person's preferences. They are immutable: every change makes new ones.

    Attributes:
        recent: recent courses, newest first in the order of the log.
        seen: four bytes for each course seen, oldest first. They suffice to exclude a course, not to name it.
        owned: the same for courses that were bought or finished.
        courses: number of distinct courses seen.
        last_published: head of the recommendation list that was published last.
        listed_at: when a list was last computed.
    """

    recent: tuple[RecentCourse, ...] = ()
    seen: bytes = b""
    owned: bytes = b""
    courses: int = 0
    last_published: tuple[Recommendation, ...] = ()
    listed_at: float = -1.0

    def has_seen(self, course: str) -> bool:
        """Return whether the person ever used a course. Once in millions, a hash collision returns a wrong True."""
        return _find_key(self.seen, course_key(course)) >= 0

    def owns(self, course: str) -> bool:
        """Return whether the person bought or finished a course, with the same rare hash collisions."""
        return _find_key(self.owned, course_key(course)) >= 0


OtherCourse = tuple[str, float]
"""Another course of the person, and its strength."""


class Interaction(Output, frozen=True, kw_only=True, tag_field="type", tag="interaction"):
    """A new, stronger or repeated interaction of a person with a course. It updates the course's row.

    Attributes:
        course: id of the course.
        person: 63-bit key of the person, not an id.
        time: time of the event.
        before: strength with which pairs of this course and `others` have counted so far; 0 for a repetition.
        after: strength with which they count from now on.
        new: whether the course is new to the person.
        others: the person's other courses, newest first.
    """

    course: str
    person: int
    time: float
    before: float
    after: float
    new: bool
    others: tuple[OtherCourse, ...] = ()
    urgent: ClassVar[bool] = False
    reproducible: ClassVar[bool] = True


def fold_interaction(preferences: Preferences, event: ev.Event, person: int) -> tuple[Preferences, Interaction | None]:
    """Fold one event into the preferences. Return them with the interaction to send to the course, if there is one.

    Args:
        preferences: before the event.
        event: of any type. An event without a course or without an implicit rating changes nothing.
        person: the key that stands for the person in data that cannot be erased.

    Examples:
        >>> likes, one = fold_interaction(Preferences(), ev.CourseView(id="1", user_id="u", time=5.0, course_id="a"), 7)
        >>> one.course, one.before, one.after, one.new
        ('a', 0.0, 1.0, True)
        >>> fold_interaction(likes, ev.CourseView(id="2", user_id="u", time=6.0, course_id="a"), 7)[1] is None
        True
        >>> likes, two = fold_interaction(likes, ev.CourseCompleted(id="3", user_id="u", time=7.0, course_id="a"), 7)
        >>> two.before, two.after, two.new
        (1.0, 4.0, False)
    """
    course = getattr(event, "course_id", None)
    if course is None:
        return preferences, None
    if type(event) is ev.Refund:
        return replace(preferences, owned=_remove_key(preferences.owned, course_key(course))), None
    strength = STRENGTHS.get(type(event))
    if strength is None:
        return preferences, None
    if type(event) in _OWNING:
        preferences = replace(preferences, owned=_add_key(preferences.owned, course_key(course)))
    return fold_use(preferences, event.id, course, person, event.time, strength)


def fold_use(
    preferences: Preferences, id: str, course: str, person: int, time: float, strength: float
) -> tuple[Preferences, Interaction | None]:
    """Fold one use of a course with a given strength. See `fold_interaction`."""
    place = -1
    for index, recent in enumerate(preferences.recent):
        if recent.course == course:
            place = index
            break
    if place < 0:
        key = course_key(course)
        others, before, changed = preferences.recent, 0.0, True
        new = _find_key(preferences.seen, key) < 0
        kept = _evict((RecentCourse(course, strength, time, time), *others), time)
        seen, courses = _add_key(preferences.seen, key), preferences.courses + new
    else:
        old = preferences.recent[place]
        others = preferences.recent[:place] + preferences.recent[place + 1 :]
        before = old.strength if strength > old.strength else 0.0
        changed = strength > old.strength or place > 0 or time - old.time >= RETURN_AFTER
        new = False
        kept = (_add_use(old, strength, time), *others)
        seen, courses = preferences.seen, preferences.courses
    preferences = Preferences(kept, seen, preferences.owned, courses, preferences.last_published, preferences.listed_at)
    if not changed:
        return preferences, None
    pairs = tuple([(other.course, other.strength) for other in others[:WINDOW]])
    return preferences, Interaction(
        id=id, course=course, person=person, time=time, before=before, after=strength, new=new, others=pairs
    )


def course_key(course: str) -> bytes:
    """Return the four bytes that stand for a course in `seen` and `owned`."""
    return crc32(course.encode()).to_bytes(4, "little")


def person_key(name: str) -> int:
    """Return the 63-bit key of a person in course rows; `name` is the id or a pseudonym of it."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") >> 1


def _add_use(old: RecentCourse, strength: float, time: float) -> RecentCourse:
    days = (time - old.time) / DAY / USE_HALF_LIFE_DAYS
    uses = old.decayed_uses * 2.0**-days + 1.0 if days >= 0 else old.decayed_uses + 2.0**days
    if strength < old.strength:
        strength = old.strength
    return RecentCourse(old.course, strength, time if time > old.time else old.time, old.first, old.uses + 1, uses)


def _evict(recent: tuple[RecentCourse, ...], time: float) -> tuple[RecentCourse, ...]:
    """Drop the least used course beyond the window if there are too many."""
    if len(recent) <= MAX_RECENT:
        return recent
    weakest = min(range(WINDOW, len(recent)), key=lambda place: (_decayed_uses(recent[place], time), -place))
    return recent[:weakest] + recent[weakest + 1 :]


def _decayed_uses(recent: RecentCourse, time: float) -> float:
    return recent.decayed_uses * float(2.0 ** (-max(0.0, time - recent.time) / DAY / USE_HALF_LIFE_DAYS))


def _find_key(keys: bytes, key: bytes) -> int:
    place = keys.find(key)
    while place >= 0 and place % 4:
        place = keys.find(key, place + 1)
    return place


def _add_key(keys: bytes, key: bytes) -> bytes:
    return keys if _find_key(keys, key) >= 0 else (keys + key)[-4 * MAX_KEYS :]


def _remove_key(keys: bytes, key: bytes) -> bytes:
    place = _find_key(keys, key)
    return keys if place < 0 else keys[:place] + keys[place + 4 :]
