"""Lists: the right order, diversity, an exploration slot, a reason for each course, and lists for newcomers."""

from functools import lru_cache

import msgspec
import numpy as np
import pytest

from models.person.activity import DAY
from models.person.preferences import (
    Preferences,
    RecentCourse,
    Recommendation,
    course_key,
    fold_interaction,
    person_key,
)
from models.recommend.candidates import MAX_CANDIDATES, MAX_POPULAR, RARE_USES, Repeats
from models.recommend.index import NEWCOMERS, WEEK
from models.recommend.lists import METHODS, MIN_PLACES, Surface, diversify, recommend
from models.schema import events as ev
from streams.evaluation.recommender import Recommender
from tests.models.course_uses import make_visits, train_recommender

NOW = 31 * DAY


def listed(model: Recommender, user: str, n: int = 10, **surface: object) -> list[Recommendation]:
    preferences = model.preferences.get(user, Preferences())
    wanted = Surface(**surface)  # type: ignore[arg-type]
    return list(recommend(model.index, model.content, preferences, NOW, n, wanted, model.net, person_key(user)))


@lru_cache
def trained(repeats: Repeats) -> Recommender:
    """Return a recommender whose rankers have learned. It is shared, so a test must not change it."""
    return train_recommender(make_visits(people=40, courses=80), Surface(repeats=repeats), share=1.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("repeats", ["none", "all"])
def test_every_method_can_be_asked_by_name(method: str, repeats: str) -> None:
    """Each method lists courses best first, each once, without courses that the person may not see."""
    model = trained(repeats)
    found = listed(model, "p1", 12, method=method, repeats=repeats, rare_place=False)
    courses, scores = [each.course for each in found], [each.score for each in found]
    own = {recent.course for recent in model.preferences["p1"].recent}
    if method == "own" and repeats == "none":
        assert not found
        return
    assert len(courses) == len(set(courses)) > 0
    assert scores == sorted(scores, reverse=True)
    assert repeats == "all" or not own & set(courses)
    assert method != "own" or set(courses) <= own


def test_a_list_prefers_the_persons_group() -> None:
    """The first courses are of the group that the person uses, by the ranker and by the hybrid."""
    model = trained("none")
    for method in ("hybrid", "ranker"):
        found = {person: listed(model, f"p{person}", 3, method=method, rare_place=False) for person in range(20)}
        ours = [int(each.course[1:]) % 4 == person % 4 for person, listing in found.items() for each in listing]
        assert np.mean(ours) > 0.6


def test_the_reason_names_the_persons_course() -> None:
    """The words say what the person did with that course."""
    model, preferences = train_recommender(make_visits()), Preferences()
    base = {"id": "e", "user_id": "u", "time": NOW - DAY}
    for verb, event in (
        ("finished", ev.CourseCompleted(**base, course_id="c5")),
        ("bought", ev.Purchase(**base, course_id="c5", amount=3.0)),
        ("used", ev.CourseView(**base, course_id="c5")),
    ):
        preferences, _ = fold_interaction(Preferences(), event, 7)
        found = recommend(model.index, model.content, preferences, NOW, 3, Surface(method="cosine"), None, 7)
        assert (found[0].reason, found[0].because) == (f"because you {verb} c5", "c5")


def test_each_source_has_its_reason() -> None:
    """Popular courses, similar content, and own courses have different reasons."""
    model = train_recommender(make_visits(), Surface(repeats="all"))
    assert {each.reason for each in listed(model, "nobody")} == {"a good start for many"}
    own = listed(model, "p1", 3, method="own", repeats="all", rare_place=False)
    assert {each.reason for each in own} == {"you come back to it"}
    model.describe("new", {"group 1": 2.0})
    fresh = next(each for each in listed(model, "p1", 40, method="content") if each.course == "new")
    assert fresh.reason == "like what you use"


def test_newcomers_get_what_newcomers_use() -> None:
    """Without a history, the list is made from the uses of newcomers, not of all people."""
    model = train_recommender(make_visits())
    for person in range(40):
        model.use(f"new{person}", "c39", NOW - 60.0 + person)
    found = listed(model, "nobody", 3)
    assert found[0].course == "c39"
    assert model.index.names[model.index.top_courses[NEWCOMERS].ranked()[0]] == "c39"
    assert len(found) == 3


def with_unused(*rare: str) -> tuple[Recommender, Preferences]:
    """Return a recommender with popular courses and unused ones, and preferences for that kind of course."""
    model = train_recommender(make_visits(people=200, courses=16))
    for course in rare:
        model.describe(course, {"group 1": 2.0, course: 1.0})
    return model, Preferences(model.preferences["p1"].recent[:2], b"")


def on_day(
    model: Recommender, preferences: Preferences, day: float, n: int = MIN_PLACES, **surface: object
) -> list[str]:
    wanted = Surface(method="hybrid", **surface)  # type: ignore[arg-type]
    return [
        found.course
        for found in recommend(model.index, model.content, preferences, NOW + day * DAY, n, wanted, None, 7)
    ]


def test_the_last_place_is_the_exploration_slot() -> None:
    """About every other day, a rarely used course takes the last place, and only that place."""
    model, preferences = with_unused("rare")
    kept = 0
    for day in range(60):
        plain, found = on_day(model, preferences, day, rare_place=False), on_day(model, preferences, day)
        assert min(model.rows[course].uses for course in plain) >= RARE_USES
        assert found in (plain, [*plain[:-1], "rare"])
        kept += found != plain
    assert 20 <= kept <= 40


def test_a_short_list_has_no_exploration_slot() -> None:
    """A list of fewer than five places has the best courses only."""
    model, preferences = with_unused("rare")
    assert {on_day(model, preferences, day, 1)[0] for day in range(30)} == {
        on_day(model, preferences, 0.0, 1, rare_place=False)[0]
    }
    assert not any("rare" in on_day(model, preferences, day, MIN_PLACES - 1) for day in range(30))


def test_exploration_shows_each_rarely_used_course() -> None:
    """A person gets the same one all day, and others on other days. The best is shown most often."""
    rare = [f"rare{number}" for number in range(6)]
    model, preferences = with_unused(*rare)
    assert all(on_day(model, preferences, day + 0.05) == on_day(model, preferences, day + 0.95) for day in range(5))
    explored = [found for day in range(365) if (found := on_day(model, preferences, day)[-1]) in rare]
    assert set(explored) == set(rare)
    assert max(explored.count(course) for course in rare) > len(explored) / 2


def test_exploration_works_with_many_popular_courses() -> None:
    """An unused course gets a slot although there are more popular courses than candidates."""
    model = train_recommender(make_visits(people=700, courses=240))
    model.describe("rare", {"group 1": 1.0, **{f"word {word}": 9.0 for word in range(12)}})
    preferences = model.preferences["p1"]
    assert int((model.index.uses >= RARE_USES).sum()) > MAX_CANDIDATES + MAX_POPULAR
    assert any("rare" in on_day(model, preferences, day, 10) for day in range(20))


def test_exploration_shows_no_known_course() -> None:
    """This also holds where courses may repeat."""
    model, preferences = with_unused("rare")
    preferences = Preferences((*preferences.recent, RecentCourse("rare", 1.0, NOW - 90 * DAY, decayed_uses=0.01)), b"")
    assert not any("rare" in on_day(model, preferences, day, repeats="all") for day in range(30))


def test_a_diverse_list_has_less_similar_courses() -> None:
    """A lower relevance gives less similar courses. The best course stays first."""
    model = train_recommender(make_visits(courses=80))
    query = model.ask("p1", NOW)
    numbers, scores = query.candidates.generated.numbers, query.candidates.total
    similarity = []
    for relevance in (1.0, 0.8, 0.3):
        chosen = diversify(model.content, numbers, scores, 8, relevance)
        assert (len(set(chosen.tolist())), chosen[0]) == (8, numbers[0])
        similarity.append(float(np.triu(model.content.pairwise_cosines(chosen), 1).sum()))
    assert similarity[0] > similarity[2]
    assert similarity == sorted(similarity, reverse=True)
    assert diversify(model.content, numbers, scores, 8, 1.0).tolist() == numbers[:8].tolist()


def test_a_withdrawn_course_is_not_listed() -> None:
    """Immediately, by every method, and also for newcomers."""
    model = train_recommender(make_visits(), Surface(repeats="all"))
    withdrawn = {each.course for user in ("p1", "nobody") for each in listed(model, user, 5, repeats="all")}
    for course in withdrawn:
        model.index.withdraw(course)
    for user in ("p1", "nobody"):
        for method in METHODS:
            assert not withdrawn & {each.course for each in listed(model, user, 40, method=method, repeats="all")}
    assert not withdrawn & {model.index.names[number] for number in model.index.top_courses[WEEK].ranked()}


def test_a_recommendation_is_plain_data() -> None:
    """It can be encoded as JSON and decoded again."""
    found = listed(train_recommender(make_visits()), "p1", 3)
    assert msgspec.json.decode(msgspec.json.encode(found), type=list[Recommendation]) == found


def test_an_owned_key_excludes_only_its_course() -> None:
    """Courses with other keys are listed."""
    preferences = Preferences((), course_key("c1"))
    model = train_recommender(make_visits())
    named = [
        each.course for each in recommend(model.index, model.content, preferences, NOW, 60, Surface(method="popular"))
    ]
    assert set(named) == set(model.rows) - {"c1"}
