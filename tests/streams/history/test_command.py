"""`encore replay` as an operator runs it on a file of events."""

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


def run_command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    sys.argv = ["encore", *map(str, arguments)]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    return (code, *capsys.readouterr())


@pytest.fixture(autouse=True)
def restore_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A hundred days of forty users; every third user stops half-way. Lines are not in order, and one is broken."""
    events = [
        ev.Login(id=f"{user}-{day}", user_id=f"u{user}", time=BEGIN + day * DAY + user * 997.0)
        for user in range(40)
        for day in range(0, 50 if user % 3 == 0 else 100, 1 + user % 4)
    ]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join([*map(event_codec.encode, events), b"{broken"]))
    (tmp_path / "campaign.toml").write_text(CAMPAIGN)
    (tmp_path / "settings.toml").write_text(SETTINGS)
    return file


def lines(file: Path) -> list[dict]:
    return [orjson.loads(line) for line in file.read_bytes().splitlines()]


def test_replay_reports_counts_and_writes_outputs(
    history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counts go to the terminal and outputs to files; unreadable lines become dead letters."""
    out, options = (
        tmp_path / "out",
        ("--settings", tmp_path / "settings.toml", "--campaign", tmp_path / "campaign.toml"),
    )
    code, output, _ = run_command(capsys, "replay", history, *options, "--out", out, "--json")
    assert code == 0
    summary = orjson.loads(output)
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


def test_a_saved_model_can_be_used_by_the_next_replay(
    history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The saved model scores the next replay from its first event; with `--frozen` it does not change."""
    saved, options = tmp_path / "model.json", ("--settings", tmp_path / "settings.toml")
    assert run_command(capsys, "replay", history, *options, "--save-model", saved)[0] == 0
    code, _, _ = run_command(
        capsys, "replay", history, *options, "--model", saved, "--frozen", "--out", tmp_path / "out"
    )
    assert code == 0
    examples = lines(tmp_path / "out" / "examples.jsonl")
    versions = {example["model"] for example in examples if example["type"] == "example"}
    assert (len(versions), "prior" in versions) == (1, False)


def test_since_and_until_limit_the_replay(history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both options are UTC days; time advances exactly to `until`."""
    options = ("--since", "2022-01-18", "--until", "2022-02-07", "--json")
    summary = orjson.loads(run_command(capsys, "replay", history, *options)[1])
    logins = [line for line in history.read_bytes().splitlines() if b'"login"' in line]
    inside = [event for event in map(event_codec.decode, logins) if BEGIN + 10 * DAY <= event.time <= BEGIN + 30 * DAY]
    assert summary["applied"] == len(inside) > 0
    assert (summary["first"] >= BEGIN + 10 * DAY, summary["last"]) == (True, BEGIN + 30 * DAY)


@pytest.mark.parametrize(
    "wrong",
    [("nowhere.jsonl",), ("--model", "nowhere.json"), ("--frozen",), ("--campaign", "nowhere.toml"), ("--since", "x")],
)
def test_a_wrong_option_is_reported_in_one_line(
    wrong: tuple[str, ...], history: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 2."""
    code, _, output = run_command(capsys, "replay", *(wrong if wrong[0][0] != "-" else (history, *wrong)))
    assert (code, "Traceback" in output) == (2, False)
    assert wrong[0].removeprefix("--") in output or wrong[-1] in output


def test_the_same_history_gives_the_same_files_in_every_process(history: Path, tmp_path: Path) -> None:
    """Labels are learned in one order, so scores and decisions do not depend on the hash seed."""
    output = []
    for seed in ("1", "2"):
        options = ("--settings", tmp_path / "settings.toml", "--out", tmp_path / seed)
        command = [sys.executable, "-m", "streams", "replay", history, *options, "--json"]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": seed})
        output.append({file.name: file.read_bytes() for file in (tmp_path / seed).iterdir()})
    assert output[0] == output[1]
    assert {"index.html", "examples.jsonl"} <= output[0].keys()
