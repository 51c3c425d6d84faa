"""Announcements: one partition of people offers those whom a new course would please most."""

from __future__ import annotations

import asyncio

from models.person.ledger import output_id
from models.recommend.audience import Audience, AudienceShare, Member, interest, resembling
from models.recommend.catalogue import Catalogue
from models.schema import events as ev
from streams.agents.users.store import UserStore
from streams.clock import TimeBudget
from streams.kafka import codec

SLICE = 0.02


async def offered(
    people: UserStore, announced: ev.Announced, part: int, parts: int, shelf: Catalogue | None, max_record_bytes: int
) -> AudienceShare:
    """Judge everybody of a partition, letting others work between; those who said no to marketing are left out.

    Args:
        people: of the partition.
        announced: the course, and how many people are looked for.
        part: the partition.
        parts: how many there are.
        shelf: what is known of courses; nobody is offered where nothing is.
        max_record_bytes: of the record; of a larger one, the most interested are kept.
    """
    course = announced.course
    audience = Audience(course.audience)
    if shelf is not None:
        shelf.meet(course)
        await _judge(people, audience, resembling(shelf.index, shelf.content, course.course_id))
    members = audience.best()
    while True:
        said = AudienceShare(
            id=output_id(course.course_id, f"offered {part}", course.id),
            course=course.course_id,
            announcement=course.id,
            time=course.time,
            size=course.audience,
            part=part,
            parts=parts,
            members=tuple(members),
        )
        if len(codec.encode_output(said) or b"") <= max_record_bytes // 2:
            return said
        members = members[: len(members) // 2]


async def _judge(people: UserStore, audience: Audience, likeness: dict[str, float]) -> None:
    if not likeness:
        return
    slice_ = TimeBudget(SLICE)
    for person in people.everybody():
        liking = interest(person.preferences, likeness)
        if liking > 0 and person.ledger.consent >= 0:
            audience.offer([Member(round(liking, 6), person.id)])
        if slice_.over():
            await asyncio.sleep(0)
            slice_ = TimeBudget(SLICE)
