"""The report says what happened, by figures that were computed by hand; and whatever goes in, it is a harmless page."""

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
from streams.report.decision_figures import GROUPS as WORDS
from streams.report.page import POLICY
from tests.streams.history.test_command import run_command
from tests.streams.report.pages import DAY, MONDAY, account, example, paged

FIGURES = ("quality", "reliability", "lift", "tiers", "retention", "cohorts", "reasons", "decisions")
HOSTILE = "</title><script>alert(1)</script><img src=x onerror=\"alert('2')\">\x00\x1b\u202e&amp;"


def heard(told: ReplayCollector, topic: str, output: msgspec.Struct) -> None:
    told.heard(topic, b"key", msgspec.json.encode(output), {})


def tier(told: ReplayCollector, user: str, tier: str, time: float) -> None:
    given = {"probability": 0.5, "stage": "", "retention_rate": 0.0, "repurchase_rate": 0.0, "purchases": 0}
    profile = Profile(id="p", user_id=user, time=time, tier=tier, spend=0.0, last_active=time, **given)
    heard(told, topics.PROFILES, profile)


def alert(
    told: ReplayCollector, group: str, words: str, effect: float = 1.0, before: str = "low", now: str = "high"
) -> None:
    said = {"about": "risk", "probability": 0.5, "tier": now, "tier_before": before, "action": "none"}
    reasons = (Reason(group=group, effect=effect, words=words),)
    heard(told, topics.ALERTS, Alert(id="a", user_id="u", time=0.0, expires_at=0.0, reasons=reasons, **said))


def two_weeks() -> ReplayCollector:
    """Four scores in a first week, of which one pair of four stands the wrong way round; two in a second, all right."""
    told = account()
    scored = [
        (0, 0.9, True, 4.0),
        (0, 0.2, True, 3.0),
        (1, 0.6, False, 2.0),
        (1, 0.1, False, 1.0),
        (7, 0.8, True, 1.0),
        (8, 0.3, False, 2.0),
    ]
    for day, probability, churned, silence in scored:
        heard(told, topics.EXAMPLES, example(MONDAY + day * DAY, probability, churned, silence))
    return told


def test_quality_is_told_week_by_week() -> None:
    """AUC by hand: 3 of 4 pairs in the first week, 1 of 1 in the second, 8 of 9 pooled less one: 7 of 9."""
    page = paged(two_weeks(), labelled(6))
    said = page.says("quality")
    # Pooled: 0.9, 0.8 beat all three who stayed; 0.2 beats only 0.1.
    assert "Over 6 scores the model's AUC is 0.778" in said
    # Silence: 4 and 3 beat 2, 1, 2; the 1 of the second week ties with one 1 and loses to both 2s: 6.5 of 9.
    assert "recency alone 0.722; the model was ahead in 1 of 2 weeks" in said
    first, second = page.table("quality")
    assert [*first[:4], first[6]] == ["10 Jan 2022", "4", "50%", "0.750", "1.000"]
    assert [*second[:4], second[6]] == ["17 Jan 2022", "2", "50%", "1.000", "0.000"]


def labelled(labels: int) -> Metrics:
    metrics = Metrics()
    metrics.add("encore_labels_total", "churned", by=labels)
    return metrics


def test_lift_and_reliability_are_those_of_the_scores() -> None:
    """Of six rows, half of which churned, every part of at most a third holds only churners: twice the share of all."""
    page = paged(two_weeks(), labelled(6))
    assert "Of the riskiest 10% by the model 100% left, 2.0 times the 50% of all; by recency alone it is 2.0 times" in (
        page.says("lift")
    )
    assert page.table("lift") == [["20%", "2.00", "2.00"], ["30%", "2.00", "2.00"], ["50%", "1.33", "1.33"]]
    scores = sorted([(0.9, 1), (0.2, 1), (0.6, 0), (0.1, 0), (0.8, 1), (0.3, 0)])
    assert page.table("reliability") == [[f"{score:.0%}", f"{left:.0%}", "1"] for score, left in scores]
    gap = sum(abs(score - left) for score, left in scores) / 6 * 100
    assert f"{gap:.1f} points apart" in page.says("reliability")


