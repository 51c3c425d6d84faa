"""Dead letters: listed, shown byte for byte, corrected, replayed once."""

from __future__ import annotations

import pytest

from models.schema import events as ev
from tests.harness.deployment import Deployment

START = 1_750_000_000.0
BAD = b'{"type":"purchase","id":"p1","user_id":"u1","time":1750000000,"amount":-5}'


@pytest.fixture
def encore(any_broker, prefix):
    return Deployment.on(any_broker, prefix)


def test_a_dead_letter_is_corrected_and_replayed_once(encore):
    """A purchase with an impossible amount gets another amount and is applied; a second replay does nothing."""
    with encore.worker() as worker:
        worker.ready()
        encore.send("purchase-events", BAD, b"\xff\x00 no event", ev.Login(id="l1", user_id="u1", time=START))
        encore.send("events", ev.Tick(time=START), b'{"type":"login"}', partition=0)
        encore.read_until("dead-letters", lambda records: len(records) == 3)
        listed = encore.check("dead-letters", "list", process=True).splitlines()
        assert sorted(line.split()[1] for line in listed) == ["impossible_value", "malformed", "missing_field"]
        letter = next(line.split()[0] for line in listed if "impossible_value" in line)
        assert encore.check("dead-letters", "show", letter).endswith(BAD.decode() + "\n")
        run = encore.run("dead-letters", "replay", letter)
        assert (run.returncode, "still impossible_value (amount)" in run.stderr) == (2, True)
        done = encore.check("dead-letters", "replay", letter, "--set", "amount=5")
        assert done == "1 replayed, 0 had been replayed before\n"
        worker.until(lambda: worker.user("u1").get("spend") == 5.0)
        assert encore.check("dead-letters", "replay", letter) == "0 replayed, 1 had been replayed before\n"
        assert "impossible_value" not in encore.check("dead-letters", "list")
        assert "impossible_value (replayed)" in encore.check("dead-letters", "list", "--all")
        encore.send("learning-events", ev.Login(id="l2", user_id="u1", time=START + 60))
        worker.until(lambda: worker.user("u1").get("events") == 3)
        assert worker.user("u1")["purchases"] == 1
        malformed = next(
            line.split()[0] for line in encore.check("dead-letters", "list").splitlines() if "malf" in line
        )
        assert encore.check("dead-letters", "remove", malformed, letter).startswith("2 removed")
        (left,) = encore.check("dead-letters", "list", "--all").splitlines()
        assert left.split()[1] == "missing_field"
        assert encore.run("dead-letters", "remove", malformed).returncode == 2
