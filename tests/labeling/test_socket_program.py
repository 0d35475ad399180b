"""One pw.x for many labels: the same numbers, and its verdicts read label by label."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk

from tentpole.errors import InputError
from tentpole.labeling import Task, compute, load
from tentpole.labeling import socket_program as serving
from tentpole.storage.labels import find_label, read_label

pytestmark = pytest.mark.slow

PSEUDO = Path("/usr/share/espresso/pseudo")
real = pytest.mark.skipif(shutil.which("pw.x") is None or not PSEUDO.is_dir(), reason="pw.x is not installed")
CHEAP = """parent = "espresso"
[parameters]
k_spacing_per_A = 1.2
[parameters.input_data.system]
ecutwfc = 16.0
ecutrho = 128.0
"""


@pytest.fixture
def espresso(machine: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    machine.configure(f"[espresso]\ncommand = pw.x\npseudo_dir = {PSEUDO}\n")
    yield machine
    serving.end()


@real
@pytest.mark.real
def test_a_program_that_stays_gives_the_labels_of_fresh_ones(espresso: Any, tmp_path: Path) -> None:
    path = tmp_path / "cheap.toml"
    path.write_text(CHEAP)
    reference = load(path, elements=("Si",))
    made: dict[bool, list[Any]] = {False: [], True: []}
    for persistent in made:
        for seed in range(3):
            silicon = bulk("Si")
            silicon.rattle(0.05, seed=seed)
            root = tmp_path / str(persistent)
            outcome = compute(Task(root, reference, silicon, 0, persistent=persistent))
            assert outcome.ok, outcome.message
            made[persistent].append(read_label(find_label(root, *outcome.name.split("-"))))
    for fresh, stayed in zip(made[False], made[True], strict=True):
        assert stayed.energy == pytest.approx(fresh.energy, abs=1e-3)
        np.testing.assert_allclose(stayed.forces, fresh.forces, atol=5e-3)
        np.testing.assert_allclose(stayed.stress, fresh.stress, atol=1e-4)
        assert stayed.details["persistent"] is True
        assert stayed.details["scf_steps"] > 1
    assert made[True][0].details["version"]  # printed once, at the start


@real
@pytest.mark.real
def test_an_unconverged_scf_is_noticed_and_its_program_ended(espresso: Any, tmp_path: Path) -> None:
    path = tmp_path / "hasty.toml"
    last = '[[retry]]\nname = "hardly"\ninput_data.electrons.electron_maxstep = 3\n'
    path.write_text(CHEAP + "[parameters.input_data.electrons]\nelectron_maxstep = 2\n" + last)
    silicon = bulk("Si")
    silicon.rattle(0.05, seed=1)
    outcome = compute(Task(tmp_path, load(path, elements=("Si",)), silicon, 0, persistent=True))
    assert (outcome.ok, outcome.reason) == (False, "unconverged")
    output = tmp_path / "quarantine" / outcome.name / "espresso.pwo"
    assert "convergence NOT achieved" in output.read_text()
    assert not serving._running


def test_a_program_without_a_socket_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no socket interface"):
        compute(Task(tmp_path, load("mock"), bulk("Si"), persistent=True))
