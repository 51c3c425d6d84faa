"""The learner and its scorer agree, snapshots carry everything on, and a damaged one is refused."""

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

from models.churn.early_signal import SignalOutcome
from models.churn.layers import certainty, probabilities
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
    """Rows on very different scales, one column constant, some values far out, as float16 holds them."""
    dice = np.random.default_rng(seed)
    drawn = dice.normal(size=(count, SIZE)) * 10.0 ** (np.arange(SIZE) % 7 - 3)
    drawn[:, 0] = 2.0
    drawn[dice.random((count, SIZE)) < 0.02] *= 20
    return list(drawn.clip(-6e4, 6e4).astype(np.float16).astype(np.float32))


def churned(row: np.ndarray) -> bool:
    return bool(row[3] > 0)


def learned(drawn: list[np.ndarray], learner: ChurnLearner | Kind = "net", first: int = 0) -> ChurnLearner:
    """Learn rows that have their places among all rows; `first` is the number of the first one."""
    learner = ChurnLearner(learner) if isinstance(learner, str) else learner
    for number, row in enumerate(drawn, start=first):
        learner.learn(row, churned(row), place(number))
    return learner


def place(number: int) -> float:
    return number * 0.618034 % 1


def handed_on(learner: ChurnLearner, drawn: list[np.ndarray]) -> ChurnLearner:
    """What another process makes of a learner's snapshot and the rows it had learned."""
    restored = ChurnLearner.restore(decode_snapshot(encode_snapshot(learner.snapshot())))
    for number, row in enumerate(drawn):
        restored.recall(row, churned(row), place(number))
    return restored


def probability(learner: ChurnLearner, row: np.ndarray) -> float:
    """What the learner itself, a River estimator, says."""
    if isinstance(learner.core, NetLearner):
        net = learner.core.net
        return float(probabilities(net.logits(row[None]), certainty(net.rows_seen))[0])
    assert isinstance(learner.core, LogisticLearner)
    return float(learner.core.pipeline.predict_proba_one(river_row(row))[True])


both = pytest.mark.parametrize("kind", KINDS)


@both
@pytest.mark.parametrize("count", [0, 1, 2, 10, 64, 400])
def test_scorer_and_learner_give_the_same_probability(kind: Kind, count: int) -> None:
    """After any number of rows, the scorer of the snapshot says what the learner says."""
    learner = learned(rows(count), kind)
    built = build_scorer(decode_snapshot(encode_snapshot(learner.snapshot())))
    asked = rows(50, seed=2)
    expected = [probability(learner, row) for row in asked]
    said = probabilities(built.logits(np.array(asked)), built.most)
    assert said.tolist() == pytest.approx(expected, abs=1e-8)
    assert [built.probability(row) for row in asked] == pytest.approx(expected, abs=5.1e-7)
    assert built.labels == count


@both
def test_one_row_scores_as_in_a_matrix(kind: Kind) -> None:
    """A score is rounded to 6 decimals, so that products of different widths agree."""
    built = build_scorer(learned(rows(100), kind).snapshot())
    asked = rows(64, seed=3)
    assert [built.probability(row) for row in asked] == built.probabilities(np.array(asked))


def test_no_row_makes_a_net_certain() -> None:
    """However far out a row is, the probability leaves room for being wrong: one in six, after 400 rows."""
    built = build_scorer(learned(rows(400)).snapshot())
    asked = [row * scale for row in rows(20, seed=6) for scale in (1e4, -1e4)]
    assert all(0.16 < built.probability(row.astype(np.float32)) < 0.84 for row in asked)


@both
def test_it_learns_what_can_be_learned(kind: Kind) -> None:
    """After some hundred rows, those who churned score higher than those who stayed."""
    built = build_scorer(learned(rows(600), kind).snapshot())
    asked = rows(200, seed=4)
    means = [np.mean([built.probability(row) for row in asked if churned(row) is label]) for label in (True, False)]
    assert means[0] - means[1] > 0.1


