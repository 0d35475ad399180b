"""The file of a study of policies: one TOML, every key checked before anything is computed."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from ase import Atoms
from ase.constraints import dict2constraint
from pydantic import AfterValidator, Field, model_validator

from tentpole.benchmarks.sampling.rules import RULES, WITHOUT_MODEL, make_policy_rule
from tentpole.config.loading import read_toml, resolve, starting_structures, with_kinds
from tentpole.config.schema import (
    CampaignConfig,
    Charge,
    ConditionSection,
    Count,
    FingerprintSection,
    HealthSection,
    LangevinSection,
    Made,
    Multiplicity,
    Name,
    NPTSection,
    Pressure,
    StructureSection,
    Temperatures,
)
from tentpole.config.sections import Section, read_as, validated
from tentpole.config.walkers import PlannedWalker, walkers_of
from tentpole.errors import InputError, unknown
from tentpole.exploration.variants import made
from tentpole.labeling import Reference, load
from tentpole.records import state_of, structure_hash
from tentpole.selection import Gradient, SelectionRule
from tentpole.storage.structures import atoms_from_json, atoms_to_json, read_structures
from tentpole.training.settings import MACESettings

VERSION = 1
EXAMPLE = "examples/12_sampling/study.toml"
TEACHER, COMMITTEE = "teacher", "committee"
"""What `driver` may be beside a reference."""
VALIDATION, PRETRAINING = "validation", "pretraining"
"""The set that trainings are stopped by, and what members are pretrained on; no test set may be called so."""
TABLES = ("policies", "tests")
"""Tables whose entries have an order, that of the study's file."""
POOL = 4
"""Rattled structures per frame of the first size that a committee's first frames are chosen from."""


class DriveSection(Section):
    """Conditions and length of the MD that makes the candidates.

    temperatures_K : one trajectory per structure, temperature and pressure.
    pressures_GPa : of the ensemble "npt"; 0 where none is stated.
    conditions : single conditions, each headed [[explore.conditions]], as in a campaign; no bias ratio of their own.
    steps : MD steps per condition and draw; with a committee that drives, per condition, draw and size.
    snapshot_every : steps between two candidates.
    equilibration : steps at the beginning of which no frame is a candidate; they count as MD.
    ensemble, health : as in a campaign.
    """

    temperatures_K: Temperatures = (300.0,)
    pressures_GPa: tuple[Pressure, ...] = ()
    conditions: tuple[ConditionSection, ...] = ()
    steps: Count = 500
    snapshot_every: Count = 10
    equilibration: Annotated[int, Field(ge=0, le=10**9)] = 0
    ensemble: Annotated[LangevinSection | NPTSection, Field(discriminator="kind")] = LangevinSection()
    health: HealthSection = HealthSection()

    @model_validator(mode="after")
    def _frames_are_left(self) -> DriveSection:
        if self.frames < 1:
            raise ValueError(
                f"steps = {self.steps}, of which {self.equilibration} equilibrate, leave no frame every "
                f"{self.snapshot_every} steps: make steps larger"
            )
        for one in self.conditions:
            if one.ratio is not None or one.rounds > 1:
                raise ValueError("conditions: ratio is a policy's, and a ramp takes one trajectory: leave both out")
        return self

    @property
    def frames(self) -> int:
        """Candidates of one trajectory."""
        return self.steps // self.snapshot_every - self.equilibration // self.snapshot_every


