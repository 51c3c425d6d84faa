"""The command line: all commands and their help, and errors that the operator can fix as one line with exit code 2."""

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


class Completed(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def no_encore_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ENCORE_")]:
        monkeypatch.delenv(name)


def encore(capsys: pytest.CaptureFixture[str], *arguments: object) -> Completed:
    """Run a command as the shell would."""
    sys.argv = ["encore", *map(str, arguments)]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    return Completed(code, *capsys.readouterr())


@pytest.fixture(autouse=True)
def restore_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands(cli))


def test_the_list_of_commands_is_complete() -> None:
    """A new or missing command changes this list."""
    assert {" ".join(path) for path, command in COMMANDS.items() if not isinstance(command, click.Group)} == {
        "worker", "topics create", "topics check", "campaign check", "campaign apply", "campaign end",
        "clock release", "dead-letters list", "dead-letters show", "dead-letters replay",
        "dead-letters remove", "demo", "contract",
        "replay", "send", "evaluate", "model publish",
    }  # fmt: skip


@pytest.mark.parametrize(
    "error", [KafkaError("the broker\nwent"), KafkaException("the broker went"), TimeoutError("the broker went")]
)
def test_a_kafka_error_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """From either Kafka client, in any command."""

    @cli.command(name="breaks")
    def breaks() -> None:
        raise error

    try:
        failed_with(encore(capsys, "breaks"), "the broker", "went")
    finally:
        del cli.commands["breaks"]


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_command(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At the top level, in each group, and for each command with its purpose and every option."""
    for path in [(), *COMMANDS]:
        done = encore(capsys, *path, flag)
        assert (done.code, done.err) == (0, "")
        below = [inner[-1] for inner in COMMANDS if inner[:-1] == path]
        assert all(f"\n  {name} " in done.out for name in below)
        for option in COMMANDS[path].params if path else []:
            assert all(name in done.out for name in option.opts if name.startswith("-"))
        if path:
            assert (COMMANDS[path].help or "").split(".")[0].split("\n")[0] in " ".join(done.out.split())


def failed_with(done: Completed, *words: str) -> None:
    """Check for one line on stderr, exit code 2, and no traceback."""
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("encore: ")
    assert done.err.count("\n") == 1
    assert all(word in done.err for word in words), done.err


@pytest.mark.parametrize(
    "path", [path for path, command in COMMANDS.items() if {"file"} & {p.name for p in command.params}]
)
def test_wrong_settings_are_one_line(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the environment, in a file, or in a missing file, for every command with settings."""
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
    rest = [value for param in COMMANDS[path].params for value in needs.get(param.name or "", [])]
    file = tmp_path / "encore.toml"
    failed_with(encore(capsys, *path, *rest, "--settings", file), str(file), "No such file")
    file.write_text("horizn = 1")
    failed_with(encore(capsys, *path, *rest, "--settings", file), str(file), "horizn", "did you mean horizon?")
    monkeypatch.setenv("ENCORE_HORIZON", "2w")
    failed_with(encore(capsys, *path, *rest), "horizon")


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
    """With the file and the error; nothing is published and no broker is needed."""
    file = tmp_path / "campaign.toml"
    if contents is not None:
        file.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    failed_with(encore(capsys, "campaign", command, file), str(file), word)


def test_a_valid_campaign_has_a_version(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The version depends on the contents only: the same contents give the same version."""
    file, outputs = tmp_path / "campaign.toml", []
    for contents in (CAMPAIGN, f"# outputs again\n{CAMPAIGN}", CAMPAIGN.replace("10", "11")):
        file.write_text(contents)
        done = encore(capsys, "campaign", "check", file)
        assert (done.code, done.err) == (0, "")
        outputs.append(done.out)
    assert outputs[0] == outputs[1] != outputs[2]
    assert "campaign back, version " in outputs[0]


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
def test_a_usage_error_has_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With the error and a hint at the help."""
    done = encore(capsys, *arguments)
    assert (done.code, done.out) == (2, "")
    assert "Error: " in done.err
    assert "-h" in done.err


def test_a_contract_that_cannot_be_written_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The operator chooses the file."""
    failed_with(encore(capsys, "contract", "--out", tmp_path / "absent" / "contract.yaml"), "contract.yaml")


@pytest.mark.parametrize("name", ["ssl_cafile", "ssl_certfile", "ssl_keyfile"])
def test_a_certificate_that_cannot_be_read_is_one_line(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any connection is opened."""
    monkeypatch.setenv("ENCORE_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv(f"ENCORE_{name.upper()}", "/absent.pem")
    monkeypatch.setenv("ENCORE_BROKER", "kafka://127.0.0.1:1")
    failed_with(encore(capsys, "topics", "check"), "ssl")


@pytest.mark.integration
def test_a_broker_that_does_not_answer_is_one_line() -> None:
    """From commands of all kinds, with the broker's address, for the whole program."""
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
        out, err = process.communicate(timeout=300)
        failed_with(Completed(process.returncode, out, err), "no Kafka answers", "kafka://127.0.0.1:1")
