"""Ramps: temperature, pressure and cell by the walker's step, whatever the trajectory is split into."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones

from tentpole.exploration import (
    NPT,
    Exploration,
    ExploreSettings,
    Langevin,
    Mishap,
    Ramp,
    RampPoint,
    WalkerSeed,
    advance,
    back,
    begin,
    explore,
    remember,
)
from tentpole.exploration.files import read_exploration, write_exploration
from tentpole.records import Condition, Scores

START = bulk("Ar", "fcc", a=5.3, cubic=True)
CELL = tuple(START.cell.array.ravel().tolist())
MELT = Ramp((RampPoint(0.0, 20.0), RampPoint(0.5, 120.0), RampPoint(1.0, 20.0)), steps=40)
SQUEEZE = Ramp((RampPoint(0.0, 40.0, 0.0), RampPoint(1.0, 40.0, 3.0)), steps=40)
STRAIN = Ramp(
    (RampPoint(0.0, 40.0, strain=(0.01, 0, 0, 0, 0, 0)), RampPoint(1.0, 40.0, strain=(0.05, 0, 0, 0, 0, 0.02))),
    40,
    CELL,
)


def argon() -> LennardJones:
    return LennardJones(epsilon=0.0104, sigma=3.40, rc=5.0, smooth=True, ro=4.0)


def walker(ramp, pressure_GPa=None):
    condition = Condition("argon", ramp.points[0].temperature_K, pressure_GPa, ramp="ramp")
    return begin(1, "w00", condition, START, WalkerSeed(3, 1, 0), ramp).walker


@pytest.mark.parametrize(
    ("ramp", "ensemble", "pressure"),
    [(MELT, Langevin(), None), (STRAIN, Langevin(), None), (SQUEEZE, NPT(barostat_time_fs=100.0), 0.0)],
)
def test_a_split_ramp_is_the_whole_one_bit_for_bit(tmp_path, ramp, ensemble, pressure):
    whole = advance(walker(ramp, pressure), argon(), 25, ensemble, ramp=ramp)
    first = advance(walker(ramp, pressure), argon(), 13, ensemble, ramp=ramp)
    write_exploration(tmp_path / "w.h5", Exploration(1, first))
    again = advance(read_exploration(tmp_path / "w.h5").walker, argon(), 12, ensemble, ramp=ramp)
    assert (again.atoms.positions == whole.atoms.positions).all()
    assert (again.atoms.get_momenta() == whole.atoms.get_momenta()).all()
    assert (again.atoms.cell.array == whole.atoms.cell.array).all()
    assert again.condition == whole.condition == Condition("argon", ramp.points[0].temperature_K, pressure, "ramp")


def test_temperature_and_pressure_change_linearly_between_points_and_hold_at_the_end():
    at = [MELT.condition(Condition("argon", 20.0), step).temperature_K for step in (0, 10, 20, 30, 40, 400)]
    assert at == pytest.approx([20.0, 70.0, 120.0, 70.0, 20.0, 20.0])
    assert SQUEEZE.condition(Condition("argon", 40.0, 0.0), 20).pressure_GPa == pytest.approx(1.5)


def test_the_thermostat_follows_the_ramp():
    hot = Ramp((RampPoint(0.0, 10.0), RampPoint(1.0, 400.0)), steps=300)
    moved = advance(walker(hot), argon(), 300, Langevin(timestep_fs=2.0, friction_per_fs=0.05), ramp=hot)
    assert moved.atoms.get_temperature() > 100.0


def test_the_barostat_follows_the_ramp():
    plain = advance(walker(SQUEEZE, 0.0), argon(), 40, NPT(barostat_time_fs=50.0))
    squeezed = advance(walker(SQUEEZE, 0.0), argon(), 40, NPT(barostat_time_fs=50.0), ramp=SQUEEZE)
    assert squeezed.barostat[0] < plain.barostat[0]


def test_a_strain_sweep_has_the_cell_of_its_step_whatever_went_before():
    moved = advance(walker(STRAIN), argon(), 40, ramp=STRAIN)
    strain = np.array([[0.05, 0.02, 0.0], [0.02, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert moved.atoms.cell.array == pytest.approx(START.cell.array @ (np.eye(3) + strain), abs=1e-12)
    assert walker(STRAIN).atoms.cell.array[0, 0] == pytest.approx(5.3 * 1.01)
    state = Exploration(1, remember(walker(STRAIN)))
    state = replace(state, walker=replace(state.walker, step=40))
    sent = back(state, Mishap(40, "force", ""), START, WalkerSeed(3, 1, 0), STRAIN).walker
    assert (sent.atoms.cell.array == moved.atoms.cell.array).all()


def test_a_walker_that_is_sent_back_has_momenta_of_its_place_on_the_ramp():
    hot = Ramp((RampPoint(0.0, 1.0), RampPoint(1.0, 1e4)), steps=40)
    state = Exploration(1, replace(walker(hot), step=40))
    sent = back(state, Mishap(40, "force", ""), START, WalkerSeed(3, 1, 0), hot).walker
    assert sent.atoms.get_temperature() > 1e3
    assert sent.condition.temperature_K == 1.0


def test_health_knows_the_temperature_of_the_step():
    """A walker at the hot end of its ramp is not too hot for its beginning."""
    hot = Ramp((RampPoint(0.0, 1.0), RampPoint(1.0, 80.0)), steps=60)
    settings = ExploreSettings(steps=60, snapshot_every=20, ensemble=Langevin(5.0, 0.2), ramp=hot)
    calculator = argon()

    def potential(atoms):
        return calculator.get_property("energy", atoms), calculator.get_property("forces", atoms)

    scores = Scores(0.0, 0.0, 0.0, 0.0, 0.0)
    seed = WalkerSeed(3, 1, 0)
    state = begin(1, "w00", Condition("argon", 1.0, ramp="r"), START, seed, hot)
    done = explore(state, calculator, potential, lambda _: scores, START, settings, seed)
    assert not done.mishaps
    assert {str(s.condition) for s in done.snapshots} == {"argon, r"}
    assert done.walker.atoms.get_temperature() > 20.0
