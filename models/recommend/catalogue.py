"""All that a worker knows of courses: co-occurrence rows, catalogue entries, and rankers."""

from __future__ import annotations

from models.person.preferences import Preferences, Recommendation
from models.recommend.candidates import Repeats
from models.recommend.content import Content, apply_change, count_terms
from models.recommend.cooccurrence import CooccurrenceRow
from models.recommend.index import Index
from models.recommend.lists import CandidateScorer, Surface, recommend
from models.schema import events as ev


class Catalogue:
    """Course index, course content and rankers. It is mutable, so two equal queries may give different results.

    Examples:
        >>> catalogue = Catalogue()
        >>> catalogue.on_course_event(ev.CoursePublished(id="1", course_id="go", time=0.0, title="Go"))
        >>> catalogue.on_course_event(ev.CourseWithdrawn(id="2", course_id="go", time=5.0))
        >>> catalogue.is_available("go")
        False
    """

    def __init__(self, surface: Surface = Surface()) -> None:  # noqa: B008 - frozen
        self.index = Index()
        self.content = Content()
        self.surface = surface
        self.rankers: dict[Repeats, CandidateScorer] = {}
        self._entries: dict[str, ev.CoursePublished] = {}

    def update_row(self, row: CooccurrenceRow) -> None:
        """Replace the row of a course."""
        self.index.update(row)

    def on_course_event(self, event: ev.CourseEvent) -> None:
        """Apply an event of a course. Events must come in their order.

        A withdrawn course is no longer recommended, until it is published again.
        """
        if isinstance(event, ev.CourseWithdrawn):
            self.index.withdraw(event.course_id)
            return
        if isinstance(event, ev.CourseChanged):
            known = self._entries.get(event.course_id)
            if known is None and event.title is None:
                return  # there is no entry to change, and no title for a new one
            entry = apply_change(known or _new_entry(event), event)
        elif isinstance(event, ev.CoursePublished):
            self.index.withdraw(event.course_id, withdrawn=False)
            entry = event
        else:
            return
        self._entries[event.course_id] = entry
        self.content.update(self.index.number(event.course_id), count_terms(entry))

    def add_if_unknown(self, entry: ev.CoursePublished) -> None:
        """Add the entry of a course that the catalogue does not have yet."""
        if entry.course_id not in self._entries:
            self.on_course_event(entry)

    def is_available(self, course: str) -> bool:
        """Return whether a course may be shown. A course that is unknown here counts as available."""
        number = self.index.numbers.get(course)
        return number is None or not self.index.withdrawn[number]

    def recommend(
        self, preferences: Preferences, now: float, n: int, person: int | None = None, repeats: Repeats | None = None
    ) -> tuple[Recommendation, ...]:
        """Return at most n courses for a person, best first; see `lists.recommend`.

        Args:
            preferences: of the person.
            now: the moment of the query, seconds since 1970 UTC.
            n: maximum length of the list.
            person: the person's key, so that they are not their own neighbour.
            repeats: what may be shown again, if it differs from the surface's setting.
        """
        surface = self.surface
        if repeats is not None and repeats != surface.repeats:
            surface = Surface(
                repeats=repeats, method=surface.method, relevance=surface.relevance, rare_place=surface.rare_place
            )
        return recommend(
            self.index, self.content, preferences, now, n, surface, self.rankers.get(surface.repeats), person
        )


def _new_entry(event: ev.CourseChanged) -> ev.CoursePublished:
    return ev.CoursePublished(id=event.id, course_id=event.course_id, time=event.time, title=event.title or "")
