"""The bias is consistent, conserves what it should, resumes bit for bit, and asks for nothing it does not need."""

from typing import ClassVar

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from matscipy.neighbours import neighbour_list

from tentpole.entropy import GOM, Covariance, EntropyBias
from tentpole.errors import InputError


class Pairs(Calculator):
    """φ(r) = A (1 − r²/r_c²)⁴ over a fresh neighbour list: smooth, exact derivatives, no memory of past calls.

    ASE's EMT keeps a skinned list, so that its bits depend on history, and steps by 1e-5 at its cutoff.
    """

    implemented_properties: ClassVar = ["energy", "free_energy", "forces", "stress"]
    cutoff, height = 4.5, 2.0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        i, d, vector = neighbour_list("idD", atoms, self.cutoff)
        u = 1 - d**2 / self.cutoff**2
        slope = (-8 * self.height / self.cutoff**2 * d * u**3 / d)[:, None] * vector
        energy = 0.5 * self.height * (u**4).sum()
        forces = np.stack([np.bincount(i, slope[:, k], minlength=len(atoms)) for k in range(3)], axis=1)
        virial = 0.5 * slope.T @ vector
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}
        if atoms.pbc.all():
            self.results["stress"] = full_3x3_to_voigt_6_stress(virial / atoms.get_volume())


def copper(n=2, seed=0, rattle=0.1):
    atoms = bulk("Cu", cubic=True).repeat((n, 1, 1))
    atoms.rattle(rattle, seed=seed)
    return atoms


def warm(atoms, temperature_K, seed):
    normal = np.random.default_rng(seed).normal(size=(len(atoms), 3))
    atoms.set_momenta(normal * np.sqrt(atoms.get_masses() * units.kB * temperature_K)[:, None])


def dataset(mode):
    covariance = Covariance(mode, eps=1e-3)
    for seed in range(5):
        covariance.add(GOM(4.0).fingerprints(copper(seed=seed + 10)))
    return covariance


FORMS = {
    "logdet": {"entropy": "logdet"},
    "nearest": {"entropy": "nearest"},
    "dataset per-atom": {"entropy": "dataset", "covariance": dataset("per-atom")},
    "dataset per-config": {"entropy": "dataset", "covariance": dataset("per-config")},
}


@pytest.mark.parametrize("settings", FORMS.values(), ids=FORMS.keys())
def test_forces_and_stress_are_the_energy_s_derivative(settings):
    """At fixed strength: central differences of the biased energy to 1e-6 relative."""
    atoms = copper()
    atoms.calc = EntropyBias(Pairs(), cutoff=4.0, k_eV=3.0, clip=None, **settings)
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    assert np.abs(forces - atoms.calc.results["forces_unbiased"]).max() > 1e-3
    assert np.abs(forces.sum(axis=0)).max() < 1e-10
    step = 2e-5

    def energy(moved):
        moved.calc = EntropyBias(Pairs(), cutoff=4.0, k_eV=3.0, clip=None, **settings)
        return moved.get_potential_energy()

    for index in [(0, 0), (3, 1), (5, 2), (7, 0)]:
        numeric = 0.0
        for sign in (1, -1):
            moved = copper()
            moved.positions[index] += sign * step
            numeric -= sign * energy(moved) / (2 * step)
        assert numeric == pytest.approx(forces[index], abs=1e-6 * np.abs(forces).max())
    for i, j in [(0, 0), (1, 2), (0, 1)]:
        numeric = 0.0
        for sign in (1, -1):
            deformation = np.eye(3)
            deformation[i, j] += 0.5 * sign * step
            deformation[j, i] += 0.5 * sign * step
            moved = copper()
            moved.set_cell(moved.cell.array @ deformation, scale_atoms=True)
            numeric += sign * energy(moved) / (2 * step) / atoms.get_volume()
        assert numeric == pytest.approx(stress[i, j], abs=1e-6 * np.abs(stress).max())