class PolicySection(Section):
    """A policy: how frames are driven, and which of them are kept.

    ratio : RMS of the bias forces over that of the physical ones; 0: plain MD.
    entropy : what the bias raises, as in a campaign. The dataset is the policy's own so far where its committee drives,
        else the starting structures.
    bias_eps : ε of the bias's entropy, a variance in squared units of the fingerprint.
    rule : a selection rule of a campaign, or "band" (DP-GEN), "moving_mean" (aims-PAX), "entropy_filter"
        (arXiv:2605.20384).
    settings : of the rule.
    mode : of the covariance that gains are taken from, "per-atom" or "per-config"; that of [fingerprint] where none.
    sigma : what a frame's σ is of its atoms': "mean", "max", "p95", "auto" as in a campaign; "max" for band and
        moving_mean where none is stated, else "auto".
    even : the rule chooses under each condition, so many that every condition has an equal share of all labels.
    first : the rule for the frames of the first size, where `rule` needs a model and there is none yet.
    """

    ratio: Annotated[float, Field(ge=0, le=5)] = 0.0
    entropy: Literal["logdet", "nearest", "dataset"] = "logdet"
    bias_eps: Annotated[float, Field(ge=1e-12, le=1e6)] = 1e-3
    rule: str = "random"
    settings: dict[str, Any] = Field(default_factory=dict)
    mode: Literal["per-atom", "per-config"] | None = None
    sigma: Literal["auto", "mean", "max", "p95"] | None = None
    even: bool = False
    first: str = "random"

    @model_validator(mode="after")
    def _rules_exist(self) -> PolicySection:
        make_policy_rule(self.rule, dict(self.settings))
        if not isinstance(make_policy_rule(self.first, {}), WITHOUT_MODEL):
            legal = [name for name in RULES if isinstance(make_policy_rule(name, {}), WITHOUT_MODEL)]
            raise unknown("rule that needs no model", self.first, legal, where="first")
        return self

    @property
    def chooser(self) -> SelectionRule:
        """The rule with its settings."""
        return make_policy_rule(self.rule, dict(self.settings))

    @property
    def needs_model(self) -> bool:
        """Whether the rule looks at what a trained model says."""
        return not isinstance(self.chooser, WITHOUT_MODEL)

    @property
    def drive(self) -> str:
        """A name for the way its MD is driven, which policies share."""
        return "plain" if self.ratio == 0 else f"{self.entropy}-{self.ratio:g}-{self.bias_eps:g}"


class MDSet(Section):
    """Test frames of unbiased MD by the teacher.

    kind : "md".
    frames : how many, over all conditions.
    every : MD steps between two of them, after a first tenth that is left out.
    heat : times the temperatures of the study.
    make : what every starting structure is made into first, as in a campaign; structures that it does not fit are left
        out. [{ kind = "vacancy" }] has the defects.
    """

    kind: Literal["md"] = "md"
    frames: Count = 60
    every: Count = 20
    heat: Annotated[float, Field(gt=0, le=100)] = 1.0
    make: tuple[Annotated[Made, Field(discriminator="kind")], ...] = ()


class StrainedSet(Section):
    """Test frames of unbiased MD by the teacher, each under a random strain.

    kind : "strained".
    frames, every : as of "md".
    strain : the largest component of the strain.
    """

    kind: Literal["strained"] = "strained"
    frames: Count = 60
    every: Count = 20
    strain: Annotated[float, Field(gt=0, le=0.3)] = 0.05


class FileSet(Section):
    """Test frames of a file, labelled by the teacher whatever energies they carry.

    kind : "file".
    file : any file that ASE reads, relative to the study's file.
    index : which frames, as ASE takes it.
    """

    kind: Literal["file"] = "file"
    file: str
    index: str = ":"


AnySet = MDSet | StrainedSet | FileSet


class PretrainingSection(Section):
    """Members learn a cheap reference before the first label, and every training goes on from there.

    kind : "reference".
    reference : the cheap method: a name from `tentpole references`, or a TOML of yours. It gives forces, and is another
        than the teacher.
    frames : of unbiased MD by it, over all conditions of the study.
    every : MD steps between two of them.
    updates : gradient steps per member. Each draw has pretrained members of its own.
    """

    kind: Literal["reference"] = "reference"
    reference: str
    frames: Annotated[int, Field(ge=10, le=10**7)] = 300
    every: Count = 10
    updates: Annotated[int, Field(ge=1, le=10**8)] = 4000


def _rising(values: tuple[int, ...]) -> tuple[int, ...]:
    if any(b <= a for a, b in pairwise(values)):
        raise ValueError(f"{list(values)}: each is to be larger than the one before")
    return values


def _distinct(values: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"{list(values)}: each is to stand there once")
    return values


def _usual_tests() -> dict[str, AnySet]:
    return {"md": MDSet()}


