"""A study's file: what is wrong in it is told by file and key, with what is legal, before anything is computed."""

import shutil
import tomllib

import pytest
import tomli_w
from ase.build import bulk, molecule
from ase.io import write

from support.paths import EXAMPLES
from tentpole.benchmarks.sampling import read_study
from tentpole.benchmarks.sampling.config import study_from_json, study_to_json
from tentpole.benchmarks.sampling.keys import study_keys_page
from tentpole.errors import InputError

EXAMPLE = EXAMPLES / "12_sampling" / "study.toml"


@pytest.fixture
def study_file(tmp_path):
    """Writes the example with changes: keys with dots name what is inside tables, None takes it out."""

    def make(**changes):
        shutil.copy(EXAMPLE.parent / "copper.xyz", tmp_path)
        content = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
        for key, value in changes.items():
            *path, last = key.split(".")
            inside = content
            for word in path:
                inside = inside[int(word)] if isinstance(inside, list) else inside.setdefault(word, {})
            if value is None:
                del inside[last]
            else:
                inside[last] = value
        path = tmp_path / "study.toml"
        path.write_text(tomli_w.dumps(content), encoding="utf-8")
        return path

    return make


def test_the_example_is_read_and_comes_back_from_its_settings():
    study = read_study(EXAMPLE)
    assert [str(walker.condition) for walker in study.walkers] == [
        "fcc, 300 K", "fcc, 1200 K", "dense, 300 K", "dense, 1200 K",
    ]  # fmt: skip
    assert study.starts["dense"].get_volume() == pytest.approx(0.9 * study.starts["fcc"].get_volume())
    again = study_from_json(study_to_json(study))
    assert again.config == study.config
    assert list(again.config.policies) == list(study.config.policies)
    assert all(again.starts[name] == atoms for name, atoms in study.starts.items())


