"""Calculators of a user's own around the driver: what moves walkers, what is kept of them, what judges."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones

from support.small_campaign import small_campaign
from tentpole.campaign.preflight import _stacked
from tentpole.config.loading import load, starting_structures
from tentpole.config.walkers import judged_walkers, walkers_of
from tentpole.errors import InputError
from tentpole.exploration import Exploration, advance, init_walker
from tentpole.exploration.files import read_exploration, write_exploration
from tentpole.exploration.jobs import Stacked
from tentpole.records import Condition


class Hills(Calculator):
    """Metadynamics of the first atom's height: a hill where it was, every third step."""

    implemented_properties = ("energy", "forces")

    def __init__(self, driver: Calculator, height_eV: float = 0.05) -> None:
        super().__init__()
        self.driver, self.height_eV = driver, height_eV
        self._hills: list[float] = []
        self._steps = 0

    def memory(self):
        return {"hills": self._hills, "steps": self._steps}

    def recall(self, memory):
        self._hills, self._steps = ([], 0) if memory is None else (memory["hills"], memory["steps"])

    def step(self, atoms):
        self._steps += 1
        if self._steps % 3 == 0:
            self._hills.append(float(atoms.positions[0, 2]))

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        forces = np.array(self.driver.get_property("forces", atoms))
        away = atoms.positions[0, 2] - np.array(self._hills)
        gauss = self.height_eV * np.exp(-(away**2) / 0.02)
        forces[0, 2] += float((gauss * away / 0.01).sum())
        energy = self.driver.get_property("energy", atoms) + float(gauss.sum())
        self.results = {"energy": energy, "forces": forces}


def argon():
    return LennardJones(sigma=3.4, epsilon=0.01, rc=5.0, smooth=True)


def walker():
    return init_walker("w00", Condition("Ar", 40.0), bulk("Ar", a=5.3, cubic=True), np.random.default_rng(0))


def test_a_memory_makes_a_split_trajectory_the_whole_one_bit_for_bit(tmp_path: Path):
    one, two, three = (Hills(argon()) for _ in range(3))
    whole = advance(walker(), one, 20, stacked=one)
    first = advance(walker(), two, 8, stacked=two)
    write_exploration(tmp_path / "w.h5", Exploration(1, first))
    again = advance(read_exploration(tmp_path / "w.h5").walker, three, 12, stacked=three)
    assert (again.atoms.positions == whole.atoms.positions).all()
    assert again.memory == whole.memory
    assert len(whole.memory["hills"]) == 6
    assert len(first.memory["hills"]) == 2  # the walker before stays as it was
    plain = advance(walker(), argon(), 20)
    assert abs(plain.atoms.positions - whole.atoms.positions).max() > 1e-4
    assert plain.memory is None


def test_a_factory_is_given_driver_start_and_parameters(tmp_path: Path, monkeypatch):
    (tmp_path / "my_factory.py").write_text(
        "def given(driver, atoms, scale):\n"
        "    driver.said = (len(atoms), scale)\n"
        "    return driver\n"
        "def nothing(driver, atoms):\n"
        "    return object()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert Stacked("my_factory:given", {"scale": 0.2}).around(argon(), walker().atoms).said == (4, 0.2)
    with pytest.raises(InputError, match="has no energy and no forces and no stress"):
        Stacked("my_factory:nothing", {}).around(argon(), walker().atoms, stress=True)
    with pytest.raises(InputError, match="gave object, which has no energy and no forces"):
        Stacked("my_factory:nothing", {}).around(argon(), walker().atoms)


def test_a_condition_has_one_walker_more_that_never_judges(tmp_path: Path, monkeypatch):
    (tmp_path / "my_bias.py").write_text("def spring(driver, atoms):\n    return driver\n")
    monkeypatch.syspath_prepend(tmp_path)
    explore = {"temperatures_K": [300.0, 600.0], "bias": {"ratios": [0.0]}, "steps": 30, "snapshot_every": 5}
    config = load(small_campaign(tmp_path, explore={**explore, "stacked": {"calculator": "my_bias:spring"}}))
    assert [w.stacked for w in walkers_of(config)] == [False, False, True, True]
    assert [w.id for w in judged_walkers(config)] == ["w00", "w01"]
    with pytest.raises(InputError, match=r"explore.stacked.calculator: .*no module my_other"):
        load(small_campaign(tmp_path, explore={**explore, "stacked": {"calculator": "my_other:spring"}}))


@pytest.mark.slow
def test_a_campaign_runs_with_a_calculator_around_the_driver(tmp_path: Path, monkeypatch):
    from tentpole import Campaign

    (tmp_path / "my_mixture.py").write_text(
        "from ase.calculators.emt import EMT\n"
        "from ase.calculators.mixing import MixedCalculator\n"
        "def half(driver, atoms, share):\n"
        "    return MixedCalculator(driver, EMT(), 1 - share, share)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    explore = {"steps": 10, "snapshot_every": 5, "bias": {"ratios": [0.0]}}
    stacked = {"calculator": "my_mixture:half", "parameters": {"share": 0.5}}
    path = small_campaign(tmp_path, stop={"rounds": 1}, explore={**explore, "stacked": stacked})
    with Campaign(path, tmp_path / "run") as campaign:
        campaign.run()
    plain, mixed = (
        read_exploration(tmp_path / "run" / "snapshots" / f"r001-{name}.h5").walker for name in ("w00", "w01")
    )
    assert mixed.step == plain.step
    asked = (tmp_path / "run" / "rounds" / "r001" / "batch.json").read_text()
    assert '"id": "r001-w00' in asked


OWN = """
from ase.calculators.lj import LennardJones

value = 1


def good(driver, atoms, scale=1.0):
    return LennardJones(sigma=1.5)


def bad(driver, atoms):
    raise RuntimeError("no such file of hills")


class Wild(LennardJones):
    def __init__(self, driver, atoms):
        super().__init__(sigma=1.5)

    def calculate(self, *given, **named):
        super().calculate(*given, **named)
        self.results["forces"] = self.results["forces"] * float("nan")
"""


def test_what_is_no_function_is_refused_and_what_it_makes_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_bias.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)

    def tried(name, **parameters):
        stacked = {"calculator": f"own_bias:{name}", "parameters": parameters}
        file = small_campaign(tmp_path, explore={"temperatures_K": [600.0], "stacked": stacked})
        config = load(file)
        line = next(_stacked(config, starting_structures(config, file)))
        return line.good, line.found

    with pytest.raises(InputError, match=r'calculator: "own_bias:value" is of type int: a function is wanted'):
        tried("value")
    assert tried("good", scale=2.0)[0]
    for name, words in (("bad", "no such file of hills"), ("Wild", "finite ones are wanted")):
        good, found = tried(name)
        assert not good
        assert words in found
    assert "unexpected keyword" in tried("good", scala=2.0)[1]
