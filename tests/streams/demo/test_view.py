"""The view and the summary: a page that fits, plain lines elsewhere, and no claim without evidence."""

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
from streams.demo.summary import auc_text, progress, summary
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


def state_halfway() -> DemoState:
    """Return a typical state in the middle of the demo."""
    state = DemoState(
        "2,000 simulated learners", T, T + 92 * DAY, metrics_url="http://127.0.0.1:6066/metrics", now=T + 43 * DAY
    )
    state.events, state.events_per_second, state.status, state.users = 61_204, 1_312.4, "playing", 1_812
    state.lag_records, state.lag_seconds = 420, 5 * 3_600.0
    state.tiers = Counter(high=112, medium=304, low=901, new=83, left=412)
    state.alerts = Counter(risk=4_000, stalled=300, finished=120)
    state.coupons = CouponCounts(212, 61, 2, Counter(hold_out=208, quiet_hours=120, no_consent=40, cool_down=12, cap=1))
    state.quality = ModelQuality(18_120, 0.21, 0.832, 0.811, 0.921)
    state.recent_quality = ModelQuality(9_000, 0.21, 0.841, 0.815, 0.921)
    state.by_coupon = EffectEstimate(ArmCounts(150, 60, 30), ArmCounts(148, 28, 28))
    state.by_anything = EffectEstimate(ArmCounts(500, 260, 250), ArmCounts(480, 240, 240))
    for about in ("risk", "stalled", "finished", "risk", "risk", "risk", "stalled", "finished"):
        state.newest_alerts.append(replace(ALERT, about=about, reasons=() if about != "risk" else ALERT.reasons))
    return state


def render(state: DemoState, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(page(state), height=height)
    return capture.get().rstrip("\n").split("\n")


@pytest.mark.parametrize(("width", "height"), [(100, 30), (160, 45), (80, 24)])
def test_the_page_fits_the_terminal(width, height):
    """At every size, no line is wider than the terminal, and there are no more lines than it has."""
    lines = render(state_halfway(), width, height)

    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_the_page_shows_all_figures():
    """At 100 by 30 all figures and reasons are shown, and nothing is cut off."""
    text = "\n".join(render(state_halfway(), 100, 30))

    for part in (
        "61,204 events", "1,312/s", "lag 420 events, 5 h", "day 44 of 92", "112", "304", "901", "412",
        "medium > high .81  coupon", "no activity for 6 days, usually 2", "stalled in course python-first-steps at 38%",
        "finished a course", ".832", ".811", ".921", "18,120 labels, 21% churned", "last 4 weeks .841, recency .815",
        "held back: hold-out                208", "redeemed                            61", "40%", "19%",
        "http://127.0.0.1:6066/metrics", "Ctrl-C",
    ):  # fmt: skip
        assert part in text, part
    assert "…" not in text


def test_the_page_can_be_shown_before_any_output():
    """The state of the very beginning."""
    text = "\n".join(render(DemoState("a test", T, T + DAY), 100, 30))

    assert "the model is still learning" in text
    assert "nan" not in text


def test_history_has_alerts_but_no_coupons():
    """Recorded users cannot receive messages."""
    state = state_halfway()
    state.knows_truth = False
    text = "\n".join(render(state, 100, 30))

    assert "history cannot respond" in text
    assert "redeemed" not in text + progress(state) + summary(state, 60)


def test_without_a_terminal_progress_is_plain_lines():
    """No escape codes, and not one line per step."""
    out = io.StringIO()
    with View(state_halfway(), Console(file=out, width=100)) as view:
        for _ in range(100):
            view.show()

    assert out.getvalue().count("\n") == 1
    assert re.fullmatch(
        r"day 44 of 92: 61,204 events \(1,312/s\), lag 5 h, [ -~]+ AUC \.832 \(recency \.811\)\n", out.getvalue()
    )


def test_the_summary_claims_a_difference_only_if_the_interval_excludes_zero():
    """The effect of coupons is stated with its interval; an effect within chance is named as such."""
    text = summary(state_halfway(), 131.0)

    assert "43 days, 09 Oct 2025 to 21 Nov 2025, in 2 min 11 s" in text
    assert "208 held back: the user is in the hold-out group, which gets no offers" in text
    assert "14 days after a coupon: 40% of 150; in the hold-out 19% of 148" in text
    assert "+21.1 percentage points, 95% interval +10.8 to +30.8\n" in text
    assert "about 32 users kept who would have left (16 to 46)" in text
    assert "+2.0 percentage points, 95% interval -4.2 to +8.2: no difference can be claimed" in text
    assert text.count("users kept who would have left") == 1
    assert "AUC: model .832, recency alone .811, with the hidden state .921" in text
    assert max(map(len, text.splitlines())) <= 120


def test_an_empty_summary_states_that_figures_are_missing():
    """No figure is invented if nothing was counted."""
    text = summary(DemoState("a test", T, T + DAY, now=T + DAY), 3.0)

    assert "too few users to compare yet" in text
    assert "too few labels to measure it" in text
    assert "nan" not in text
    assert auc_text(float("nan")) == "-"
