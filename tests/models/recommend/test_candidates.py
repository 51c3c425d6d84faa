"""Generators follow their formulas, and candidates never contain excluded courses."""

import math

import numpy as np
import pytest

from models.person.activity import DAY
from models.person.preferences import MAX_KEYS, Preferences, fold_interaction, fold_use, person_key
from models.recommend import features
from models.recommend.candidates import MAX_CANDIDATES, MAX_OWN, MAX_POPULAR, allowed_mask, select_candidates
from models.recommend.cooccurrence import CountingWindow, PairWeight
from models.recommend.generators import (
    CONTENT,
    COSINE,
    NAMES,
    ORDER,
    OWN,
    PEOPLE,
    POPULAR,
    SESSION,
    generate,
    make_query,
)
from models.schema import events as ev
from streams.evaluation.recommender import Recommender
from tests.models.course_uses import make_visits, train_recommender

NOW = 31 * DAY


def generator_scores(model: Recommender, user: str, now: float = NOW) -> dict[str, dict[str, float]]:
    """Return every generator's scores for a person, by generator name and course."""
    query = make_query(model.index, model.preferences.get(user, Preferences()), now, person_key(user))
    generated = generate(model.index, model.content, query)
    return {
        name: {
            model.index.names[number]: score for number, score in zip(generated.numbers, scores, strict=True) if score
        }
        for name, scores in zip(NAMES, generated.scores, strict=True)
    }


def test_cosine_is_the_sum_over_the_newest_courses() -> None:
    """The score is the sum of .9^k C / (sqrt(c_x + 1) sqrt(c_j + 1)) over 20 seeds, computed from the rows' weights."""
    model = train_recommender(make_visits())
    rows, scores_by_name = model.rows, generator_scores(model, "p1")["cosine"]
    expected: dict[str, float] = {}
    for place, recent in enumerate(model.preferences["p1"].recent[:20]):
        seed = recent.course
        for other in rows:
            pair = rows[seed].near.get(other, PairWeight()).together + rows[other].near.get(seed, PairWeight()).together
            score = 0.9**place * pair / math.sqrt((rows[seed].mass + 1) * (rows[other].mass + 1))
            expected[other] = expected.get(other, 0.0) + score
    assert scores_by_name == pytest.approx({course: score for course, score in expected.items() if score}, rel=1e-5)


def test_order_is_what_comes_after_the_newest_courses() -> None:
    """The score is the sum of .8^k (forward + half of backward) / (c_x + 5) over 10 seeds."""
    model = train_recommender(make_visits())
    rows, scores_by_name = model.rows, generator_scores(model, "p1")["order"]
    expected: dict[str, float] = {}
    for place, recent in enumerate(model.preferences["p1"].recent[:10]):
        seed = recent.course
        for other in rows:
            pair = rows[other].near.get(seed, PairWeight()).order + 0.5 * rows[seed].near.get(other, PairWeight()).order
            expected[other] = expected.get(other, 0.0) + 0.8**place * pair / (rows[seed].mass + 5)
    assert scores_by_name == pytest.approx({course: score for course, score in expected.items() if score}, rel=1e-5)


def test_the_other_generators_score_the_right_courses() -> None:
    """People, content, popularity and own courses."""
    model = train_recommender(make_visits())
    scores_by_name, own = generator_scores(model, "p1"), {recent.course for recent in model.preferences["p1"].recent}
    assert set(scores_by_name["own"]) == own
    assert set(scores_by_name["popular"]) == set(model.rows)
    groups = {int(course[1:]) % 4 for course in own}
    assert {int(course[1:]) % 4 for course in scores_by_name["content"]} <= groups
    shared = {
        name
        for name, preferences in model.preferences.items()
        if {recent.course for recent in preferences.recent} & own
    }
    theirs = {recent.course for name in shared - {"p1"} for recent in model.preferences[name].recent}
    assert set(scores_by_name["people"]) <= theirs
    assert max(scores_by_name["people"], key=lambda course: scores_by_name["people"][course]) in theirs


