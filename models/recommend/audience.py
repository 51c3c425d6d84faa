"""The audience of a new course: the people whose courses it resembles most, within a size.

What the new course resembles is worked out once, as a likeness to each known course; judging a person is then a sum
over their recent courses. Every partition of people offers its best; the course gathers the offers of all of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import ClassVar

import numpy as np
from msgspec import Struct

from models.person.preferences import Preferences
from models.recommend.content import Content
from models.recommend.index import Index
from models.schema.outputs import Output

LEAST = 0.05
"""Likeness below which two courses have nothing to do with each other."""
LOOKED_AT, RHO, DOUBT = 20, 0.9, 2.0


class Member(Struct, frozen=True, order=True, array_like=True, gc=False):
    """Somebody in an audience, with their interest in the course between 0 and 1."""

    interest: float
    person: str


def resembling(index: Index, content: Content, course: str) -> dict[str, float]:
    """Return how much each course resembles a given one by its content, where it does at all."""
    number = index.numbers.get(course)
    if number is None:
        return {}
    profile = content.profile(np.array([number]), np.ones(1))
    others = np.unique(content.about(profile)[0])
    others = others[others != number]
    likeness = content.likeness(others, profile)
    named = zip(others.tolist(), likeness.tolist(), strict=True)
    return {index.names[other]: alike for other, alike in named if alike >= LEAST}


def interest(taste: Preferences, likeness: dict[str, float]) -> float:
    """Return how much a person's recent courses resemble a course: a weighted mean, doubted while they are few.

    Examples:
        >>> from models.person.preferences import RecentCourse
        >>> interest(Preferences((RecentCourse("go", 4.0, 0.0), RecentCourse("art", 1.0, 0.0))), {"go": 0.9})
        0.5217391304347826
    """
    total = whole = 0.0
    for place, recent in enumerate(taste.recent[:LOOKED_AT]):
        weight = recent.strength * RHO**place
        whole += weight
        total += weight * likeness.get(recent.course, 0.0)
    return total / (whole + DOUBT)


class AudienceShare(Output, frozen=True, kw_only=True, tag_field="type", tag="offered"):
    """The people of one partition whom an announced course would please most: what the course hears of them.

    `announcement` is the id of the event that announced it, `size` the audience wanted in all, `part` of `parts` the
    partition.
    """

    course: str
    announcement: str
    time: float
    size: int
    part: int
    parts: int
    members: tuple[Member, ...]
    urgent: ClassVar[bool] = False


class AudienceMerge(Struct, frozen=True, array_like=True):
    """The audience of an announcement as far as partitions have offered; replaced, never changed."""

    announcement: str
    time: float
    size: int
    heard: tuple[int, ...] = ()
    parts: int = 1
    members: tuple[Member, ...] = ()
    told: bool = False

    @property
    def complete(self) -> bool:
        """Whether every partition has offered."""
        return len(self.heard) >= self.parts

    @property
    def waits(self) -> bool:
        """Whether it is complete and still to be told."""
        return self.complete and not self.told

    def done(self) -> AudienceMerge:
        """Return it without its members, once they are told: it is remembered so that it is told once."""
        return AudienceMerge(self.announcement, self.time, self.size, self.heard, self.parts, (), told=True)


def gathered(before: AudienceMerge | None, offered: AudienceShare) -> AudienceMerge | None:
    """Take an offer into account; a later announcement takes an earlier one's place, an earlier one says nothing.

    Examples:
        >>> first = AudienceShare(id="1", course="c", announcement="a", time=5.0, size=1, part=0, parts=2,
        ...     members=(Member(0.2, "ann"),))
        >>> second = AudienceShare(id="2", course="c", announcement="a", time=5.0, size=1, part=1, parts=2,
        ...     members=(Member(0.9, "bob"),))
        >>> both = gathered(gathered(None, first), second)
        >>> both.complete, [member.person for member in both.members]
        (True, ['bob'])
    """
    if before is None or before.time < offered.time:
        before = AudienceMerge(offered.announcement, offered.time, offered.size, parts=offered.parts)
    if before.announcement != offered.announcement or offered.part in before.heard:
        return before
    audience = Audience(before.size)
    audience.offer((*before.members, *offered.members))
    heard = (*before.heard, offered.part)
    return AudienceMerge(before.announcement, before.time, before.size, heard, before.parts, tuple(audience.best()))


class Audience:
    """The most interested people so far, at most `size`.

    Examples:
        >>> audience = Audience(2)
        >>> audience.offer([Member(0.2, "ann"), Member(0.9, "bob"), Member(0.5, "cem")])
        >>> [member.person for member in audience.best()]
        ['bob', 'cem']
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._members: list[Member] = []

    def offer(self, members: Iterable[Member]) -> None:
        """Take people into account, in any order and from anywhere; nobody twice."""
        for member in members:
            if member.interest <= 0:
                continue
            if len(self._members) < self.size:
                heapq.heappush(self._members, member)
            elif self._members and member > self._members[0]:
                heapq.heapreplace(self._members, member)

    def best(self) -> list[Member]:
        """Return the audience, most interested first."""
        return sorted(self._members, reverse=True)