def test_a_rival_is_measured_on_the_same_rows() -> None:
    """Where it has a score; the model beside it is measured on those rows alone."""
    told = account(most_rows=100)
    for index in range(4):
        told.matured.add(example(MONDAY + index, [0.9, 0.1, 0.8, 0.2][index], index % 2 == 1, 1.0))
    told.matured.compare(lambda rows, churned, times, until: np.array([np.nan, 0.5, 0.4, 0.6]))
    page = paged(told, labelled(4))
    said = (log(2) - log(0.6) - log(0.6)) / 3, (-log(0.1) - log(0.2) - log(0.2)) / 3
    assert (
        f"Gradient boosting, fitted anew every week, has 1.000 (log-loss {said[0]:.3f}) where the model has 0.000 "
        f"({said[1]:.3f}), on the same 3 scores."
    ) in page.says("quality")
    assert page.table("quality")[0][7] == "1.000"


def test_where_the_rival_saw_some_of_the_people_it_is_said() -> None:
    """Of more rows than are kept, those of a part of the people are compared; the page says which part."""
    told = account(most_rows=60)
    for index in range(100):
        told.matured.add(example(MONDAY + index, 0.5, index % 2 == 1, 1.0, user=f"u{index}"))
    told.matured.compare(lambda rows, churned, times, until: np.full(len(rows), 0.5))
    said = paged(told, labelled(100)).says("quality")
    assert re.search(r"on the same \d\d scores, those of 50% of the people\.", said)


def test_who_learns_beside_the_model_stands_beside_it() -> None:
    """The reference and the challenger, by name, each with its line, its sentence and its column."""
    told = account(challenger="river.naive_bayes.GaussianNB")
    for index in range(600):
        day, churned = index // 10, index % 2 == 1
        row = example(MONDAY + day * DAY, 0.5 + 0.3 * churned, churned, 1.0 + churned, id=str(index), until=MONDAY)
        heard(told, topics.EXAMPLES, row)
    page = paged(told, labelled(600), challenger="river.naive_bayes.GaussianNB")
    for who in ("Logistic regression, learning beside it,", "The challenger, river.naive_bayes.GaussianNB,"):
        assert re.search(rf"{who} has \d\.\d+ \(log-loss 0\.\d+\) where the model has 1\.000", page.says("quality"))
    for look in ("reference", "challenger"):
        assert page.figure("quality").find(f".//path[@class='line {look}']") is not None
    heads = [head.text for head in page.figure("quality").findall(".//th")]
    assert heads[-2:] == ["Reference's", "Challenger's"]
    assert page.table("quality")[1][-2] == "1.000"
    assert float(page.table("quality")[1][-1]) <= 1


def test_a_changed_world_is_marked() -> None:
    """When labels surprise the model more than those before; not when it gets better, nor for the prior's scores."""

    def lived(told: ReplayCollector, first: int, wrong: float, model: str = "m") -> None:
        for number in range(first, first + 3_000):
            row = example(MONDAY + number * 60, 0.1, number % 10 < 10 * wrong, 1.0, id=str(number), model=model)
            heard(told, topics.EXAMPLES, row)

    told = account()
    lived(told, 0, 0.1, "prior")
    lived(told, 3_000, 0.6)
    lived(told, 6_000, 0.1)
    assert told.changes == []
    lived(told, 9_000, 0.6)
    assert told.changes
    assert all(MONDAY + 9_000 * 60 < moment - 14 * DAY < MONDAY + 10_000 * 60 for moment in told.changes)
    page = paged(told, labelled(9_000))
    assert re.search(r"The world was found changed on 30 Jan 2022 \(◆\)", page.says("quality"))
    assert page.figure("quality").find(".//line[@class='mark']") is not None


def test_many_changes_are_counted() -> None:
    """Their days would fill the page."""
    told = two_weeks()
    told.changes += [MONDAY + day * DAY for day in range(9)]
    assert "The world was found changed on 9 days, last on 18 Jan 2022 (◆)" in paged(told, labelled(6)).says("quality")


