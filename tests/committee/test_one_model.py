"""Weighted sums of networks as one MACE model: the same energies, forces and stresses, and what cannot be one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from support.small_models import ZUNDEL, small_models, write_small_members
from tentpole import Committee
from tentpole.committee.linear_voter import LinearChange, LinearVoter
from tentpole.committee.mace_architecture import mace
from tentpole.committee.mace_voter import MaceVoter
from tentpole.committee.member_files import read_mean, read_member, write_member
from tentpole.committee.one_model import one_model
from tentpole.errors import InputError
from tentpole.testing import tiny_committee

FACTORS = (0.5, -1.5, 2.0)
E0S = np.array([-3.0, -7.0])
CHARGED = {"type": "categorical", "per": "graph", "num_classes": 5, "offset": 2, "emb_dim": 3}


def crystal() -> Atoms:
    atoms = bulk("O", "fcc", a=3.0, cubic=True)
    atoms.numbers[:2] = 1
    atoms.rattle(0.1, seed=3)
    return atoms


def differing(**changes: Any) -> list[Any]:
    """Three networks that differ in all that networks of one architecture may differ in."""
    models: list[Any] = small_models(3, **changes)
    for k, model in enumerate(models):
        model.scale_shift.scale.fill_(0.3 + 0.1 * k)
        model.scale_shift.shift.fill_(0.2 * k)
        for block in model.interactions:
            block.avg_num_neighbors = 6.0 + k
    return models


def architectures() -> dict[str, dict[str, Any]]:
    mace("modules")
    from e3nn import o3

    vectors = {"hidden_irreps": o3.Irreps("8x0e+8x1o"), "max_ell": 2, "correlation": 3}
    return {
        "scalars": {},
        "vectors": vectors,
        "three layers": {**vectors, "num_interactions": 3, "radial_MLP": [8, 6]},
        "charges": {"embedding_specs": {"total_charge": CHARGED, "total_spin": {**CHARGED, "emb_dim": 2}}},
    }


@pytest.mark.parametrize("name", ["scalars", "vectors", "three layers", "charges"])
def test_one_model_has_the_sum_of_energies_forces_and_stresses(name: str) -> None:
    models = differing(**architectures()[name])
    one = MaceVoter(one_model(list(zip(FACTORS, models, strict=True)), E0S), [0], "cpu")
    frames = [ZUNDEL.copy(), crystal()]
    for atoms in frames:
        atoms.info |= {"charge": 1, "multiplicity": 2}
    said = Committee([one]).evaluate(frames, stress=True)
    each = [Committee([MaceVoter(model, [0], "cpu")]).evaluate(frames, stress=True) for model in models]
    isolated = [E0S[(atoms.numbers == 8).astype(int)].sum() for atoms in frames]  # theirs are zero

    def summed(values: list[Any]) -> Any:
        return sum(factor * value for factor, value in zip(FACTORS, values, strict=True))

    for k in range(2):
        energy = summed([one.energies[0, k] for one in each]) + isolated[k]
        assert said.energies[0, k] == pytest.approx(energy, abs=1e-9)
        forces = summed([one.forces[k][0] for one in each])
        np.testing.assert_allclose(said.forces[k][0], forces, atol=1e-10)
        assert np.abs(forces).max() > 1e-3
    stresses = summed([one.stresses[0, 1] for one in each if one.stresses is not None])
    assert said.stresses is not None
    np.testing.assert_allclose(said.stresses[0, 1], stresses, atol=1e-12)


def test_a_member_that_is_linear_in_its_weights_reads_as_one_model(tmp_path: Path) -> None:
    (model,) = small_models(1)
    torch.manual_seed(4)
    change = {key: torch.randn_like(weight.detach()) for key, weight in model.named_parameters()}
    linear = LinearChange(change, whole=True, step=1e-4)
    write_member(tmp_path / "member", model, linear=linear)
    read, content = read_member(tmp_path / "member")
    assert content["linear"]["whole"] is True
    known = Committee([LinearVoter(model, linear, "cpu")]).evaluate([ZUNDEL])
    said = Committee([MaceVoter(read, [0], "cpu")]).evaluate([ZUNDEL])
    np.testing.assert_allclose(said.energies, known.energies, atol=1e-7)
    np.testing.assert_allclose(said.forces[0], known.forces[0], atol=1e-6)
    start = Committee([MaceVoter(model, [0], "cpu")]).evaluate([ZUNDEL])
    assert np.abs(start.forces[0] - known.forces[0]).max() > 1e-3


def test_the_mean_of_members_is_one_model_that_mace_itself_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # as the user's own import of mace would
    folder = write_small_members(tmp_path, members=3)
    torch.save(read_mean([folder / f"member-{k}" for k in range(3)]), tmp_path / "mean.model")
    atoms = ZUNDEL.copy()
    atoms.calc = mace("calculators").MACECalculator(str(tmp_path / "mean.model"), device="cpu")
    known = Committee.load(folder).evaluate([atoms])
    assert atoms.get_potential_energy() == pytest.approx(known.energies[:, 0].mean(), abs=1e-9)
    np.testing.assert_allclose(atoms.get_forces(), known.forces[0].mean(axis=0), atol=1e-9)


def test_networks_that_cannot_be_one_are_refused(tmp_path: Path) -> None:
    small, wide = (small_models(1, r_max=r)[0] for r in (3.5, 4.0))
    with pytest.raises(InputError, match=r"one has r_max = 4.0 and another 3.5"):
        one_model([(1.0, small), (1.0, wide)], E0S)
    folder = tiny_committee(tmp_path, (1, 8), members=2)  # with a pair repulsion
    with pytest.raises(InputError, match="pair_repulsion = True cannot stand side by side"):
        read_mean([folder / "member-0", folder / "member-1"])