class SamplingConfig(Section):
    """A study of policies.

    teacher : the method that labels, and drives the tests: a name from `tentpole references`, or a TOML of yours.
    driver : what drives the MD of the policies: "teacher", another reference, or "committee", the models of the policy
        itself, which learn as they go; the first frames are then rattled structures.
    charge, multiplicity : of all structures, as in a campaign.
    structures : the phases.
    baseline : the policy that the others are held against.
    sizes : training frames at which models are trained and tested.
    draws : seeds; each has its own MD, its own choices and initial weights.
    members : models trained on each set; errors are means over them, and their spread is σ.
    valid : frames of unbiased MD, the same for all, by which trainings are stopped.
    plateau : each training goes on until its errors no longer fall; false: for the updates of [training].
    training : what is trained.
    pretraining : what members know before the first label; nothing where it is left out. Where committees drive, the
        first frames are then of their MD.
    tests : test sets by name.
    """

    teacher: str
    driver: str = TEACHER
    charge: Charge | None = None
    multiplicity: Multiplicity | None = None
    structures: Annotated[tuple[StructureSection, ...], Field(min_length=1)]
    explore: DriveSection = DriveSection()
    fingerprint: FingerprintSection = FingerprintSection()
    policies: Annotated[dict[Name, PolicySection], Field(min_length=1)]
    baseline: str = "random"
    sizes: Annotated[tuple[Annotated[int, Field(ge=2, le=10**6)], ...], Field(min_length=1), AfterValidator(_rising)]
    draws: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1), AfterValidator(_distinct)
    ] = (0, 1, 2)
    members: Annotated[int, Field(ge=1, le=64)] = 2
    valid: Annotated[int, Field(ge=1, le=10**5)] = 20
    plateau: bool = True
    training: MACESettings = MACESettings()
    pretraining: PretrainingSection | None = None
    tests: Annotated[dict[Name, Annotated[AnySet, Field(discriminator="kind")]], Field(min_length=1)] = Field(
        default_factory=_usual_tests
    )

    @model_validator(mode="after")
    def _names_fit(self) -> SamplingConfig:
        if self.baseline not in self.policies:
            raise ValueError(f"baseline: {unknown('policy', self.baseline, self.policies)}")
        for table, names in (("policies", self.policies), ("tests", self.tests)):
            if len({name.casefold() for name in names}) < len(names):
                raise ValueError(f"{table}: some disks take two of these names for one: {', '.join(names)}")
        for name in self.tests:
            if name.casefold() in (VALIDATION, PRETRAINING):
                raise ValueError(f'tests: "{name}" is what trainings have of their own: choose another name')
        return self

    @model_validator(mode="after")
    def _models_fit(self) -> SamplingConfig:
        for name, policy in self.policies.items():
            if policy.needs_model and not isinstance(policy.chooser, Gradient) and self.members < 2:
                raise ValueError(
                    f'policies.{name}: rule = "{policy.rule}" looks at the disagreement of models, and members = '
                    f"{self.members}: 2 or more are wanted"
                )
        if self.fingerprint.kind != "gom":
            raise ValueError(f'fingerprint.kind = "{self.fingerprint.kind}" changes with every model: "gom" is legal')
        return self


@dataclass(frozen=True)
class Study:
    """A study that can be run.

    Parameters
    ----------
    config : SamplingConfig
        What its file says.
    starts : mapping of str to ase.Atoms
        The starting structures by name.
    frames : mapping of str to list of ase.Atoms
        Those of test sets from files.
    """

    config: SamplingConfig
    starts: Mapping[str, Atoms]
    frames: Mapping[str, list[Atoms]]

    @functools.cached_property
    def teacher(self) -> Reference:
        """The method that labels."""
        return load(self.config.teacher, self.elements)

    @functools.cached_property
    def driver(self) -> Reference | None:
        """The reference that drives; None where committees do."""
        if self.config.driver == COMMITTEE:
            return None
        return self.teacher if self.config.driver == TEACHER else load(self.config.driver, self.elements)

    @functools.cached_property
    def cheap(self) -> Reference | None:
        """What members are pretrained on; None where they are not."""
        section = self.config.pretraining
        return None if section is None else load(section.reference, self.elements)

    @property
    def elements(self) -> list[str]:
        """Of the structures."""
        return sorted({symbol for atoms in self.starts.values() for symbol in atoms.get_chemical_symbols()})

    @functools.cached_property
    def walkers(self) -> list[PlannedWalker]:
        """One per condition."""
        return walkers_of(validated(CampaignConfig, campaign_content(self.config.model_dump(mode="json"))))

    def state(self, structure: str) -> tuple[int | None, int | None]:
        """Charge and multiplicity of a structure."""
        return state_of(self.starts[structure], self.config.charge, self.config.multiplicity)


