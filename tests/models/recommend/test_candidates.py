"""Generators say what their formulas say, and candidates never hold what may not be shown."""

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


def drawn_for(model: Recommender, user: str, now: float = NOW) -> dict[str, dict[str, float]]:
    """What every generator says for a person, by name and course."""
    question = make_query(model.index, model.preferences.get(user, Preferences()), now, person_key(user))
    drawn = generate(model.index, model.content, question)
    return {
        name: {model.index.names[number]: score for number, score in zip(drawn.numbers, scores, strict=True) if score}
        for name, scores in zip(NAMES, drawn.scores, strict=True)
    }


def test_cosine_is_the_sum_over_the_newest_courses() -> None:
    """.9^k C / (sqrt(c_x + 1) sqrt(c_j + 1)) over 20 seeds, from the rows' own weights."""
    model = train_recommender(make_visits())
    rows, said = model.rows, drawn_for(model, "p1")["cosine"]
    expected: dict[str, float] = {}
    for place, recent in enumerate(model.preferences["p1"].recent[:20]):
        seed = recent.course
        for other in rows:
            pair = rows[seed].near.get(other, PairWeight()).together + rows[other].near.get(seed, PairWeight()).together
            score = 0.9**place * pair / math.sqrt((rows[seed].mass + 1) * (rows[other].mass + 1))
            expected[other] = expected.get(other, 0.0) + score
    assert said == pytest.approx({course: score for course, score in expected.items() if score}, rel=1e-5)


def test_order_is_what_comes_after_the_newest_courses() -> None:
    """.8^k (forward + half of back) / (c_x + 5) over 10 seeds."""
    model = train_recommender(make_visits())
    rows, said = model.rows, drawn_for(model, "p1")["order"]
    expected: dict[str, float] = {}
    for place, recent in enumerate(model.preferences["p1"].recent[:10]):
        seed = recent.course
        for other in rows:
            pair = rows[other].near.get(seed, PairWeight()).order + 0.5 * rows[seed].near.get(other, PairWeight()).order
            expected[other] = expected.get(other, 0.0) + 0.8**place * pair / (rows[seed].mass + 5)
    assert said == pytest.approx({course: score for course, score in expected.items() if score}, rel=1e-5)


def test_the_rest_speak_of_what_they_know() -> None:
    """People, content, popularity and one's own: each of the right courses."""
    model = train_recommender(make_visits())
    said, own = drawn_for(model, "p1"), {recent.course for recent in model.preferences["p1"].recent}
    assert set(said["own"]) == own
    assert set(said["popular"]) == set(model.rows)
    groups = {int(course[1:]) % 4 for course in own}
    assert {int(course[1:]) % 4 for course in said["content"]} <= groups
    shared = {name for name, taste in model.preferences.items() if {recent.course for recent in taste.recent} & own}
    theirs = {recent.course for name in shared - {"p1"} for recent in model.preferences[name].recent}
    assert set(said["people"]) <= theirs
    assert max(said["people"], key=lambda course: said["people"][course]) in theirs


def test_a_visit_ends_with_a_pause() -> None:
    """Only uses less than half an hour apart, up to now, belong to it."""
    model, taste = train_recommender(make_visits()), Preferences()
    for course, time in [("c1", 0.0), ("c2", 5_000.0), ("c3", 6_000.0), ("c4", 7_000.0)]:
        taste, _ = fold_use(taste, "e", course, 1, NOW + time, 1.0)
    assert make_query(model.index, taste, NOW + 7_100.0).visit == 3
    assert make_query(model.index, taste, NOW + 7_000.0 + 1_800.0).visit == 0


def test_a_newcomer_draws_what_is_popular() -> None:
    """Without any history there are candidates, and only popularity speaks."""
    model = train_recommender(make_visits())
    said = drawn_for(model, "nobody")
    assert set(said["popular"]) == set(model.rows)
    assert [name for name in NAMES if said[name]] == ["popular"]
    assert len(model.ask("nobody", NOW).rows) == len(model.rows)


@pytest.mark.parametrize("repeats", ["none", "unfinished", "all"])
def test_nothing_is_a_candidate_that_may_not_be_shown(repeats: str) -> None:
    """Seen, owned and withdrawn courses, as far as the surface minds; everything else may be."""
    model, taste = train_recommender(make_visits()), Preferences()
    base = {"id": "e", "user_id": "u", "time": NOW}
    for event in (
        ev.CourseView(**base, course_id="c1"),
        ev.CourseCompleted(**base, course_id="c5"),
        ev.Purchase(**base, course_id="c9", amount=1.0),
    ):
        taste, _ = fold_interaction(taste, event, 7)
    model.index.withdraw("c13")
    question = make_query(model.index, taste, NOW, 7)
    chosen = select_candidates(
        model.index, model.content, taste, generate(model.index, model.content, question), repeats
    )
    named = {model.index.names[number] for number in chosen.generated.numbers}
    without = {"none": {"c1", "c5", "c9", "c13"}, "unfinished": {"c5", "c9", "c13"}, "all": {"c13"}}[repeats]
    assert named == set(model.rows) - without


