"""The learner and its scorer agree, snapshots hold the whole state, and damaged ones are refused."""

import base64
import hashlib
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

from models.churn.components import logit_bound, probabilities
from models.churn.early_signal import SignalOutcome
from models.churn.learner import ChurnLearner, Clip, LogisticLearner, NetLearner, logistic_pipeline, river_row
from models.churn.replay_net import ReplayNet
from models.churn.scorer import CLIP, build_scorer
from models.churn.snapshot import (
    FEATURES,
    KINDS,
    SCHEMA,
    AnySnapshot,
    InvalidSnapshot,
    Kind,
    SignedSnapshot,
    SnapshotHeader,
    decode_snapshot,
    encode_snapshot,
)
from models.person import features

SIZE = len(features.NAMES)


def rows(count: int, seed: int = 1) -> list[np.ndarray]:
    """Rows on very different scales, rounded to float16, with one constant column and some outliers."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(count, SIZE)) * 10.0 ** (np.arange(SIZE) % 7 - 3)
    drawn[:, 0] = 2.0
    drawn[rng.random((count, SIZE)) < 0.02] *= 20
    return list(drawn.clip(-6e4, 6e4).astype(np.float16).astype(np.float32))


def churned(row: np.ndarray) -> bool:
    return bool(row[3] > 0)


def learned(drawn: list[np.ndarray], learner: ChurnLearner | Kind = "net", first: int = 0) -> ChurnLearner:
    """Learn rows with their keys; `first` is the number of the first row."""
    learner = ChurnLearner(learner) if isinstance(learner, str) else learner
    for number, row in enumerate(drawn, start=first):
        learner.learn(row, churned(row), key_of(number))
    return learner


def key_of(number: int) -> float:
    return number * 0.618034 % 1


def restored_from(learner: ChurnLearner, drawn: list[np.ndarray]) -> ChurnLearner:
    """Restore a learner from a snapshot and the rows learned, as another process does."""
    restored = ChurnLearner.restore(decode_snapshot(encode_snapshot(learner.snapshot())))
    for number, row in enumerate(drawn):
        restored.restore_row(row, churned(row), key_of(number))
    return restored


def probability(learner: ChurnLearner, row: np.ndarray) -> float:
    """Return the probability of the learner itself, a River estimator."""
    if isinstance(learner.model, NetLearner):
        net = learner.model.net
        return float(probabilities(net.logits(row[None]), logit_bound(net.rows_seen))[0])
    assert isinstance(learner.model, LogisticLearner)
    return float(learner.model.pipeline.predict_proba_one(river_row(row))[True])


both = pytest.mark.parametrize("kind", KINDS)


@both
@pytest.mark.parametrize("count", [0, 1, 2, 10, 64, 400])
def test_scorer_and_learner_give_the_same_probability(kind: Kind, count: int) -> None:
    """The scorer of the snapshot gives the learner's probabilities after any number of rows."""
    learner = learned(rows(count), kind)
    scorer = build_scorer(decode_snapshot(encode_snapshot(learner.snapshot())))
    queries = rows(50, seed=2)
    expected = [probability(learner, row) for row in queries]
    scored = probabilities(scorer.logits(np.array(queries)), scorer.max_logit)
    assert scored.tolist() == pytest.approx(expected, abs=1e-8)
    assert [scorer.probability(row) for row in queries] == pytest.approx(expected, abs=5.1e-7)
    assert scorer.labels == count


@both
def test_one_row_scores_as_in_a_matrix(kind: Kind) -> None:
    """Scores are rounded to 6 decimals, so matrix products of different sizes agree."""
    scorer = build_scorer(learned(rows(100), kind).snapshot())
    queries = rows(64, seed=3)
    assert [scorer.probability(row) for row in queries] == scorer.probabilities(np.array(queries))


def test_no_row_makes_a_net_certain() -> None:
    """After 400 rows, even an extreme outlier leaves a probability of one in six for the other outcome."""
    scorer = build_scorer(learned(rows(400)).snapshot())
    queries = [row * scale for row in rows(20, seed=6) for scale in (1e4, -1e4)]
    assert all(0.16 < scorer.probability(row.astype(np.float32)) < 0.84 for row in queries)


