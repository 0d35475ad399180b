"""The adaptive rule against its own definition, computed the long way."""

import numpy as np

from tentpole.selection.adaptive import Adaptive, matern
from tentpole.selection.base import Candidates, Labelled


def by_definition(features, sigma, known, k, length=0.7, noise=0.1):
    """(index, Σ_i w_i C_ij² / (C_jj + noise)) of each choice, C conditioned anew on all rows chosen so far."""
    scale = features.std(axis=0) * np.sqrt(features.shape[1]) * length
    chosen, found = [], []
    for _ in range(k):
        given = np.concatenate([known, features[chosen]]) / scale
        across = matern(given, features / scale)
        inner = matern(given, given) + noise * np.eye(len(given))
        c = matern(features / scale, features / scale) - across.T @ np.linalg.solve(inner, across)
        if not chosen:
            weights = sigma ** (1 - np.diag(c).mean())
        gains = weights / weights.sum() @ c**2 / (np.diag(c) + noise)
        gains[chosen] = -np.inf
        chosen.append(int(np.argmax(gains)))
        found.append((chosen[-1], gains[chosen[-1]]))
    return found


def test_choices_and_gains_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    features, known, sigma = rng.normal(size=(120, 4)), rng.normal(size=(12, 4)), rng.random(120)
    table = Candidates([str(i) for i in range(120)], sigma, features, ["pool"] * 120)
    picks = Adaptive().select(table, Labelled(known), 10, rng)
    wanted = by_definition(features, sigma, known, 10)
    assert [p.index for p in picks] == [i for i, _ in wanted]
    np.testing.assert_allclose([p.scores["gain"] for p in picks], [g for _, g in wanted], rtol=1e-9)


def test_matern_is_that_of_the_distances():
    a, b = np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([[0.0, 0.0], [3.0, 4.0]])
    r = np.sqrt(5) * np.array([[0.0, 5.0], [np.sqrt(5), np.sqrt(8)]])
    np.testing.assert_allclose(matern(a, b), (1 + r + r**2 / 3) * np.exp(-r), atol=1e-12)