def test_a_visit_ends_with_a_pause() -> None:
    """It contains only uses less than half an hour apart, up to now."""
    model, preferences = train_recommender(make_visits()), Preferences()
    for course, time in [("c1", 0.0), ("c2", 5_000.0), ("c3", 6_000.0), ("c4", 7_000.0)]:
        preferences, _ = fold_use(preferences, "e", course, 1, NOW + time, 1.0)
    assert make_query(model.index, preferences, NOW + 7_100.0).visit == 3
    assert make_query(model.index, preferences, NOW + 7_000.0 + 1_800.0).visit == 0


def test_a_newcomer_gets_popular_candidates() -> None:
    """Without a history, only the popularity generator has scores."""
    model = train_recommender(make_visits())
    scores_by_name = generator_scores(model, "nobody")
    assert set(scores_by_name["popular"]) == set(model.rows)
    assert [name for name in NAMES if scores_by_name[name]] == ["popular"]
    assert len(model.ask("nobody", NOW).rows) == len(model.rows)


@pytest.mark.parametrize("repeats", ["none", "unfinished", "all"])
def test_an_excluded_course_is_no_candidate(repeats: str) -> None:
    """Seen, owned and withdrawn courses are excluded by the setting for repeats. All others are candidates."""
    model, preferences = train_recommender(make_visits()), Preferences()
    base = {"id": "e", "user_id": "u", "time": NOW}
    for event in (
        ev.CourseView(**base, course_id="c1"),
        ev.CourseCompleted(**base, course_id="c5"),
        ev.Purchase(**base, course_id="c9", amount=1.0),
    ):
        preferences, _ = fold_interaction(preferences, event, 7)
    model.index.withdraw("c13")
    query = make_query(model.index, preferences, NOW, 7)
    chosen = select_candidates(
        model.index, model.content, preferences, generate(model.index, model.content, query), repeats
    )
    named = {model.index.names[number] for number in chosen.generated.numbers}
    without = {"none": {"c1", "c5", "c9", "c13"}, "unfinished": {"c5", "c9", "c13"}, "all": {"c13"}}[repeats]
    assert named == set(model.rows) - without


def test_a_course_seen_a_thousand_courses_ago_is_excluded() -> None:
    """It is excluded as long as its key is kept, also after it left the recent courses."""
    model, preferences = train_recommender(make_visits()), Preferences()
    for number in range(MAX_KEYS):
        preferences, _ = fold_use(preferences, "e", f"c{number}", 1, NOW + number, 1.0)
    numbers = np.arange(len(model.index))
    assert not allowed_mask(model.index, preferences, numbers, "none").any()
    assert allowed_mask(model.index, preferences, numbers, "unfinished").all()


def test_the_number_of_candidates_is_bounded() -> None:
    """The best by total, the most popular, and the own courses: each once, best first."""
    model = train_recommender(make_visits(people=100, courses=800, days=60))
    query = make_query(model.index, model.preferences["p1"], NOW, 1)
    generated = generate(model.index, model.content, query)
    chosen = select_candidates(model.index, model.content, model.preferences["p1"], generated, "all")
    numbers = chosen.generated.numbers.tolist()
    assert len(numbers) == len(set(numbers)) <= MAX_CANDIDATES + MAX_POPULAR + MAX_OWN < len(generated.numbers)
    assert chosen.total.tolist() == sorted(chosen.total.tolist(), reverse=True)
    own = {model.index.numbers[recent.course] for recent in model.preferences["p1"].recent}
    popular = np.argsort(-chosen.generated.scores[POPULAR])[:MAX_POPULAR]
    assert own | {numbers[place] for place in popular} <= set(numbers)


