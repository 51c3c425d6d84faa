"""What is shown: the right order, variety, a place for the rare, a reason each, and something for newcomers."""

from functools import lru_cache

import msgspec
import numpy as np
import pytest

from models.person.activity import DAY
from models.person.preferences import (
    COMPLETED,
    OtherCourse,
    Preferences,
    RecentCourse,
    Recommendation,
    course_key,
    fold_interaction,
    person_key,
)
from models.recommend.audience import Audience, Member, interest, similar_courses
from models.recommend.candidates import MAX_CANDIDATES, MAX_POPULAR, RARE_USES, Repeats
from models.recommend.content import Content, count_terms
from models.recommend.cooccurrence import CooccurrenceRow, CountingWindow, update_row
from models.recommend.index import NEWCOMERS, WEEK, Index
from models.recommend.learning_path import next_courses, next_on_path
from models.recommend.lists import METHODS, MIN_PLACES, Surface, diversify, recommend
from models.schema import events as ev
from streams.evaluation.embedding import Embedding
from streams.evaluation.recommender import Recommender
from tests.models.course_uses import make_interaction, make_visits, train_recommender

NOW = 31 * DAY


def listed(model: Recommender, user: str, n: int = 10, **surface: object) -> list[Recommendation]:
    taste = model.preferences.get(user, Preferences())
    wanted = Surface(**surface)  # type: ignore[arg-type]
    return list(recommend(model.index, model.content, taste, NOW, n, wanted, model.net, person_key(user)))


