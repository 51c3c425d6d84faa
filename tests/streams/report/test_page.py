"""The report states figures that were computed by hand, and is a harmless page for any input."""

from __future__ import annotations

import re
from math import log
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.person.features import GROUPS
from models.schema import event_codec
from models.schema import events as ev
from models.schema.outputs import Alert, Profile, Reason
from streams.kafka import topics
from streams.metrics import Metrics
from streams.report.collector import ReplayCollector
from streams.report.decision_figures import GROUPS as TEXTS_BY_GROUP
from streams.report.page import POLICY
from tests.streams.history.test_command import run_command
from tests.streams.report.pages import DAY, MONDAY, example, make_collector, render_page

FIGURES = ("quality", "reliability", "lift", "tiers", "retention", "cohorts", "reasons", "decisions")
HOSTILE = "</title><script>alert(1)</script><img src=x onerror=\"alert('2')\">\x00\x1b\u202e&amp;"


def send(collector: ReplayCollector, topic: str, output: msgspec.Struct) -> None:
    collector.on_record(topic, b"key", msgspec.json.encode(output), {})


def tier(collector: ReplayCollector, user: str, tier: str, time: float) -> None:
    fields = {"probability": 0.5, "stage": "", "retention_rate": 0.0, "repurchase_rate": 0.0, "purchases": 0}
    profile = Profile(id="p", user_id=user, time=time, tier=tier, spend=0.0, last_active=time, **fields)
    send(collector, topics.PROFILES, profile)


def alert(
    collector: ReplayCollector, group: str, words: str, effect: float = 1.0, before: str = "low", now: str = "high"
) -> None:
    fields = {"about": "risk", "probability": 0.5, "tier": now, "tier_before": before, "action": "none"}
    reasons = (Reason(group=group, effect=effect, words=words),)
    send(collector, topics.ALERTS, Alert(id="a", user_id="u", time=0.0, expires_at=0.0, reasons=reasons, **fields))


def two_weeks() -> ReplayCollector:
    """Four scores in a first week, with one pair of four in the wrong order, and two correct scores in a second."""
    collector = make_collector()
    scored = [
        (0, 0.9, True, 4.0),
        (0, 0.2, True, 3.0),
        (1, 0.6, False, 2.0),
        (1, 0.1, False, 1.0),
        (7, 0.8, True, 1.0),
        (8, 0.3, False, 2.0),
    ]
    for day, probability, churned, silence in scored:
        send(collector, topics.EXAMPLES, example(MONDAY + day * DAY, probability, churned, silence))
    return collector


def test_quality_is_shown_week_by_week() -> None:
    """AUC by hand: 3 of 4 pairs in the first week, 1 of 1 in the second, 7 of 9 in all."""
    page = render_page(two_weeks(), labelled(6))
    sentences = page.finding("quality")
    # Pooled: 0.9, 0.8 beat all three user stayed; 0.2 beats only 0.1.
    assert "Over 6 scores, the AUC of the model is 0.778" in sentences
    # Silence: 4 and 3 beat 2, 1, 2; the 1 of the second week ties with one 1 and loses to both 2s: 6.5 of 9.
    assert "and that of recency alone 0.722. The model was better in 1 of 2 weeks" in sentences
    first, second = page.table("quality")
    assert [*first[:4], first[6]] == ["10 Jan 2022", "4", "50%", "0.750", "1.000"]
    assert [*second[:4], second[6]] == ["17 Jan 2022", "2", "50%", "1.000", "0.000"]


def labelled(labels: int) -> Metrics:
    metrics = Metrics()
    metrics.add("encore_labels_total", "churned", by=labels)
    return metrics


def test_lift_and_reliability_match_the_scores() -> None:
    """Half of six rows churned, so every part of at most a third holds only churners: twice the overall rate."""
    page = render_page(two_weeks(), labelled(6))
    assert (
        "Of the riskiest 10% by the model, 100% left: 2.0 times the overall 50%. By recency alone, it is 2.0 times"
    ) in page.finding("lift")
    assert page.table("lift") == [["20%", "2.00", "2.00"], ["30%", "2.00", "2.00"], ["50%", "1.33", "1.33"]]
    scores = sorted([(0.9, 1), (0.2, 1), (0.6, 0), (0.1, 0), (0.8, 1), (0.3, 0)])
    assert page.table("reliability") == [[f"{score:.0%}", f"{left:.0%}", "1"] for score, left in scores]
    gap = sum(abs(score - left) for score, left in scores) / 6 * 100
    assert f"{gap:.1f} points apart" in page.finding("reliability")