def test_tiers_are_counted_at_the_end_of_each_week() -> None:
    """Three people: one rises, one falls silent, one is forgotten."""
    told = account()
    for who, now, day in (("a", "low", 0), ("b", "low", 1), ("c", "high", 1), ("a", "high", 8), ("b", "", 15)):
        tier(told, who, now, MONDAY + day * DAY)
    told.heard(topics.PROFILES, b"c", None, {})
    page = paged(told, end=MONDAY + 23 * DAY)
    assert page.table("tiers") == [
        ["16 Jan 2022", "1", "0", "2"],
        ["23 Jan 2022", "2", "0", "1"],
        ["30 Jan 2022", "1", "0", "0"],
        ["1 Feb 2022", "1", "0", "0"],
    ]
    assert "On 1 Feb 2022 it is 1 person at high, 0 at medium and 0 at low risk" in page.says("tiers")
    assert "The most at high risk were 2, at the end of the week up to 23 Jan 2022" in page.says("tiers")


def test_who_came_back_is_asked_only_of_whole_weeks() -> None:
    """Three people of two first weeks, by hand; the last, half week counts for nobody."""
    told = account()
    for who, days in (("a", (0, 3, 7, 14, 21)), ("b", (1, 16)), ("c", (9, 15, 22))):
        for number, day in enumerate(days):
            told.crowd.saw(ev.Login(id=f"{who}{number}", user_id=who, time=MONDAY + day * DAY))
    told.crowd.saw(ev.ConsentGiven(id="d", user_id="d", time=MONDAY + 8 * DAY))  # that is no activity
    page = paged(told, end=MONDAY + 24 * DAY)
    assert page.table("retention") == [["0", "100%", "3", "3"], ["1", "67%", "2", "3"], ["2", "100%", "2", "2"]]
    assert page.says("retention") == "Of 3 people, 67% were active 1 week after their first."
    assert page.table("cohorts") == [["10 Jan 2022", "2", "50%", "100%"], ["17 Jan 2022", "1", "100%", ""]]
    assert "the 1 person who came first in the week of 17 Jan 2022 came back most: 100%" in page.says("cohorts")


def test_reasons_are_counted_apart_for_more_and_less_risk() -> None:
    """Most often first, with the words of the strongest."""
    told = account()
    alert(told, "silence", "no activity for 3 days, usually 2", 0.4)
    alert(told, "silence", "no activity for 30 days, usually 2", 0.9)
    alert(told, "rhythm", "active on 1 of the last 7 days, 9 of 28", 0.3)
    alert(told, "money", "a member", -0.3, "high", "low")
    page = paged(told)
    assert page.says("reasons").startswith(
        "Of 3 alerts that somebody is more at risk, 67% name how long they have been silent. "
        "Of 1 alert that somebody is less at risk, 100% name what they buy."
    )
    assert [row[2] for row in page.table("reasons")] == ["2", "1", "1"]
    assert "30 days" in page.words()
    assert "3 days, usually" not in page.words()
    assert "An alert names up to three reasons" in page.words()


def test_every_group_of_reasons_has_words() -> None:
    """What an alert can name is named."""
    assert set(GROUPS) <= set(WORDS)


def test_decisions_are_told_in_words() -> None:
    """How many would have gone out, and why the others would not; dead letters in the header."""
    metrics = Metrics()
    for reason, times in (("sent", 1_500), ("hold_out", 300), ("cap", 200)):
        metrics.add("encore_decisions_total", "coupon", reason, by=times)
    metrics.add("encore_dead_letters_total", "malformed", by=1_234)
    page = paged(account(), metrics)
    assert page.says("decisions") == (
        "Of 2,000 coupons considered, 1,500 (75%) would have gone out; of the others most (300) did not for this "
        "reason: the person belongs to those who get nothing, so that the effect can be measured."
    )
    assert "1,234" in page.words()
    assert "dead letters (malformed): not UTF-8 JSON, or not one object" in page.words()


def test_an_empty_history_has_a_report() -> None:
    """Each figure says why there is nothing to be seen; none is drawn."""
    page = paged(account())
    assert all(page.says(name).endswith(".") and not page.table(name) for name in FIGURES)
    assert page.root.find(".//svg") is None
    assert "no event" in page.words()