@both
def test_it_learns_a_learnable_label(kind: Kind) -> None:
    """After some hundred rows, rows of churned people score higher than the others."""
    scorer = build_scorer(learned(rows(600), kind).snapshot())
    queries = rows(200, seed=4)
    means = [np.mean([scorer.probability(row) for row in queries if churned(row) is label]) for label in (True, False)]
    assert means[0] - means[1] > 0.1


@both
@pytest.mark.parametrize("count", [0, 1, 37, 64, 200])
def test_a_restored_learner_continues_exactly(kind: Kind, count: int) -> None:
    """Snapshot, restore, restore rows, learn: bit for bit the same as learning without a break."""
    drawn, more = rows(count), rows(100, seed=5)
    learner = learned(drawn, kind)
    restored = restored_from(learner, drawn)
    assert restored.snapshot() == learner.snapshot()
    assert learned(more, restored, count).snapshot() == learned(more, learner, count).snapshot()


def test_a_net_replays_restored_rows() -> None:
    """Without the old rows it learns something else."""
    drawn, more = rows(200), rows(40, seed=5)
    learner = learned(drawn)
    forgetful = restored_from(learner, drawn[-40:])
    assert learned(more, forgetful, 200).snapshot() != learned(more, learner, 200).snapshot()


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


def test_the_first_block_of_a_net_teaches_no_drift_correction() -> None:
    """The net has no predictions for the first block before it learns it; for the second block it has."""
    learner = ChurnLearner("net")
    for number, row in enumerate(rows(64)):
        learner.learn(row, churned(row), key_of(number), SignalOutcome(True, 86_400.0 + number, 3_600.0))
        assert (learner.drift.slow.level_information > 0) == (number == 63)


@both
def test_signals_are_learned_with_their_rows_also_after_a_restore(kind: Kind) -> None:
    """Each counts when its row is learned, with the prediction from just before; the first block does not count."""
    whole, resumed = ChurnLearner(kind), ChurnLearner(kind)
    for number, row in enumerate(rows(150)):
        signal = SignalOutcome(number % 3 == 0, 86_400.0 + number, 3_600.0) if number % 5 else None
        for learner in (whole, resumed):
            learner.learn(row, churned(row), key_of(number), signal)
        if number == 77:
            resumed = ChurnLearner.restore(decode_snapshot(encode_snapshot(resumed.snapshot())))
            for earlier, old in enumerate(rows(150)[:78]):
                resumed.restore_row(old, churned(old), key_of(earlier))
    assert whole.drift == resumed.drift
    learned_in = 86_400.0 + {"net": 127, "logistic": 149}[kind]
    assert (whole.drift.labelled, whole.drift.time) == (learned_in, 0)
    assert whole.drift.slow.level_information > 5


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


@given(st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False), max_size=5), st.floats(0, 100))
def test_clip_bounds_every_value_and_changes_no_other(row: dict[str, float], bound: float) -> None:
    """Values within the bound stay the same, the others become the bound."""
    clipped = Clip(bound).transform_one(row)
    assert clipped == {name: float(np.clip(value, -bound, bound)) for name, value in row.items()}
    assert Clip().bound == CLIP


@pytest.fixture
def datasets_without_sklearn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace sklearn: River's checks import its datasets even for estimators that need none."""
    package = types.ModuleType("sklearn")
    package.datasets = types.ModuleType("sklearn.datasets")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sklearn", package)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", package.datasets)


@pytest.mark.usefixtures("datasets_without_sklearn")
@pytest.mark.parametrize("estimator", [Clip(), logistic_pipeline(), ReplayNet()], ids=["clip", "pipeline", "net"])
def test_estimators_pass_rivers_checks(estimator: base.Estimator) -> None:
    """All checks that River defines for estimators pass."""
    passed = 0
    for check in checks.yield_checks(estimator):
        check(estimator.clone())
        passed += 1
    assert passed > 20
