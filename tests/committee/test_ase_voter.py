"""Other people's potentials as voters and drivers, and offsets that are no uncertainty."""

import importlib.machinery
import importlib.util
import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet

from support.structures import zundel
from tentpole.committee import (
    AseVoter,
    Committee,
    CommitteeCalculator,
    aligned,
    foundation,
    import_model,
    read_member,
    write_member,
)
from tentpole.committee.foundation_models import check_name
from tentpole.errors import InputError


def copper(seed):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def test_any_ase_calculator_votes():
    frames = [copper(1), Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.4]]), copper(2)]
    prediction = Committee([AseVoter(EMT()), AseVoter(EMT())]).evaluate(frames, stress=True)
    for k, atoms in enumerate(frames):
        atoms.calc = EMT()
        assert prediction.energies[0, k] == pytest.approx(atoms.get_potential_energy())
        np.testing.assert_allclose(prediction.forces[k][1], atoms.get_forces(), atol=1e-12)
        assert prediction.disagreement(k).force_std == 0
    np.testing.assert_allclose(prediction.stresses[0, 0], frames[0].get_stress(), atol=1e-12)
    assert np.isnan(prediction.stresses[0, 1]).all()


def test_a_driver_from_outside_drives_and_has_no_vote(members):
    committee = Committee.load(members)
    from ase.calculators.lj import LennardJones

    def lennard_jones():
        return LennardJones(sigma=1.2, epsilon=0.1)

    atoms, alone = zundel(1), zundel(1)
    atoms.calc = calculator = CommitteeCalculator(committee, driver=AseVoter(lennard_jones()))
    alone.calc = lennard_jones()
    for a in (atoms, alone):
        VelocityVerlet(a, 0.1 * units.fs).run(3)
    np.testing.assert_allclose(atoms.positions, alone.positions, atol=1e-12)
    expected = committee.evaluate([atoms]).disagreement(0)
    assert calculator.get_property("force_std", atoms) == pytest.approx(expected.force_std, rel=1e-12)
    assert calculator.results["energies_comm"].shape == (4,)


def test_an_offset_between_members_is_refused_and_can_be_taken_out(tmp_path, members):
    model, _ = read_member(members / "member-0")
    write_member(tmp_path / "a", model)
    model.atomic_energies_fn.atomic_energies += 0.5
    write_member(tmp_path / "b", model)
    with pytest.raises(InputError, match="would pass for uncertainty"):
        Committee.load(tmp_path)
    offset = Committee.load(tmp_path, same_energies=False)
    frames = [zundel(k) for k in range(3)] + [Atoms("OH2", positions=[[0, 0, 0], [0, 0.8, 0.6], [0, -0.8, 0.6]])]
    assert offset.evaluate(frames).disagreement(0).energy_std == pytest.approx(7 * 0.5 / 2)
    first, second = offset.voters
    energies = Committee([first]).evaluate(frames).energies[0]
    cured = Committee([first, aligned(second, frames, energies)])
    assert cured.evaluate(frames).disagreement(0).energy_std == pytest.approx(0, abs=1e-9)
    assert json.loads((tmp_path / "b.json").read_text())["E0s"]["Default"]["1"] == -9.5


def test_by_import_path():
    voter = foundation("ase.calculators.emt:EMT")
    prediction = Committee([voter]).evaluate([copper(3)])
    atoms = copper(3)
    atoms.calc = EMT()
    assert prediction.energies[0, 0] == pytest.approx(atoms.get_potential_energy())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chgnett", 'unknown foundation model "chgnett"; did you mean "chgnet"'),
        ("no.such.module:Thing", "cannot be imported"),
        ("ase.calculators.emt:EMTT", "cannot be imported"),
        ("mace-mp:/no/such/file.model", "no file /no/such/file.model"),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(name, message):
    with pytest.raises(InputError, match=message):
        foundation(name)
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ


def test_a_missing_package_comes_with_its_command(monkeypatch):
    for package in ("chgnet", "chgnet.model.dynamics", "nequip"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r'"chgnet" needs chgnet, .* pip install "tentpole\[chgnet\]"'):
        foundation("chgnet")
    with pytest.raises(InputError, match="pip install nequip"):
        foundation("nequip:some.nequip.pt2")


