"""The reference ranker: a linear softmax that learns online from lists.

A list is a course that was chosen, among candidates that were not chosen. The ranker maximises the probability of the
chosen course under a softmax over the list (the top-1 case of ListNet, Cao et al. 2007).
"""

from __future__ import annotations

import numpy as np
from river import base

from models.recommend.ranker_scorer import LinearScorer, Rows, Standardizer


class LinearRanker(LinearScorer, base.Estimator):
    """A linear softmax over whole lists, learned by AdaGrad (Duchi et al. 2011).

    Parameters
    ----------
    columns
        Features per row.
    rate
        AdaGrad's step size.

    Examples
    --------
    >>> ranker = LinearRanker(2)
    >>> for _ in range(50):
    ...     ranker.learn(np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]], np.float32), 1)
    >>> int(ranker.scores(np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)).argmax())
    1
    """

    def __init__(self, columns: int, rate: float = 0.1) -> None:
        super().__init__(Standardizer(columns), np.zeros(columns))
        self.columns = columns
        self.rate = rate
        self.lists = 0
        self.squares = np.full(columns, 1e-8)

    def learn(self, rows: Rows, chosen: int) -> None:
        """Learn from a list in which the row at `chosen` was chosen."""
        self.standard.update(rows)
        z = self.standard(rows)
        logits = z @ self.weights
        chances = np.exp(logits - logits.max())
        chances /= chances.sum()
        chances[chosen] -= 1.0
        gradient = chances @ z
        self.squares += gradient**2
        self.weights -= self.rate * gradient / np.sqrt(self.squares)
        self.lists += 1
