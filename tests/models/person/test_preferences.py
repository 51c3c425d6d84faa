"""A person's taste: what counts as news to a course, and the caps that keep the value small."""

from hypothesis import given, settings

from models.person.activity import DAY
from models.person.preferences import (
    COMPLETED,
    MAX_KEYS,
    MAX_RECENT,
    RETURN_AFTER,
    WINDOW,
    Interaction,
    Preferences,
    course_key,
    fold_interaction,
    fold_use,
    person_key,
)
from models.schema import events as ev
from tests.models.people import histories


def seen(*told: tuple[str, float, float]) -> tuple[Preferences, list[Interaction | None]]:
    """The taste after some (course, time, strength), and what the courses heard."""
    taste, said = Preferences(), []
    for index, (course, time, strength) in enumerate(told):
        taste, heard = fold_use(taste, f"e{index}", course, 7, time, strength)
        said.append(heard)
    return taste, said


def test_new_stronger_and_repeated_uses_are_news() -> None:
    """A use of the same strength at once is none; it is when another course came between, or an hour."""
    _, said = seen(
        ("a", 0.0, 1.0), ("a", 10.0, 1.0), ("a", 20.0, 2.0), ("b", 30.0, 1.0), ("a", 40.0, 1.0),
        ("a", 40.0 + RETURN_AFTER, 1.0),
    )  # fmt: skip
    told = [heard and (heard.course, heard.before, heard.after, heard.new) for heard in said]
    assert told == [
        ("a", 0.0, 1.0, True), None, ("a", 1.0, 2.0, False), ("b", 0.0, 1.0, True), ("a", 0.0, 1.0, False),
        ("a", 0.0, 1.0, False),
    ]  # fmt: skip


def test_others_stand_newest_first_and_without_the_course_itself() -> None:
    """An interaction carries the other recent courses with their strengths."""
    _, said = seen(("a", 0.0, 1.0), ("b", 1.0, 2.0), ("c", 2.0, 1.0), ("a", 3.0, 3.0))
    assert said[-1] is not None
    assert said[-1].others == (("c", 1.0), ("b", 2.0))


def test_the_strongest_use_counts() -> None:
    """A weaker use of a completed course leaves its strength as it is."""
    taste, _ = seen(("a", 0.0, COMPLETED), ("b", 1.0, 1.0), ("a", 2.0, 1.0))
    assert [(recent.course, recent.strength, recent.uses) for recent in taste.recent] == [
        ("a", COMPLETED, 2),
        ("b", 1.0, 1),
    ]


def test_what_is_behind_the_window_stays_by_use() -> None:
    """Of the courses behind the window the least used one goes, however new it is beside the others."""
    often = [("often", float(k) * DAY / 100, 1.0) for k in range(5)]
    once = [(f"c{k}", 1.0 * DAY + k, 1.0) for k in range(MAX_RECENT + 20)]
    taste, _ = seen(*often, *once)
    assert len(taste.recent) == MAX_RECENT
    assert taste.recent[-1].course == "often"
    newest = [f"c{k}" for k in range(MAX_RECENT + 19, MAX_RECENT + 19 - WINDOW, -1)]
    assert [recent.course for recent in taste.recent[:WINDOW]] == newest


def test_a_person_with_thousands_of_courses_costs_no_more_than_any_other() -> None:
    """Every part has a cap, and the newest keys stay."""
    taste, said = seen(*((f"c{k}", float(k), 1.0) for k in range(3_000)))
    assert (len(taste.recent), len(taste.seen), taste.courses) == (MAX_RECENT, 4 * MAX_KEYS, 3_000)
    assert taste.seen.endswith(course_key("c2999"))
    assert said[-1] is not None
    assert len(said[-1].others) == WINDOW


def test_purchases_and_completions_are_owned_and_refunds_are_not() -> None:
    """Looking at a course does not make it one's own; money given back takes it away again."""
    base = {"id": "e", "user_id": "u", "time": 5.0}
    taste = Preferences()
    for event in (
        ev.CourseView(**base, course_id="looked"),
        ev.Purchase(**base, amount=5.0, course_id="bought"),
        ev.CourseCompleted(**base, course_id="finished"),
        ev.Purchase(**base, amount=5.0, course_id="given back"),
        ev.Refund(**base, amount=5.0, course_id="given back"),
        ev.Purchase(**base, amount=5.0),
        ev.ConsentGiven(**base),
    ):
        taste, _ = fold_interaction(taste, event, 7)
    assert taste.owned == course_key("bought") + course_key("finished")
    assert taste.seen == b"".join(map(course_key, ("looked", "bought", "finished", "given back")))


def test_a_course_seen_long_ago_is_not_new() -> None:
    """It comes back as a repetition, though its entry is gone."""
    many = [(f"c{k}", float(k), 1.0) for k in range(MAX_RECENT + 1)]
    _, said = seen(*many, (f"c{MAX_RECENT - WINDOW}", 1_000.0, 1.0))
    assert [heard is not None and heard.new for heard in said[-2:]] == [True, False]


@settings(max_examples=60, deadline=None)
@given(histories(max_events=40))
def test_folds_events_of_every_kind(events: list[ev.Event]) -> None:
    """Only events about a course are heard; strengths only rise; times of recent courses are among the events'."""
    taste, key = Preferences(), person_key("u")
    for event in events:
        before = {recent.course: recent.strength for recent in taste.recent}
        taste, heard = fold_interaction(taste, event, key)
        course = getattr(event, "course_id", None)
        assert heard is None or (heard.course, heard.person, heard.time) == (course, key, event.time)
        assert all(recent.strength >= before.get(recent.course, 0.0) for recent in taste.recent)
        if heard is not None:
            assert heard.course not in {other for other, _ in heard.others}
            assert heard.after > heard.before >= 0.0
            assert heard.new == (course not in before)
    assert {recent.time for recent in taste.recent} <= {event.time for event in events}


def test_keys_are_compared_at_their_places() -> None:
    """Bytes of two neighbouring keys that look like a third one are not it."""
    shifted = Preferences(seen=b"\0" + course_key("a") + b"\0\0\0")
    for taste, new in ((shifted, True), (Preferences(seen=course_key("a")), False)):
        _, heard = fold_use(taste, "e", "a", 7, 0.0, 1.0)
        assert heard is not None
        assert heard.new is new
