"""Course content: TF-IDF over title, description, tags and category, updated as the catalogue changes.

A course is a short list of weighted terms: (1 + ln tf) * ln((1 + N) / (1 + df)), of unit length (Salton & Buckley
1988). Document frequencies are those at the time of a query. So a term that every new course has loses its weight, and
no course has to be written again.
"""

from __future__ import annotations

import re
from collections import Counter
from math import log

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from models.schema import events as ev

MAX_TERMS = 32
MAX_POSTINGS = 256
_WORD = re.compile(r"[^\W_]+")


def count_terms(entry: ev.CoursePublished) -> dict[str, float]:
    """Count the terms of a catalogue entry. Words of the title count twice; a tag or category is also one whole term.

    Examples:
        >>> entry = ev.CoursePublished(id="1", course_id="c", time=0.0, title="Modern Go", tags=("web dev",))
        >>> count_terms(entry)
        {'modern': 2.0, 'go': 2.0, '#web dev': 2.0, 'web': 1.0, 'dev': 1.0}
    """
    counts: Counter[str] = Counter(split_words(entry.description))
    for word in split_words(entry.title):
        counts[word] += 2
    for label in (*entry.tags, *((entry.category,) if entry.category else ())):
        counts["#" + label.casefold().strip()] += 2
        if len(split := split_words(label)) > 1:
            counts.update(split)
    return {term: float(count) for term, count in counts.items()}


def apply_change(entry: ev.CoursePublished, change: ev.CourseChanged) -> ev.CoursePublished:
    """Apply a change to a catalogue entry. A field that the change leaves out stays the same.

    Examples:
        >>> entry = ev.CoursePublished(id="1", course_id="c", time=0.0, title="Go", category="IT")
        >>> apply_change(entry, ev.CourseChanged(id="2", course_id="c", time=5.0, title="Go II")).category
        'IT'
    """
    fields = ("title", "description", "tags", "category", "price", "lessons")
    changed = {name: value for name in fields if (value := getattr(change, name)) is not None}
    return replace(entry, id=change.id, time=change.time, **changed)


def split_words(text: str) -> list[str]:
    """Split a text into lower-case words. Scripts that are written without spaces are split into character pairs."""
    found = []
    for word in _WORD.findall(text.casefold()):
        if ord(word[0]) >= 0x2E80:
            found += [word[k : k + 2] for k in range(max(1, len(word) - 1))]
        elif len(word) > 1 or word.isdigit():
            found.append(word)
    return found


