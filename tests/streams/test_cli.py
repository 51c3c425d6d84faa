"""The command line: every command is on the map, and what an operator has to put right is one line and a 2."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException

from models.churn.learner import ChurnLearner
from models.churn.snapshot import encode_snapshot
from streams.__main__ import cli, main

CHECKOUT = Path(__file__).parents[2]
CAMPAIGN = 'id = "back"\n[arm]\nname = "ten"\namount = 10\n'
QUIET = "quiet_from = {}\nquiet_until = {}\n"


class Ended(NamedTuple):
    """How a command ended: exit code, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ENCORE_")]:
        monkeypatch.delenv(name)


def encore(capsys: pytest.CaptureFixture[str], *arguments: object) -> Ended:
    """Run a command as the shell would."""
    sys.argv = ["encore", *map(str, arguments)]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    return Ended(code, *capsys.readouterr())


@pytest.fixture(autouse=True)
def our_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


EVERY = dict(commands(cli))


def test_the_commands_are_those_of_the_product() -> None:
    """Nothing is missing, and whatever is new is written down here."""
    assert {" ".join(path) for path, command in EVERY.items() if not isinstance(command, click.Group)} == {
        "worker", "topics create", "topics check", "campaign check", "campaign apply", "campaign end",
        "clock release", "dead-letters list", "dead-letters show", "dead-letters replay",
        "dead-letters remove", "demo", "contract",
        "replay", "send", "evaluate", "model publish",
    }  # fmt: skip


@pytest.mark.parametrize(
    "error", [KafkaError("the broker\nwent"), KafkaException("the broker went"), TimeoutError("the broker went")]
)
def test_what_kafka_says_no_to_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever client it comes from, in whichever command."""

    @cli.command(name="breaks")
    def breaks() -> None:
        raise error

    try:
        refused(encore(capsys, "breaks"), "the broker", "went")
    finally:
        del cli.commands["breaks"]


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_command(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At the top, in each group, and for each command what it does and every option."""
    for path in [(), *EVERY]:
        ended = encore(capsys, *path, flag)
        assert (ended.code, ended.err) == (0, "")
        below = [inner[-1] for inner in EVERY if inner[:-1] == path]
        assert all(f"\n  {name} " in ended.out for name in below)
        for option in EVERY[path].params if path else []:
            assert all(name in ended.out for name in option.opts if name.startswith("-"))
        if path:
            assert (EVERY[path].help or "").split(".")[0].split("\n")[0] in " ".join(ended.out.split())


def refused(ended: Ended, *words: str) -> None:
    """One line on stderr, an exit code of 2, and no traceback."""
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("encore: ")
    assert ended.err.count("\n") == 1
    assert all(word in ended.err for word in words), ended.err


@pytest.mark.parametrize(
    "path", [path for path, command in EVERY.items() if {"file"} & {p.name for p in command.params}]
)
def test_wrong_settings_are_one_line(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the environment, in a file, a file that is not there: every command that takes settings says which."""
    campaign = tmp_path / "campaign.toml"
    campaign.write_text(CAMPAIGN)
    model = tmp_path / "model.json"
    model.write_bytes(encode_snapshot(ChurnLearner("logistic").snapshot()))
    needs = {
        "campaign_file": [campaign],
        "campaign_id": ["back"],
        "dead_letter_id": ["x"],
        "dead_letter_ids": ["x"],
        "sources": ["x"],
        "model_file": [model],
    }
    rest = [value for param in EVERY[path].params for value in needs.get(param.name or "", [])]
    file = tmp_path / "encore.toml"
    refused(encore(capsys, *path, *rest, "--settings", file), str(file), "No such file")
    file.write_text("horizn = 1")
    refused(encore(capsys, *path, *rest, "--settings", file), str(file), "horizn", "did you mean horizon?")
    monkeypatch.setenv("ENCORE_HORIZON", "2w")
    refused(encore(capsys, *path, *rest), "horizon")


@pytest.mark.parametrize(
    ("contents", "word"),
    [
        (None, "No such file"),
        ("", "id"),
        ('id = "a b"\n[arm]\nname = "ten"\namount = 10\n', "$.id"),
        (CAMPAIGN.replace("10", "-10"), "$.arm.amount"),
        (CAMPAIGN.replace("[arm]", "hold_uot = 0.5\n[arm]"), "hold_uot"),
        (CAMPAIGN.replace("[arm]", "hold_out = 1.5\n[arm]"), "$.hold_out"),
        (CAMPAIGN.replace("[arm]", 'version = "7"\n[arm]'), "version"),
        (CAMPAIGN.replace("[arm]", QUIET.format(0, 24) + "[arm]"), "quiet hours all day long"),
        (CAMPAIGN.replace("[arm]", "cool_down_days = 6\n[arm]"), "cool_down_days (6) must not be less"),
        ("id = ", "Invalid value"),
        (b"\xff", "decode"),
    ],
)
@pytest.mark.parametrize("command", ["check", "apply"])
def test_a_broken_campaign_is_one_line(
    command: str, contents: str | bytes | None, word: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With the file and what is wrong in it; nothing is published, nor is a broker asked for."""
    file = tmp_path / "campaign.toml"
    if contents is not None:
        file.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    refused(encore(capsys, "campaign", command, file), str(file), word)


def test_a_campaign_that_is_fine_has_its_version(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """From its contents: the same again is the same, any change another."""
    file, said = tmp_path / "campaign.toml", []
    for contents in (CAMPAIGN, f"# said again\n{CAMPAIGN}", CAMPAIGN.replace("10", "11")):
        file.write_text(contents)
        ended = encore(capsys, "campaign", "check", file)
        assert (ended.code, ended.err) == (0, "")
        said.append(ended.out)
    assert said[0] == said[1] != said[2]
    assert "campaign back, version " in said[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["topics", "nope"],
        ["worker", "--nope"],
        ["campaign", "check"],
        ["demo", "--source", "x"],
        ["demo", "--source", "sample", "--drift", "hazard"],
        ["demo", "--drift", "x"],
        ["dead-letters", "replay"],
    ],
)
def test_a_slip_of_the_tongue_is_a_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With what is wrong, and where help is to be had."""
    ended = encore(capsys, *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Error: " in ended.err
    assert "-h" in ended.err


def test_a_contract_that_cannot_be_written_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The file is the operator's to choose."""
    refused(encore(capsys, "contract", "--out", tmp_path / "absent" / "contract.yaml"), "contract.yaml")


@pytest.mark.parametrize("name", ["ssl_cafile", "ssl_certfile", "ssl_keyfile"])
def test_a_certificate_that_cannot_be_read_is_one_line(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anybody is spoken to."""
    monkeypatch.setenv("ENCORE_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv(f"ENCORE_{name.upper()}", "/absent.pem")
    monkeypatch.setenv("ENCORE_BROKER", "kafka://127.0.0.1:1")
    refused(encore(capsys, "topics", "check"), "ssl")


def test_a_broker_that_does_not_answer_is_one_line() -> None:
    """From commands of all kinds, with its address; the whole program, as the shell sees it."""
    lines = (["worker"], ["topics", "check"], ["clock", "release"])
    environment = {"PATH": os.environ["PATH"], "ENCORE_BROKER": "kafka://127.0.0.1:1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "streams", *line],
            cwd=CHECKOUT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in lines
    ]
    for process in running:
        out, err = process.communicate(timeout=120)
        refused(Ended(process.returncode, out, err), "no Kafka answers", "kafka://127.0.0.1:1")
