"""The audience of a new course."""

from models.recommend.audience import Audience, Member, interest, similar_courses
from models.recommend.content import Content
from models.recommend.index import Index
from tests.models.course_uses import make_visits, train_recommender


def test_the_audience_of_a_new_course_likes_what_it_resembles() -> None:
    """The people of the course's group come first, whichever partition sends them."""
    model = train_recommender(make_visits())
    model.describe("new", {"group 2": 2.0, "fresh": 1.0})
    similarity = similar_courses(model.index, model.content, "new")
    assert {int(course[1:]) % 4 for course in similarity} == {2}
    whole, parts = Audience(10), [Audience(10), Audience(10)]
    for place, (name, preferences) in enumerate(sorted(model.preferences.items())):
        member = Member(interest(preferences, similarity), name)
        whole.add([member])
        parts[place % 2].add([member])
    merged = Audience(10)
    for part in parts:
        merged.add(part.best())
    assert merged.best() == whole.best()
    assert len(whole.best()) == 10
    assert {int(member.person[1:]) % 4 for member in whole.best()} == {2}


def test_an_audience_has_no_member_without_interest() -> None:
    """The audience is rather smaller than its size."""
    audience = Audience(5)
    audience.add([Member(0.0, "ann"), Member(0.3, "bob")])
    assert [member.person for member in audience.best()] == ["bob"]
    assert similar_courses(Index(), Content(), "unheard of") == {}