def test_a_compiled_nequip_model_votes_on_its_own_species_and_a_wrong_file_says_how_to_compile(monkeypatch, tmp_path):
    """nequip's calculator with EMT in the place of the compiled model: what is called, and what is made of it."""
    import torch

    class NequIPCalculator(EMT):
        @classmethod
        def from_compiled_model(cls, file, device):
            if Path(file).read_text() != "compiled":
                raise RuntimeError("not a zip file")
            made = cls()
            table = torch.full((118,), -1)
            table[29] = 0
            made.transforms = [types.SimpleNamespace(lookup_table=table)]
            return made

    for name in ("nequip", "nequip.integrations", "nequip.integrations.ase"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["nequip"].__spec__ = importlib.machinery.ModuleSpec("nequip", None)
    sys.modules["nequip.integrations.ase"].NequIPCalculator = NequIPCalculator
    file = tmp_path / "cu.nequip.pt2"
    with pytest.raises(InputError, match=r"nequip-compile MODEL .*cu\.nequip\.pt2 --mode aotinductor"):
        foundation(f"nequip:{file}")
    file.write_text("pickled")
    with pytest.raises(InputError, match=r"not a zip file.*e3nn"):
        foundation(f"nequip:{file}")
    file.write_text("compiled")
    voter = foundation(f"nequip:{file}")
    assert tuple(voter.numbers) == (29,)
    copper = bulk("Cu", cubic=True)
    expected = copper.copy()
    expected.calc = EMT()
    assert Committee([voter]).evaluate([copper]).energies[0, 0] == pytest.approx(expected.get_potential_energy())


@pytest.mark.parametrize("name", ["my.model", "models/my.json", "my.safetensors"])
def test_a_model_file_without_its_kind_is_answered_with_how_to_name_it(name):
    with pytest.raises(InputError, match=r"mace-mp:FILE\.json.*tentpole models import FILE --trust"):
        check_name(name)


@pytest.mark.parametrize("kind", ["mace-mp", "mace-off"])
def test_a_model_file_drives_once_it_is_made_safe_and_is_not_read_before(tmp_path, members, kind):
    import torch

    model, _ = read_member(members / "member-1")
    torch.save(model, tmp_path / "some.model")
    for ask in (check_name, foundation):
        with pytest.raises(InputError, match=r"tentpole models import .*some\.model --trust"):
            ask(f"{kind}:{tmp_path / 'some.model'}")
        with pytest.raises(InputError, match="is an address"):
            ask(f"{kind}:https://example.org/some.model")
    import_model(tmp_path / "some.model", trust=True)
    voter = foundation(f"{kind}:{tmp_path / 'some.json'}", dtype="float64")
    expected = Committee.load([members / "member-1"]).evaluate([zundel(2)])
    found = Committee([voter]).evaluate([zundel(2)])
    np.testing.assert_allclose(found.energies, expected.energies, rtol=1e-12)
    np.testing.assert_allclose(found.forces[0], expected.forces[0], atol=1e-10)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("chgnet") is None, reason="chgnet is not installed")
def test_chgnet_drives_silicon():
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=1)
    voter = foundation("chgnet", device="cpu")
    prediction = Committee([voter]).evaluate([atoms], stress=True)
    # CHGNet 0.3.0 puts diamond silicon near -5.3 eV/atom (PBE: -5.42)
    assert -5.6 < prediction.energies[0, 0] / len(atoms) < -5.0
    assert np.abs(prediction.forces[0][0].sum(axis=0)).max() < 1e-3
    plus, minus = atoms.copy(), atoms.copy()
    plus.positions[0, 0] += 0.01
    minus.positions[0, 0] -= 0.01
    energies = Committee([voter]).evaluate([plus, minus]).energies[0]
    slope = -(energies[0] - energies[1]) / 0.02
    assert prediction.forces[0][0, 0, 0] == pytest.approx(slope, abs=0.02)
    assert np.isfinite(prediction.stresses).all()
