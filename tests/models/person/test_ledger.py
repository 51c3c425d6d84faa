"""What we remember of a person's events, and the names that things have."""

from hypothesis import given, settings
from hypothesis import strategies as st

from models.person.ledger import MAX_RECENT_EVENTS, Ledger, add_digest, event_digest, hash_share, output_id, pseudonym

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(st.lists(TEXTS, unique=True, max_size=40), TEXTS)
@settings(max_examples=100)
def test_the_last_sixteen_ids_are_remembered(ids: list[str], other: str) -> None:
    """An id is known while it is among the last 16, and not after; what never came is unknown."""
    seen = b""
    for event_id in ids:
        seen = add_digest(seen, event_digest(event_id))
    known = {event_id for event_id in [*ids, other] if Ledger(recent_events=seen).is_duplicate(event_digest(event_id))}
    assert known == set(ids[-MAX_RECENT_EVENTS:]) | ({other} & set(ids[-MAX_RECENT_EVENTS:]))
    assert len(seen) <= 8 * MAX_RECENT_EVENTS
    assert len(seen) == len(event_digest("")) * min(len(ids), MAX_RECENT_EVENTS)


def test_an_id_is_not_found_across_the_borders_of_two() -> None:
    """Only whole hashes are compared."""
    one = add_digest(b"", event_digest("one"))
    shifted = add_digest(one, event_digest("two"))[3:] + b"123"
    assert not Ledger(recent_events=shifted).is_duplicate(event_digest("two"))


@given(TEXTS, TEXTS, TEXTS)
def test_a_name_depends_on_person_rule_and_cause_alone(person: str, rule: str, cause: str) -> None:
    """The same three give the same id, and each of them matters."""
    name = output_id(person, rule, cause)
    assert name == output_id(person, rule, cause)
    changed = ((person + "x", rule, cause), (person, rule + "x", cause), (person, rule, cause + "x"))
    assert len({output_id(*parts) for parts in changed} - {name}) == 3


def test_names_do_not_change_between_versions() -> None:
    """Ids are a contract: a replay by a later version gives the same."""
    expected = "0b3c1144f3f0c179a4d02c9a"
    assert output_id("u1", "alert risk", "e1") == expected


def test_a_pseudonym_needs_its_key() -> None:
    """Another key gives another pseudonym; without one it still is not the id; long keys are cut."""
    names = {pseudonym("u1", b""), pseudonym("u1", b"k"), pseudonym("u2", b"k"), "u1"}
    assert len(names) == 4
    assert pseudonym("u1", b"k" * 64) == pseudonym("u1", b"k" * 100)
    assert len(pseudonym("u1", b"k")) == 16


@given(TEXTS, TEXTS)
def test_a_share_lies_between_zero_and_one(person: str, salt: str) -> None:
    """It is a number in [0, 1) that belongs to person and salt."""
    share = hash_share(person, salt)
    assert 0 <= share < 1
    assert share == hash_share(person, salt)


def test_shares_are_even_and_independent_of_each_other() -> None:
    """A tenth of the people lies below 0.1 under one salt, a hundredth under two."""
    one = [hash_share(f"user-{n}", "a") < 0.1 for n in range(20_000)]
    both = [low and hash_share(f"user-{n}", "b") < 0.1 for n, low in enumerate(one)]
    assert abs(sum(one) / 20_000 - 0.1) < 0.01
    assert abs(sum(both) / 20_000 - 0.01) < 0.004
