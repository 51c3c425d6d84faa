"""The audience of a new course: the people whose recent courses resemble it most, up to a given size.

The similarity of the new course to each known course is computed once. A person's interest is then a sum over their
recent courses. Each partition of users sends its best users to the course, which merges these shares.
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

MIN_SIMILARITY = 0.05
"""Two courses with a lower similarity count as unrelated."""
MAX_RECENT_COURSES, RHO, SHRINKAGE = 20, 0.9, 2.0


class Member(Struct, frozen=True, order=True, array_like=True, gc=False):
    """A member of an audience, with an interest in the course between 0 and 1."""

    interest: float
    person: str


def similar_courses(index: Index, content: Content, course: str) -> dict[str, float]:
    """Return the courses whose content resembles a given course, with their similarity."""
    number = index.numbers.get(course)
    if number is None:
        return {}
    profile = content.profile(np.array([number]), np.ones(1))
    others = np.unique(content.newest_matches(profile)[0])
    others = others[others != number]
    similarity = content.cosines(others, profile)
    named = zip(others.tolist(), similarity.tolist(), strict=True)
    return {index.names[other]: value for other, value in named if value >= MIN_SIMILARITY}


def interest(preferences: Preferences, similarity: dict[str, float]) -> float:
    """Return a person's interest in a course: the weighted mean similarity of their recent courses to it.

    The mean is shrunk towards 0 while the person has few courses.

    Examples:
        >>> from models.person.preferences import RecentCourse
        >>> interest(Preferences((RecentCourse("go", 4.0, 0.0), RecentCourse("art", 1.0, 0.0))), {"go": 0.9})
        0.5217391304347826
    """
    total = weights = 0.0
    for place, recent in enumerate(preferences.recent[:MAX_RECENT_COURSES]):
        weight = recent.strength * RHO**place
        weights += weight
        total += weight * similarity.get(recent.course, 0.0)
    return total / (weights + SHRINKAGE)


class AudienceShare(Output, frozen=True, kw_only=True, tag_field="type", tag="offered"):
    """One partition's users who would like an announced course most, as sent to the course.

    Attributes:
        course: id of the course.
        announcement: id of the event that announced the course.
        time: time of that event.
        size: size of the whole audience.
        part: the partition; `parts`: number of partitions.
        members: the users.
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
    """The shares of an announcement that arrived so far. It is immutable.

    Attributes:
        announcement: id of the event that announced the course; `time`: time of that event.
        size: size of the whole audience.
        received: the partitions whose share arrived; `parts`: number of partitions.
        members: the best users so far.
        published: whether the audience was published.
    """

    announcement: str
    time: float
    size: int
    received: tuple[int, ...] = ()
    parts: int = 1
    members: tuple[Member, ...] = ()
    published: bool = False

    @property
    def complete(self) -> bool:
        """Whether the share of every partition arrived."""
        return len(self.received) >= self.parts

    @property
    def is_ready(self) -> bool:
        """Whether the audience is complete and not published yet."""
        return self.complete and not self.published

    def without_members(self) -> AudienceMerge:
        """Return the published state without members. It is kept so that the audience is published once."""
        return AudienceMerge(self.announcement, self.time, self.size, self.received, self.parts, (), published=True)


def merge_share(before: AudienceMerge | None, share: AudienceShare) -> AudienceMerge | None:
    """Merge a partition's share. A later announcement replaces an earlier one; shares of an earlier one are ignored.

    Examples:
        >>> first = AudienceShare(id="1", course="c", announcement="a", time=5.0, size=1, part=0, parts=2,
        ...     members=(Member(0.2, "ann"),))
        >>> second = AudienceShare(id="2", course="c", announcement="a", time=5.0, size=1, part=1, parts=2,
        ...     members=(Member(0.9, "bob"),))
        >>> both = merge_share(merge_share(None, first), second)
        >>> both.complete, [member.person for member in both.members]
        (True, ['bob'])
    """
    if before is None or before.time < share.time:
        before = AudienceMerge(share.announcement, share.time, share.size, parts=share.parts)
    if before.announcement != share.announcement or share.part in before.received:
        return before
    audience = Audience(before.size)
    audience.add((*before.members, *share.members))
    received = (*before.received, share.part)
    return AudienceMerge(before.announcement, before.time, before.size, received, before.parts, tuple(audience.best()))


class Audience:
    """The most interested users so far, at most `size`.

    Examples:
        >>> audience = Audience(2)
        >>> audience.add([Member(0.2, "ann"), Member(0.9, "bob"), Member(0.5, "cem")])
        >>> [member.person for member in audience.best()]
        ['bob', 'cem']
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._members: list[Member] = []

    def add(self, members: Iterable[Member]) -> None:
        """Add users in any order. Each user may be added once."""
        for member in members:
            if member.interest <= 0:
                continue
            if len(self._members) < self.size:
                heapq.heappush(self._members, member)
            elif self._members and member > self._members[0]:
                heapq.heapreplace(self._members, member)

    def best(self) -> list[Member]:
        """Return the users, most interested first."""
        return sorted(self._members, reverse=True)
