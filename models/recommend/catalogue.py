"""The shelf: all that is known of courses at a moment, as whoever recommends holds it."""

from __future__ import annotations

from models.person.preferences import Preferences, Recommendation
from models.recommend.candidates import Repeats
from models.recommend.content import Content, revised, terms_of
from models.recommend.index import Index
from models.recommend.lists import CandidateScorer, Surface, recommend
from models.recommend.similarity import CooccurrenceRow
from models.schema import events as ev


class Catalogue:
    """Rows, catalogue and rankers; it changes as they are heard of, so two questions may get two answers.

    Examples:
        >>> shelf = Catalogue()
        >>> shelf.hear(ev.CoursePublished(id="1", course_id="go", time=0.0, title="Go"))
        >>> shelf.hear(ev.CourseWithdrawn(id="2", course_id="go", time=5.0))
        >>> shelf.has("go")
        False
    """

    def __init__(self, surface: Surface = Surface()) -> None:  # noqa: B008 - frozen
        self.index = Index()
        self.content = Content()
        self.surface = surface
        self.rankers: dict[Repeats, CandidateScorer] = {}
        self._entries: dict[str, ev.CoursePublished] = {}

    def put(self, row: CooccurrenceRow) -> None:
        """Take a course's row as it now stands."""
        self.index.put(row)

    def hear(self, event: ev.CourseEvent) -> None:
        """Take what happened to a course, in the order of its events.

        A course that is withdrawn is shown no more from this moment on; published again, it may be.
        """
        if isinstance(event, ev.CourseWithdrawn):
            self.index.withdraw(event.course_id)
            return
        if isinstance(event, ev.CourseChanged):
            known = self._entries.get(event.course_id)
            if known is None and event.title is None:
                return  # nothing is known that it could change
            entry = revised(known or _untitled(event), event)
        elif isinstance(event, ev.CoursePublished):
            self.index.withdraw(event.course_id, gone=False)
            entry = event
        else:
            return
        self._entries[event.course_id] = entry
        self.content.put(self.index.number(event.course_id), terms_of(entry))

    def meet(self, entry: ev.CoursePublished) -> None:
        """Take the entry of a course of which the catalogue has not been heard yet."""
        if entry.course_id not in self._entries:
            self.hear(entry)

    def has(self, course: str) -> bool:
        """Return whether a course may be shown, as far as is known."""
        number = self.index.numbers.get(course)
        return number is None or not self.index.gone[number]

    def recommend(
        self, taste: Preferences, now: float, n: int, person: int | None = None, repeats: Repeats | None = None
    ) -> tuple[Recommendation, ...]:
        """Return at most n courses for a person, best first; see `lists.recommend`.

        Args:
            taste: the person's.
            now: the moment asked for, seconds since 1970 UTC.
            n: places.
            person: their key, to leave them out of their own neighbours.
            repeats: what may be shown again, where it is not what the surface wants.
        """
        surface = self.surface
        if repeats is not None and repeats != surface.repeats:
            surface = Surface(
                repeats=repeats, method=surface.method, relevance=surface.relevance, rare_place=surface.rare_place
            )
        return recommend(self.index, self.content, taste, now, n, surface, self.rankers.get(surface.repeats), person)


def _untitled(event: ev.CourseChanged) -> ev.CoursePublished:
    return ev.CoursePublished(id=event.id, course_id=event.course_id, time=event.time, title=event.title or "")