class Content:
    """The terms of each course by its number, and the newest courses of each term.

    Examples:
        >>> content = Content()
        >>> for number, terms in enumerate([{"go": 1.0, "web": 1.0}, {"go": 1.0}, {"art": 1.0}]):
        ...     content.update(number, terms)
        >>> cosines = content.cosines(np.array([1, 2]), content.profile(np.array([0]), np.ones(1)))
        >>> cosines.round(2).tolist()
        [0.38, 0.0]
    """

    def __init__(self) -> None:
        self.vocabulary: dict[str, int] = {}
        self.courses = 0
        self._frequency = np.zeros(64)
        self._ids = np.full((0, MAX_TERMS), -1, np.int32)
        self._weights = np.zeros((0, MAX_TERMS), np.float32)
        self._postings = np.full((64, MAX_POSTINGS), -1, np.int32)
        self._posting_weights = np.zeros((64, MAX_POSTINGS), np.float32)
        self._posting_counts = np.zeros(64, np.int64)
        self._scratch = np.zeros(64)

    def update(self, number: int, terms: dict[str, float]) -> None:
        """Replace the terms of a course; without terms, remove the course."""
        self._ensure_room(number)
        old = self._ids[number]
        if (old >= 0).any():
            self._frequency[old[old >= 0]] -= 1
            self.courses -= 1
            self._remove_postings(number, old[old >= 0])
        old[:] = -1
        self._weights[number] = 0.0
        if not terms:
            return
        ids = [self._term_id(term) for term in terms]
        raw = {
            term: (1.0 + log(count)) * self._idf(identity)
            for (term, count), identity in zip(terms.items(), ids, strict=True)
        }
        kept = sorted(zip(terms, ids, strict=True), key=lambda pair: (-raw[pair[0]], pair[0]))[:MAX_TERMS]
        self.courses += 1
        kept_ids = np.array([identity for _, identity in kept])
        self._ids[number, : len(kept)] = kept_ids
        self._weights[number, : len(kept)] = [1.0 + log(terms[term]) for term, _ in kept]
        self._frequency[kept_ids] += 1
        places = self._posting_counts[kept_ids] % MAX_POSTINGS
        self._postings[kept_ids, places] = number
        self._posting_weights[kept_ids, places] = self._vectors(np.array([number]))[1][0, : len(kept)]
        self._posting_counts[kept_ids] += 1

    def profile(
        self, numbers: NDArray[np.int64], weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the weighted sum of courses' term vectors, as unit vector.

        Returns:
            Term numbers, heaviest first, and their weights, of unit length.
        """
        ids, vectors = self._vectors(numbers)
        held = ids >= 0
        flat = ids[held]
        np.add.at(self._scratch, flat, (vectors * weights[:, None])[held])
        unique = np.unique(flat).astype(np.int64)
        totals = self._scratch[unique]
        self._scratch[unique] = 0.0
        order = np.argsort(-totals, kind="stable")
        unique, totals = unique[order], totals[order]
        length = float(np.sqrt((totals * totals).sum()))
        return unique, totals / length if length else totals

    def cosines(
        self, numbers: NDArray[np.int64], profile: tuple[NDArray[np.int64], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Return the cosine of each course to a profile."""
        terms, weights = profile
        ids, vectors = self._vectors(numbers)
        self._scratch[terms] = weights
        cosines: NDArray[np.float64] = (self._scratch[ids] * vectors).sum(1)
        self._scratch[terms] = 0.0
        return cosines

    def pairwise_cosines(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the cosines between courses, as a square matrix."""
        ids, vectors = self._vectors(numbers)
        unique, places = np.unique(ids, return_inverse=True)
        matrix = np.zeros((len(numbers), len(unique)))
        matrix[np.arange(len(numbers))[:, None], places.reshape(ids.shape)] = np.where(ids >= 0, vectors, 0.0)
        if len(unique) and unique[0] < 0:
            matrix[:, 0] = 0.0
        cosines: NDArray[np.float64] = matrix @ matrix.T
        return cosines

    def newest_matches(
        self, profile: tuple[NDArray[np.int64], NDArray[np.float64]], max_terms: int = 16
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the newest courses of a profile's heaviest terms, once per term, with the term's part of the cosine.

        The sum of a course's parts is its cosine over these terms. It uses the document frequencies of the time when
        the course was added.
        """
        terms, weights = profile[0][:max_terms], profile[1][:max_terms]
        postings = self._postings[terms]
        held = postings >= 0
        parts: NDArray[np.float64] = (self._posting_weights[terms] * weights[:, None])[held]
        return postings[held].astype(np.int64), parts

    def _vectors(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        if len(numbers) and numbers.max() >= len(self._ids):
            self._ensure_room(int(numbers.max()))
        ids = self._ids[numbers]
        vectors = self._weights[numbers] * np.log((1.0 + self.courses) / (1.0 + self._frequency[ids]))
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        return ids, vectors / np.maximum(lengths, 1e-12)[:, None]

    def _idf(self, identity: int) -> float:
        return log((2.0 + self.courses) / (1.0 + float(self._frequency[identity])))

    def _term_id(self, term: str) -> int:
        identity = self.vocabulary.setdefault(term, len(self.vocabulary))
        if identity >= len(self._frequency) - 1:
            for name in ("_frequency", "_postings", "_posting_weights", "_posting_counts", "_scratch"):
                old = getattr(self, name)
                grown = np.full((2 * len(old), *old.shape[1:]), -1 if name == "_postings" else 0, old.dtype)
                grown[: len(old)] = old
                setattr(self, name, grown)
        return identity

    def _remove_postings(self, number: int, terms: NDArray[np.int32]) -> None:
        postings = self._postings[terms]
        self._postings[terms] = np.where(postings == number, -1, postings)

    def _ensure_room(self, number: int) -> None:
        if number < len(self._ids):
            return
        room = max(64, 2 * len(self._ids), number + 1)
        for name, empty in (("_ids", -1), ("_weights", 0)):
            old = getattr(self, name)
            grown = np.full((room, MAX_TERMS), empty, old.dtype)
            grown[: len(old)] = old
            setattr(self, name, grown)