@pytest.mark.parametrize(("churned", "said"), [(True, "everybody left"), (False, "nobody left")])
def test_one_outcome_is_nothing_to_tell_apart(churned: bool, said: str) -> None:
    """It is said so, instead of a figure of nothing."""
    told = account()
    for day in range(3):
        told.matured.add(example(MONDAY + day * DAY, 0.5, churned, 1.0))
    assert f"Of 3 scores with a label, {said}" in paged(told, labelled(3)).says("quality")


def test_scores_before_the_model_are_no_scores_of_the_model() -> None:
    """They are labels all the same."""
    told = account()
    told.matured.add(example(MONDAY, 0.3, True, 1.0, model="prior"))
    assert "1 label came, too few for a model" in paged(told, labelled(1)).says("lift")


def test_hostile_names_stay_harmless() -> None:
    """Sources, reasons and groups come from outside: they are text, and nothing else, wherever they stand."""
    told, metrics = two_weeks(), labelled(6)
    alert(told, HOSTILE, HOSTILE)
    metrics.add("encore_decisions_total", HOSTILE, HOSTILE)
    metrics.add("encore_dead_letters_total", HOSTILE)
    page = paged(told, metrics, title=HOSTILE)
    names = {element.tag for element in page.root.iter()}
    assert not names & {"script", "img", "iframe", "link", "object", "foreignObject", "a", "image", "use"}
    assert not [name for element in page.root.iter() for name in element.attrib if name.lower().startswith("on")]
    assert page.words().count("<script>alert(1)</script>") >= 5
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page.html)


def test_nothing_is_fetched() -> None:
    """No address stands in the page, no import in its style, and a browser is told to load nothing."""
    page = paged(two_weeks(), labelled(6))
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
def test_whatever_happened_there_is_a_page(rows: list, title: str, days: int) -> None:
    """Well-formed, the same each time, every coordinate a number, everything drawn within its picture."""

    def made() -> str:
        told = account()
        for day, probability, churned, silence, words, who in sorted(rows, key=lambda row: row[0]):
            time = MONDAY + day * DAY
            told.crowd.saw(ev.Login(id=words or "x", user_id=who, time=time))
            tier(told, who, ("low", "medium", "high", "")[int(probability * 3.99)], time)
            told.matured.add(example(time, probability, churned, silence))
            alert(told, words.encode("utf-8", "replace").decode(), "w", probability)
        return paged(told, labelled(len(rows)), MONDAY + days * DAY, title).html

    html = made()
    assert html == made()
    html.encode()
    assert not re.search(r'="[^"]*\b(nan|inf)\b', html)
    for x in re.findall(r' c?x="([-\d.]+)"', html):
        assert -1 <= float(x) <= 861


def test_a_replay_leaves_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the files for programs, with the summary's figures; and again the same."""
    logins = [
        ev.Login(id=f"{who}-{day}", user_id=f"u{who}", time=MONDAY + day * DAY + who * 997.0)
        for who in range(12)
        for day in range(0, 30 if who % 3 == 0 else 60, 1 + who % 4)
    ]
    history, chosen = tmp_path / "<b>events.jsonl", tmp_path / "settings.toml"
    history.write_bytes(b"\n".join([*map(event_codec.encode, logins), b"{broken"]))
    chosen.write_text('labels_needed = 20\nhorizon = "7d"\n')
    pages = []
    for out in ("once", "again"):
        code, said, _ = run_command(capsys, "replay", history, "--settings", chosen, "--out", tmp_path / out, "--json")
        assert code == 0
        pages.append((tmp_path / out / "index.html").read_text())
    summary = msgspec.json.decode(said)
    assert pages[0] == pages[1]
    assert f"{summary['quality']['model']['auc']:.3f}" in pages[0]
    assert "Gradient boosting, fitted anew every week, has" in pages[0]
    assert f"{summary['applied']:,}" in pages[0]
    assert "&lt;b&gt;events.jsonl" in pages[0]
