"""This package's evaluation of MACE members: mace's own numbers, and a structure's bits are its own."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from tentpole.committee import Baseline, Committee
from tentpole.committee.ase_voter import AseVoter
from tentpole.committee.baseline import BaselineVoter
from tentpole.committee.graph import Graph, collate, edges_within, graph_of, parts
from tentpole.committee.mace_voter import MaceVoter, by_cuequivariance
from tentpole.exploration.lockstep import Lockstep
from tentpole.training import network_voter
from tentpole.training.network_voter import NetworkVoter, faster

from .test_network import model, plain


def graphs(count: int) -> list[Graph]:
    """Molecules and cells of several sizes."""
    rng = np.random.default_rng(0)
    found = []
    for k in range(count):
        atoms = Atoms("OHHOHHH", rng.normal(scale=1.5, size=(7, 3)))
        if k % 3 == 1:
            atoms = bulk("Cu", cubic=True) * ((1, 1, 1) if k % 2 else (2, 1, 1))
            atoms.numbers = rng.choice([1, 8], len(atoms))
            atoms.rattle(0.1, seed=k)
        found.append(graph_of(atoms, edges_within(atoms, 3.2)))
    return found


@pytest.fixture(scope="module")
def members() -> list[MaceVoter]:
    return [MaceVoter(plain(seed, 2, 1, 2), [0], "cpu") for seed in range(2)]


@pytest.fixture(scope="module")
def voter(members: list[MaceVoter]) -> NetworkVoter:
    return NetworkVoter(members)


def test_numbers_are_those_of_mace(voter, members):
    graph = collate(graphs(5))
    energies, forces, stresses = voter.evaluate(graph, [0, 1], True)
    for m, member in enumerate(members):
        known = member.evaluate(graph, [0], True)
        np.testing.assert_allclose(energies[m], known[0][0], rtol=1e-11)
        np.testing.assert_allclose(forces[m], known[1][0], atol=1e-11)
        np.testing.assert_allclose(stresses[m], known[2][0], atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "dtype"), [(8, torch.float64), (8, torch.float32), (4, torch.float32)])
def test_bits_do_not_depend_on_what_else_is_evaluated(members, channels, dtype):
    from e3nn import o3  # can be imported once mace is

    irreps = {"hidden_irreps": o3.Irreps(f"{channels}x0e+{channels}x1o"), "MLP_irreps": o3.Irreps("8x0e")}
    like = [MaceVoter(model(seed, 2, 1, 3, **irreps).to(dtype), [0], "cpu") for seed in range(2)]
    voter, some = NetworkVoter(like), graphs(17)
    assert faster(Committee(like)).voters[0]._at_once  # found to be so when it was made
    alone = [voter.evaluate(graph, [1], True) for graph in some]
    for count in (2, 3, 4, 9, 16, 17):
        for chosen in (slice(0, count), slice(17 - count, 17)):
            energies, forces, stresses = voter.evaluate(collate(some[chosen]), [0, 1], True)
            assert energies[1].tolist() == [a[0][0, 0] for a in alone[chosen]]
            assert np.array_equal(forces[1], np.concatenate([a[1][0] for a in alone[chosen]]))
            known = np.concatenate([a[2][0] for a in alone[chosen]])
            assert np.array_equal(stresses[1], known, equal_nan=True)


def test_where_bits_depend_on_it_structures_are_evaluated_one_by_one(members, monkeypatch):
    monkeypatch.setattr(network_voter, "_is_independent", lambda *_: False)
    careful = faster(Committee(members)).voters[0]
    some, seen = graphs(4), []
    batch = careful._batch
    monkeypatch.setattr(careful, "_batch", lambda graph, *rest: seen.append(len(graph.sizes)) or batch(graph, *rest))
    careful.evaluate(collate(some), [0], False)
    assert seen == [1, 1, 1, 1]


def test_a_graph_is_cut_between_structures():
    some = graphs(6)
    for at_once in (0, 100, 10**9, None):
        cut = parts(collate(some), at_once)
        assert sum(len(part.sizes) for part in cut) == 6
        again = collate(cut)
        assert np.array_equal(again.edges.j, collate(some).edges.j)
        assert np.array_equal(again.positions, collate(some).positions)
    assert [len(part.sizes) for part in parts(collate(some), 0)] == [1] * 6


def test_members_of_other_kinds_stay_as_they_are(members):
    committee = Committee([MaceVoter(model(0, pair_repulsion=True), [0], "cpu")])
    assert faster(committee) is committee
    beside = AseVoter(None)
    assert [type(v).__name__ for v in faster(Committee([*members, beside])).voters] == ["NetworkVoter", "AseVoter"]
    monkey = Committee([beside, *members])
    assert faster(monkey) is monkey


def test_members_with_a_baseline_are_as_fast_and_have_it_added_back(members):
    baseline = Baseline("zbl")
    slow = Committee([BaselineVoter(member, baseline) for member in members])
    fast = faster(slow)
    assert [type(v.member).__name__ for v in fast.voters] == ["NetworkVoter"]
    near = molecule("H2O")
    near.positions *= 0.6
    for one, other in zip(slow.evaluate([near]).energies, fast.evaluate([near]).energies, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    alone = Committee(members).evaluate([near])
    np.testing.assert_allclose(slow.evaluate([near]).energies - alone.energies, baseline.of(near)[0], rtol=1e-9)
    assert type(Lockstep().shared(fast.voters[0]).member).__name__ == "_Shared"


def test_members_of_two_shapes_or_with_other_numbers_stay_with_mace(members, monkeypatch):
    other = MaceVoter(plain(0, 1, 0, 1), [0], "cpu")
    assert isinstance(faster(Committee([members[0], other])).voters[0], MaceVoter)
    monkeypatch.setattr(network_voter, "_agrees", lambda *_: False)
    assert isinstance(faster(Committee(members)).voters[0], MaceVoter)


def test_all_members_at_once_as_on_a_gpu_give_the_same_numbers(voter):
    graph = collate(graphs(3))
    energies, forces, _ = voter.evaluate(graph, [0, 1], False)
    places, caps = network_voter._places(network_voter.kinds_of(graph, voter.numbers), 2, voter.filled)
    assert all(cap % voter.filled == 0 for cap in caps)
    both = voter._prediction(
        voter._stack.parted(voter._flats), voter._batch(graph, places, caps, [0, 1]), [0, 1], False
    )
    np.testing.assert_allclose(both[1][:, places], forces, atol=1e-12)
    own = voter.e0s[:, network_voter.kinds_of(graph, voter.numbers)]
    np.testing.assert_allclose(both[0] + np.add.reduceat(own, graph.starts[:-1], axis=1), energies, rtol=1e-12)


def test_converted_members_give_the_forces_of_the_members(members: list[MaceVoter]) -> None:
    pytest.importorskip("cuequivariance_torch")
    graph = collate(graphs(4))
    for member in members:
        plain_one, converted = member.evaluate(graph, [0], True), by_cuequivariance(member).evaluate(graph, [0], True)
        for a, b in zip(converted, plain_one, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
