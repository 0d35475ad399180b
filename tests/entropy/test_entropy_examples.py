"""The examples of the entropy core run, shortened, and show what they say."""

import importlib.util

import numpy as np
import pytest
from ase.calculators.lj import LennardJones

from support.paths import EXAMPLES

pytestmark = pytest.mark.slow


def example(name):
    spec = importlib.util.spec_from_file_location(name.split("_", 1)[1], EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bias_any_calculator_spreads_the_fingerprints(tmp_path):
    result = example("03_bias_any_calculator").main(steps=60, out=tmp_path / "spread.png")
    assert result["biased"] > result["plain"]
    assert (tmp_path / "spread.png").stat().st_size > 10_000


def test_silicon_entropy_with_a_stand_in_for_chgnet(tmp_path):
    """The example's whole path at eight atoms, a pair potential driving; its numbers are then not silicon's."""
    module = example("04_silicon_entropy")
    settings = {
        "steps": 10,
        "out": tmp_path,
        "ratios": (0.0, 0.3),
        "temperatures_K": (300.0,),
        "repeat": 1,
        "driver": lambda: LennardJones(sigma=2.0, epsilon=0.2, rc=5.0, smooth=True),
        "quests": False,
    }
    rows = module.main(**settings)
    assert [row["ratio"] for row in rows] == [0.0, 0.3]
    assert rows[0]["logdet_above_plain"] == 0.0
    assert all(np.isfinite(row["logdet"]) for row in rows)
    assert (tmp_path / "silicon_entropy.png").stat().st_size > 10_000
    settings["driver"] = pytest.fail  # the walks are in the folder: nothing walks again
    assert module.main(**settings) == rows


def test_silicon_entropy_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "chgnet.model", None)
    with pytest.raises(SystemExit, match="pip install"):
        example("04_silicon_entropy").chgnet()
