"""GPAW, where it is installed: a real label, and an SCF that runs out of steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from tentpole.labeling import Task, compute, load
from tentpole.storage.labels import label_files, read_label

pytestmark = pytest.mark.slow

DEBIAN = Path("/usr/share/gpaw-setups")  # where Debian's gpaw-data puts the PAW setups
CHEAP = 'parent = "gpaw"\n[parameters]\nk_spacing_per_A = 2.0\nmode = { name = "pw", ecut = 150.0 }\n'


@pytest.fixture
def gpaw() -> Iterator[None]:
    package = pytest.importorskip("gpaw")
    if not DEBIAN.is_dir():
        pytest.skip("no PAW setups")
    package.setup_paths.insert(0, str(DEBIAN))  # GPAW reads GPAW_SETUP_PATH once, when it is imported
    yield
    package.setup_paths.remove(str(DEBIAN))


@pytest.mark.real
def test_silicon_is_labelled_and_an_unconverged_scf_is_not(gpaw: None, tmp_path: Path) -> None:
    silicon = bulk("Si")
    silicon.rattle(0.05, seed=1)
    path = tmp_path / "cheap.toml"
    path.write_text(CHEAP)
    reference = load(path, elements=("Si",))
    outcome = compute(Task(tmp_path, reference, silicon, 0))
    assert outcome.ok, outcome.message
    label = read_label(next(label_files(tmp_path)))
    assert np.abs(label.forces.sum(axis=0)).max() < 0.01
    assert label.stress is not None
    assert label.details["energy"] == "free_energy"
    path.write_text(CHEAP + 'maxiter = 3\n[[retry]]\nname = "no better"\nmaxiter = 4\n')
    hasty = load(path, elements=("Si",))
    assert hasty.hash == reference.hash  # maxiter is no physics
    other = silicon.copy()
    other.rattle(0.01, seed=2)
    outcome = compute(Task(tmp_path, hasty, other, 0))
    assert (outcome.ok, outcome.reason) == (False, "unconverged")


def test_charge_spin_and_k_points_are_as_stated(tmp_path: Path) -> None:
    path = tmp_path / "boxed.toml"
    path.write_text('parent = "gpaw"\n[parameters]\nbox_A = 8.0\n')
    hydroxide = Atoms("OH", molecule("OH").positions)  # ASE's own carries the moment of the radical
    setup = load(path).setup(hydroxide, -1, 1, tmp_path)
    assert (setup.keywords["charge"], setup.keywords["spinpol"]) == (-1, False)
    assert setup.keywords["kpts"] == {"size": (1, 1, 1), "gamma": True}
    assert setup.keywords["txt"] == str(tmp_path / "gpaw.txt")
    radical = load(path).setup(molecule("OH"), 0, 2, tmp_path)
    assert radical.keywords["spinpol"] is True
    assert radical.keywords["occupations"]["fixmagmom"] is True
    assert radical.atoms.get_initial_magnetic_moments().sum() == pytest.approx(1)
