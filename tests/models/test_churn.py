"""The learner and its scorer agree, snapshots carry everything on, and a damaged one is refused."""

import hashlib
import math
import sys
import types
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import base, checks

from models import features
from models.churn import CLIP, FEATURES, SCHEMA, BadSnapshot, Clip, Learner, Made, Sealed, opened, scorer, sealed

SIZE = len(features.NAMES)


def rows(count: int, seed: int = 1) -> list[np.ndarray]:
    """Rows on very different scales, one column constant, some values far out, as float16 holds them."""
    dice = np.random.default_rng(seed)
    drawn = dice.normal(size=(count, SIZE)) * 10.0 ** (np.arange(SIZE) % 7 - 3)
    drawn[:, 0] = 2.0
    drawn[dice.random((count, SIZE)) < 0.02] *= 20
    return list(drawn.astype(np.float16).astype(np.float32))


def churned(row: np.ndarray) -> bool:
    return bool(row[3] > 0)


def learned(drawn: list[np.ndarray], learner: Learner | None = None) -> Learner:
    learner = learner or Learner()
    for row in drawn:
        learner.learn(row, churned(row))
    return learner


def probability(learner: Learner, row: np.ndarray) -> float:
    """What River's own pipeline says."""
    said = learner.pipeline.predict_proba_one(dict(zip(features.NAMES, row.tolist(), strict=True)))
    return float(said[True])


@pytest.mark.parametrize("count", [0, 1, 2, 10, 400])
def test_scorer_and_pipeline_give_the_same_probability(count: int) -> None:
    """After any number of rows, the scorer of the snapshot says what the pipeline says."""
    learner = learned(rows(count))
    built = scorer(opened(sealed(learner.snapshot())))
    asked = rows(50, seed=2)
    logits = built.logits(np.array(asked))
    expected = [probability(learner, row) for row in asked]
    assert [1 / (1 + math.exp(-logit)) for logit in logits] == pytest.approx(expected, abs=1e-9)
    assert [built.probability(row) for row in asked] == pytest.approx(expected, abs=5.1e-7)
    assert built.labels == count


def test_one_row_scores_as_in_a_matrix() -> None:
    """A score is rounded to 6 decimals, so that products of different widths agree."""
    built = scorer(learned(rows(100)).snapshot())
    asked = rows(64, seed=3)
    together = (1 / (1 + np.exp(-built.logits(np.array(asked))))).round(6)
    assert [built.probability(row) for row in asked] == together.tolist()


def test_it_learns_what_can_be_learned() -> None:
    """After some hundred rows, those who churned score higher than those who stayed."""
    built = scorer(learned(rows(600)).snapshot())
    asked = rows(200, seed=4)
    means = [np.mean([built.probability(row) for row in asked if churned(row) is label]) for label in (True, False)]
    assert means[0] - means[1] > 0.1


@pytest.mark.parametrize("count", [0, 1, 37])
def test_a_restored_learner_goes_on_as_if_it_had_never_stopped(count: int) -> None:
    """Snapshot, restore, learn: the same, to the last bit, as learning on."""
    learner = learned(rows(count))
    restored = Learner.restore(opened(sealed(learner.snapshot())))
    assert restored.snapshot() == learner.snapshot()
    more = rows(30, seed=5)
    assert learned(more, restored).snapshot() == learned(more, learner).snapshot()


def test_a_snapshot_is_plain_data() -> None:
    """It survives JSON unchanged, and says its schema, its columns and how much it has learned from."""
    snapshot = learned(rows(5)).snapshot()
    assert opened(sealed(snapshot)) == snapshot
    assert (snapshot.schema, snapshot.features, snapshot.labels) == (SCHEMA, FEATURES, 5)


def test_the_version_names_what_the_scorer_computes() -> None:
    """The same knowledge has the same version, other knowledge another."""
    snapshot = learned(rows(5)).snapshot()
    again, more = scorer(snapshot).version, scorer(learned(rows(6)).snapshot()).version
    assert scorer(opened(sealed(snapshot))).version == again != more
    assert again.startswith("logistic-")