def campaign_content(content: Mapping[str, Any]) -> dict[str, Any]:
    """A campaign with the structures and conditions of a study, one walker under each condition."""
    explore = {key: value for key, value in content.get("explore", {}).items() if key != "equilibration"}
    shared = ("structures", "fingerprint", "charge", "multiplicity")
    return {
        "name": "study",
        "reference": content["teacher"],
        "stop": {"rounds": 1},
        "explore": explore | {"bias": {"ratios": [0.0]}},
        **{key: content[key] for key in shared if content.get(key) is not None},
    }


def read_study(path: Path) -> Study:
    """The study in `path`, its relative file names looked for beside it.

    Raises InputError for whatever cannot be used: with the file, the key, what is there and what is legal.
    """
    content = with_kinds(read_toml(path, example=EXAMPLE))
    config = read_as(SamplingConfig, content, path)
    config = config.model_copy(
        update={
            "teacher": _reference(config.teacher, path, "teacher"),
            "driver": _reference(config.driver, path, "driver", (TEACHER, COMMITTEE)),
        }
    )
    if config.pretraining is not None:
        cheap = _reference(config.pretraining.reference, path, "pretraining.reference")
        config = config.model_copy(update={"pretraining": config.pretraining.model_copy(update={"reference": cheap})})
    campaign = resolve(campaign_content({**content, "teacher": config.teacher}), path)
    config = config.model_copy(update={"structures": campaign.structures})
    frames = {}
    for name, one in config.tests.items():
        if isinstance(one, FileSet):
            where = f"{path}: tests.{name}.file"
            file = path.resolve().parent / Path(one.file).expanduser()
            frames[name] = read_structures(file, one.index, where)
    study = Study(config, starting_structures(campaign, path), frames)
    if wrong := list(_contradictions(study)):
        raise InputError(f"{path}: cannot be used:\n" + "\n".join(f"  {line}" for line in wrong))
    return study


def _reference(name: str, path: Path, key: str, words: tuple[str, ...] = ()) -> str:
    """The name of a reference, that of a file made absolute. Raises InputError where it cannot be read."""
    if name in words:
        return name
    given = str(path.resolve().parent / Path(name).expanduser()) if name.endswith(".toml") else name
    try:
        load(given)
    except InputError as error:
        also = f' Legal too: "{words[0]}", "{words[1]}".' if words else ""
        raise InputError(f"{path}: {key}: {error}{also}") from None
    return given


def _contradictions(study: Study) -> Iterator[str]:
    """Why the study could not be run, a sentence each."""
    config = study.config
    conditions, each = len(study.walkers), config.explore.frames
    if study.driver is None:
        first = 0 if config.pretraining is None else config.sizes[0]  # else of rattled structures
        needed, there = max([first, *(b - a for a, b in pairwise(config.sizes))]), conditions * each
        what = "the next size takes up to {} frames"
    else:
        needed, there, what = config.sizes[-1], conditions * each, "sizes end at {}"
    if needed > there:
        yield (
            f"sizes: {what.format(needed)}, and {conditions} trajectories of {each} frames give {there} candidates: "
            "raise explore.steps, or lower explore.snapshot_every"
        )
    if config.valid < 1 or config.training.loop != "stacked":
        yield f'training.loop = "{config.training.loop}": "stacked" is legal in a study'
    if config.training.solve == "instead" and config.pretraining is None:
        yield 'training.solve = "instead": "no" and "after" are legal without [pretraining]'
    driver = study.driver
    if driver is not None and config.explore.ensemble.kind == "npt" and "stress" not in driver.properties:
        yield f'driver: "{driver.name}" gives no stress, which the ensemble "npt" asks for'
    if driver is not None:
        yield from _refused(study, driver, "driver")
    if study.cheap is not None:
        yield from _unusable_start(study, study.cheap)
    for name, one in config.tests.items():
        yield from (f"tests.{name}: {words}" for words in _unfit(study, name, one))


