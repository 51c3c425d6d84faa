"""What courses are about: TF-IDF over title, description, tags and category, learned as the catalogue changes.

A course is a short list of weighted terms (Salton & Buckley 1988): (1 + ln tf) * ln((1 + N) / (1 + df)), of unit
length. Document frequencies are those of the moment a query is asked, so a term that every new course has loses its
weight without any course being written again.
"""

from __future__ import annotations

import re
from collections import Counter
from math import log

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from models.schema import events as ev

TERMS = 32
POSTED = 256
_WORD = re.compile(r"[^\W_]+")


def terms_of(entry: ev.CoursePublished) -> dict[str, float]:
    """Return how often each term stands in a catalogue entry; words of the title twice, tags and category whole.

    Examples:
        >>> entry = ev.CoursePublished(id="1", course_id="c", time=0.0, title="Modern Go", tags=("web dev",))
        >>> terms_of(entry)
        {'modern': 2.0, 'go': 2.0, '#web dev': 2.0, 'web': 1.0, 'dev': 1.0}
    """
    counts: Counter[str] = Counter(words(entry.description))
    for word in words(entry.title):
        counts[word] += 2
    for label in (*entry.tags, *((entry.category,) if entry.category else ())):
        counts["#" + label.casefold().strip()] += 2
        if len(split := words(label)) > 1:
            counts.update(split)
    return {term: float(count) for term, count in counts.items()}


def revised(entry: ev.CoursePublished, change: ev.CourseChanged) -> ev.CoursePublished:
    """Return a catalogue entry with a change applied; a field the change leaves out stays as it was.

    Examples:
        >>> entry = ev.CoursePublished(id="1", course_id="c", time=0.0, title="Go", category="IT")
        >>> revised(entry, ev.CourseChanged(id="2", course_id="c", time=5.0, title="Go II")).category
        'IT'
    """
    named = ("title", "description", "tags", "category", "price", "lessons")
    given = {name: value for name in named if (value := getattr(change, name)) is not None}
    return replace(entry, id=change.id, time=change.time, **given)


def words(text: str) -> list[str]:
    """Split a text into lower-case words; runs of a script written without spaces into pairs of characters."""
    found = []
    for word in _WORD.findall(text.casefold()):
        if ord(word[0]) >= 0x2E80:
            found += [word[k : k + 2] for k in range(max(1, len(word) - 1))]
        elif len(word) > 1 or word.isdigit():
            found.append(word)
    return found