def test_gradient_boosting_is_measured_on_the_same_rows() -> None:
    """Both models are measured on the rows for which gradient boosting has a score."""
    collector = make_collector(max_rows=100)
    for index in range(4):
        collector.matured.add(example(MONDAY + index, [0.9, 0.1, 0.8, 0.2][index], index % 2 == 1, 1.0))
    collector.matured.score_with_boosting(lambda rows, churned, times, until: np.array([np.nan, 0.5, 0.4, 0.6]))
    page = render_page(collector, labelled(4))
    losses = (log(2) - log(0.6) - log(0.6)) / 3, (-log(0.1) - log(0.2) - log(0.2)) / 3
    assert (
        f"Gradient boosting, fitted every week, has an AUC of 1.000 (log-loss {losses[0]:.3f}); the model has 0.000 "
        f"({losses[1]:.3f}), on the same 3 scores."
    ) in page.finding("quality")
    assert page.table("quality")[0][7] == "1.000"


def test_a_sample_of_users_for_gradient_boosting_is_stated() -> None:
    """If there are more rows than are kept, a share of the users is compared; the page states the share."""
    collector = make_collector(max_rows=60)
    for index in range(100):
        collector.matured.add(example(MONDAY + index, 0.5, index % 2 == 1, 1.0, user=f"u{index}"))
    collector.matured.score_with_boosting(lambda rows, churned, times, until: np.full(len(rows), 0.5))
    sentences = render_page(collector, labelled(100)).finding("quality")
    assert re.search(r"on the same \d\d scores, from 50% of the users\.", sentences)


def test_reference_and_challenger_are_shown() -> None:
    """Each has its name, its line, its sentence and its column."""
    collector = make_collector(challenger="river.naive_bayes.GaussianNB")
    for index in range(600):
        day, churned = index // 10, index % 2 == 1
        row = example(MONDAY + day * DAY, 0.5 + 0.3 * churned, churned, 1.0 + churned, id=str(index), until=MONDAY)
        send(collector, topics.EXAMPLES, row)
    page = render_page(collector, labelled(600), challenger="river.naive_bayes.GaussianNB")
    for name in ("Logistic regression, trained in parallel,", "The challenger, river.naive_bayes.GaussianNB,"):
        assert re.search(
            rf"{name} has an AUC of \d\.\d+ \(log-loss 0\.\d+\); the model has 1\.000", page.finding("quality")
        )
    for look in ("reference", "challenger"):
        assert page.figure("quality").find(f".//path[@class='line {look}']") is not None
    heads = [head.text for head in page.figure("quality").findall(".//th")]
    assert heads[-2:] == ["AUC of reference", "AUC of challenger"]
    assert page.table("quality")[1][-2] == "1.000"
    assert float(page.table("quality")[1][-1]) <= 1


def test_drift_is_marked() -> None:
    """Labels surprise the model more than before. Better scores and the prior's scores do not count as drift."""

    def send_rows(collector: ReplayCollector, first: int, wrong: float, model: str = "m") -> None:
        for number in range(first, first + 3_000):
            row = example(MONDAY + number * 60, 0.1, number % 10 < 10 * wrong, 1.0, id=str(number), model=model)
            send(collector, topics.EXAMPLES, row)

    collector = make_collector()
    send_rows(collector, 0, 0.1, "prior")
    send_rows(collector, 3_000, 0.6)
    send_rows(collector, 6_000, 0.1)
    assert collector.drift_times == []
    send_rows(collector, 9_000, 0.6)
    assert collector.drift_times
    assert all(MONDAY + 9_000 * 60 < moment - 14 * DAY < MONDAY + 10_000 * 60 for moment in collector.drift_times)
    page = render_page(collector, labelled(9_000))
    assert re.search(r"Drift was detected on 30 Jan 2022 \(◆\)", page.finding("quality"))
    assert page.figure("quality").find(".//line[@class='mark']") is not None


def test_many_days_of_drift_are_counted() -> None:
    """A list of all days would fill the page."""
    collector = two_weeks()
    collector.drift_times += [MONDAY + day * DAY for day in range(9)]
    assert "Drift was detected on 9 days, last on 18 Jan 2022 (◆)" in render_page(collector, labelled(6)).finding(
        "quality"
    )