def _refused(study: Study, driver: Reference, key: str) -> Iterator[str]:
    """Which structures the driver cannot take."""
    for name, atoms in study.starts.items():
        try:
            driver.check(atoms, *study.state(name))
        except InputError as error:
            yield f'{key}: structure "{name}": {error}'


def _unusable_start(study: Study, cheap: Reference) -> Iterator[str]:
    """Why members could not learn the cheap reference first, a sentence each."""
    if "forces" not in cheap.properties:
        yield f'pretraining.reference: "{cheap.name}" gives no forces: take one that does'
    if study.config.explore.ensemble.kind == "npt" and "stress" not in cheap.properties:
        yield f'pretraining.reference: "{cheap.name}" gives no stress, which the ensemble "npt" asks for'
    if cheap.hash == study.teacher.hash:
        yield f'pretraining.reference: "{cheap.name}" is the teacher: name a cheaper method, or leave it out'
    if study.config.training.E0s != "average":
        yield (
            "training.E0s: energies of isolated atoms are estimated anew around what pretrained members predict: "
            '"average" is legal'
        )
    yield from _refused(study, cheap, "pretraining.reference")


def _unfit(study: Study, name: str, one: AnySet) -> Iterator[str]:
    if isinstance(one, FileSet):
        known = set(study.elements)
        for number, atoms in enumerate(study.frames[name]):
            if new := sorted(set(atoms.get_chemical_symbols()) - known):
                yield f"frame {number} holds {', '.join(new)}, which no structure of the study has: leave it out"
                return
        return
    if isinstance(one, StrainedSet):
        if not any(atoms.pbc.any() for atoms in study.starts.values()):
            yield "no structure is periodic: there is no cell to strain"
        return
    failed = [words for atoms in study.starts.values() if (words := unmade(one, atoms))]
    if len(failed) == len(study.starts):
        yield f"make: {failed[0]}"


def unmade(one: MDSet, atoms: Atoms) -> str:
    """Why what a test set makes cannot be made of `atoms`; "" where it can."""
    try:
        made(atoms, one.make, np.random.default_rng(0))
    except InputError as error:
        return str(error)
    return ""


def study_to_json(study: Study) -> dict[str, Any]:
    """What settings.json of a study holds."""
    driver = study.driver
    return {
        "version": VERSION,
        "study": study.config.model_dump(mode="json"),
        "order": {table: list(getattr(study.config, table)) for table in TABLES},
        "starts": {name: _start_to_json(atoms) for name, atoms in study.starts.items()},
        "frames": {name: _digest(frames) for name, frames in study.frames.items()},
        "teacher": study.teacher.hash,
        "driver": COMMITTEE if driver is None else driver.hash,
        **({} if study.cheap is None else {"cheap": study.cheap.hash}),
    }


def study_from_json(content: Mapping[str, Any]) -> Study:
    """The study that `study_to_json` was given, without frames of files: those are in the test sets by then."""
    told = {
        table: {name: content["study"][table][name] for name in content["order"][table]} for table in TABLES
    }  # files keep no order of keys
    config = validated(SamplingConfig, {**content["study"], **told})
    return Study(config, {name: _start_from_json(one) for name, one in content["starts"].items()}, {})


def _start_to_json(atoms: Atoms) -> dict[str, Any]:
    return {**atoms_to_json(atoms), "constraints": [_plain(one.todict()) for one in atoms.constraints]}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def _start_from_json(content: dict[str, Any]) -> Atoms:
    atoms = atoms_from_json(content)
    atoms.set_constraint([dict2constraint(one) for one in content["constraints"]])
    return atoms


def _digest(frames: list[Atoms]) -> str:
    return hashlib.sha256("".join(structure_hash(atoms) for atoms in frames).encode()).hexdigest()[:32]
