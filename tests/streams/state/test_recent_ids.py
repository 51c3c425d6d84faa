"""Recent ids: the newest distinct ids are remembered, up to the limit."""

from hypothesis import given
from hypothesis import strategies as st

from streams.state.recent_ids import RecentIds

IDS = st.lists(st.sampled_from("abcdefg"), max_size=40)


@given(IDS, st.integers(1, 5))
def test_the_newest_distinct_ids_are_remembered(ids: list[str], limit: int) -> None:
    """`add` returns whether the id was among them, and makes it the newest one."""
    recent, newest = RecentIds(limit), list[str]()
    for record_id in ids:
        assert recent.add(record_id) == (record_id in newest)
        newest = [*(other for other in newest if other != record_id), record_id][-limit:]
        assert {other for other in "abcdefg" if other in recent} == set(newest)
        assert len(recent) == len(newest)


@given(IDS, st.integers(1, 5))
def test_looking_an_id_up_does_not_refresh_it(ids: list[str], limit: int) -> None:
    """Where repeats are only looked up, ids are forgotten in the order of their first arrival."""
    recent, newest = RecentIds(limit), list[str]()
    for record_id in ids:
        if record_id in recent:
            continue
        assert not recent.add(record_id)
        newest = [*newest, record_id][-limit:]
        assert [other for other in newest if other in recent] == newest
        assert len(recent) == len(newest)