def test_tiers_are_counted_at_the_end_of_each_week() -> None:
    """Three users: one rises, one becomes inactive, one is erased."""
    collector = make_collector()
    for user, now, day in (("a", "low", 0), ("b", "low", 1), ("c", "high", 1), ("a", "high", 8), ("b", "", 15)):
        tier(collector, user, now, MONDAY + day * DAY)
    collector.on_record(topics.PROFILES, b"c", None, {})
    page = render_page(collector, end=MONDAY + 23 * DAY)
    assert page.table("tiers") == [
        ["16 Jan 2022", "1", "0", "2"],
        ["23 Jan 2022", "2", "0", "1"],
        ["30 Jan 2022", "1", "0", "0"],
        ["1 Feb 2022", "1", "0", "0"],
    ]
    assert "On 1 Feb 2022 there are 1 user at high, 0 at medium and 0 at low risk" in page.finding("tiers")
    assert "The largest number at high risk is 2, at the end of the week up to 23 Jan 2022" in page.finding("tiers")


def test_retention_counts_only_complete_weeks() -> None:
    """Three users of two first weeks, by hand; the last, half week counts for nobody."""
    collector = make_collector()
    for user, days in (("a", (0, 3, 7, 14, 21)), ("b", (1, 16)), ("c", (9, 15, 22))):
        for number, day in enumerate(days):
            collector.activity.on_event(ev.Login(id=f"{user}{number}", user_id=user, time=MONDAY + day * DAY))
    collector.activity.on_event(ev.ConsentGiven(id="d", user_id="d", time=MONDAY + 8 * DAY))  # that is no activity
    page = render_page(collector, end=MONDAY + 24 * DAY)
    assert page.table("retention") == [["0", "100%", "3", "3"], ["1", "67%", "2", "3"], ["2", "100%", "2", "2"]]
    assert page.finding("retention") == "Of 3 users, 67% were active 1 week after their first week."
    assert page.table("cohorts") == [["10 Jan 2022", "2", "50%", "100%"], ["17 Jan 2022", "1", "100%", ""]]
    assert "the 1 user who first came in the week of 17 Jan 2022 had the highest retention: 100%" in page.finding(
        "cohorts"
    )


def test_reasons_are_counted_separately_for_higher_and_lower_risk() -> None:
    """The most frequent reason comes first, with the text of its strongest case."""
    collector = make_collector()
    alert(collector, "silence", "no activity for 3 days, usually 2", 0.4)
    alert(collector, "silence", "no activity for 30 days, usually 2", 0.9)
    alert(collector, "rhythm", "active on 1 of the last 7 days, 9 of 28", 0.3)
    alert(collector, "money", "a member", -0.3, "high", "low")
    page = render_page(collector)
    assert page.finding("reasons").startswith(
        "Of 3 alerts about higher risk, 67% name the time since the last activity. "
        "Of 1 alert about lower risk, 100% name purchases."
    )
    assert [row[2] for row in page.table("reasons")] == ["2", "1", "1"]
    assert "30 days" in page.text()
    assert "3 days, usually" not in page.text()
    assert "An alert names up to three reasons" in page.text()


def test_every_group_of_reasons_has_a_text() -> None:
    """Every group that an alert can name has a text."""
    assert set(GROUPS) <= set(TEXTS_BY_GROUP)


def test_decisions_are_described() -> None:
    """The page states how many offers would have been sent, and the main reason against the others."""
    metrics = Metrics()
    for reason, times in (("sent", 1_500), ("hold_out", 300), ("cap", 200)):
        metrics.add("encore_decisions_total", "coupon", reason, by=times)
    metrics.add("encore_dead_letters_total", "malformed", by=1_234)
    page = render_page(make_collector(), metrics)
    assert page.finding("decisions") == (
        "Of 2,000 coupons considered, 1,500 (75%) would have been sent. "
        "The most frequent reason against the others (300): the user is in the hold-out group, which gets no offers, "
        "so that the effect can be measured."
    )
    assert "1,234" in page.text()
    assert "dead letters (malformed): not UTF-8 JSON, or not a single object" in page.text()


def test_an_empty_history_has_a_report() -> None:
    """Each figure says why there is no data, and none has a picture."""
    page = render_page(make_collector())
    assert all(page.finding(name).endswith(".") and not page.table(name) for name in FIGURES)
    assert page.root.find(".//svg") is None
    assert "no event" in page.text()


