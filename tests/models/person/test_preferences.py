"""A person's preferences: which uses are interactions, and the bounds that keep the state small."""

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


def fold_uses(*uses: tuple[str, float, float]) -> tuple[Preferences, list[Interaction | None]]:
    """Fold uses (course, time, strength); return the preferences and the interactions."""
    preferences, interactions = Preferences(), []
    for index, (course, time, strength) in enumerate(uses):
        preferences, interaction = fold_use(preferences, f"e{index}", course, 7, time, strength)
        interactions.append(interaction)
    return preferences, interactions


def test_new_stronger_and_repeated_uses_are_interactions() -> None:
    """A repeated use of the same strength counts only after another course or after an hour."""
    _, interactions = fold_uses(
        ("a", 0.0, 1.0), ("a", 10.0, 1.0), ("a", 20.0, 2.0), ("b", 30.0, 1.0), ("a", 40.0, 1.0),
        ("a", 40.0 + RETURN_AFTER, 1.0),
    )  # fmt: skip
    found = [
        interaction and (interaction.course, interaction.before, interaction.after, interaction.new)
        for interaction in interactions
    ]
    assert found == [
        ("a", 0.0, 1.0, True), None, ("a", 1.0, 2.0, False), ("b", 0.0, 1.0, True), ("a", 0.0, 1.0, False),
        ("a", 0.0, 1.0, False),
    ]  # fmt: skip


def test_others_are_newest_first_without_the_course_itself() -> None:
    """An interaction carries the other recent courses with their strengths."""
    _, interactions = fold_uses(("a", 0.0, 1.0), ("b", 1.0, 2.0), ("c", 2.0, 1.0), ("a", 3.0, 3.0))
    assert interactions[-1] is not None
    assert interactions[-1].others == (("c", 1.0), ("b", 2.0))


def test_the_strongest_use_counts() -> None:
    """A weaker use of a completed course does not change its strength."""
    preferences, _ = fold_uses(("a", 0.0, COMPLETED), ("b", 1.0, 1.0), ("a", 2.0, 1.0))
    assert [(recent.course, recent.strength, recent.uses) for recent in preferences.recent] == [
        ("a", COMPLETED, 2),
        ("b", 1.0, 1),
    ]


def test_courses_beyond_the_window_are_kept_by_use() -> None:
    """Beyond the window, the least used course is dropped, even if it is newer than the others."""
    often = [("often", float(k) * DAY / 100, 1.0) for k in range(5)]
    once = [(f"c{k}", 1.0 * DAY + k, 1.0) for k in range(MAX_RECENT + 20)]
    preferences, _ = fold_uses(*often, *once)
    assert len(preferences.recent) == MAX_RECENT
    assert preferences.recent[-1].course == "often"
    newest = [f"c{k}" for k in range(MAX_RECENT + 19, MAX_RECENT + 19 - WINDOW, -1)]
    assert [recent.course for recent in preferences.recent[:WINDOW]] == newest


def test_the_state_is_bounded_for_thousands_of_courses() -> None:
    """Every part is bounded, and the newest keys stay."""
    preferences, interactions = fold_uses(*((f"c{k}", float(k), 1.0) for k in range(3_000)))
    assert (len(preferences.recent), len(preferences.seen), preferences.courses) == (MAX_RECENT, 4 * MAX_KEYS, 3_000)
    assert preferences.seen.endswith(course_key("c2999"))
    assert interactions[-1] is not None
    assert len(interactions[-1].others) == WINDOW


def test_purchases_and_completions_are_owned_and_refunds_are_not() -> None:
    """A viewed course is not owned, and a refund removes a course from the owned ones."""
    base = {"id": "e", "user_id": "u", "time": 5.0}
    preferences = Preferences()
    for event in (
        ev.CourseView(**base, course_id="looked"),
        ev.Purchase(**base, amount=5.0, course_id="bought"),
        ev.CourseCompleted(**base, course_id="finished"),
        ev.Purchase(**base, amount=5.0, course_id="given back"),
        ev.Refund(**base, amount=5.0, course_id="given back"),
        ev.Purchase(**base, amount=5.0),
        ev.ConsentGiven(**base),
    ):
        preferences, _ = fold_interaction(preferences, event, 7)
    assert preferences.owned == course_key("bought") + course_key("finished")
    assert preferences.seen == b"".join(map(course_key, ("looked", "bought", "finished", "given back")))


def test_a_course_seen_long_ago_is_not_new() -> None:
    """Its next use is a repetition, although its entry was dropped."""
    many = [(f"c{k}", float(k), 1.0) for k in range(MAX_RECENT + 1)]
    _, interactions = fold_uses(*many, (f"c{MAX_RECENT - WINDOW}", 1_000.0, 1.0))
    assert [interaction is not None and interaction.new for interaction in interactions[-2:]] == [True, False]


@settings(max_examples=60, deadline=None)
@given(histories(max_events=40))
def test_events_of_every_kind_are_folded(events: list[ev.Event]) -> None:
    """Only events about a course give interactions, strengths never fall, and times are those of events."""
    preferences, key = Preferences(), person_key("u")
    for event in events:
        before = {recent.course: recent.strength for recent in preferences.recent}
        preferences, interaction = fold_interaction(preferences, event, key)
        course = getattr(event, "course_id", None)
        assert interaction is None or (interaction.course, interaction.person, interaction.time) == (
            course,
            key,
            event.time,
        )
        assert all(recent.strength >= before.get(recent.course, 0.0) for recent in preferences.recent)
        if interaction is not None:
            assert interaction.course not in {other for other, _ in interaction.others}
            assert interaction.after > interaction.before >= 0.0
            assert interaction.new == (course not in before)
    assert {recent.time for recent in preferences.recent} <= {event.time for event in events}


def test_keys_are_compared_only_at_whole_keys() -> None:
    """Bytes across two neighbouring keys that equal a third key do not match."""
    shifted = Preferences(seen=b"\0" + course_key("a") + b"\0\0\0")
    for preferences, new in ((shifted, True), (Preferences(seen=course_key("a")), False)):
        _, interaction = fold_use(preferences, "e", "a", 7, 0.0, 1.0)
        assert interaction is not None
        assert interaction.new is new
