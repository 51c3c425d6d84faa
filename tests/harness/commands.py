"""Encore's command line, run in this process (fast) or in one of its own (as the shell runs it)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from unittest import mock

from click.testing import CliRunner

from streams.__main__ import main
from tests.harness.process import CHECKOUT, PATIENCE


class Result(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: object, environment: Mapping[str, str] | None = None) -> Result:
    """Run a command in this process: no start of Python, which takes two seconds.

    ENCORE_ variables of this process are hidden; those in `environment` are set.
    """
    words = ["encore", *map(str, arguments)]
    with (
        _variables(environment or {}),
        mock.patch.object(sys, "argv", words),
        _time_limit(),
        CliRunner().isolation() as (stdout, stderr, _),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return Result(code, stdout.getvalue().decode(), stderr.getvalue().decode())


def run_process(*arguments: object, environment: Mapping[str, str] | None = None) -> Result:
    """Run a command as the shell does, in a process of its own."""
    with _variables(environment or {}):
        variables = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-m", "streams", *map(str, arguments)]
    options = {"capture_output": True, "text": True, "timeout": PATIENCE}
    ended = subprocess.run(command, env=variables, cwd=CHECKOUT, check=False, **options)
    return Result(ended.returncode, ended.stdout, ended.stderr)


@contextlib.contextmanager
def _variables(environment: Mapping[str, str]) -> Iterator[None]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ENCORE_")}
    with mock.patch.dict(os.environ, {**kept, **environment}, clear=True):
        yield


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    """Fail a command that hangs, as `subprocess.run` would; a TimeoutError would be Kafka's to the command line."""

    def expired(*_: object) -> None:
        raise AssertionError(f"the command did not end within {PATIENCE:.0f} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