def refused(raw: bytes) -> str:
    with pytest.raises(BadSnapshot) as caught:
        opened(raw)
    return str(caught.value)


def resealed(**changes: Any) -> bytes:
    body = msgspec.json.encode({**msgspec.to_builtins(learned(rows(3)).snapshot()), **changes})
    return msgspec.json.encode(Sealed(hashlib.sha256(body).hexdigest(), msgspec.Raw(body)))


@pytest.mark.parametrize("changes", [{"schema": SCHEMA + 1}, {"model": "net"}, {"features": "0123456789ab"}])
def test_a_snapshot_of_another_schema_model_or_other_features_is_refused(changes: dict[str, Any]) -> None:
    """The reason names both versions."""
    reason = refused(resealed(**changes))
    assert reason == f"it is {Made(**changes)}, but this version reads {Made()}"


@pytest.mark.parametrize("column", ["mean", "variance", "weights", "squares"])
@pytest.mark.parametrize("size", [0, SIZE - 1, SIZE + 1])
def test_a_snapshot_of_another_shape_is_refused(column: str, size: int) -> None:
    """Each column has one value a feature, though the checksum is right."""
    assert refused(resealed(**{column: [0.5] * size})).startswith("columns of ")


def test_a_changed_snapshot_is_refused() -> None:
    """Contents that do not match the checksum, and the other way round."""
    envelope = orjson.loads(resealed())
    envelope["snapshot"]["bias"] += 1e-9
    assert refused(orjson.dumps(envelope)) == "its checksum does not match its contents"
    envelope = orjson.loads(resealed())
    envelope["checksum"] = hashlib.sha256(b"").hexdigest()
    assert refused(orjson.dumps(envelope)) == "its checksum does not match its contents"


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"null", b"7", b'"checksum"', b"{}", b'{"checksum":1}', b'{"checksum":"","snapshot":[]}', b"[" * 9_999,
     b'{"checksum":"","snapshot":null}', b"\xff", b"\x80\x04."],
)  # fmt: skip
def test_what_is_no_snapshot_is_refused(raw: bytes) -> None:
    """Wrong shapes and garbage are unreadable; nothing else is raised."""
    assert refused(raw).startswith("unreadable")


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(raw: bytes) -> None:
    """Whatever the bytes are, only BadSnapshot is raised."""
    assert refused(raw).startswith("unreadable")


SEALED = resealed()


@given(st.integers(0, len(SEALED) - 1), st.integers(0, 255))
@settings(max_examples=200)
def test_a_flipped_byte_never_gives_other_contents(at: int, byte: int) -> None:
    """With one byte changed it is refused, or the change had no meaning."""
    changed = SEALED[:at] + bytes((byte,)) + SEALED[at + 1 :]
    try:
        snapshot = opened(changed)
    except BadSnapshot:
        return
    assert snapshot == opened(SEALED)


@given(st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False), max_size=5), st.floats(0, 100))
def test_clip_bounds_every_value_and_changes_no_other(row: dict[str, float], bound: float) -> None:
    """Values within the bound pass as they are, the others become the bound."""
    clipped = Clip(bound).transform_one(row)
    assert clipped == {name: float(np.clip(value, -bound, bound)) for name, value in row.items()}
    assert Clip().bound == CLIP


@pytest.fixture
def datasets_without_sklearn(monkeypatch: pytest.MonkeyPatch) -> None:
    """River's checks import sklearn's datasets before they know that a transformer or classifier needs none of them."""
    package = types.ModuleType("sklearn")
    package.datasets = types.ModuleType("sklearn.datasets")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sklearn", package)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", package.datasets)


@pytest.mark.usefixtures("datasets_without_sklearn")
@pytest.mark.parametrize("estimator", [Clip(), Learner().pipeline], ids=["clip", "pipeline"])
def test_estimators_pass_rivers_checks(estimator: base.Estimator) -> None:
    """What River asks of every estimator holds for ours."""
    passed = 0
    for check in checks.yield_checks(estimator):
        check(estimator.clone())
        passed += 1
    assert passed > 20
