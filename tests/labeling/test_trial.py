"""One single point before a campaign: what it costs, or why it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ase.build import molecule

from tentpole.errors import InputError
from tentpole.labeling import load
from tentpole.labeling.mock import morse
from tentpole.labeling.trial import Trial, trial

WATER = molecule("H2O")


def test_a_trial_times_and_weighs_one_label(tmp_path: Path) -> None:
    path = tmp_path / "slow.toml"
    path.write_text('parent = "mock"\n[parameters]\nseconds = 0.3\n')
    result = trial(load(path), WATER)
    assert result.ok, result.message
    assert 0.3 <= result.seconds < 3
    assert 0.02 < result.peak_memory_GB < 2
    assert result.energy_eV == pytest.approx(morse(WATER, 1.0, 1.5, 5.0)["energy"])
    assert result.configuration.found == ("Python module tentpole.labeling.mock",)


def test_the_projection_shares_labels_among_workers() -> None:
    one = Trial("x", load("mock").code.configuration("math:x"), True, seconds=36.0, start_s=360.0)
    assert one.projected_hours(1000, 10) == pytest.approx(0.1 + 1.0)


def test_a_trial_that_fails_says_why(tmp_path: Path) -> None:
    path = tmp_path / "failing.toml"
    path.write_text('parent = "mock"\n[parameters]\nunconverged_fraction = 1.0\n')
    result = trial(load(path), WATER)
    assert (result.ok, result.reason) == (False, "unconverged")
    with pytest.raises(InputError, match="charge"):
        trial(load("xtb"), WATER)


def test_a_program_that_is_not_configured_is_not_run(machine: Any) -> None:
    result = trial(load("aims", elements=("H", "O")), WATER, 0, 1)
    assert (result.ok, result.reason) == (False, "not_configured")
    assert "[aims] command" in result.message
    assert "default_species_directory = " in result.configuration.add
