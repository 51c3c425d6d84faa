"""The view and the words: a page that fits, plain lines elsewhere, and a summary that claims no more than it may."""

from __future__ import annotations

import io
import re
from collections import Counter

import pytest
from msgspec.structs import replace
from rich.console import Console

from models.person.activity import DAY
from models.schema.outputs import Alert, Reason
from streams.demo.state import ArmCounts, CouponCounts, DemoState, EffectEstimate, ModelQuality
from streams.demo.summary import number, progress, summary
from streams.demo.view import View, page

T = 1_760_000_000.0
ALERT = Alert(
    id="a1", user_id="learner-00042", time=T, expires_at=T + DAY, about="risk", probability=0.8123, tier="high",
    tier_before="medium", action="coupon", happened="stalled in course python-first-steps at 38%",
    reasons=(
        Reason(group="silence", effect=1.0, words="no activity for 6 days, usually 2"),
        Reason(group="rhythm", effect=0.6, words="active on 1 of the last 7 days, 11 of 28"),
    ),
)  # fmt: skip


def seen() -> DemoState:
    """Things as they may stand in the middle of the demo."""
    watched = DemoState(
        "2,000 simulated learners", T, T + 92 * DAY, page="http://127.0.0.1:6066/metrics", now=T + 43 * DAY
    )
    watched.events, watched.per_second, watched.doing, watched.people = 61_204, 1_312.4, "playing", 1_812
    watched.lag_records, watched.lag_seconds = 420, 5 * 3_600.0
    watched.tiers = Counter(high=112, medium=304, low=901, new=83, left=412)
    watched.alerts = Counter(risk=4_000, stalled=300, finished=120)
    watched.coupons = CouponCounts(
        212, 61, 2, Counter(hold_out=208, quiet_hours=120, no_consent=40, cool_down=12, cap=1)
    )
    watched.quality = ModelQuality(18_120, 0.21, 0.832, 0.811, 0.921)
    watched.lately = ModelQuality(9_000, 0.21, 0.841, 0.815, 0.921)
    watched.by_coupon = EffectEstimate(ArmCounts(150, 60, 30), ArmCounts(148, 28, 28))
    watched.by_anything = EffectEstimate(ArmCounts(500, 260, 250), ArmCounts(480, 240, 240))
    for about in ("risk", "stalled", "finished", "risk", "risk", "risk", "stalled", "finished"):
        watched.newest.append(replace(ALERT, about=about, reasons=() if about != "risk" else ALERT.reasons))
    return watched


def rendered(watched: DemoState, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(page(watched), height=height)
    return capture.get().rstrip("\n").split("\n")


@pytest.mark.parametrize(("width", "height"), [(100, 30), (160, 45), (80, 24)])
def test_the_page_fits_the_terminal(width, height):
    """Whatever the size, no line is longer than the terminal is wide, and there are no more of them than it has."""
    lines = rendered(seen(), width, height)

    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_the_page_shows_what_there_is_to_see():
    """All of it at 100 by 30, with reasons in words and nothing cut off."""
    text = "\n".join(rendered(seen(), 100, 30))

    for part in (
        "61,204 events", "1,312/s", "lag 420 events, 5 h", "day 44 of 92", "112", "304", "901", "412",
        "medium > high .81  coupon", "no activity for 6 days, usually 2", "stalled in course python-first-steps at 38%",
        "finished a course", ".832", ".811", ".921", "18,120 labels, 21% churned", "last 4 weeks .841, recency .815",
        "held back: hold-out                208", "redeemed                            61", "40%", "19%",
        "http://127.0.0.1:6066/metrics", "Ctrl-C",
    ):  # fmt: skip
        assert part in text, part
    assert "…" not in text


def test_the_page_can_be_shown_before_there_is_anything_to_see():
    """At the very beginning."""
    text = "\n".join(rendered(DemoState("a test", T, T + DAY), 100, 30))

    assert "the model learns first" in text
    assert "nan" not in text


def test_history_has_alerts_but_no_coupons():
    """Nobody in it can be sent any."""
    watched = seen()
    watched.knows_truth = False
    text = "\n".join(rendered(watched, 100, 30))

    assert "history cannot answer" in text
    assert "redeemed" not in text + progress(watched) + summary(watched, 60)


def test_without_a_terminal_there_is_a_plain_line_now_and_then():
    """No escape codes, no line a step."""
    out = io.StringIO()
    with View(seen(), Console(file=out, width=100)) as view:
        for _ in range(100):
            view.show()

    assert out.getvalue().count("\n") == 1
    assert re.fullmatch(
        r"day 44 of 92: 61,204 events \(1,312/s\), lag 5 h, [ -~]+ AUC \.832 \(recency \.811\)\n", out.getvalue()
    )


def test_the_summary_claims_a_difference_only_where_there_is_one():
    """What coupons changed is claimed with its interval; what cannot be told from chance is called that."""
    text = summary(seen(), 131.0)

    assert "43 days, 09 Oct 2025 to 21 Nov 2025, in 2 min 11 s" in text
    assert "208 held back: the person belongs to those who get nothing" in text
    assert "14 days after a coupon: 40% of 150; in the hold-out 19% of 148" in text
    assert "+21.1 percentage points, 95 % interval +10.8 to +30.8\n" in text
    assert "which is 32 people kept who would have left (16 to 46)" in text
    assert "+2.0 percentage points, 95 % interval -4.2 to +8.2: no difference can be claimed" in text
    assert text.count("people kept who would have left") == 1
    assert "AUC: model .832, recency alone .811, who sees the hidden state .921" in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_summary_of_next_to_nothing_says_so():
    """No figure is made up where nothing was counted."""
    text = summary(DemoState("a test", T, T + DAY, now=T + DAY), 3.0)

    assert "nobody can be compared yet" in text
    assert "too few labels to judge it" in text
    assert "nan" not in text
    assert number(float("nan")) == "-"
