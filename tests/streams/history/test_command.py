"""`encore replay` as somebody with a file of events uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from models.person.activity import DAY
from models.schema import event_codec
from models.schema import events as ev
from models.schema.outputs import Alert, Decision
from streams.__main__ import main

BEGIN = 19_000 * DAY
CAMPAIGN = 'id = "back"\nneeds_consent = false\nhold_out = 0.0\n[arm]\nname = "ten"\namount = 10\n'
SETTINGS = 'labels_needed = 20\nhorizon = "7d"\n'


def encore(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    sys.argv = ["encore", *map(str, arguments)]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    return (code, *capsys.readouterr())


@pytest.fixture(autouse=True)
def our_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A hundred days of forty people, every third of whom stops half-way; not in order, one line broken."""
    events = [
        ev.Login(id=f"{who}-{day}", user_id=f"u{who}", time=BEGIN + day * DAY + who * 997.0)
        for who in range(40)
        for day in range(0, 50 if who % 3 == 0 else 100, 1 + who % 4)
    ]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join([*map(event_codec.encode, events), b"{broken"]))
    (tmp_path / "campaign.toml").write_text(CAMPAIGN)
    (tmp_path / "settings.toml").write_text(SETTINGS)
    return file


def lines(file: Path) -> list[dict]:
    return [orjson.loads(line) for line in file.read_bytes().splitlines()]


def test_history_says_what_would_have_happened(
    history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counts on the terminal, the outputs in files, what cannot be read among the dead letters."""
    out, given = tmp_path / "out", ("--settings", tmp_path / "settings.toml", "--campaign", tmp_path / "campaign.toml")
    code, said, _ = encore(capsys, "replay", history, *given, "--out", out, "--json")
    assert code == 0
    summary = orjson.loads(said)
    events = len(history.read_bytes().splitlines()) - 1
    assert (summary["entries"], summary["applied"], summary["people"]) == (events + 1, events, 40)
    assert summary["dead_letters"] == {"malformed": 1}
    assert lines(out / "dead-letters.jsonl")[0]["value"] == "{broken"
    examples = [line for line in lines(out / "examples.jsonl") if line["type"] == "example"]
    assert len(examples) == summary["labels"] > 100
    decisions = [line for line in lines(out / "decisions.jsonl") if line["type"] == "decision"]
    assert sum(each["sent"] for each in decisions if each["candidate"] == "coupon") == summary["coupons"] > 0
    assert set(decisions[0]) <= {*Decision.__struct_fields__, "type"}
    alerts = lines(out / "retention-alerts.jsonl")
    assert sum(summary["alerts"].values()) == len(alerts)
    assert set(alerts[0]) <= {*Alert.__struct_fields__, "type"}
    assert summary["quality"]["model"]["auc"] > 0.5


def test_what_was_learned_can_be_begun_with(history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model is saved, and scores from the first event of the next replay on; frozen, it stays."""
    saved, chosen = tmp_path / "model.json", ("--settings", tmp_path / "settings.toml")
    assert encore(capsys, "replay", history, *chosen, "--save-model", saved)[0] == 0
    code, _, _ = encore(capsys, "replay", history, *chosen, "--model", saved, "--frozen", "--out", tmp_path / "out")
    assert code == 0
    lessons = lines(tmp_path / "out" / "examples.jsonl")
    versions = {lesson["model"] for lesson in lessons if lesson["type"] == "example"}
    assert (len(versions), "prior" in versions) == (1, False)


def test_a_span_of_history_is_a_history(history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Since and until are days in UTC; time passes up to the second."""
    chosen = ("--since", "2022-01-18", "--until", "2022-02-07", "--json")
    summary = orjson.loads(encore(capsys, "replay", history, *chosen)[1])
    wanted = [line for line in history.read_bytes().splitlines() if b'"login"' in line]
    inside = [event for event in map(event_codec.decode, wanted) if BEGIN + 10 * DAY <= event.time <= BEGIN + 30 * DAY]
    assert summary["applied"] == len(inside) > 0
    assert (summary["first"] >= BEGIN + 10 * DAY, summary["last"]) == (True, BEGIN + 30 * DAY)


@pytest.mark.parametrize(
    "wrong",
    [("nowhere.jsonl",), ("--model", "nowhere.json"), ("--frozen",), ("--campaign", "nowhere.toml"), ("--since", "x")],
)
def test_what_has_to_be_put_right_is_one_line(
    wrong: tuple[str, ...], history: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the exit code is 2."""
    code, _, said = encore(capsys, "replay", *(wrong if wrong[0][0] != "-" else (history, *wrong)))
    assert (code, "Traceback" in said) == (2, False)
    assert wrong[0].removeprefix("--") in said or wrong[-1] in said


def test_the_same_history_says_the_same_in_every_process(history: Path, tmp_path: Path) -> None:
    """Whatever the seed of its hashes: labels are learned in one order, so scores and decisions are the same."""
    said = []
    for seed in ("1", "2"):
        given = ("--settings", tmp_path / "settings.toml", "--out", tmp_path / seed)
        command = [sys.executable, "-m", "streams", "replay", history, *given, "--json"]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": seed})
        said.append({file.name: file.read_bytes() for file in (tmp_path / seed).iterdir()})
    assert said[0] == said[1]
    assert {"index.html", "examples.jsonl"} <= said[0].keys()
