"""Dynamics at constant pressure: volumes as statistical mechanics has them, and state that resumes bit for bit."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.lj import LennardJones

from tentpole import Committee, CommitteeCalculator, EntropyBias
from tentpole.errors import InputError
from tentpole.exploration import NPT, Exploration, advance, init_walker
from tentpole.exploration.files import read_exploration, write_exploration
from tentpole.records import Condition, Walker
from tentpole.testing import tiny_committee

pytestmark = pytest.mark.slow


class IdealGas(Calculator):
    """Atoms that do not interact."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}


def gas(n: int, temperature_K: float, pressure_GPa: float, seed: int) -> Walker:
    rng = np.random.default_rng(seed)
    side = (n * units.kB * temperature_K / (pressure_GPa * units.GPa)) ** (1 / 3)
    atoms = Atoms(f"Ar{n}", positions=rng.uniform(0, side, (n, 3)), cell=[side] * 3, pbc=True)
    return init_walker("w00", Condition("gas", temperature_K, pressure_GPa), atoms, rng)


def test_the_volume_of_an_ideal_gas_is_distributed_as_it_must_be():
    """With the centre of mass at rest p(V) ∝ V^(N − 1) exp(−PV/kT): mean N kT/P, standard deviation that over √N."""
    n, settings = 8, NPT(timestep_fs=4.0, friction_per_fs=0.02, barostat_time_fs=100.0)
    walker, calculator = gas(n, 300.0, 0.1, seed=1), IdealGas()
    volumes = []
    for k in range(300):
        walker = advance(walker, calculator, 12, settings)
        if k >= 20:
            volumes.append(walker.atoms.get_volume())
    expected = n * units.kB * 300.0 / (0.1 * units.GPa)
    assert np.mean(volumes) == pytest.approx(expected, rel=0.12)
    assert np.std(volumes) == pytest.approx(expected / np.sqrt(n), rel=0.3)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return tiny_committee(tmp_path_factory.mktemp("models"), numbers=(14,), members=2)


def silicon(pressure_GPa: float | None = 1.0) -> Walker:
    atoms = bulk("Si") * (2, 1, 1)
    atoms.rattle(0.1, seed=1)  # of two atoms both have one environment: no entropy
    return init_walker("w00", Condition("Si", 300.0, pressure_GPa), atoms, np.random.default_rng(2))


@pytest.mark.parametrize("cell", ["isotropic", "full"])
@pytest.mark.parametrize("biased", [False, True])
def test_a_split_trajectory_is_the_whole_one_bit_for_bit(models, tmp_path, cell, biased):
    def calculator():
        committee = CommitteeCalculator(Committee.load(models), stress=True)
        return EntropyBias(committee, cutoff=3.5, ratio=0.3) if biased else committee

    settings = NPT(timestep_fs=0.5, barostat_time_fs=50.0, cell=cell)
    whole = advance(silicon(), calculator(), 12, settings)
    first = advance(silicon(), calculator(), 5, settings)
    write_exploration(tmp_path / "w.h5", Exploration(1, first))
    again = advance(read_exploration(tmp_path / "w.h5").walker, calculator(), 7, settings)
    assert (again.atoms.positions == whole.atoms.positions).all()
    assert (again.atoms.get_momenta() == whole.atoms.get_momenta()).all()
    assert (again.atoms.cell.array == whole.atoms.cell.array).all()
    assert again.barostat == whole.barostat
    assert again.rng == whole.rng
    assert not np.allclose(whole.atoms.cell.array, silicon().atoms.cell.array, atol=1e-6)


def test_the_bias_enters_the_pressure(models):
    settings = NPT(timestep_fs=0.5, barostat_time_fs=50.0)
    plain = advance(silicon(), CommitteeCalculator(Committee.load(models), stress=True), 3, settings)
    committee = CommitteeCalculator(Committee.load(models), stress=True)
    biased = advance(silicon(), EntropyBias(committee, cutoff=3.5, k_eV=5.0), 3, settings)
    assert abs(biased.barostat[1] - plain.barostat[1]) > 0.1  # eV, the force on the cell


def test_the_force_on_the_cell_is_the_slope_of_the_biased_energy(models):
    """Of atoms at rest without outer pressure it is -dE/d(ln a) in all, E the biased energy, by finite differences."""
    biased = EntropyBias(CommitteeCalculator(Committee.load(models), stress=True), cutoff=3.5, k_eV=0.5)
    walker = silicon(0.0)
    walker.atoms.set_momenta(np.zeros((4, 3)))
    walker.atoms.calc = biased
    dynamics = NPT().integrator(walker.atoms, walker.condition, np.random.default_rng(0))
    energies, step = [], 1e-4
    for sign in (-1, 1):
        atoms = silicon().atoms.copy()
        atoms.set_cell(atoms.cell * (1 + sign * step), scale_atoms=True)
        atoms.calc = biased
        energies.append(atoms.get_potential_energy())
    slope = (energies[1] - energies[0]) / (2 * step)
    assert dynamics.state[1] == pytest.approx(-slope, rel=1e-4)


@pytest.mark.parametrize("cell", ["isotropic", "full"])
def test_an_argon_crystal_settles_at_the_volume_without_pressure(cell):
    """At 1 K the mean volume is that of least energy."""
    crystal = bulk("Ar", "fcc", a=5.3, cubic=True)
    calculator = LennardJones(epsilon=0.0104, sigma=3.40, rc=5.0, smooth=True, ro=4.0)
    walker = init_walker("w00", Condition("Ar", 1.0, 0.0), crystal, np.random.default_rng(0))
    settings = NPT(timestep_fs=4.0, friction_per_fs=0.01, barostat_time_fs=300.0, cell=cell)
    walker = advance(walker, calculator, 300, settings)
    volumes = []
    for _ in range(20):
        walker = advance(walker, calculator, 10, settings)
        volumes.append(walker.atoms.get_volume())
    energies = []
    for volume in (scales := np.linspace(0.96, 1.04, 9) * np.mean(volumes)):
        atoms = crystal.copy()
        atoms.set_cell(atoms.cell * (volume / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
    curvature, slope, _ = np.polyfit(scales / np.mean(volumes) - 1, energies, 2)
    assert -slope / (2 * curvature) == pytest.approx(0.0, abs=0.01)


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="periodic in all three"):
        advance(
            init_walker("w", Condition("H2O", 300.0, 0.0), molecule("H2O"), np.random.default_rng(0)), None, 1, NPT()
        )
    with pytest.raises(InputError, match="needs a pressure"):
        advance(silicon(None), None, 1, NPT())
    with pytest.raises(InputError, match='did you mean "isotropic"'):
        NPT(cell="isotrop")
    with pytest.raises(InputError, match="barostat_time_fs"):
        NPT(barostat_time_fs=0.0)
