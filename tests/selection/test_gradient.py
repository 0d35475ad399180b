"""The gradient kernel's rule: its algebra, and the features that it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from tentpole.committee import Committee
from tentpole.entropy import GradientFeatures
from tentpole.errors import InputError
from tentpole.selection import Candidates, Gradient, Labelled
from tentpole.selection.gradient import MeanPosterior, Posterior
from tentpole.testing import tiny_committee

LAM = 0.3


def brute(features: np.ndarray, known: np.ndarray) -> np.ndarray:
    inverse = np.linalg.inv(known.T @ known + LAM * np.eye(features.shape[1]))
    return LAM * np.einsum("nd,de,ne->n", features, inverse, features)


def test_variances_are_those_of_the_formula_as_members_join() -> None:
    rng = np.random.default_rng(0)
    features, known = rng.normal(size=(20, 6)), rng.normal(size=(4, 6))
    posterior = Posterior(features, known, LAM)
    assert np.allclose(posterior.variances, brute(features, known))
    for i in (3, 17, 8):
        known = np.vstack([known, features[i]])
        posterior.add(i)
        assert np.allclose(posterior.variances, brute(features, known))


def test_gains_are_what_the_summed_variance_falls_by_as_members_join() -> None:
    rng = np.random.default_rng(3)
    features, known = rng.normal(size=(15, 5)), rng.normal(size=(3, 5))
    posterior = MeanPosterior(features, known, LAM)
    for i in (4, 11, 0):
        before = brute(features, known)
        falls = [before.sum() - brute(features, np.vstack([known, features[j]])).sum() for j in range(15)]
        assert np.allclose(posterior.variances, before)
        assert np.allclose(posterior.scores, falls)
        known = np.vstack([known, features[i]])
        posterior.add(i)


def test_the_mean_is_lowered_by_a_crowd_and_the_largest_variance_is_that_of_an_outlier() -> None:
    crowd = np.tile([1.0, 0.0], (20, 1)) + 0.01 * np.random.default_rng(0).normal(size=(20, 2))
    table = Candidates([str(i) for i in range(21)], np.zeros(21), np.vstack([crowd, [[0.0, 3.0]]]), ["x"] * 21)
    nothing, rng = Labelled(np.zeros((0, 2))), np.random.default_rng(0)
    assert Gradient(aim="largest").select(table, nothing, 1, rng)[0].index == 20
    pick = Gradient(aim="mean").select(table, nothing, 1, rng)[0]
    assert pick.index != 20
    assert "lowers the summed variance" in pick.reason


def clusters_by_hand(features: np.ndarray, known: np.ndarray, k: int) -> list[int]:
    """Each time all distances anew."""
    picks: list[int] = []
    for _ in range(k):
        centres = np.vstack([known, features[picks]])
        squares = ((features[:, None] - centres[None]) ** 2).sum(2) if len(centres) else (features**2).sum(1)[:, None]
        nearest, left = squares.argmin(1), squares.min(1)
        sizes = [left[nearest == c].sum() for c in range(squares.shape[1])]
        own = np.flatnonzero(nearest == int(np.argmax(sizes)))
        picks.append(int(own[left[own].argmax()]))
    return picks


@pytest.mark.parametrize("labels", [0, 1, 6])
def test_the_largest_cluster_gives_its_farthest(labels: int) -> None:
    rng = np.random.default_rng(labels)
    features = np.vstack([rng.normal(size=(30, 4)), 5.0 + 0.3 * rng.normal(size=(60, 4)), [[40.0, 0.0, 0.0, 0.0]]])
    known = rng.normal(size=(labels, 4))
    table = Candidates([str(i) for i in range(91)], np.zeros(91), features, ["x"] * 91)
    picks = Gradient(aim="cluster", quota="none").select(table, Labelled(known), 12, rng)
    assert [pick.index for pick in picks] == clusters_by_hand(features, known, 12)
    assert "cluster" in picks[0].reason
    assert picks[0].scores["variance"] > 0


def test_clusters_of_doubles_give_each_candidate_once() -> None:
    """All distances are 0 after the first pick, and what is picked stays picked."""
    table = Candidates(list("abcd"), np.zeros(4), np.ones((4, 2)), ["x", "x", "y", "y"])
    picks = Gradient(aim="cluster").select(table, Labelled(np.zeros((0, 2))), 4, np.random.default_rng(0))
    assert sorted(pick.index for pick in picks) == [0, 1, 2, 3]


def test_no_pick_repeats_what_is_labelled_or_picked() -> None:
    rng = np.random.default_rng(1)
    one, two, three = rng.normal(size=(3, 8))
    features = np.stack([one, two, two + 1e-6, three, one * 1.5])
    candidates = Candidates(list("abcde"), np.zeros(5), features, ["x"] * 5)
    picks = Gradient(noise=1e-6).select(candidates, Labelled(one[None]), 2, rng)
    assert {pick.id for pick in picks} in ({"b", "d"}, {"c", "d"})
    assert picks[0].scores["variance"] >= picks[1].scores["variance"]


def test_a_quota_per_condition_holds() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(20, 5)) * np.repeat([1.0, 9.0], 10)[:, None]
    groups = ["cold"] * 10 + ["hot"] * 10
    candidates = Candidates([str(i) for i in range(20)], np.zeros(20), features, groups)
    picks = Gradient().select(candidates, Labelled(np.zeros((0, 5))), 6, rng)
    assert sorted(groups[pick.index] for pick in picks) == ["cold"] * 3 + ["hot"] * 3


def test_noise_that_is_none_is_refused() -> None:
    for noise in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="noise"):
            Gradient(noise=noise)
    with pytest.raises(InputError, match="aim"):
        Gradient(aim="lowest")  # type: ignore[arg-type]


def test_features_are_the_energys_derivatives_sketched(tmp_path: Path) -> None:
    """A small step of the weights changes the energy by the gradient; the sketch keeps inner products."""
    import torch

    committee = Committee.load(tiny_committee(tmp_path, members=2, dtype="float64"))
    frames = [molecule("H2O") for _ in range(6)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=seed)
    exact = GradientFeatures(committee, size=2_000_000).rows(frames[:3])  # hardly any two weights share a place
    sketched = GradientFeatures(committee).rows(frames)
    assert sketched.shape == (6, 512)
    cosine = (exact[0] @ exact[1]) / np.linalg.norm(exact[0]) / np.linalg.norm(exact[1])
    seen = (sketched[0] @ sketched[1]) / np.linalg.norm(sketched[0]) / np.linalg.norm(sketched[1])
    assert seen == pytest.approx(cosine, abs=0.2)
    model = committee.voters[0].model
    before = committee.evaluate(frames[:1]).energies[0, 0]
    squared = float(exact[0] @ exact[0]) * len(frames[0])
    with torch.no_grad():
        moved = _gradient(committee, frames[0])
        for weight, step in zip(model.parameters(), moved, strict=True):
            weight.add_(1e-6 * step)
    after = committee.evaluate(frames[:1]).energies[0, 0]
    assert (after - before) / 1e-6 == pytest.approx(squared, rel=0.02)


def _gradient(committee, atoms):
    import torch

    from tentpole.committee.graph import edges_within, graph_of
    from tentpole.committee.mace_voter import tensors

    voter = committee.voters[0]
    graph = graph_of(atoms, edges_within(atoms, voter.cutoff))
    inputs = tensors(graph, voter.numbers, [0], voter.dtype, voter.device)
    weights = [weight.requires_grad_(True) for weight in voter.model.parameters()]
    with torch.enable_grad():
        energy = voter.model(inputs, training=True, compute_force=False)["interaction_energy"].sum()
    found = torch.autograd.grad(energy, weights, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]