@both
@pytest.mark.parametrize("count", [0, 1, 37, 64, 200])
def test_a_restored_learner_goes_on_as_if_it_had_never_stopped(kind: Kind, count: int) -> None:
    """Snapshot, restore, recall, learn: the same, to the last bit, as learning on."""
    drawn, more = rows(count), rows(100, seed=5)
    learner = learned(drawn, kind)
    restored = handed_on(learner, drawn)
    assert restored.snapshot() == learner.snapshot()
    assert learned(more, restored, count).snapshot() == learned(more, learner, count).snapshot()


def test_a_net_replays_what_is_recalled() -> None:
    """Without the old rows it would learn something else."""
    drawn, more = rows(200), rows(40, seed=5)
    learner = learned(drawn)
    forgetful = handed_on(learner, drawn[-40:])
    assert learned(more, forgetful, 200).snapshot() != learned(more, learner, 200).snapshot()


@both
def test_a_snapshot_is_plain_data(kind: Kind) -> None:
    """It survives JSON unchanged, and says its schema, its columns and how much it has learned from."""
    snapshot = learned(rows(45), kind).snapshot(7)
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot
    assert (snapshot.schema, snapshot.features, snapshot.labels, snapshot.offset) == (SCHEMA, FEATURES, 45, 7)
    assert msgspec.to_builtins(snapshot)["model"] == kind
    assert len(encode_snapshot(snapshot)) < 300_000


@both
def test_the_version_names_what_the_scorer_computes(kind: Kind) -> None:
    """The same knowledge has the same version, other knowledge another."""
    snapshot = learned(rows(32), kind).snapshot()
    again, more = build_scorer(snapshot).version, build_scorer(learned(rows(64), kind).snapshot()).version
    assert build_scorer(decode_snapshot(encode_snapshot(snapshot))).version == again != more
    assert again.startswith(f"{kind}-")


def refused(raw: bytes) -> str:
    with pytest.raises(InvalidSnapshot) as caught:
        decode_snapshot(raw)
    return str(caught.value)


def resealed(kind: Kind = "logistic", **changes: Any) -> bytes:
    body = msgspec.json.encode({**msgspec.to_builtins(learned(rows(3), kind).snapshot()), **changes})
    return msgspec.json.encode(SignedSnapshot(hashlib.sha256(body).hexdigest(), msgspec.Raw(body)))


@both
@pytest.mark.parametrize("changes", [{"schema": SCHEMA - 1}, {"model": "forest"}, {"features": "0123456789ab"}])
def test_a_snapshot_of_another_schema_model_or_other_features_is_refused(kind: Kind, changes: dict[str, Any]) -> None:
    """The reason names both versions."""
    reason = refused(resealed(kind, **changes))
    found = SnapshotHeader(**{"model": kind, **changes})
    assert reason == f"it is {found}, but this version reads {SnapshotHeader(model='net or logistic')}"


@pytest.mark.parametrize(
    ("kind", "column"),
    [("logistic", column) for column in ("mean", "variance", "weights", "gradients")]
    + [("net", column) for column in ("mean", "squares", "line")],
)
@pytest.mark.parametrize("size", [0, SIZE - 1, SIZE + 1])
def test_a_snapshot_of_another_shape_is_refused(kind: Kind, column: str, size: int) -> None:
    """Each column has one value a feature, though the checksum is right."""
    assert f"not of {SIZE}" in refused(resealed(kind, **{column: [0.5] * size}))


@pytest.mark.parametrize("part", ["parameters", "first", "second"])
@pytest.mark.parametrize("values", [b"", bytes(4), b"\xff" * 4])
def test_parameters_of_another_number_or_that_are_none_are_refused(part: str, values: bytes) -> None:
    """Too few, too many, or not a number among them."""
    good: AnySnapshot = learned(rows(3)).snapshot()
    known = getattr(good, part)
    changed = known[4:] + values if values == b"\xff" * 4 else known + values if values else known[4:]
    assert refused(resealed("net", **{part: base64.b64encode(changed).decode()})).startswith("parameters ")


