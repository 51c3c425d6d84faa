"""Course announcements: each partition selects its users with the greatest interest in a new course."""

from __future__ import annotations

import asyncio

from models.person.ledger import output_id
from models.recommend.audience import Audience, AudienceShare, Member, interest, similar_courses
from models.recommend.catalogue import Catalogue
from models.schema import events as ev
from streams.agents.users.store import UserStore
from streams.clock import TimeBudget
from streams.kafka import codec

SLICE = 0.02
"""Seconds of work after which other tasks run."""


async def select_audience(
    users: UserStore, announced: ev.Announced, part: int, parts: int, catalogue: Catalogue | None, max_record_bytes: int
) -> AudienceShare:
    """Rate all users of a partition, in slices. Users who refused marketing are left out.

    Args:
        users: users of the partition.
        announced: the course, and the number of users wanted.
        part: the partition.
        parts: partition count.
        catalogue: the course catalogue; without one, no user is selected.
        max_record_bytes: record size limit; a larger share keeps only the most interested users.
    """
    course = announced.course
    audience = Audience(course.audience)
    if catalogue is not None:
        catalogue.add_if_unknown(course)
        await _rate_users(users, audience, similar_courses(catalogue.index, catalogue.content, course.course_id))
    members = audience.best()
    while True:
        share = AudienceShare(
            id=output_id(course.course_id, f"offered {part}", course.id),
            course=course.course_id,
            announcement=course.id,
            time=course.time,
            size=course.audience,
            part=part,
            parts=parts,
            members=tuple(members),
        )
        if len(codec.encode_output(share) or b"") <= max_record_bytes // 2:
            return share
        members = members[: len(members) // 2]


async def _rate_users(users: UserStore, audience: Audience, similarity: dict[str, float]) -> None:
    if not similarity:
        return
    budget = TimeBudget(SLICE)
    for person in users.iter_persons():
        score = interest(person.preferences, similarity)
        if score > 0 and person.ledger.consent >= 0:
            audience.add([Member(round(score, 6), person.id)])
        if budget.over():
            await asyncio.sleep(0)
            budget = TimeBudget(SLICE)
