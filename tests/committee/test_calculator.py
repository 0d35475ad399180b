"""CommitteeCalculator: the driver's price for MD, σ on request, ASE's semantics."""

import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet

from support.structures import ice, zundel
from tentpole.committee import Committee, CommitteeCalculator, atom_force_std, energy_std
from tentpole.errors import InputError


class Counting:
    """A voter that counts its evaluations."""

    def __init__(self, voter):
        self.voter, self.calls = voter, 0
        self.numbers, self.cutoff, self.votes = voter.numbers, voter.cutoff, voter.votes

    def evaluate(self, graph, votes, stress):
        self.calls += 1
        return self.voter.evaluate(graph, votes, stress)


@pytest.fixture
def counted(members):
    return Committee([Counting(voter) for voter in Committee.load(members).voters])


def calls(committee):
    return [voter.calls for voter in committee.voters]


@pytest.mark.slow
def test_md_pays_for_the_driver_and_sigma_adds_the_others_once(counted):
    atoms = zundel()
    atoms.calc = calculator = CommitteeCalculator(counted, driver=1)
    VelocityVerlet(atoms, 0.25 * units.fs).run(10)
    assert calls(counted) == [0, 11, 0, 0]
    sigma = calculator.get_property("forces_std", atoms)
    assert calls(counted) == [1, 11, 1, 1]
    calculator.get_property("energy_std", atoms)
    calculator.get_property("forces_comm", atoms)
    atoms.get_forces()
    assert calls(counted) == [1, 11, 1, 1]
    assert sigma.shape == (7,)
    assert calculator.neighbours.builds == 1


def test_results_are_those_of_the_committee(members):
    committee, atoms = Committee.load(members), zundel(2)
    atoms.calc = calculator = CommitteeCalculator(committee, driver=2)
    expected = committee.evaluate([atoms])
    get = calculator.get_property
    np.testing.assert_array_equal(get("energies_comm", atoms), expected.energies[:, 0])
    np.testing.assert_array_equal(get("forces_comm", atoms), expected.forces[0])
    np.testing.assert_array_equal(get("forces_std", atoms), atom_force_std(expected.forces[0]))
    assert get("energy_std", atoms) == energy_std(expected.energies[:, 0])
    assert get("energy_std_per_atom", atoms) == get("energy_std", atoms) / 7
    assert get("force_std", atoms) == get("forces_std", atoms).mean()
    assert get("max_force_std", atoms) == get("forces_std", atoms).max()
    assert atoms.get_potential_energy() == expected.energies[2, 0]
    np.testing.assert_array_equal(atoms.get_forces(), expected.forces[0][2])
    assert {"energy", "forces", "energy_std", "forces_std", "energies_comm", "forces_comm"} <= set(calculator.results)


def test_the_mean_drives_when_asked(members):
    committee, atoms = Committee.load(members), ice(2)
    atoms.calc = CommitteeCalculator(committee, driver="mean")
    expected = committee.evaluate([atoms], stress=True)
    assert atoms.get_potential_energy() == pytest.approx(expected.energies.mean(), rel=1e-14)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces[0].mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(atoms.get_stress(), expected.stresses[:, 0].mean(axis=0), atol=1e-14)


def test_stress_and_its_spread(counted):
    atoms = ice(3)
    atoms.calc = calculator = CommitteeCalculator(counted)
    expected = counted.evaluate([atoms], stress=True).stresses[:, 0]
    before = calls(counted)
    np.testing.assert_allclose(atoms.get_stress(), expected[0], atol=1e-14)
    assert calls(counted)[0] == before[0] + 1
    np.testing.assert_allclose(calculator.get_property("stress_std", atoms), expected.std(axis=0), atol=1e-14)
    with_forces = CommitteeCalculator(counted, stress=True)
    atoms.calc = with_forces
    before = calls(counted)
    atoms.get_forces()
    atoms.get_stress()
    assert calls(counted)[0] == before[0] + 1  # one pass gave both


def test_an_open_molecule_has_no_stress(members):
    atoms = zundel()
    atoms.calc = CommitteeCalculator(Committee.load(members), stress=True)
    assert np.isfinite(atoms.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_ten_and_ten_steps_are_twenty_bit_for_bit(members):
    committee = Committee.load(members, dtype="float32")

    def run(parts):
        atoms, rng = zundel(4), np.random.RandomState(7)
        for steps in parts:
            atoms = atoms.copy()  # what a checkpoint keeps: positions and momenta, no list, no cache
            atoms.calc = CommitteeCalculator(committee)
            Langevin(atoms, 0.5 * units.fs, temperature_K=300, friction=0.01 / units.fs, rng=rng).run(steps)
        return atoms.positions

    np.testing.assert_array_equal(run([10, 10]), run([20]))


def test_asking_for_sigma_changes_no_bit_of_the_driver(members):
    committee = Committee.load(members, dtype="float32")
    plain, asked = ice(5), ice(5)
    plain.calc, asked.calc = CommitteeCalculator(committee, 1), CommitteeCalculator(committee, 1)
    for name in ("stress_std", "forces_std"):
        asked.calc.get_property(name, asked)
    np.testing.assert_array_equal(plain.get_forces(), asked.get_forces())


def test_wrong_drivers_and_lonely_members_are_refused(members):
    committee = Committee.load(members)
    for driver in (4, -1, "median", True):
        with pytest.raises(InputError, match='Legal: 0 to 3, "mean"'):
            CommitteeCalculator(committee, driver=driver)
    alone = CommitteeCalculator(Committee.load([members / "member-0"]))
    with pytest.raises(PropertyNotImplementedError, match="two or more"):
        alone.get_property("forces_std", zundel())


def test_a_change_of_the_last_bit_is_a_change() -> None:
    from ase.calculators.calculator import all_changes

    from tentpole.committee.calculator import changes_between

    before = zundel()
    assert changes_between(None, before) == list(all_changes)
    assert changes_between(before, before.copy()) == []
    for name, change in {
        "positions": lambda atoms: atoms.positions.__setitem__((0, 0), np.nextafter(atoms.positions[0, 0], 1.0)),
        "cell": lambda atoms: atoms.set_cell([25.0, 25.0, 25.0]),
        "pbc": lambda atoms: atoms.set_pbc(True),
        "numbers": lambda atoms: atoms.numbers.__setitem__(0, 16),
        "info": lambda atoms: atoms.info.__setitem__("charge", 2),
        "initial_magmoms": lambda atoms: atoms.set_initial_magnetic_moments([1.0] * len(atoms)),
    }.items():
        now = before.copy()
        change(now)
        assert changes_between(before, now) == [name]
