"""Snapshots hold the whole state as plain data, and damaged ones are refused."""

import base64
import hashlib
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.churn.scorer import build_scorer
from models.churn.snapshot import (
    FEATURES,
    SCHEMA,
    AnySnapshot,
    InvalidSnapshot,
    Kind,
    SignedSnapshot,
    SnapshotHeader,
    decode_snapshot,
    encode_snapshot,
)
from tests.models.churn.learners import SIZE, both, learned, rows


@both
def test_a_snapshot_is_plain_data(kind: Kind) -> None:
    """It round-trips through JSON and states its schema, its features and the number of labels."""
    snapshot = learned(rows(45), kind).snapshot(7)
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot
    assert (snapshot.schema, snapshot.features, snapshot.labels, snapshot.offset) == (SCHEMA, FEATURES, 45, 7)
    assert msgspec.to_builtins(snapshot)["model"] == kind
    assert len(encode_snapshot(snapshot)) < 300_000


@both
def test_the_version_identifies_what_the_scorer_computes(kind: Kind) -> None:
    """The same state has the same version, another state has another version."""
    snapshot = learned(rows(32), kind).snapshot()
    again, more = build_scorer(snapshot).version, build_scorer(learned(rows(64), kind).snapshot()).version
    assert build_scorer(decode_snapshot(encode_snapshot(snapshot))).version == again != more
    assert again.startswith(f"{kind}-")


def refused(raw: bytes) -> str:
    with pytest.raises(InvalidSnapshot) as caught:
        decode_snapshot(raw)
    return str(caught.value)


def signed_snapshot(kind: Kind = "logistic", **changes: Any) -> bytes:
    body = msgspec.json.encode({**msgspec.to_builtins(learned(rows(3), kind).snapshot()), **changes})
    return msgspec.json.encode(SignedSnapshot(hashlib.sha256(body).hexdigest(), msgspec.Raw(body)))


@both
@pytest.mark.parametrize("changes", [{"schema": SCHEMA - 1}, {"model": "forest"}, {"features": "0123456789ab"}])
def test_a_snapshot_of_another_schema_model_or_other_features_is_refused(kind: Kind, changes: dict[str, Any]) -> None:
    """The reason names both versions."""
    reason = refused(signed_snapshot(kind, **changes))
    found = SnapshotHeader(**{"model": kind, **changes})
    assert reason == f"it is {found}, but this version reads {SnapshotHeader(model='net or logistic')}"


@pytest.mark.parametrize(
    ("kind", "column"),
    [("logistic", column) for column in ("mean", "variance", "weights", "gradients")]
    + [("net", column) for column in ("mean", "squares", "line")],
)
@pytest.mark.parametrize("size", [0, SIZE - 1, SIZE + 1])
def test_a_snapshot_of_another_shape_is_refused(kind: Kind, column: str, size: int) -> None:
    """Each column must have one value for each feature, even if the checksum is right."""
    assert f"not of {SIZE}" in refused(signed_snapshot(kind, **{column: [0.5] * size}))


@pytest.mark.parametrize("part", ["parameters", "first", "second"])
@pytest.mark.parametrize("values", [b"", bytes(4), b"\xff" * 4])
def test_parameters_of_another_size_or_not_finite_are_refused(part: str, values: bytes) -> None:
    """Too few, too many, or one that is not a number."""
    good: AnySnapshot = learned(rows(3)).snapshot()
    known = base64.b64decode(msgspec.to_builtins(good)[part])
    changed = known[4:] + values if values == b"\xff" * 4 else known + values if values else known[4:]
    assert refused(signed_snapshot("net", **{part: base64.b64encode(changed).decode()})).startswith("parameters ")


PRECISION = np.eye(SIZE + 1)


@pytest.mark.parametrize(
    "changes",
    [{"losses": [0.0] * 4}]
    + [
        {"line_precision": base64.b64encode(precision.tobytes()).decode()}
        for precision in (PRECISION[1:], -PRECISION, PRECISION * np.nan, np.ones_like(PRECISION))
    ],
)
def test_an_invalid_logit_precision_or_loss_count_is_refused(changes: dict[str, Any]) -> None:
    """A precision of another size, with NaN or not positive definite, and losses of another number of mixtures."""
    assert refused(signed_snapshot("net", **changes)).startswith("a logit precision ")


@pytest.mark.parametrize("changes", [{"pending": [[0.5] * SIZE]}, {"pending_labels": []}, {"pending": [[0.5]] * 3}])
def test_pending_rows_without_a_label_or_of_another_width_are_refused(changes: dict[str, Any]) -> None:
    """There must be one label for each row, and one value for each feature."""
    assert refused(signed_snapshot("net", **changes)).startswith("pending rows ")


@pytest.mark.parametrize(("kind", "count"), [("net", 2), ("net", 4), ("logistic", 1)])
def test_another_number_of_signals_than_unlearned_rows_is_refused(kind: Kind, count: int) -> None:
    """There is one for each row that waits for its block; the logistic regression has none."""
    rows_of = {"net": 3, "logistic": 0}[kind]
    assert refused(signed_snapshot(kind, signs=[None] * count)) == f"{count} early signals of {rows_of} rows"


def test_a_changed_snapshot_is_refused() -> None:
    """Changed contents and a changed checksum are both detected."""
    envelope = orjson.loads(signed_snapshot())
    envelope["snapshot"]["bias"] += 1e-9
    assert refused(orjson.dumps(envelope)) == "its checksum does not match its contents"
    envelope = orjson.loads(signed_snapshot())
    envelope["checksum"] = hashlib.sha256(b"").hexdigest()
    assert refused(orjson.dumps(envelope)) == "its checksum does not match its contents"


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"null", b"7", b'"checksum"', b"{}", b'{"checksum":1}', b'{"checksum":"","snapshot":[]}', b"[" * 9_999,
     b'{"checksum":"","snapshot":null}', b"\xff", b"\x80\x04."],
)  # fmt: skip
def test_malformed_snapshots_are_refused(raw: bytes) -> None:
    """Wrong shapes and garbage are unreadable; nothing else is raised."""
    assert refused(raw).startswith("unreadable")


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(raw: bytes) -> None:
    """Arbitrary bytes raise InvalidSnapshot and nothing else."""
    assert refused(raw).startswith("unreadable")


SIGNED = signed_snapshot()


@given(st.integers(0, len(SIGNED) - 1), st.integers(0, 255))
@settings(max_examples=200)
def test_a_flipped_byte_never_gives_other_contents(at: int, byte: int) -> None:
    """A snapshot with one changed byte is refused, unless the change has no meaning."""
    changed = SIGNED[:at] + bytes((byte,)) + SIGNED[at + 1 :]
    try:
        snapshot = decode_snapshot(changed)
    except InvalidSnapshot:
        return
    assert snapshot == decode_snapshot(SIGNED)