LINE = np.eye(SIZE + 1)


@pytest.mark.parametrize(
    "changes",
    [{"losses": [0.0] * 4}]
    + [
        {"line_precision": base64.b64encode(precision.tobytes()).decode()}
        for precision in (LINE[1:], -LINE, LINE * np.nan, np.ones_like(LINE))
    ],
)
def test_a_line_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    """A precision of another size, of no numbers or of no distribution, and losses of other blends."""
    assert refused(resealed("net", **changes)).startswith("a line's precision ")


@pytest.mark.parametrize("changes", [{"pending": [[0.5] * SIZE]}, {"pending_labels": []}, {"pending": [[0.5]] * 3}])
def test_pending_rows_without_a_label_or_of_another_width_are_refused(changes: dict[str, Any]) -> None:
    """As many labels as rows, and as many values in each as there are features."""
    assert refused(resealed("net", **changes)).startswith("pending rows ")


@pytest.mark.parametrize(("kind", "count"), [("net", 2), ("net", 4), ("logistic", 1)])
def test_signs_of_more_or_fewer_rows_than_are_unlearned_are_refused(kind: Kind, count: int) -> None:
    """One for each row that waits for its block, of which the logistic regression has none."""
    rows_of = {"net": 3, "logistic": 0}[kind]
    assert refused(resealed(kind, signs=[None] * count)) == f"{count} signs of {rows_of} rows"


def test_a_net_that_knows_nothing_yet_says_nothing_of_what_signs_mean() -> None:
    """Of the first block it had no opinion before it learned it; of the second it has."""
    learner = ChurnLearner("net")
    for number, row in enumerate(rows(64)):
        learner.learn(row, churned(row), place(number), SignalOutcome(True, 86_400.0 + number, 3_600.0))
        assert (learner.pace.slow.sure > 0) == (number == 63)


@both
def test_what_signs_meant_is_learned_with_their_rows_also_by_whoever_takes_over(kind: Kind) -> None:
    """Each counts once its row is learned, as the model thought of it before that; none of the first block."""
    whole, parted = ChurnLearner(kind), ChurnLearner(kind)
    for number, row in enumerate(rows(150)):
        sign = SignalOutcome(number % 3 == 0, 86_400.0 + number, 3_600.0) if number % 5 else None
        for learner in (whole, parted):
            learner.learn(row, churned(row), place(number), sign)
        if number == 77:
            parted = ChurnLearner.restore(decode_snapshot(encode_snapshot(parted.snapshot())))
            for earlier, old in enumerate(rows(150)[:78]):
                parted.recall(old, churned(old), place(earlier))
    assert whole.pace == parted.pace
    learned_in = 86_400.0 + {"net": 127, "logistic": 149}[kind]
    assert (whole.pace.labelled, whole.pace.time) == (learned_in, 0)
    assert whole.pace.slow.sure > 5


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
    """Whatever the bytes are, only InvalidSnapshot is raised."""
    assert refused(raw).startswith("unreadable")


SEALED = resealed()


@given(st.integers(0, len(SEALED) - 1), st.integers(0, 255))
@settings(max_examples=200)
def test_a_flipped_byte_never_gives_other_contents(at: int, byte: int) -> None:
    """With one byte changed it is refused, or the change had no meaning."""
    changed = SEALED[:at] + bytes((byte,)) + SEALED[at + 1 :]
    try:
        snapshot = decode_snapshot(changed)
    except InvalidSnapshot:
        return
    assert snapshot == decode_snapshot(SEALED)


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
@pytest.mark.parametrize("estimator", [Clip(), logistic_pipeline(), ReplayNet()], ids=["clip", "pipeline", "net"])
def test_estimators_pass_rivers_checks(estimator: base.Estimator) -> None:
    """What River asks of every estimator holds for ours."""
    passed = 0
    for check in checks.yield_checks(estimator):
        check(estimator.clone())
        passed += 1
    assert passed > 20
