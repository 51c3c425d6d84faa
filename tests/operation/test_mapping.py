"""A platform's own objects, live: mapped by ingest, kept as dead letters, replayed after a change of the mapping."""

from __future__ import annotations

import orjson
import pytest

from models.schema import event_codec
from models.schema import events as ev
from tests.harness.deployment import Deployment
from tests.harness.process import CHECKOUT

START = 1_750_000_000.0


def track_call(number: int, event: str, **others: object) -> bytes:
    """A `track` call of Segment."""
    fields = {
        "type": "track",
        "event": event,
        "messageId": f"m{number}",
        "userId": "u1",
        "timestamp": "2025-06-15T15:06:40Z",
    }
    return orjson.dumps({**fields, **others})


@pytest.fixture
def encore(any_broker, prefix, tmp_path):
    file = tmp_path / "segment.toml"
    file.write_bytes((CHECKOUT / "deploy" / "mappings" / "segment.toml").read_bytes())
    return Deployment.on(any_broker, prefix, mapping=f"learning-events={file}")


def test_foreign_objects_are_mapped_live(encore, tmp_path):
    """In addition to a topic of Encore's events. Skipped objects are counted; wrong ones become dead letters."""
    own = ev.Login(id="l1", user_id="u1", time=START)
    odd = track_call(4, "Order Completed", properties={"paid": 5})
    huge = track_call(5, "Signed In", context="x" * encore.settings.max_record_bytes)
    with encore.worker() as worker:
        worker.ready()
        encore.send("user-updates", own)
        encore.send("learning-events", track_call(1, "Signed In"), track_call(2, "Cart Viewed"), b"nonsense", odd, huge)
        encore.send("learning-events", track_call(3, "Order Completed", properties={"total": "12.50"}))
        letters = {record.value for record in encore.read_until("dead-letters", lambda records: len(records) == 3)}
        assert letters == {b"nonsense", odd, huge[:500_000]}
        worker.until(lambda: worker.user("u1").get("spend") == 12.5)
        assert worker.user("u1")["events"] == 3
        assert worker.metric("encore_skipped_total", topic=f"{encore.settings.prefix}learning-events") == 1

        appended = {orjson.loads(record.value)["id"]: record.value for record in encore.read("events")}
        assert appended["l1"] == event_codec.encode(own)
        assert orjson.loads(appended["m1"]) == {"type": "login", "id": "m1", "user_id": "u1", "time": START}

        letter = next(line.split()[0] for line in encore.check("dead-letters", "list").splitlines() if "amount" in line)
        assert "still missing_field (amount)" in encore.run("dead-letters", "replay", letter).stderr
        file = tmp_path / "segment.toml"
        file.write_text(file.read_text().replace('"properties.revenue"]', '"properties.revenue", "properties.paid"]'))
        assert encore.check("dead-letters", "replay", letter) == "1 replayed, 0 had been replayed before\n"
        worker.until(lambda: worker.user("u1").get("spend") == 17.5)


def test_a_worker_with_a_wrong_mapping_does_not_start(encore, tmp_path):
    """One line names the file and the key."""
    (tmp_path / "segment.toml").write_text('[type]\nvalue = "logn"\n')
    run = encore.run_process("worker")

    assert run.returncode == 2
    assert run.stderr.strip() == f"encore: {tmp_path / 'segment.toml'}: type: 'logn' is not known; did you mean login?"
