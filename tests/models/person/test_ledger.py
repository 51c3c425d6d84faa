"""Deduplication of events, output ids, pseudonyms and hash shares."""

from hypothesis import given, settings
from hypothesis import strategies as st

from models.person.ledger import MAX_RECENT_EVENTS, Ledger, add_digest, event_digest, hash_share, output_id, pseudonym

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(st.lists(TEXTS, unique=True, max_size=40), TEXTS)
@settings(max_examples=100)
def test_the_last_sixteen_ids_are_remembered(ids: list[str], other: str) -> None:
    """An id is a duplicate while it is among the last 16 and not after; other ids never are."""
    digests = b""
    for event_id in ids:
        digests = add_digest(digests, event_digest(event_id))
    known = {
        event_id for event_id in [*ids, other] if Ledger(recent_events=digests).is_duplicate(event_digest(event_id))
    }
    assert known == set(ids[-MAX_RECENT_EVENTS:]) | ({other} & set(ids[-MAX_RECENT_EVENTS:]))
    assert len(digests) <= 8 * MAX_RECENT_EVENTS
    assert len(digests) == len(event_digest("")) * min(len(ids), MAX_RECENT_EVENTS)


def test_an_id_is_not_found_across_two_digests() -> None:
    """Only whole digests are compared."""
    one = add_digest(b"", event_digest("one"))
    shifted = add_digest(one, event_digest("two"))[3:] + b"123"
    assert not Ledger(recent_events=shifted).is_duplicate(event_digest("two"))


@given(TEXTS, TEXTS, TEXTS)
def test_an_output_id_depends_on_person_rule_and_cause_alone(person: str, rule: str, cause: str) -> None:
    """The same three give the same id; a change of any of them changes it."""
    name = output_id(person, rule, cause)
    assert name == output_id(person, rule, cause)
    changed = ((person + "x", rule, cause), (person, rule + "x", cause), (person, rule, cause + "x"))
    assert len({output_id(*parts) for parts in changed} - {name}) == 3


def test_output_ids_do_not_change_between_versions() -> None:
    """Ids are a contract: a replay by a later version must give the same ids."""
    expected = "0b3c1144f3f0c179a4d02c9a"
    assert output_id("u1", "alert risk", "e1") == expected


def test_a_pseudonym_needs_its_key() -> None:
    """Another key gives another pseudonym. Without a key it still differs from the id. Long keys are truncated."""
    names = {pseudonym("u1", b""), pseudonym("u1", b"k"), pseudonym("u2", b"k"), "u1"}
    assert len(names) == 4
    assert pseudonym("u1", b"k" * 64) == pseudonym("u1", b"k" * 100)
    assert len(pseudonym("u1", b"k")) == 16


@given(TEXTS, TEXTS)
def test_a_hash_share_is_between_zero_and_one(person: str, salt: str) -> None:
    """The same person and salt always give the same number in [0, 1)."""
    share = hash_share(person, salt)
    assert 0 <= share < 1
    assert share == hash_share(person, salt)


def test_hash_shares_are_uniform_and_independent() -> None:
    """A tenth of all persons is below 0.1 under one salt, a hundredth under both of two salts."""
    one = [hash_share(f"user-{n}", "a") < 0.1 for n in range(20_000)]
    both = [low and hash_share(f"user-{n}", "b") < 0.1 for n, low in enumerate(one)]
    assert abs(sum(one) / 20_000 - 0.1) < 0.01
    assert abs(sum(both) / 20_000 - 0.01) < 0.004
