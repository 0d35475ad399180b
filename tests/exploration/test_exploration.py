"""Walkers: state in, state out; health; one round of exploration that can be cut anywhere."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from tentpole import Committee, CommitteeCalculator, EntropyBias
from tentpole.committee.neighbourhood import UnusableGeometry, check_finite
from tentpole.errors import StateError
from tentpole.exploration import (
    Exploration,
    ExploreSettings,
    HealthLimits,
    Langevin,
    WalkerSeed,
    advance,
    begin,
    check,
    explore,
    init_walker,
    remember,
    send_back,
)
from tentpole.exploration import files as shards
from tentpole.exploration.health import geometry
from tentpole.exploration.initial import isolated_atoms
from tentpole.records import Condition, Scores, Walker, own_state
from tentpole.testing import tiny_committee

WATER = Condition("water", 300.0)
SEED = WalkerSeed(1, 2, 0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_committee(tmp_path_factory.mktemp("models"))


def water(seed: int = 3) -> Walker:
    return init_walker("w00", WATER, molecule("H2O"), np.random.default_rng(seed))


def calculators(models: Path) -> dict[str, object]:
    def committee() -> CommitteeCalculator:
        return CommitteeCalculator(Committee.load(models))

    return {"plain": committee(), "biased": EntropyBias(committee(), ratio=0.3)}


def same(a: Walker, b: Walker) -> bool:
    equal = (a.atoms.positions == b.atoms.positions).all() and (a.atoms.get_momenta() == b.atoms.get_momenta()).all()
    return bool(equal) and a.rng == b.rng and a.step == b.step and a.bias_strength == b.bias_strength


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "biased"])
def test_a_split_trajectory_is_the_whole_one_bit_for_bit(models: Path, kind: str) -> None:
    whole = advance(water(), calculators(models)[kind], 24, Langevin(timestep_fs=0.5))
    for split in (12, 9, 1):
        calc = calculators(models)[kind]
        first = advance(water(), calc, split, Langevin(timestep_fs=0.5))
        in_one_process = advance(first, calc, 24 - split, Langevin(timestep_fs=0.5))
        in_another = advance(first, calculators(models)[kind], 24 - split, Langevin(timestep_fs=0.5))
        assert same(whole, in_one_process)
        assert same(whole, in_another)
    assert (whole.bias_strength is not None) == (kind == "biased")


def test_advance_leaves_the_walker_it_was_given_alone() -> None:
    atoms = bulk("Cu", cubic=True)
    walker = init_walker("w00", Condition("Cu", 300.0), atoms, np.random.default_rng(0))
    before = walker.atoms.positions.copy()
    advance(walker, EMT(), 5)
    assert (walker.atoms.positions == before).all()


@pytest.mark.slow
def test_langevin_reaches_its_temperature() -> None:
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    walker = init_walker("w00", Condition("Cu", 500.0), atoms, np.random.default_rng(0))
    settings = Langevin(timestep_fs=4.0, friction_per_fs=0.02)
    temperatures = []
    for _ in range(24):
        walker = advance(walker, EMT(), 10, settings)
        temperatures.append(walker.atoms.get_temperature())
    assert np.mean(temperatures[6:]) == pytest.approx(500, rel=0.1)


def test_a_walker_sent_back_twice_goes_back_further() -> None:
    walker, start = water(), molecule("H2O")
    places = []
    for shift in (0.1, 0.2):
        moved = walker.atoms.copy()
        moved.positions += shift
        walker = remember(replace(walker, atoms=moved, step=walker.step + 10))
        places.append(moved.positions.copy())
    once = send_back(walker, start, np.random.default_rng(1))
    twice = send_back(once, start, np.random.default_rng(2))
    thrice = send_back(twice, start, np.random.default_rng(3))
    assert (once.atoms.positions == places[1]).all()
    assert (twice.atoms.positions == places[0]).all()
    assert (thrice.atoms.positions == start.positions).all()
    assert once.step == walker.step
    assert not (once.atoms.get_momenta() == walker.atoms.get_momenta()).all()


def test_every_kind_of_ill_health_has_its_reason() -> None:
    atoms, none = bulk("Cu", cubic=True), np.zeros((4, 3))
    limits = HealthLimits()
    assert check(atoms, 0.0, none, limits) is None
    broken = atoms.copy()
    broken.positions[0, 0] = np.nan
    squeezed, hot, close = atoms.copy(), atoms.copy(), atoms.copy()
    squeezed.set_cell(squeezed.cell * 0.7, scale_atoms=True)
    hot.set_velocities(np.full((4, 3), 0.5))
    close.positions[1] = close.positions[0] + [0.5, 0, 0]
    sheared = atoms.copy()
    sheared.set_cell(sheared.cell.array @ np.array([[1, 0, 0], [0, 1, 0], [2.5, 0, 1]]), scale_atoms=True)
    pulled = none.copy()
    pulled[2, 1] = 80.0
    volume = atoms.get_volume()
    found = {
        check(broken, 0.0, none, limits).reason,
        check(atoms, float("nan"), none, limits).reason + " energy",
        check(atoms, 0.0, pulled, limits).reason,
        check(atoms, 20.0, none, limits, start_energy=0.0).reason,
        check(hot, 0.0, none, limits, temperature_K=300.0).reason,
        check(squeezed, 0.0, none, limits, start_volume=volume).reason,
        check(close, 0.0, none, limits).reason,
        check(sheared, 0.0, none, limits, start_height=3.61).reason,
    }
    assert found == {
        "flat cell",
        "non-finite",
        "non-finite energy",
        "force",
        "energy",
        "temperature",
        "volume",
        "close contact",
    }


def test_an_atom_too_close_to_its_own_image_is_a_close_contact_and_a_skewed_cell_of_the_same_lattice_is_none() -> None:
    """Cells may be shorter than the cutoff: what a collapsed height does wrong is to bring images together."""
    crystal = bulk("Cu")
    assert min(2 * np.pi / np.linalg.norm(v) for v in 2 * np.pi * crystal.cell.reciprocal()) < 2.1
    assert geometry(crystal, HealthLimits()) is None
    squeezed = crystal.copy()
    squeezed.set_cell(squeezed.cell.array @ np.diag([1, 1, 0.3]), scale_atoms=True)
    found = geometry(squeezed, HealthLimits())
    assert found is not None
    assert (found.reason, found.message[:15]) == ("close contact", "Cu0-Cu0 at 1.08")
    skewed = crystal.copy()
    skewed.set_cell(np.array([[1, 0, 0], [3, 1, 0], [0, 0, 1]]) @ crystal.cell.array)
    assert geometry(skewed, HealthLimits()) is None


def test_a_molecule_that_falls_apart_is_noticed_where_asked() -> None:
    two = Atoms("H2O2", [(0, 0, 0), (0.9, 0, 0), (0.4, 0.9, 0), (0.4, 4.9, 0)])
    assert geometry(two, HealthLimits()) is None
    assert geometry(two, HealthLimits(max_gap_A=3.0)).reason == "fell apart"


def exploration(until: int = 60) -> tuple[Exploration, dict[str, object]]:
    start = bulk("Cu", cubic=True)
    start.rattle(0.05, seed=1)

    def physical(atoms: Atoms) -> tuple[float, np.ndarray]:
        again = atoms.copy()
        again.calc = EMT()
        return again.get_potential_energy(), again.get_forces()

    def scorer(atoms: Atoms) -> Scores:
        spread = float(np.abs(atoms.positions - start.positions).max())
        return Scores(0.1, 0.1, spread, 2 * spread, 0.5)

    settings = ExploreSettings(steps=until, snapshot_every=10, max_force_std_eV_per_A=0.2)
    keywords = {"physical": physical, "scorer": scorer, "start": start, "settings": settings, "seed": SEED}
    return begin(1, "w00", Condition("Cu", 900.0), start, SEED), keywords


def test_too_uncertain_a_frame_is_no_snapshot_and_sends_the_walker_back() -> None:
    state, keywords = exploration(200)
    result = explore(state, EMT(), **keywords)
    assert result.done == 200
    assert result.mishaps
    assert {mishap.reason for mishap in result.mishaps} == {"too uncertain"}
    assert all(score.max_force_std <= 0.2 for score in result.scores)
    regular = [s for s in result.snapshots if not s.before_mishap]
    assert len(regular) + len(result.mishaps) == 20
    assert all(s.step % 10 == 0 for s in regular)


def test_the_last_sound_frame_before_a_mishap_is_kept_and_flagged(tmp_path: Path) -> None:
    state, keywords = exploration(60)
    result = explore(state, EMT(), **keywords)
    kept = [s for s in result.snapshots if s.before_mishap]
    assert kept
    mishaps = [mishap.step for mishap in result.mishaps]
    for snapshot in kept:
        assert snapshot.step % 10
        assert min(step for step in mishaps if step > snapshot.step) - snapshot.step < 10
    assert [s.id for s in result.snapshots] == sorted(s.id for s in result.snapshots)
    without = replace(keywords["settings"], keep_last_sound=False)
    plain = explore(state, EMT(), **keywords | {"settings": without})
    assert [s.id for s in plain.snapshots] == [s.id for s in result.snapshots if not s.before_mishap]
    shards.write_exploration(tmp_path / "x.h5", result)
    read = shards.read_exploration(tmp_path / "x.h5")
    assert [s.before_mishap for s in read.snapshots] == [s.before_mishap for s in result.snapshots]


class Breaks(EMT):
    """EMT whose forces are `value` from the third call on."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value, self.calls = value, 0

    def calculate(self, *args: object) -> None:
        check_finite(args[0].positions, args[0].cell.array)
        super().calculate(*args)
        self.calls += 1
        if self.calls > 2:
            self.results["forces"] = np.full_like(self.results["forces"], self.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_step_with_forces_that_are_not_finite_is_a_mishap_at_once(value: float) -> None:
    state, keywords = exploration(20)
    result = explore(state, Breaks(value), **keywords)
    assert result.mishaps[0].step == 2
    assert result.done == 20


def test_a_committee_asked_about_absurd_positions_answers_at_once(models: Path) -> None:
    calculator = CommitteeCalculator(Committee.load(models))
    atoms = molecule("H2O")
    atoms.positions[1, 0] = np.nan
    with pytest.raises(UnusableGeometry, match=r"atoms \[1\] of 3 atoms are not"):
        calculator.get_property("forces", atoms)
    atoms.positions[1, 0] = 1e8
    with pytest.raises(UnusableGeometry, match=r"1e\+08 Å apart"):
        calculator.get_property("forces", atoms)
    assert geometry(atoms, HealthLimits()).reason == "geometry"
    tiny = Atoms("H", cell=[0.05] * 3, pbc=True)
    assert "neighbours per atom" in geometry(tiny, HealthLimits()).message


@pytest.mark.slow
def test_an_exploration_cut_at_any_snapshot_ends_the_same(tmp_path: Path) -> None:
    state, keywords = exploration()
    saved: list[Exploration] = []
    whole = explore(state, EMT(), **keywords, on_progress=saved.append)
    for number, cut in enumerate(saved[:-1]):
        path = tmp_path / f"{number}.h5"
        shards.write_exploration(path, cut)
        resumed = explore(shards.read_exploration(path), EMT(), **keywords)
        # EMT's neighbour list remembers; a fresh one sums in another order, in the last digits
        assert np.allclose(resumed.walker.atoms.positions, whole.walker.atoms.positions, atol=1e-9)
        assert [s.id for s in resumed.snapshots] == [s.id for s in whole.snapshots]
        assert resumed.walker.rng == whole.walker.rng


def test_a_shard_comes_back_bit_for_bit_with_constraints_and_ring(tmp_path: Path) -> None:
    state, keywords = exploration()
    result = explore(state, EMT(), **keywords)
    shards.write_exploration(tmp_path / "x.h5", result)
    read = shards.read_exploration(tmp_path / "x.h5")
    assert same(read.walker, result.walker)
    assert [c.todict() for c in read.walker.atoms.constraints] == [c.todict() for c in result.walker.atoms.constraints]
    assert [step for step, *_ in read.walker.ring] == [step for step, *_ in result.walker.ring]
    assert read.scores == result.scores
    assert read.mishaps == result.mishaps


def test_walkers_snapshots_and_shards_keep_the_moments_of_their_start(tmp_path: Path) -> None:
    state, keywords = exploration(40)
    moments = [1.0, -1.0] * (len(keywords["start"]) // 2)
    keywords["start"].set_initial_magnetic_moments(moments)
    result = explore(begin(1, "w00", Condition("Cu", 900.0), keywords["start"], SEED), EMT(), **keywords)
    shards.write_exploration(tmp_path / "x.h5", result)
    read = shards.read_exploration(tmp_path / "x.h5")
    found = [read.walker.atoms, *(atoms for _, atoms, _ in read.walker.ring), *(s.atoms for s in read.snapshots)]
    assert len(found) > 3
    assert all(atoms.get_initial_magnetic_moments().tolist() == moments for atoms in found)
    shards.write_exploration(tmp_path / "plain.h5", explore(state, EMT(), **exploration(40)[1]))
    assert not shards.read_exploration(tmp_path / "plain.h5").walker.atoms.has("initial_magmoms")


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_shard_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    state, keywords = exploration(20)
    path = tmp_path / "r001-w00.h5"
    shards.write_exploration(path, explore(state, EMT(), **keywords))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes({"flip": bytes(data), "cut": bytes(data[:-100]), "empty": b""}[damage])
    with pytest.raises(StateError, match=r"r001-w00\.h5"):
        shards.read_exploration(path)


def test_isolated_atoms_have_room_and_the_state_of_their_ground_state():
    starts = [molecule("H2O"), molecule("CH4")]
    alone = isolated_atoms(starts, 6.0, (1, None))
    assert [str(atoms.symbols) for atoms in alone] == ["H", "C", "O"]
    assert [own_state(atoms) for atoms in alone] == [(0, None)] * 3
    assert not any(atoms.pbc.any() for atoms in alone)
    crystal = isolated_atoms([bulk("Fe")], 14.0, (0, 1))[0]
    assert crystal.pbc.all()
    assert crystal.cell.lengths().tolist() == [17.0] * 3
    assert own_state(crystal) == (0, 5)
    assert own_state(isolated_atoms([bulk("Fe")], 4.0)[0]) == (None, None)
