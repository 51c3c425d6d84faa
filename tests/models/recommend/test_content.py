"""Course content: TF-IDF terms and similarity."""

import numpy as np
import pytest

from models.recommend.content import Content, count_terms
from models.schema import events as ev


def test_content_similarity_is_the_cosine_of_tf_idf() -> None:
    """The values equal the formula (1 + ln tf) ln((1 + N) / (1 + df))."""
    content = Content()
    terms = [{"go": 2.0, "web": 1.0}, {"go": 1.0, "art": 3.0}, {"art": 1.0}, {"tax": 1.0}]
    for number, each in enumerate(terms):
        content.update(number, each)
    frequency = {term: sum(term in each for each in terms) for each in terms for term in each}

    def vector(each: dict[str, float]) -> dict[str, float]:
        plain = {term: (1 + np.log(count)) * np.log(5 / (1 + frequency[term])) for term, count in each.items()}
        length = np.sqrt(sum(value**2 for value in plain.values()))
        return {term: value / length for term, value in plain.items()}

    for place, other in enumerate(terms):
        expected = sum(value * vector(other).get(term, 0.0) for term, value in vector(terms[0]).items())
        profile = content.profile(np.array([0]), np.ones(1))
        assert content.cosines(np.array([place]), profile)[0] == pytest.approx(expected, abs=1e-6)
        assert content.pairwise_cosines(np.array([0, place]))[0, 1] == pytest.approx(expected, abs=1e-6)


def test_a_changed_course_has_only_its_new_terms() -> None:
    """Old terms count neither for the course nor in document frequencies. A course without terms is removed."""
    changed, fresh = Content(), Content()
    changed.update(0, {"go": 1.0, "old": 1.0})
    changed.update(1, {"art": 1.0})
    changed.update(2, {"tax": 1.0})
    changed.update(0, {"art": 1.0, "new": 1.0})
    changed.update(2, {})
    for number, terms in ((0, {"art": 1.0, "new": 1.0}), (1, {"art": 1.0})):
        fresh.update(number, terms)
    assert changed.courses == fresh.courses == 2
    found = [each.pairwise_cosines(np.array([0, 1]))[0, 1] for each in (changed, fresh)]
    assert found[0] == pytest.approx(found[1])
    about, _ = changed.newest_matches(changed.profile(np.array([1]), np.ones(1)))
    assert set(about.tolist()) == {0, 1}


def test_a_catalogue_of_many_terms_grows() -> None:
    """There are more courses and terms than the initial capacity. Of a long text, the rarest terms are kept."""
    content = Content()
    for number in range(500):
        content.update(number, {f"t{number}": 1.0, **{f"common {k}": 1.0 for k in range(60)}})
    assert content.pairwise_cosines(np.array([3, 4]))[0, 1] < 1.0
    assert content.pairwise_cosines(np.array([3, 3]))[0, 1] == pytest.approx(1.0)


def test_terms_come_from_all_of_an_entry() -> None:
    """Title, description, tags and category count. Texts without spaces are split into character pairs."""
    entry = ev.CoursePublished(
        id="1", course_id="c", time=0.0, title="数据分析", description="Learn DATA, fast", tags=("Data",), category="IT"
    )
    terms = count_terms(entry)
    assert terms == {
        "数据": 2.0, "据分": 2.0, "分析": 2.0, "learn": 1.0, "data": 1.0, "fast": 1.0, "#data": 2.0, "#it": 2.0,
    }  # fmt: skip