def test_even_what_was_seen_a_thousand_courses_ago_stays_out() -> None:
    """Far behind the recent courses, as long as its key is kept."""
    model, taste = train_recommender(make_visits()), Preferences()
    for number in range(MAX_KEYS):
        taste, _ = fold_use(taste, "e", f"c{number}", 1, NOW + number, 1.0)
    numbers = np.arange(len(model.index))
    assert not allowed_mask(model.index, taste, numbers, "none").any()
    assert allowed_mask(model.index, taste, numbers, "unfinished").all()


def test_candidates_are_few_whatever_the_catalogue() -> None:
    """The best by all together, the most popular, and the person's own: no more, each once, best first."""
    model = train_recommender(make_visits(people=100, courses=800, days=60))
    question = make_query(model.index, model.preferences["p1"], NOW, 1)
    drawn = generate(model.index, model.content, question)
    chosen = select_candidates(model.index, model.content, model.preferences["p1"], drawn, "all")
    numbers = chosen.generated.numbers.tolist()
    assert len(numbers) == len(set(numbers)) <= MAX_CANDIDATES + MAX_POPULAR + MAX_OWN < len(drawn.numbers)
    assert chosen.total.tolist() == sorted(chosen.total.tolist(), reverse=True)
    own = {model.index.numbers[recent.course] for recent in model.preferences["p1"].recent}
    popular = np.argsort(-chosen.generated.scores[POPULAR])[:MAX_POPULAR]
    assert own | {numbers[place] for place in popular} <= set(numbers)


def test_a_course_nobody_used_yet_is_drawn_by_its_content() -> None:
    """New in the catalogue, it is a candidate of those whose courses it resembles, and of them first."""
    model = train_recommender(make_visits())
    model.describe("new", {"group 1": 2.0, "fresh": 1.0})
    scores = [drawn_for(model, user)["content"].get("new", 0.0) for user in ("p1", "p2")]
    assert scores[0] > 0.3 > 0.05 > scores[1]
    named = [model.index.names[number] for number in model.ask("p1", NOW).candidates.generated.numbers]
    assert "new" in named


@pytest.mark.parametrize("repeats", ["none", "all"])
def test_rows_have_a_number_for_every_name(repeats: str) -> None:
    """Finite, in float16's precision, as many as there are names; also for somebody new."""
    model = train_recommender(make_visits())
    for user in ("p1", "nobody"):
        taste = model.preferences.get(user, Preferences())
        question = make_query(model.index, taste, NOW, 1)
        chosen = select_candidates(
            model.index, model.content, taste, generate(model.index, model.content, question), repeats
        )
        rows = features.rows(model.index, chosen, question, repeats)
        assert rows.shape == (len(chosen.generated.numbers), len(features.column_names(repeats)))
        assert np.isfinite(rows).all()
        assert (rows == rows.astype(np.float16)).all()


def test_rows_say_what_their_names_say() -> None:
    """Some columns by hand: shares, ranks, one's own uses, the context."""
    model = train_recommender(make_visits())
    user = "p1"
    question = make_query(model.index, model.preferences[user], NOW, 1)
    chosen = select_candidates(
        model.index, model.content, model.preferences[user], generate(model.index, model.content, question), "all"
    )
    rows = features.rows(model.index, chosen, question, "all")
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
    spoken = (COSINE, ORDER, SESSION, PEOPLE, CONTENT, POPULAR, OWN)
    assert all(chosen.generated.scores[generator].any() for generator in spoken)


def test_a_busy_person_costs_no_more_than_any_other() -> None:
    """After ten thousand uses of all there is the question holds no more than its caps, and nothing to show."""
    model = train_recommender(make_visits(courses=200))
    for number in range(10_000):
        model.use("busy", f"c{number % 200}", NOW + number * 60.0)
    question = model.ask("busy", NOW + 10_000 * 60.0)
    assert len(question.query.recent) <= 80
    assert len(question.rows) == 0


def test_fading_order_forgets_what_is_out_of_fashion() -> None:
    """After a year without uses, what was learned since counts, while the lasting order still knows both."""
    model = train_recommender(make_visits(), window=CountingWindow())
    late = NOW + 365 * DAY
    for person in range(5):
        for hour, course in enumerate(("c1", "c38")):
            model.use(f"late{person}", course, late + hour * 60.0)
    model.use("asks", "c1", late + 300.0)
    said = drawn_for(model, "asks", late + 400.0)
    assert max(said["fashion"], key=lambda course: said["fashion"][course]) == "c38"
    assert sum(said["fashion"].values()) - said["fashion"]["c38"] < 0.05 * said["fashion"]["c38"]
    assert len(said["order"]) > 5