def test_an_unused_course_is_a_candidate_by_its_content() -> None:
    """It is a candidate first for people whose courses it resembles."""
    model = train_recommender(make_visits())
    model.describe("new", {"group 1": 2.0, "fresh": 1.0})
    scores = [generator_scores(model, user)["content"].get("new", 0.0) for user in ("p1", "p2")]
    assert scores[0] > 0.3 > 0.05 > scores[1]
    named = [model.index.names[number] for number in model.ask("p1", NOW).candidates.generated.numbers]
    assert "new" in named


@pytest.mark.parametrize("repeats", ["none", "all"])
def test_rows_have_a_value_for_every_column(repeats: str) -> None:
    """All are finite and rounded to float16, also for a new person."""
    model = train_recommender(make_visits())
    for user in ("p1", "nobody"):
        preferences = model.preferences.get(user, Preferences())
        query = make_query(model.index, preferences, NOW, 1)
        chosen = select_candidates(
            model.index, model.content, preferences, generate(model.index, model.content, query), repeats
        )
        rows = features.rows(model.index, chosen, query, repeats)
        assert rows.shape == (len(chosen.generated.numbers), len(features.column_names(repeats)))
        assert np.isfinite(rows).all()
        assert (rows == rows.astype(np.float16)).all()


def test_columns_have_the_values_of_their_names() -> None:
    """Some columns are computed by hand: shares, ranks, own uses, context."""
    model = train_recommender(make_visits())
    user = "p1"
    query = make_query(model.index, model.preferences[user], NOW, 1)
    chosen = select_candidates(
        model.index, model.content, model.preferences[user], generate(model.index, model.content, query), "all"
    )
    rows = features.rows(model.index, chosen, query, "all")
    column = {name: rows[:, place] for place, name in enumerate(features.column_names("all"))}
    scores = dict(zip(NAMES, chosen.generated.scores, strict=True))
    assert column["cosine share"] == pytest.approx(scores["cosine"] / scores["cosine"].max(), abs=1e-3)
    assert column["order share"].argmax() == scores["order"].argmax() == column["order rank"].argmin()
    uses = {recent.course: recent.uses for recent in model.preferences[user].recent}
    named = [model.index.names[number] for number in chosen.generated.numbers]
    assert column["seen"].tolist() == [float(name in uses) for name in named]
    assert column["uses"] == pytest.approx([math.log1p(uses.get(name, 0)) for name in named], abs=1e-3)
    assert column["uses in all"] == pytest.approx([math.log1p(model.rows[name].uses) for name in named], rel=1e-3)
    assert set(column["fresh visit"].tolist()) == {1.0}
    assert column["seen x fresh visit"].tolist() == column["seen"].tolist()
    used = (COSINE, ORDER, SESSION, PEOPLE, CONTENT, POPULAR, OWN)
    assert all(chosen.generated.scores[generator].any() for generator in used)


def test_a_busy_person_has_a_bounded_query() -> None:
    """After ten thousand uses of all courses, the query has its maximum size, and no candidates."""
    model = train_recommender(make_visits(courses=200))
    for number in range(10_000):
        model.use("busy", f"c{number % 200}", NOW + number * 60.0)
    query = model.ask("busy", NOW + 10_000 * 60.0)
    assert len(query.query.recent) <= 80
    assert len(query.rows) == 0


def test_the_fashion_generator_forgets_old_trends() -> None:
    """After a year without uses, only new uses count. The order generator still has both."""
    model = train_recommender(make_visits(), window=CountingWindow())
    late = NOW + 365 * DAY
    for person in range(5):
        for hour, course in enumerate(("c1", "c38")):
            model.use(f"late{person}", course, late + hour * 60.0)
    model.use("asks", "c1", late + 300.0)
    scores_by_name = generator_scores(model, "asks", late + 400.0)
    assert max(scores_by_name["fashion"], key=lambda course: scores_by_name["fashion"][course]) == "c38"
    assert (
        sum(scores_by_name["fashion"].values()) - scores_by_name["fashion"]["c38"]
        < 0.05 * scores_by_name["fashion"]["c38"]
    )
    assert len(scores_by_name["order"]) > 5