@lru_cache
def ranked(repeats: Repeats) -> Recommender:
    """A recommender whose rankers have learned; shared, so nobody may teach it."""
    return train_recommender(make_visits(people=40, courses=80), Surface(repeats=repeats), share=1.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("repeats", ["none", "all"])
def test_every_method_can_be_asked_by_name(method: str, repeats: str) -> None:
    """Each generator alone, their sum and the ranker: best first, each course once, none the person may not see."""
    model = ranked(repeats)
    said = listed(model, "p1", 12, method=method, repeats=repeats, rare_place=False)
    courses, scores = [each.course for each in said], [each.score for each in said]
    own = {recent.course for recent in model.preferences["p1"].recent}
    if method == "own" and repeats == "none":
        assert not said
        return
    assert len(courses) == len(set(courses)) > 0
    assert scores == sorted(scores, reverse=True)
    assert repeats == "all" or not own & set(courses)
    assert method != "own" or set(courses) <= own


def test_a_list_leans_to_the_persons_group() -> None:
    """Whoever uses one group of courses is shown it first, by the ranker as by the hybrid."""
    model = ranked("none")
    for method in ("hybrid", "ranker"):
        said = {person: listed(model, f"p{person}", 3, method=method, rare_place=False) for person in range(20)}
        ours = [int(each.course[1:]) % 4 == person % 4 for person, listing in said.items() for each in listing]
        assert np.mean(ours) > 0.6


def test_what_was_finished_is_the_reason() -> None:
    """A course that goes with the person's is shown because of that one, in words that say what they did with it."""
    model, taste = train_recommender(make_visits()), Preferences()
    base = {"id": "e", "user_id": "u", "time": NOW - DAY}
    for verb, event in (
        ("finished", ev.CourseCompleted(**base, course_id="c5")),
        ("bought", ev.Purchase(**base, course_id="c5", amount=3.0)),
        ("used", ev.CourseView(**base, course_id="c5")),
    ):
        taste, _ = fold_interaction(Preferences(), event, 7)
        said = recommend(model.index, model.content, taste, NOW, 3, Surface(method="cosine"), None, 7)
        assert (said[0].reason, said[0].because) == (f"because you {verb} c5", "c5")


def test_each_source_has_its_words() -> None:
    """What is popular, what resembles, what one comes back to."""
    model = train_recommender(make_visits(), Surface(repeats="all"))
    assert {each.reason for each in listed(model, "nobody")} == {"a good start for many"}
    own = listed(model, "p1", 3, method="own", repeats="all", rare_place=False)
    assert {each.reason for each in own} == {"you come back to it"}
    model.describe("new", {"group 1": 2.0})
    fresh = next(each for each in listed(model, "p1", 40, method="content") if each.course == "new")
    assert fresh.reason == "like what you use"


def test_newcomers_get_what_newcomers_use() -> None:
    """Without a history the list is that of newcomers' uses, not of everybody's."""
    model = train_recommender(make_visits())
    for person in range(40):
        model.use(f"new{person}", "c39", NOW - 60.0 + person)
    said = listed(model, "nobody", 3)
    assert said[0].course == "c39"
    assert model.index.names[model.index.top_courses[NEWCOMERS].ranked()[0]] == "c39"
    assert len(said) == 3


def crowded(*rare: str) -> tuple[Recommender, Preferences]:
    """A catalogue of popular courses and some that nobody used yet, with the taste of somebody who likes their kind."""
    model = train_recommender(make_visits(people=200, courses=16))
    for course in rare:
        model.describe(course, {"group 1": 2.0, course: 1.0})
    return model, Preferences(model.preferences["p1"].recent[:2], b"")


def on_day(model: Recommender, taste: Preferences, day: float, n: int = MIN_PLACES, **surface: object) -> list[str]:
    wanted = Surface(method="hybrid", **surface)  # type: ignore[arg-type]
    return [said.course for said in recommend(model.index, model.content, taste, NOW + day * DAY, n, wanted, None, 7)]


def test_the_last_place_is_for_the_rarely_used() -> None:
    """About every other day, one that would not be on the list takes the last place, and only that."""
    model, taste = crowded("rare")
    kept = 0
    for day in range(60):
        plain, said = on_day(model, taste, day, rare_place=False), on_day(model, taste, day)
        assert min(model.rows[course].uses for course in plain) >= RARE_USES
        assert said in (plain, [*plain[:-1], "rare"])
        kept += said != plain
    assert 20 <= kept <= 40


def test_a_short_list_keeps_no_place_for_the_rarely_used() -> None:
    """Whoever asks for the best gets the best."""
    model, taste = crowded("rare")
    assert {on_day(model, taste, day, 1)[0] for day in range(30)} == {on_day(model, taste, 0.0, 1, rare_place=False)[0]}
    assert not any("rare" in on_day(model, taste, day, MIN_PLACES - 1) for day in range(30))


def test_the_rarely_used_take_turns() -> None:
    """The same one all day for a person, others on other days, so that in the end each has been shown; best often."""
    rare = [f"rare{number}" for number in range(6)]
    model, taste = crowded(*rare)
    assert all(on_day(model, taste, day + 0.05) == on_day(model, taste, day + 0.95) for day in range(5))
    guests = [said for day in range(365) if (said := on_day(model, taste, day)[-1]) in rare]
    assert set(guests) == set(rare)
    assert max(guests.count(course) for course in rare) > len(guests) / 2


def test_the_rarely_used_are_found_behind_many_popular_ones() -> None:
    """However many popular courses are drawn for somebody, one that nobody used yet has its day."""
    model = train_recommender(make_visits(people=700, courses=240))
    model.describe("rare", {"group 1": 1.0, **{f"word {word}": 9.0 for word in range(12)}})
    taste = model.preferences["p1"]
    assert int((model.index.uses >= RARE_USES).sum()) > MAX_CANDIDATES + MAX_POPULAR
    assert any("rare" in on_day(model, taste, day, 10) for day in range(20))


def test_what_somebody_used_is_not_their_guest() -> None:
    """Where courses may repeat, the rarely used one on the last place is one they do not know."""
    model, taste = crowded("rare")
    taste = Preferences((*taste.recent, RecentCourse("rare", 1.0, NOW - 90 * DAY, decayed_uses=0.01)), b"")
    assert not any("rare" in on_day(model, taste, day, repeats="all") for day in range(30))


def test_a_varied_list_holds_less_alike_courses() -> None:
    """The lower the relevance counts, the less alike the courses; the best stays first."""
    model = train_recommender(make_visits(courses=80))
    question = model.ask("p1", NOW)
    numbers, scores = question.candidates.generated.numbers, question.candidates.total
    likeness = []
    for relevance in (1.0, 0.8, 0.3):
        chosen = diversify(model.content, numbers, scores, 8, relevance)
        assert (len(set(chosen.tolist())), chosen[0]) == (8, numbers[0])
        likeness.append(float(np.triu(model.content.pairwise_cosines(chosen), 1).sum()))
    assert likeness[0] > likeness[2]
    assert likeness == sorted(likeness, reverse=True)
    assert diversify(model.content, numbers, scores, 8, 1.0).tolist() == numbers[:8].tolist()


def test_what_is_withdrawn_is_shown_no_more() -> None:
    """At once, by every method, and also to newcomers."""
    model = train_recommender(make_visits(), Surface(repeats="all"))
    gone = {each.course for user in ("p1", "nobody") for each in listed(model, user, 5, repeats="all")}
    for course in gone:
        model.index.withdraw(course)
    for user in ("p1", "nobody"):
        for method in METHODS:
            assert not gone & {each.course for each in listed(model, user, 40, method=method, repeats="all")}
    assert not gone & {model.index.names[number] for number in model.index.top_courses[WEEK].ranked()}


def test_a_recommendation_is_plain_data() -> None:
    """It goes through JSON and comes back."""
    said = listed(train_recommender(make_visits()), "p1", 3)
    assert msgspec.json.decode(msgspec.json.encode(said), type=list[Recommendation]) == said


# -- the next course on a path ------------------------------------------------------------------------------------


def paths(*told: tuple[str, ...]) -> Index:
    """An index of people who completed courses in these orders."""
    rows: dict[str, CooccurrenceRow] = {}
    for person, courses in enumerate(told):
        done: tuple[OtherCourse, ...] = ()
        for hour, course in enumerate(courses):
            finished = make_interaction(course, hour * 3_600.0, COMPLETED, *done, person=person)
            rows[course] = update_row(rows.get(course, CooccurrenceRow(course)), finished, CountingWindow())
            done = ((course, COMPLETED), *done)
    index = Index()
    for row in rows.values():
        index.update(row)
    return index


def test_the_next_course_is_what_others_finished_after() -> None:
    """Most often and soonest first; shares lean towards 0 while few went on."""
    index = paths(*[("a", "b", "c")] * 3, ("a", "c"))
    assert [course for course, _ in next_courses(index, "a")] == ["b", "c"]
    assert dict(next_courses(index, "a")) == pytest.approx({"b": 3 / (5.5 + 3), "c": 2.5 / (5.5 + 3)})
    assert next_courses(index, "c") == next_courses(index, "unheard of") == ()


def test_a_person_goes_on_from_what_they_finished() -> None:
    """From their newest completions; not to what they finished, and not from what they only began."""
    index = paths(*[("a", "b", "c")] * 3, *[("x", "y")] * 9)
    taste = Preferences(
        (RecentCourse("x", 2.0, 9.0), RecentCourse("b", COMPLETED, 8.0), RecentCourse("a", COMPLETED, 7.0))
    )
    assert [course for course, _ in next_on_path(index, taste)] == ["c"]
    index.withdraw("c")
    assert next_on_path(index, taste) == ()


# -- the audience of a new course ---------------------------------------------------------------------------------


def test_the_audience_of_a_new_course_likes_what_it_resembles() -> None:
    """The people of its group stand before all others, whichever partition offers them."""
    model = train_recommender(make_visits())
    model.describe("new", {"group 2": 2.0, "fresh": 1.0})
    likeness = similar_courses(model.index, model.content, "new")
    assert {int(course[1:]) % 4 for course in likeness} == {2}
    whole, parts = Audience(10), [Audience(10), Audience(10)]
    for place, (name, taste) in enumerate(sorted(model.preferences.items())):
        member = Member(interest(taste, likeness), name)
        whole.add([member])
        parts[place % 2].add([member])
    merged = Audience(10)
    for part in parts:
        merged.add(part.best())
    assert merged.best() == whole.best()
    assert len(whole.best()) == 10
    assert {int(member.person[1:]) % 4 for member in whole.best()} == {2}


def test_nobody_without_interest_is_in_an_audience() -> None:
    """Rather fewer people than the size than people who have nothing to do with it."""
    audience = Audience(5)
    audience.add([Member(0.0, "ann"), Member(0.3, "bob")])
    assert [member.person for member in audience.best()] == ["bob"]
    assert similar_courses(Index(), Content(), "unheard of") == {}


# -- content ------------------------------------------------------------------------------------------------------


def test_likeness_is_the_cosine_of_tf_idf() -> None:
    """(1 + ln tf) ln((1 + N) / (1 + df)), against the formula written out."""
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


def test_a_changed_course_is_what_it_is_now() -> None:
    """Its old terms count no more, neither for it nor in how rare they are; a course without terms is out."""
    changed, fresh = Content(), Content()
    changed.update(0, {"go": 1.0, "old": 1.0})
    changed.update(1, {"art": 1.0})
    changed.update(2, {"tax": 1.0})
    changed.update(0, {"art": 1.0, "new": 1.0})
    changed.update(2, {})
    for number, terms in ((0, {"art": 1.0, "new": 1.0}), (1, {"art": 1.0})):
        fresh.update(number, terms)
    assert changed.courses == fresh.courses == 2
    said = [each.pairwise_cosines(np.array([0, 1]))[0, 1] for each in (changed, fresh)]
    assert said[0] == pytest.approx(said[1])
    about, _ = changed.newest_matches(changed.profile(np.array([1]), np.ones(1)))
    assert set(about.tolist()) == {0, 1}


def test_a_catalogue_of_many_terms_grows() -> None:
    """More courses and terms than there was room for; the rarest terms of a long text are kept."""
    content = Content()
    for number in range(500):
        content.update(number, {f"t{number}": 1.0, **{f"common {k}": 1.0 for k in range(60)}})
    assert content.pairwise_cosines(np.array([3, 4]))[0, 1] < 1.0
    assert content.pairwise_cosines(np.array([3, 3]))[0, 1] == pytest.approx(1.0)


def test_terms_come_from_all_of_an_entry() -> None:
    """Title, description, tags and category; texts without spaces as pairs of characters."""
    entry = ev.CoursePublished(
        id="1", course_id="c", time=0.0, title="数据分析", description="Learn DATA, fast", tags=("Data",), category="IT"
    )
    terms = count_terms(entry)
    assert terms == {
        "数据": 2.0, "据分": 2.0, "分析": 2.0, "learn": 1.0, "data": 1.0, "fast": 1.0, "#data": 2.0, "#it": 2.0,
    }  # fmt: skip


# -- the estimators -----------------------------------------------------------------------------------------------


def test_the_recommender_is_cloned_as_river_clones() -> None:
    """Same settings, nothing known; and taught the same it says the same."""
    told = make_visits(people=20)
    model = train_recommender(told, share=1.0)
    fresh = model.clone()
    assert (fresh.share, fresh.rows, fresh.recommend("p1", NOW)) == (1.0, {}, ())
    for course in sorted({course for _, course, _ in told}):
        fresh.describe(course, {f"group {int(course[1:]) % 4}": 2.0, course: 1.0})
    for user, course, time in told:
        fresh.learn_one(user, course, time)
    assert fresh.recommend("p1", NOW) == model.recommend("p1", NOW) != ()


def test_asking_teaches_nothing() -> None:
    """Questions between uses change no answer."""
    told = make_visits(people=20)
    asked, unasked = train_recommender(told[:200], share=1.0), train_recommender(told[:200], share=1.0)
    for user, course, time in told[200:]:
        asked.recommend(user, time)
        asked.ask("nobody", time)
        for model in (asked, unasked):
            model.learn_one(user, course, time)
    assert asked.recommend("p1", NOW) == unasked.recommend("p1", NOW)


def test_rankers_learn_from_a_share() -> None:
    """About a quarter of the lists where a quarter is asked for, drawn by id."""
    told = make_visits(people=30)
    quarter, whole = train_recommender(told, share=0.25), train_recommender(told, share=1.0)
    assert 0.15 < quarter.net.lists / whole.net.lists < 0.35


def test_the_embedding_learns_who_likes_what() -> None:
    """Courses of a person's own group score higher than others, and the seed decides."""
    models = [Embedding(seed=seed) for seed in (1, 1, 2)]
    for model in models:
        for _ in range(6):
            for user, course, _ in make_visits():
                model.learn_one(user, course)
    scores = models[0].scores("p1")
    ours = [int(course[1:]) % 4 == 1 for course in models[0].courses]
    assert scores[ours].mean() > scores[np.logical_not(ours)].mean() + 0.05
    assert models[0].recommend("p1", 5) == models[1].recommend("p1", 5) != models[2].recommend("p1", 5)
    assert not models[0].scores("nobody").any()


def test_the_key_of_a_course_hides_it_only() -> None:
    """Four bytes a course; what has another key is not left out."""
    taste = Preferences((), course_key("c1"))
    model = train_recommender(make_visits())
    named = [each.course for each in recommend(model.index, model.content, taste, NOW, 60, Surface(method="popular"))]
    assert set(named) == set(model.rows) - {"c1"}
