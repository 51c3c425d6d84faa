"""Churn on the simulated platform is learnable: a model beats recency, and the hidden truth beats the model."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from models.person.rules import ACTIVE_KINDS
from models.schema import events as ev
from streams.history.simulation.platform import Platform

DAY = 86_400.0
START = 1_760_000_000.0
END = START + 92 * DAY


def rows(events: list[ev.Event]) -> tuple[np.ndarray, np.ndarray, list[tuple[str, float]]]:
    """Return simple features every third day of users active within 14 days, and labels for the next 7 days."""
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if ev.kind_of(event) in ACTIVE_KINDS:
            times[event.user_id].append(event.time)
    x, y, at = [], [], []
    for user, user_times in times.items():
        array = np.array(user_times)
        for now in np.arange(START + 15 * DAY, END - 7 * DAY, 3 * DAY):
            past = array[array <= now]
            if not past.size or now - past[-1] > 14 * DAY:
                continue
            silence = now - past[-1]
            recent = [np.count_nonzero(past > now - days * DAY) for days in (3, 7, 28)]
            gap = (now - past[0] + 7 * DAY) / (np.unique(past // DAY).size + 1)
            x.append([np.log1p(silence / DAY), np.log1p(silence / gap), np.log(gap), *np.log1p(recent)])
            y.append(not np.any((array > now) & (array <= now + 7 * DAY)))
            at.append((user, float(now)))
    return np.array(x), np.array(y), at


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    low = np.sort(scores[~labels])
    below, upto = np.searchsorted(low, scores[labels], "left"), np.searchsorted(low, scores[labels], "right")
    return float(np.mean(below + upto) / 2 / low.size)


def test_churn_can_be_learned_from_behaviour_but_not_perfectly():
    """A regression on simple features has a typical AUC, above that of recency and below that of the truth."""
    platform = Platform(seed=7, start=START, learners=800)
    events = platform.advance(END)
    x, y, at = rows(events)
    z = (x - x.mean(0)) / x.std(0)
    z = np.hstack([z, z[:, :1] * z[:, 1:], np.ones((len(z), 1))])
    train = np.array([int(user[-5:]) % 2 == 0 for user, _ in at])
    weights = np.zeros(z.shape[1])
    for _ in range(25):
        p = 1 / (1 + np.exp(-z[train] @ weights))
        hessian = (z[train] * (p * (1 - p))[:, None]).T @ z[train] + np.eye(len(weights))
        weights -= np.linalg.solve(hessian, z[train].T @ (p - y[train]) + weights)
    test = ~train
    model, recency = auc(z[test] @ weights, y[test]), auc(x[test, 0], y[test])
    truth = auc(np.array([platform.truth.risk(user, now, 7 * DAY) for user, now in at])[test], y[test])

    assert 0.1 < y.mean() < 0.35
    assert 0.78 <= model <= 0.88
    assert recency < model < truth
    assert truth > 0.88
