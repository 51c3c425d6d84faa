"""The recommender in one process, and the baseline with embeddings."""

import numpy as np

from models.person.activity import DAY
from streams.evaluation.embedding import Embedding
from tests.models.course_uses import make_visits, train_recommender

NOW = 31 * DAY


def test_a_clone_of_the_recommender_is_untrained() -> None:
    """It has the same settings. With the same training it gives the same lists."""
    uses = make_visits(people=20)
    model = train_recommender(uses, share=1.0)
    fresh = model.clone()
    assert (fresh.share, fresh.rows, fresh.recommend("p1", NOW)) == (1.0, {}, ())
    for course in sorted({course for _, course, _ in uses}):
        fresh.describe(course, {f"group {int(course[1:]) % 4}": 2.0, course: 1.0})
    for user, course, time in uses:
        fresh.learn_one(user, course, time)
    assert fresh.recommend("p1", NOW) == model.recommend("p1", NOW) != ()


def test_queries_do_not_change_the_recommender() -> None:
    """Queries between uses do not change later answers."""
    uses = make_visits(people=20)
    queried, plain = train_recommender(uses[:200], share=1.0), train_recommender(uses[:200], share=1.0)
    for user, course, time in uses[200:]:
        queried.recommend(user, time)
        queried.ask("nobody", time)
        for model in (queried, plain):
            model.learn_one(user, course, time)
    assert queried.recommend("p1", NOW) == plain.recommend("p1", NOW)


def test_rankers_learn_from_a_share() -> None:
    """With a share of a quarter, about a quarter of the lists is learned, sampled by id."""
    uses = make_visits(people=30)
    quarter, whole = train_recommender(uses, share=0.25), train_recommender(uses, share=1.0)
    assert 0.15 < quarter.net.lists / whole.net.lists < 0.35


def test_the_embedding_learns_who_likes_what() -> None:
    """Courses of a person's own group have higher scores. The seed determines the result."""
    models = [Embedding(seed=seed) for seed in (1, 1, 2)]
    for model in models:
        for _ in range(6):
            for user, course, _ in make_visits():
                model.learn_one(user, course)
    scores = models[0].scores("p1")
    ours = [int(course[1:]) % 4 == 1 for course in models[0].courses]
    assert scores[ours].mean() > scores[np.logical_not(ours)].mean() + 0.05
    assert models[0].recommend("p1", 5) == models[1].recommend("p1", 5) != models[2].recommend("p1", 5)
    assert not models[0].scores("nobody").any()
