"""The complete data sets, where available: as many rows as published, each with a result."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from models.schema import event_codec
from models.schema import events as ev
from streams.history.sources import HistoryEntry, HistorySource, open_source
from tests.data import folder

SOURCES = {"completejourney": "completejourney", "onlineretail": "online_retail"}


def count_entries(source: HistorySource) -> tuple[dict[str, int], dict[tuple[str, str | None], int]]:
    """Return the number of events of each kind, and the number of unusable rows for each reason."""
    kinds: Counter[str] = Counter()
    reasons: Counter[tuple[str, str | None]] = Counter()
    for found in source:
        if isinstance(found, HistoryEntry):
            kinds[ev.kind_of(found.event)] += 1
        else:
            reasons[found.error.reason, found.error.field] += 1
    return dict(kinds), dict(reasons)


def test_all_of_oulad_becomes_events():
    """10,655,280 rows of clicks, 32,593 registrations, 45 without a day; banked and unmarked work is left out."""
    source = open_source(f"oulad:{folder('oulad')}")
    kinds, reasons = count_entries(source)
    clicks = sum(kinds[kind] for kind in ("login", "exercise", "comment", "live_session", "lesson_progress"))

    assert reasons == {("missing_field", "time"): 45}
    assert (kinds["course_published"], kinds["purchase"], kinds["subscription_cancelled"]) == (22, 32_593 - 45, 10_072)
    assert clicks == 10_655_280 + 173_912 - source.skipped
    assert source.skipped == 2_081


def test_all_of_the_complete_journey_becomes_events():
    """155,848 baskets, 6,589 campaigns that reached a household, 2,102 redemptions, and the sum of all payments."""
    source = open_source(f"completejourney:{folder('completejourney')}")
    paid = sum(entry.event.amount for entry in source if isinstance(entry.event, ev.Purchase))

    assert count_entries(source) == ({"coupon_delivered": 6_589, "coupon_redeemed": 2_102, "purchase": 155_848}, {})
    assert paid == pytest.approx(4_596_039.58)


def test_lines_without_a_customer_are_unusable():
    """135,080 of Online Retail's 541,909; the others are the invoices of 4,372 customers."""
    source = open_source(f"onlineretail:{folder('online_retail')}")
    kinds, reasons = count_entries(source)
    people = {found.event.user_id for found in source if isinstance(found, HistoryEntry)}

    assert reasons == {("missing_field", "user_id"): 135_080}
    assert kinds == {"purchase": 18_537, "refund": 3_654}
    assert len(people) == 4_372


@pytest.mark.parametrize("kind", SOURCES)
def test_every_event_is_valid(kind):
    """It passes the checks of an event from the wire, and its id is unique."""
    source = open_source(f"{kind}:{folder(SOURCES[kind])}")
    events = [found.event for found in source if isinstance(found, HistoryEntry)]

    assert all(event_codec.decode(event_codec.encode(event)) == event for event in events)
    assert len({event.id for event in events}) == len(events)


def test_the_sample_is_made_from_it(tmp_path: Path):
    """Each event equals that of the sample in the package."""
    from streams.demo.sample import sample
    from streams.demo.source import SampleSource

    shipped = SampleSource()
    assert sample(open_source(f"oulad:{folder('oulad')}")) == shipped.advance(shipped.ends)
