"""Announcements: one partition of people offers those whom a new course would please most."""

from __future__ import annotations

import asyncio

from models import events as ev
from models.ledger import name_of
from models.recommend.audience import Audience, Member, Offered, interest, resembling
from models.recommend.shelf import Shelf
from streams import codec
from streams.clock import Slice
from streams.delivery.people import People

SLICE = 0.02


async def offered(
    people: People, announced: ev.Announced, part: int, parts: int, shelf: Shelf | None, most_bytes: int
) -> Offered:
    """Judge everybody of a partition, letting others work between; those who said no to marketing are left out.

    Args:
        people: of the partition.
        announced: the course, and how many people are looked for.
        part: the partition.
        parts: how many there are.
        shelf: what is known of courses; nobody is offered where nothing is.
        most_bytes: of the record; of a larger one, the most interested are kept.
    """
    course = announced.course
    audience = Audience(course.audience)
    if shelf is not None:
        shelf.meet(course)
        await _judge(people, audience, resembling(shelf.index, shelf.content, course.course_id))
    members = audience.best()
    while True:
        said = Offered(
            id=name_of(course.course_id, f"offered {part}", course.id),
            course=course.course_id,
            announcement=course.id,
            time=course.time,
            size=course.audience,
            part=part,
            parts=parts,
            members=tuple(members),
        )
        if len(codec.written(said) or b"") <= most_bytes // 2:
            return said
        members = members[: len(members) // 2]


async def _judge(people: People, audience: Audience, likeness: dict[str, float]) -> None:
    if not likeness:
        return
    slice_ = Slice(SLICE)
    for person in people.everybody():
        liking = interest(person.taste, likeness)
        if liking > 0 and person.ledger.consent >= 0:
            audience.offer([Member(round(liking, 6), person.id)])
        if slice_.over():
            await asyncio.sleep(0)
            slice_ = Slice(SLICE)