@pytest.mark.parametrize(("churned", "outcome"), [(True, "every user left"), (False, "no user left")])
def test_one_outcome_gives_a_sentence_and_no_figure(churned: bool, outcome: str) -> None:
    """AUC needs both outcomes."""
    collector = make_collector()
    for day in range(3):
        collector.matured.add(example(MONDAY + day * DAY, 0.5, churned, 1.0))
    assert f"Of 3 scores with a label, {outcome}" in render_page(collector, labelled(3)).finding("quality")


def test_scores_before_the_first_model_are_not_measured() -> None:
    """They count as labels."""
    collector = make_collector()
    collector.matured.add(example(MONDAY, 0.3, True, 1.0, model="prior"))
    assert "1 label arrived, too few for a model" in render_page(collector, labelled(1)).finding("lift")


def test_hostile_names_stay_harmless() -> None:
    """Names of sources, reasons and groups come from outside; everywhere on the page they are only text."""
    collector, metrics = two_weeks(), labelled(6)
    alert(collector, HOSTILE, HOSTILE)
    metrics.add("encore_decisions_total", HOSTILE, HOSTILE)
    metrics.add("encore_dead_letters_total", HOSTILE)
    page = render_page(collector, metrics, title=HOSTILE)
    names = {element.tag for element in page.root.iter()}
    assert not names & {"script", "img", "iframe", "link", "object", "foreignObject", "a", "image", "use"}
    assert not [name for element in page.root.iter() for name in element.attrib if name.lower().startswith("on")]
    assert page.text().count("<script>alert(1)</script>") >= 5
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page.html)


def test_the_page_loads_nothing() -> None:
    """The page has no address, its style has no import, and its policy forbids all loading."""
    page = render_page(two_weeks(), labelled(6))
    assert not re.search(r"https?:|//\w|url\(|@import|src=|href=", page.html)
    policy = page.root.find(".//meta[@http-equiv='Content-Security-Policy']")
    assert policy is not None
    assert policy.get("content") == POLICY == "default-src 'none'; style-src 'unsafe-inline'"


TEXTS = st.text(st.characters(), max_size=20)
WEEKS = st.lists(
    st.tuples(st.integers(0, 400), st.floats(0, 1), st.booleans(), st.floats(0, 6), TEXTS, st.sampled_from("ab")),
    max_size=12,
)


@given(WEEKS, TEXTS, st.integers(0, 900))
@settings(max_examples=60, deadline=None)
def test_any_history_gives_a_valid_page(rows: list, title: str, days: int) -> None:
    """Well-formed, repeatable, all coordinates are numbers, and everything lies within its picture."""

    def render() -> str:
        collector = make_collector()
        for day, probability, churned, silence, words, user in sorted(rows, key=lambda row: row[0]):
            time = MONDAY + day * DAY
            collector.activity.on_event(ev.Login(id=words or "x", user_id=user, time=time))
            tier(collector, user, ("low", "medium", "high", "")[int(probability * 3.99)], time)
            collector.matured.add(example(time, probability, churned, silence))
            alert(collector, words.encode("utf-8", "replace").decode(), "w", probability)
        return render_page(collector, labelled(len(rows)), MONDAY + days * DAY, title).html

    html = render()
    assert html == render()
    html.encode()
    assert not re.search(r'="[^"]*\b(nan|inf)\b', html)
    for x in re.findall(r' c?x="([-\d.]+)"', html):
        assert -1 <= float(x) <= 861


def test_a_replay_writes_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The report is in the folder of the outputs, has the figures of the summary, and is repeatable."""
    logins = [
        ev.Login(id=f"{user}-{day}", user_id=f"u{user}", time=MONDAY + day * DAY + user * 997.0)
        for user in range(12)
        for day in range(0, 30 if user % 3 == 0 else 60, 1 + user % 4)
    ]
    history, chosen = tmp_path / "<b>events.jsonl", tmp_path / "settings.toml"
    history.write_bytes(b"\n".join([*map(event_codec.encode, logins), b"{broken"]))
    chosen.write_text('labels_needed = 20\nhorizon = "7d"\n')
    pages = []
    for out in ("once", "again"):
        code, output, _ = run_command(
            capsys, "replay", history, "--settings", chosen, "--out", tmp_path / out, "--json"
        )
        assert code == 0
        pages.append((tmp_path / out / "index.html").read_text())
    summary = msgspec.json.decode(output)
    assert pages[0] == pages[1]
    assert f"{summary['quality']['model']['auc']:.3f}" in pages[0]
    assert "Gradient boosting, fitted every week, has an AUC of" in pages[0]
    assert f"{summary['applied']:,}" in pages[0]
    assert "&lt;b&gt;events.jsonl" in pages[0]
