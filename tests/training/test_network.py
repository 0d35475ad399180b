"""The network of stacked members gives what mace's own models give, one by one: values, and gradients of a loss."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from tentpole.committee.graph import collate, edges_within, graph_of
from tentpole.committee.mace_architecture import build_context, mace
from tentpole.committee.mace_voter import tensors
from tentpole.errors import InputError
from tentpole.training import convolution, graphs, network
from tentpole.training.graphs import Graphs
from tentpole.training.network import Network, UnsupportedModel
from tentpole.training.stack import Stack

CUTOFF = 3.2


def model(seed: int, max_ell: int = 2, max_L: int = 1, correlation: int = 2, **more):
    modules = mace("modules")
    from e3nn import o3

    with build_context("float64"):
        torch.manual_seed(seed)
        arguments = {
            "r_max": CUTOFF,
            "num_bessel": 4,
            "num_polynomial_cutoff": 3,
            "max_ell": max_ell,
            "interaction_cls": modules.interaction_classes[network.LATER],
            "interaction_cls_first": modules.interaction_classes[network.FIRST],
            "num_interactions": 2,
            "num_elements": 2,
            "hidden_irreps": o3.Irreps("+".join(f"3x{l}{'eo'[l % 2]}" for l in range(max_L + 1))),
            "MLP_irreps": o3.Irreps("4x0e"),
            "atomic_energies": np.zeros(2),
            "avg_num_neighbors": 7.0,
            "atomic_numbers": [1, 8],
            "correlation": correlation,
            "gate": modules.gate_dict["silu"],
            "radial_MLP": [8, 8],
            "atomic_inter_scale": 0.7,
            "atomic_inter_shift": 0.1,
        }
        return modules.ScaleShiftMACE(**(arguments | more))


@lru_cache
def plain(seed: int, *shape: int):
    """A model that tests share: none changes its weights, and each takes seconds to compile."""
    return model(seed, *shape)


def frames() -> list[Atoms]:
    """Strained cells of several sizes and compositions, and a molecule."""
    rng = np.random.default_rng(0)
    found = []
    for k in range(4):
        atoms = bulk("Cu", cubic=True) * ((1, 1, 1) if k % 2 else (2, 1, 1))
        atoms.numbers = rng.choice([1, 8], len(atoms))
        atoms.set_cell(atoms.cell.array * (1 + 0.02 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.1, seed=k)
        atoms.info["REF_stress"] = rng.normal(size=6)
        found.append(atoms)
    found.append(Atoms("OHH", rng.normal(size=(3, 3))))
    for atoms in found:
        atoms.info["REF_energy"] = rng.normal()
        atoms.arrays["REF_forces"] = rng.normal(size=(len(atoms), 3))
    return found


ROWS = np.array([[0, 1, 4], [3, 2, 2]])


def loss(energies, forces, stress, batch):
    return (
        (energies - batch.energies).square().sum()
        + ((forces - batch.forces) * batch.mask).square().sum()
        + ((stress - batch.stress) * batch.stressed[..., None, None]).square().sum()
    )


def stacked(net, models):
    stack = Stack(models, net.parts, ema_decay=0.99)
    return stack, stack.weights()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["kernels", "tensors"])
@pytest.mark.parametrize("shape", [(2, 1, 2), (1, 0, 1), (2, 2, 3)])
def test_values_and_gradients_are_those_of_mace(monkeypatch, backend, shape):
    if backend == "tensors":
        monkeypatch.setattr(network, "convolve", convolution.convolve_by_tensors)
    models = [plain(seed, *shape) for seed in range(2)]
    net, some = Network(models[0]), frames()
    found_graphs = Graphs(some, net, {1: 0.0, 8: 0.0})
    one = torch.ones(2, dtype=torch.float64)
    stack, weights = stacked(net, models)
    batch = found_graphs.batch(ROWS, 0.7 * one, 0.1 * one)
    found = net.predict(weights, batch, training=True, stress=True)
    total = loss(found.energies, found.forces, found.stress, batch)
    flats = list(stack.flat)
    gradients = dict(zip(flats, torch.autograd.grad(total, [stack.flat[group] for group in flats]), strict=True))
    for member, row in enumerate(ROWS):
        graph = collate([graph_of(some[k], edges_within(some[k], CUTOFF)) for k in row])
        out = models[member](
            tensors(graph, (1, 8), [0], torch.float64, "cpu"), training=True, compute_force=True, compute_stress=True
        )
        np.testing.assert_allclose(found.energies[member].detach(), out["energy"].detach(), rtol=1e-11)
        periodic = batch.stressed[member] > 0
        np.testing.assert_allclose(
            found.stress[member][periodic].detach(), out["stress"][periodic].detach(), atol=1e-13
        )
        forces = torch.tensor(np.concatenate([some[k].arrays["REF_forces"] for k in row]))
        own = (
            (out["energy"] - batch.energies[member]).square().sum()
            + (out["forces"] - forces).square().sum()
            + ((out["stress"] - batch.stress[member])[periodic]).square().sum()
        )
        own_weights = dict(models[member].named_parameters())
        for group, names in stack.names.items():
            found_here = torch.autograd.grad(own, [own_weights[name] for name in names], retain_graph=True)
            expected = torch.cat([part.reshape(-1) for part in found_here])
            np.testing.assert_allclose(gradients[group][member], expected, atol=1e-11 * float(expected.abs().max()))


def squares(prediction):
    return prediction.forces.detach().square().sum((1, 2))[0]


def test_what_fills_up_a_batch_changes_nothing():
    net, some = Network(plain(0)), frames()
    found_graphs = Graphs(some, net, {1: 0.0, 8: 0.0})
    _, weights = stacked(net, [plain(0), plain(0)])
    one = torch.ones(2, dtype=torch.float64)
    beside_larger = net.predict(weights, found_graphs.batch(np.array([[4], [0]]), one, one), training=False)
    alone = net.predict(weights, found_graphs.batch(np.array([[4], [4]]), one, one), training=False)
    np.testing.assert_allclose(beside_larger.energies[0].detach(), alone.energies[0].detach(), rtol=1e-13)
    np.testing.assert_allclose(squares(beside_larger), squares(alone))


def test_what_is_known_of_pairs_may_be_made_for_each_batch(monkeypatch):
    net, some = Network(plain(0)), frames()
    _, weights = stacked(net, [plain(0), plain(1)])
    one = torch.ones(2, dtype=torch.float64)
    kept = net.predict(weights, Graphs(some, net, {1: 0.0, 8: 0.0}).batch(ROWS, one, one), training=False)
    monkeypatch.setattr(graphs, "FEATURES_B", 0)
    made = net.predict(weights, Graphs(some, net, {1: 0.0, 8: 0.0}).batch(ROWS, one, one), training=False)
    np.testing.assert_allclose(made.forces.detach(), kept.forces.detach(), atol=1e-13)


def test_frames_without_neighbours_have_no_forces():
    net = Network(plain(0))
    far = Atoms("OH", [[0, 0, 0], [0, 0, 50.0]])
    far.info["REF_energy"], far.arrays["REF_forces"] = 0.0, np.zeros((2, 3))
    one = torch.ones(1, dtype=torch.float64)
    batch = Graphs([far], net, {1: 0.0, 8: 0.0}).batch(np.array([[0]]), one, 0 * one)
    found = net.predict(stacked(net, [plain(0)])[1], batch, training=True)
    assert not found.forces.any()
    assert found.energies.shape == (1, 1)


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(UnsupportedModel, match="pair repulsion"):
        Network(model(0, pair_repulsion=True))
    with pytest.raises(UnsupportedModel, match="several heads"):
        Network(
            model(
                0,
                heads=["a", "b"],
                atomic_energies=np.zeros((2, 2)),
                atomic_inter_scale=[1.0, 1.0],
                atomic_inter_shift=[0.0, 0.0],
            )
        )


EMBEDDED = {
    "total_spin": {"type": "categorical", "per": "graph", "num_classes": 5, "emb_dim": 3},
    "total_charge": {"type": "categorical", "per": "graph", "num_classes": 7, "offset": 3, "emb_dim": 4},
}


@pytest.mark.slow
def test_charge_and_spin_count_as_in_maces_own_model() -> None:
    models = [model(seed, embedding_specs=EMBEDDED) for seed in (1, 2)]
    known = frames()
    for k, atoms in enumerate(known):
        atoms.info |= {"charge": k - 2, "multiplicity": 1 + k % 3}
    mine = Network(models[0])
    made = Graphs(known, mine, {1: 0.0, 8: 0.0})
    scale, shift = torch.full((2,), 0.7, dtype=torch.float64), torch.full((2,), 0.1, dtype=torch.float64)
    batch = made.batch(ROWS, scale, shift)
    found = mine.predict(Stack(models, mine.parts, 0.99).weights(), batch, training=False)
    for m, one in enumerate(models):
        graph = collate([graph_of(known[k], edges_within(known[k], CUTOFF)) for k in ROWS[m]])
        theirs = one(tensors(graph, (1, 8), [0], torch.float64, "cpu", EMBEDDED), compute_force=True)
        np.testing.assert_allclose(
            found.energies[m].detach(), theirs["interaction_energy"].detach(), rtol=1e-9, atol=1e-12
        )
        size = float(theirs["forces"].square().sum())
        assert float(found.forces[m].square().sum()) == pytest.approx(size, rel=1e-9)
    lost = [Atoms(atoms, info={}) for atoms in known]
    for atoms, old in zip(lost, known, strict=True):
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = 0.0, old.arrays["REF_forces"]
    with pytest.raises(InputError, match="reads the multiplicity of a structure, and one has none"):
        Graphs(lost, mine, {1: 0.0, 8: 0.0})