def biased_energy_spread(timestep_fs, steps):
    """Peak to peak of the total energy of a strongly biased NVE run, eV, and that of kS within it."""
    atoms = copper(rattle=0.05)
    warm(atoms, 300, seed=0)
    atoms.calc = EntropyBias(Pairs(), cutoff=4.0, k_eV=0.3, clip=None)
    dyn = VelocityVerlet(atoms, timestep_fs * units.fs)
    energies, biases = [], []
    for _ in range(steps):
        dyn.run(1)
        energies.append(atoms.get_total_energy())
        biases.append(0.3 * atoms.calc.results["entropy"])
    return np.ptp(energies), np.ptp(biases)


@pytest.mark.slow
def test_a_biased_run_at_fixed_strength_conserves_energy():
    """100 fs of NVE: the spread is the integrator's, falling as the step is refined; the bias's swing is not.

    Eigenvalues that nearly cross bend the bias sharply: the fall is between first and second order.
    """
    coarse, swing = biased_energy_spread(1.0, 100)
    fine, _ = biased_energy_spread(0.25, 400)
    assert swing > 0.1
    assert fine < 1e-3 * swing
    assert coarse > 6 * fine


class Nine(Pairs):
    """A calculator that gives its stress as a matrix, as CHGNet's does."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results["stress"] = voigt_6_to_full_3x3_stress(self.results["stress"])


def test_a_stress_of_nine_numbers_becomes_ase_s_six():
    atoms, other = copper(), copper()
    atoms.calc = EntropyBias(Nine(), cutoff=4.0, k_eV=1.0)
    other.calc = EntropyBias(Pairs(), cutoff=4.0, k_eV=1.0)
    atoms.get_forces()
    assert np.array_equal(atoms.get_stress(), other.get_stress())


def test_the_ratio_is_met_and_reported():
    atoms = copper()
    calc = EntropyBias(EMT(), cutoff=4.0, ratio=0.3, clip=None)
    atoms.calc = calc
    assert calc.bias_strength is None
    bias = atoms.get_forces() - calc.results["forces_unbiased"]
    rms = np.sqrt((bias**2).sum(axis=1).mean() / (calc.results["forces_unbiased"] ** 2).sum(axis=1).mean())
    assert rms == pytest.approx(0.3, rel=1e-10)
    assert calc.results["bias_strength_eV"] == calc.bias_strength > 0
    expected = calc.results["energy_unbiased"] - calc.bias_strength * calc.results["entropy"]
    assert atoms.get_potential_energy() == pytest.approx(expected, abs=1e-12)
    first = calc.bias_strength
    atoms.rattle(0.05, seed=1)
    atoms.get_forces()
    assert 0 < abs(calc.bias_strength - first) < 0.1 * first


def test_asking_again_does_not_move_the_strength():
    atoms = copper()
    atoms.calc = EntropyBias(EMT(), cutoff=4.0)
    atoms.get_forces()
    atoms.rattle(0.02, seed=2)
    atoms.get_forces()
    k = atoms.calc.bias_strength
    atoms.get_potential_energy()
    atoms.get_stress()
    assert atoms.calc.bias_strength == k


def test_a_resumed_walker_goes_on_bit_for_bit():
    def walker(seed=5):
        atoms = copper(rattle=0.05)
        warm(atoms, 600, seed)
        return atoms

    def run(atoms, rng, steps, strength):
        atoms.calc = EntropyBias(Pairs(), cutoff=4.0, ratio=0.4)
        atoms.calc.bias_strength = strength
        Langevin(atoms, units.fs, temperature_K=600, friction=0.02 / units.fs, rng=rng, fixcm=False).run(steps)
        return atoms.calc.bias_strength

    whole, halves = walker(), walker()
    k_whole = run(whole, np.random.RandomState(1), 20, None)
    rng = np.random.RandomState(1)
    k_half = run(halves, rng, 10, None)
    halves = Atoms(halves)  # a checkpoint knows positions, momenta, cell: no calculator, no caches
    k_halves = run(halves, rng, 10, k_half)
    assert k_whole == k_halves
    assert np.array_equal(whole.positions, halves.positions)
    assert np.array_equal(whole.get_momenta(), halves.get_momenta())


class Lazy(Calculator):
    """Forces at once, a spread only when asked: counts how often that is."""

    implemented_properties: ClassVar = ["energy", "forces", "forces_std"]

    def __init__(self):
        super().__init__()
        self.asked = []

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.asked += list(properties)
        inner = LennardJones(sigma=2.3, epsilon=0.4, rc=6.0)
        self.results["energy"] = inner.get_property("energy", atoms)
        self.results["forces"] = inner.get_property("forces", atoms)
        if "forces_std" in properties:
            self.results["forces_std"] = 0.01 * np.ones(len(atoms))


def test_a_lazy_committee_is_not_asked_for_its_spread():
    atoms = copper()
    lazy = Lazy()
    atoms.calc = EntropyBias(lazy, cutoff=4.0)
    atoms.get_forces()
    atoms.get_potential_energy()
    assert "forces_std" not in lazy.asked
    assert "stress" not in lazy.asked
    assert atoms.calc.get_property("forces_std", atoms).shape == (8,)
    assert lazy.asked.count("forces_std") == 1


@pytest.mark.slow
def test_a_real_committee_evaluates_its_driver_alone(tmp_path):
    from tentpole.committee import Committee, CommitteeCalculator
    from tentpole.testing import tiny_committee

    committee = CommitteeCalculator(Committee.load(tiny_committee(tmp_path)))
    atoms = molecule("H2O")
    atoms.calc = EntropyBias(committee, cutoff=5.0, ratio=0.3)
    rng = np.random.RandomState(0)
    Langevin(atoms, 0.5 * units.fs, temperature_K=300, friction=0.01 / units.fs, rng=rng, fixcm=False).run(3)
    assert "forces_std" not in committee.results
    assert atoms.calc.get_property("entropy", atoms) == atoms.calc.results["entropy"]
    assert committee.get_property("forces_std", atoms).shape == (3,)


def test_clipping_bounds_each_atom_and_leaves_no_net_force():
    atoms = copper(rattle=0.3)
    free = EntropyBias(EMT(), cutoff=4.0, k_eV=50.0, entropy="nearest", clip=None)
    cut = EntropyBias(EMT(), cutoff=4.0, k_eV=50.0, entropy="nearest", clip=1.0)
    atoms.calc = free
    free_bias = atoms.get_forces() - free.results["forces_unbiased"]
    atoms.calc = cut
    bias = atoms.get_forces() - cut.results["forces_unbiased"]
    over = np.linalg.norm(free_bias, axis=1) > 1.0
    assert cut.results["bias_clipped"] == over.sum() > 0
    assert free.results["bias_clipped"] == 0
    assert np.abs(bias.sum(axis=0)).max() < 1e-10
    assert np.linalg.norm(bias, axis=1).max() <= 2.0


def test_a_perfect_crystal_and_an_atom_alone_are_not_pushed():
    for atoms in (bulk("Cu", cubic=True), Atoms("Cu", cell=[9, 9, 9], pbc=True)):
        atoms.calc = EntropyBias(EMT(), cutoff=4.0, ratio=0.5)
        assert np.abs(atoms.get_forces()).max() < 1e-9
        assert np.isfinite(atoms.get_potential_energy())
        assert np.isfinite(atoms.calc.results["bias_strength_eV"])


def test_langevin_of_a_molecule_without_a_cell():
    atoms = molecule("H2O")
    atoms.calc = EntropyBias(EMT(), cutoff=5.0, ratio=0.3)
    Langevin(
        atoms, 0.5 * units.fs, temperature_K=300, friction=0.01 / units.fs, rng=np.random.RandomState(0), fixcm=False,
    ).run(20)  # fmt: skip
    assert np.isfinite(atoms.calc.results["entropy"])
    assert np.isfinite(atoms.positions).all()


def test_bad_settings_are_named():
    with pytest.raises(InputError, match='did you mean "logdet"'):
        EntropyBias(EMT(), entropy="logdett")
    with pytest.raises(InputError, match="needs the dataset"):
        EntropyBias(EMT(), entropy="dataset")
    with pytest.raises(InputError, match="not both"):
        EntropyBias(EMT(), ratio=0.3, k_eV=1.0)
    with pytest.raises(InputError, match="ratio"):
        EntropyBias(EMT(), ratio=-0.3)
