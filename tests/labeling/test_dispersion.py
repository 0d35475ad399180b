"""D3 and D4 as references: their packages are an extra, and what is missing is said."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ase.build import molecule

from tentpole.committee.baseline import Baseline
from tentpole.errors import InputError
from tentpole.labeling import load


@pytest.mark.parametrize(("name", "energy_eV"), [("d3", -0.009782), ("d4", -0.005358)])
def test_water_has_the_energy_that_the_package_gives(name: str, energy_eV: float) -> None:
    pytest.importorskip(f"dft{name}")
    found = Baseline(name, charge=0).of(molecule("H2O"))
    assert found[0] == pytest.approx(energy_eV, abs=2e-6)
    assert np.abs(found[1].sum(axis=0)).max() < 1e-8


def test_d4_counts_the_charge() -> None:
    pytest.importorskip("dftd4")
    water, baseline = molecule("H2O"), Baseline("d4", charge=0)
    neutral = baseline.of(water)[0]
    water.info["charge"] = 1
    assert baseline.of(water)[0] > 0.6 * neutral
    with pytest.raises(InputError, match="needs the charge"):
        Baseline("d4").of(molecule("H2O"))


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ["dftd3", *(name for name in sys.modules if name.startswith("dftd3."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r'pip install "tentpole\[dispersion\]"'):
        load("d3").calculator(atoms=molecule("H2O"))