class Content:
    """The catalogue's terms by course number, with the newest courses of each term.

    Examples:
        >>> content = Content()
        >>> for number, terms in enumerate([{"go": 1.0, "web": 1.0}, {"go": 1.0}, {"art": 1.0}]):
        ...     content.put(number, terms)
        >>> likeness = content.likeness(np.array([1, 2]), content.profile(np.array([0]), np.ones(1)))
        >>> likeness.round(2).tolist()
        [0.38, 0.0]
    """

    def __init__(self) -> None:
        self.vocabulary: dict[str, int] = {}
        self.courses = 0
        self._frequency = np.zeros(64)
        self._ids = np.full((0, TERMS), -1, np.int32)
        self._weights = np.zeros((0, TERMS), np.float32)
        self._posts = np.full((64, POSTED), -1, np.int32)
        self._posted = np.zeros((64, POSTED), np.float32)
        self._ends = np.zeros(64, np.int64)
        self._dense = np.zeros(64)

    def put(self, number: int, terms: dict[str, float]) -> None:
        """Take a course's terms as they now stand; none takes it out."""
        self._room(number)
        old = self._ids[number]
        if (old >= 0).any():
            self._frequency[old[old >= 0]] -= 1
            self.courses -= 1
            self._leave(number, old[old >= 0])
        old[:] = -1
        self._weights[number] = 0.0
        if not terms:
            return
        ids = [self._term(term) for term in terms]
        raw = {
            term: (1.0 + log(count)) * self._idf(identity)
            for (term, count), identity in zip(terms.items(), ids, strict=True)
        }
        kept = sorted(zip(terms, ids, strict=True), key=lambda pair: (-raw[pair[0]], pair[0]))[:TERMS]
        self.courses += 1
        kept_ids = np.array([identity for _, identity in kept])
        self._ids[number, : len(kept)] = kept_ids
        self._weights[number, : len(kept)] = [1.0 + log(terms[term]) for term, _ in kept]
        self._frequency[kept_ids] += 1
        places = self._ends[kept_ids] % POSTED
        self._posts[kept_ids, places] = number
        self._posted[kept_ids, places] = self._vectors(np.array([number]))[1][0, : len(kept)]
        self._ends[kept_ids] += 1

    def profile(
        self, numbers: NDArray[np.int64], weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the terms that courses are about together, each course counting with a weight.

        Returns:
            Term numbers, heaviest first, and their weights, of unit length.
        """
        ids, vectors = self._vectors(numbers)
        held = ids >= 0
        flat = ids[held]
        np.add.at(self._dense, flat, (vectors * weights[:, None])[held])
        unique = np.unique(flat).astype(np.int64)
        totals = self._dense[unique]
        self._dense[unique] = 0.0
        order = np.argsort(-totals, kind="stable")
        unique, totals = unique[order], totals[order]
        length = float(np.sqrt((totals * totals).sum()))
        return unique, totals / length if length else totals

    def likeness(
        self, numbers: NDArray[np.int64], profile: tuple[NDArray[np.int64], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Return the cosine of courses to a profile."""
        terms, weights = profile
        ids, vectors = self._vectors(numbers)
        self._dense[terms] = weights
        likeness: NDArray[np.float64] = (self._dense[ids] * vectors).sum(1)
        self._dense[terms] = 0.0
        return likeness

    def alike(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the cosines between courses, a square matrix."""
        ids, vectors = self._vectors(numbers)
        unique, places = np.unique(ids, return_inverse=True)
        dense = np.zeros((len(numbers), len(unique)))
        dense[np.arange(len(numbers))[:, None], places.reshape(ids.shape)] = np.where(ids >= 0, vectors, 0.0)
        if len(unique) and unique[0] < 0:
            dense[:, 0] = 0.0
        alike: NDArray[np.float64] = dense @ dense.T
        return alike

    def about(
        self, profile: tuple[NDArray[np.int64], NDArray[np.float64]], most: int = 16
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the newest courses of a profile's heaviest terms, once a term, with what the term adds to likeness.

        The sum of a course's parts is its likeness as far as these terms go, by the frequencies of when it came.
        """
        terms, weights = profile[0][:most], profile[1][:most]
        posts = self._posts[terms]
        held = posts >= 0
        parts: NDArray[np.float64] = (self._posted[terms] * weights[:, None])[held]
        return posts[held].astype(np.int64), parts

    def _vectors(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        if len(numbers) and numbers.max() >= len(self._ids):
            self._room(int(numbers.max()))
        ids = self._ids[numbers]
        vectors = self._weights[numbers] * np.log((1.0 + self.courses) / (1.0 + self._frequency[ids]))
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        return ids, vectors / np.maximum(lengths, 1e-12)[:, None]

    def _idf(self, identity: int) -> float:
        return log((2.0 + self.courses) / (1.0 + float(self._frequency[identity])))

    def _term(self, term: str) -> int:
        identity = self.vocabulary.setdefault(term, len(self.vocabulary))
        if identity >= len(self._frequency) - 1:
            for name in ("_frequency", "_posts", "_posted", "_ends", "_dense"):
                old = getattr(self, name)
                grown = np.full((2 * len(old), *old.shape[1:]), -1 if name == "_posts" else 0, old.dtype)
                grown[: len(old)] = old
                setattr(self, name, grown)
        return identity

    def _leave(self, number: int, terms: NDArray[np.int32]) -> None:
        posts = self._posts[terms]
        self._posts[terms] = np.where(posts == number, -1, posts)

    def _room(self, number: int) -> None:
        if number < len(self._ids):
            return
        room = max(64, 2 * len(self._ids), number + 1)
        for name, empty in (("_ids", -1), ("_weights", 0)):
            old = getattr(self, name)
            grown = np.full((room, TERMS), empty, old.dtype)
            grown[: len(old)] = old
            setattr(self, name, grown)