def test_the_page_of_keys_is_the_one_that_is_made_and_says_something_of_every_key():
    page = study_keys_page()
    assert (EXAMPLE.parent / "KEYS.md").read_text(encoding="utf-8") == page, "tentpole keys sampling > …/KEYS.md"
    assert "## `[policies.NAME]`" in page
    assert '## `[tests.NAME]` with `kind = "strained"`' in page
    assert 'settings of `rule = "band"`' in page
    assert not [line for line in page.splitlines() if line.endswith("|  |")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"techer": "emt"}, ['unknown key "techer"', 'did you mean "teacher"']),
        ({"teacher": "emtt"}, ["teacher", 'did you mean "emt"']),
        ({"teacher": None}, ["teacher: is missing"]),
        ({"driver": "comittee"}, ["driver", "comittee", '"teacher", "committee"']),
        ({"driver": "none.toml"}, ["driver", "no such reference file"]),
        ({"baseline": "randon"}, ["baseline", 'did you mean "random"']),
        ({"policies.band.rule": "bnad"}, ["policies.band", 'did you mean "band"']),
        ({"policies.band.ruel": "band"}, ["policies.band", 'did you mean "rule"']),
        ({"policies.band.settings": {"low": 0.5, "high": 0.1}}, ["policies.band", "low < high"]),
        ({"policies.band.settings": {"lwo": 0.5}}, ["policies.band", "lwo"]),
        ({"policies.filter.ratio": -0.1}, ["policies.filter.ratio", "0 or more", "-0.1"]),
        ({"policies.filter.ratio": float("nan")}, ["policies.filter.ratio", "finite"]),
        ({"policies.band.first": "uncertainty"}, ["policies.band", "first", "random"]),
        ({"policies": {}}, ["policies"]),
        ({"members": 1}, ["policies.band", "members = 1", "2 or more"]),
        ({"sizes": [20, 10]}, ["sizes", "larger than the one before"]),
        ({"sizes": [10, 1000]}, ["sizes end at 1000", "160 candidates", "explore.steps"]),
        ({"sizes": []}, ["sizes", "at least 1 entry"]),
        ({"draws": [0, 0]}, ["draws", "once"]),
        ({"draws": [-1]}, ["draws.0", "0 or more"]),
        ({"structures": []}, ["structures", "at least 1 entry"]),
        ({"structures.0.file": "nickel.xyz"}, ["structures.0.file", "no such file"]),
        ({"explore.temperatures_K": []}, ["explore.temperatures_K"]),
        ({"explore.temperatures_K": [float("inf")]}, ["explore.temperatures_K.0", "finite"]),
        ({"explore.pressures_GPa": [1.0]}, ["explore", "npt"]),
        ({"explore.steps": 3}, ["explore", "steps = 3"]),
        ({"explore.walkers": 3}, ["explore", 'unknown key "walkers"']),
        ({"explore.temperatures_K": None, "explore.conditions": [{"structure": "hcp", "temperature_K": 300}]},
         ["explore.conditions", "hcp", "dense, fcc"]),
        ({"explore.temperatures_K": None, "explore.conditions": [
            {"structure": "fcc", "temperature_K": 300, "ratio": 0.3}]}, ["explore", "ratio is a policy's"]),
        ({"fingerprint": {"kind": "mace"}}, ["fingerprint.kind", '"gom" is legal']),
        ({"training.channles": 4}, ["training", 'did you mean "channels"']),
        ({"training.lr": float("nan")}, ["training.lr", "finite"]),
        ({"training.loop": "mace"}, ["training.loop", '"stacked" is legal']),
        ({"tests": {}}, ["tests"]),
        ({"tests.md.kind": "mdd"}, ["tests.md", "mdd", "strained"]),
        ({"tests.hot.heat": 0}, ["tests.hot", "more than 0"]),
        ({"tests.own": {"kind": "file", "file": "none.xyz"}}, ["tests.own.file", "no such file"]),
        ({"tests.validation": {"kind": "md"}}, ["tests", "validation"]),
        ({"tests.pretraining": {"kind": "md"}}, ["tests", "pretraining", "choose another name"]),
        ({"pretraining": {"reference": "emt"}}, ["pretraining.reference", '"emt" is the teacher']),
        ({"pretraining": {"reference": "ljj"}}, ["pretraining.reference", 'did you mean "lj"']),
        ({"pretraining": {"reference": "lj", "freams": 20}}, ["pretraining", 'did you mean "frames"']),
        ({"pretraining": {"reference": "lj", "frames": 3}}, ["pretraining.frames", "10 or more"]),
        ({"pretraining": {"reference": "lj"}, "training.E0s": {"Cu": -1.0}}, ["training.E0s", '"average" is legal']),
        ({"driver": "committee", "pretraining": {"reference": "lj"}, "sizes": [200, 210]}, ["up to 200 frames"]),
        ({"tests.hot.make": [{"kind": "substitution", "element": "Ni", "by": "Au"}]}, ["tests.hot: make", "Ni"]),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_file_and_key(study_file, changes, words):
    path = study_file(**changes)
    with pytest.raises(InputError) as caught:
        read_study(path)
    for word in (str(path.name), *words):
        assert word in str(caught.value)


def test_a_test_file_holds_the_elements_of_the_study(study_file, tmp_path):
    write(tmp_path / "gold.xyz", bulk("Au"), format="extxyz")
    with pytest.raises(InputError, match=r"tests\.own: frame 0 holds Au"):
        read_study(study_file(**{"tests.own": {"kind": "file", "file": "gold.xyz"}}))


def test_cells_that_are_none_are_not_strained_and_a_charge_that_is_wanted_is_asked_for(study_file, tmp_path):
    write(tmp_path / "water.xyz", molecule("H2O"), format="extxyz")
    water = [{"file": "water.xyz"}]
    with pytest.raises(InputError, match=r"tests\.strained: no structure is periodic"):
        read_study(study_file(structures=water, teacher="mock"))
    with pytest.raises(InputError, match="needs the charge"):
        read_study(study_file(structures=water, teacher="xtb"))
