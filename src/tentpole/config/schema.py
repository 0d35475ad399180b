"""The campaign file: one frozen tree, no unknown keys, everything checked before anything is spent.

The docstrings say what each key means, as `key : meaning`; `tentpole keys` makes a page of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from tentpole import selection
from tentpole.committee.foundation_models import check_name
from tentpole.config.sections import Bounds, Section, check_bounds, plain, problems, validated
from tentpole.entropy import FingerprintSettings
from tentpole.errors import InputError, unknown
from tentpole.execution.queues import Queue
from tentpole.exploration.health import HealthLimits
from tentpole.exploration.modes import NormalModes
from tentpole.exploration.npt import NPT
from tentpole.exploration.ramps import RampPoint
from tentpole.exploration.random_numbers import NEWEST
from tentpole.exploration.variants import Interstitial, Slab, Strained, Substitution, Supercell, Vacancy, Volumes
from tentpole.exploration.walker import Langevin
from tentpole.labeling.magnetism import Magnetism
from tentpole.records import Condition
from tentpole.selection import SelectionRule
from tentpole.training.settings import MACESettings

FORMAT_VERSION = 1
RESERVED_NAMES = ("initial-frames", "validation-frames", "pretraining-frames")
"""Files of a campaign folder's structures/ that hold no starting structure."""

FEWEST_AUDITS = 6
"""Audit frames of a round, where its batch has room for twice as many."""

AUDITS_PER_CONDITION = 8
"""Audit frames of a final look under each condition, at least."""

T = TypeVar("T")


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """Each entry once: two walkers of the same conditions differ in nothing but their random numbers."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value!r} stands there twice: give each entry once")
    return values


def _safe_name(name: str) -> str:
    """A name that can be a file's on any machine and that stays inside its folder."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}", name):
        raise ValueError(
            f'"{name[:120]}" cannot be a name: up to 100 letters, digits and . _ + - are legal, the first one a '
            "letter, a digit or _"
        )
    return name


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
ForceError = Annotated[float, Field(ge=1e-6, le=100)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Temperature = Annotated[float, Field(gt=0, le=1e5)]
Pressure = Annotated[float, Field(ge=-1000, le=1000)]
Temperatures = Annotated[tuple[Temperature, ...], Field(min_length=1), AfterValidator(_distinct)]
Strain = Annotated[tuple[Annotated[float, Field(ge=-0.5, le=0.5)], ...], Field(min_length=6, max_length=6)]
Name = Annotated[str, AfterValidator(_safe_name)]
Charge = Annotated[int, Field(ge=-(10**6), le=10**6)]
Multiplicity = Annotated[int, Field(ge=1, le=10**6)]


Made = Supercell | Strained | Volumes | Vacancy | Interstitial | Slab | Substitution
"""What a structure can be made into without a potential."""


class StructureSection(Section):
    """A starting structure.

    make : what is made of it, one step after another, as in [{ kind = "supercell", repeat = [2, 2, 2] }, { kind =
        "vacancy", element = "Cl" }]; each gives one structure. The same kinds as in initial.variants, but for "modes".
    file : any file that ASE reads, relative to the campaign file.
    name : what it is called; by default the file's name without its ending.
    index : which structure of the file; -1 is the last.
    charge : its total charge in e; the campaign's where none is stated.
    multiplicity : its 2S + 1; the campaign's where none is stated.
    system : what it belongs to. Structures of one system share a target and, where selection.quota_of = "system", a
        quota, and their errors are told together; left out: its name.
    """

    file: str
    name: str = ""
    index: int = -1
    charge: Charge | None = None
    multiplicity: Multiplicity | None = None
    system: Name | None = None
    make: tuple[Annotated[Made, Field(discriminator="kind")], ...] = ()

    @model_validator(mode="after")
    def _named(self) -> StructureSection:
        if not self.name:  # what a file's name has and no name may have becomes a dash
            stem = re.sub(r"[^A-Za-z0-9._+-]+", "-", Path(self.file).stem).lstrip(".-+")
            object.__setattr__(self, "name", stem[:100])
        if _safe_name(self.name) in RESERVED_NAMES:
            raise ValueError(f'the name "{self.name}" is taken by a file of the campaign folder: choose another')
        return self


class StopSection(Section):
    """Hard limits, at least one of them: no campaign runs for ever. The first one reached ends it.

    labels : labels in the training set, initial ones included; looked at when a round ends.
    rounds : rounds after the initial labels.
    hours : of drivers at work, kept across restarts; may pass in the middle of a round, and where it does depends on
        the machine's speed.
    core_hours : seconds × cores of the workers, on labels, MD, scoring and training, what was killed included; may
        pass in the middle of a round too.
    """

    labels: Count | None = None
    rounds: Annotated[int, Field(ge=0, le=10**6)] | None = None
    hours: Positive | None = None
    core_hours: Positive | None = None

    @model_validator(mode="after")
    def _one_at_least(self) -> StopSection:
        if all(limit is None for limit in (self.labels, self.rounds, self.hours, self.core_hours)):
            raise ValueError("state at least one hard limit: labels, rounds, hours or core_hours")
        return self


class TargetSection(Section):
    """When it is enough: errors on audit frames, drawn at random from unbiased MD, judge the committee.

    force_error_eV_per_A : bound on the force RMSE over the frames that unbiased MD visits, over all conditions and
        under each of them, with 95 % confidence.
    force_errors_eV_per_A : of the systems whose bound is another, by name, as in { ice = 0.03 }. Their errors and σ
        count relative to it: with a bound of half, twice.
    energy_error_eV_per_atom : the same for the energy per atom; reported, but no test, where it is not stated.
    stress_error_GPa : the same for the components of the stress; reported, but no test, where it is not stated.
    final_audits : audit frames of the final look. Where the errors of the last rounds promise success, one round asks
        for that many fresh ones alone, and no training follows before they have judged. 8 per condition at least, and
        a fifth of the labels so far where that is more. Unbiased MD goes farther in that round, so that they lie as far
        apart in time as the audit frames of others.
    rounds : how many of the last rounds decide whether a final look is worth its labels, and whether MD or the rule
        has come to an end.
    labels_needed : audit frames that the tests before a final look rest on; as many rounds are taken as hold them.
    miss_rate : how often the error of a frame may exceed what its calibrated disagreement promises; with it the
        target becomes the σ_F below which two_key asks for no label.
    outliers : largest share of audit frames whose force RMSE exceeds three times the target or that got no label.
    failed : largest share of all frames asked for that got no label.
    stalled_rounds : rounds without a lower error after which the campaign is STALLED.
    """

    force_error_eV_per_A: ForceError = 0.05
    force_errors_eV_per_A: dict[str, ForceError] = Field(default_factory=dict)
    energy_error_eV_per_atom: Positive | None = None
    stress_error_GPa: Positive | None = None
    final_audits: Annotated[int, Field(ge=6, le=10**6)] = 20
    rounds: Count = 2
    miss_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    labels_needed: Count = 20
    outliers: Share = 0.05
    failed: Share = 0.1
    stalled_rounds: Count = 5


class RattleSection(Section):
    """First labels: rattled copies of the starting structures, and of what is made of them.

    kind : "rattle".
    count : how many copies.
    stdev_A : standard deviations of the displacements in Å, used in turn.
    strain : the largest component of a random strain of each copy, in the directions in which it is periodic; without
        strained cells no stress is learned. Left out: 0.05 for structures that are periodic in all three, else 0.
    variants : what is made of every starting structure that it can be made of, each headed [[initial.variants]]; the
        copies take turns over the structures and their variants.
    """

    kind: Literal["rattle"] = "rattle"
    count: Annotated[int, Field(ge=2, le=10**6)] = 20
    stdev_A: Annotated[
        tuple[Annotated[float, Field(gt=0, le=5)], ...], Field(min_length=1), AfterValidator(_distinct)
    ] = (0.02, 0.05, 0.1)
    strain: Annotated[float, Field(ge=0, le=0.3)] | None = None
    variants: tuple[Annotated[Made | NormalModes, Field(discriminator="kind")], ...] = ()


class FramesSection(Section):
    """The frames of a file, labelled by the reference whatever energies they carry.

    kind : "frames".
    file : any file that ASE reads, relative to the campaign file.
    index : which frames, as ASE takes it: ":" is all, ":50" the first fifty.
    """

    kind: Literal["frames"] = "frames"
    file: str
    index: str = ":"


class LabelledSection(Section):
    """Frames that carry energies and forces of the campaign's own reference: they are labels, and nothing is computed.

    kind : "labelled".
    file : any file that ASE reads, relative to the campaign file; energies in eV, forces in eV/Å and, where there are
        any, stresses in eV/Å³, under the usual keys (energy, REF_energy, forces, ...).
    index : which frames, as ASE takes it: ":" is all, ":50" the first fifty.
    reference : the method that gave these labels: it must be the campaign's, and stating it is your word for it.
    """

    kind: Literal["labelled"] = "labelled"
    file: str
    index: str = ":"
    reference: str


class ReferenceMDSection(Section):
    """A fixed validation set from MD driven by the reference itself. For references that are cheap.

    kind : "reference-md".
    frames : how many, over all structures and temperatures.
    temperatures_K : of the trajectories, in K.
    every : MD steps between two frames.
    timestep_fs : in fs.
    """

    kind: Literal["reference-md"] = "reference-md"
    frames: Count = 100
    temperatures_K: Temperatures = (300.0,)
    every: Count = 20
    timestep_fs: Annotated[float, Field(ge=1e-3, le=20)] = 0.5


class PretrainedFramesSection(Section):
    """First labels: frames of [pretraining], under each of its conditions one of each cluster of fingerprints.

    kind : "pretraining".
    count : how many.
    """

    kind: Literal["pretraining"] = "pretraining"
    count: Annotated[int, Field(ge=2, le=10**6)] = 10


class CheapReferenceSection(Section):
    """Members learn a cheap reference before the first label: every training of the campaign starts from there.

    kind : "reference".
    reference : the cheap method: a name from `tentpole references`, or the path of a TOML file of yours. It gives
        forces, and is another than the campaign's; charge and multiplicity are the campaign's. Where it is the
        [baseline] too, members learn it whole, and with fresh readouts the difference from the first label on: both
        together need the fewest labels (scripts/bench_start.py).
    frames : how many, over all structures and temperatures, of MD driven by the cheap reference.
    temperatures_K : of that MD, in K; those of [explore] where none is stated.
    every : MD steps between two frames.
    timestep_fs : in fs.
    file : frames to be labelled by the cheap reference instead of those of its own MD, relative to the campaign file.
    index : which of them, as ASE takes it.
    updates : gradient steps per member.
    """

    kind: Literal["reference"] = "reference"
    reference: str
    frames: Annotated[int, Field(ge=10, le=10**7)] = 600
    temperatures_K: Annotated[tuple[Temperature, ...], AfterValidator(_distinct)] = ()
    every: Count = 20
    timestep_fs: Annotated[float, Field(ge=1e-3, le=20)] = 0.5
    file: str | None = None
    index: str = ":"
    updates: Annotated[int, Field(ge=1, le=10**8)] = 4000


class CheapLabelsSection(Section):
    """Members learn labels of another method than the campaign's before the first label.

    kind : "labelled".
    file : frames with energies and forces, relative to the campaign file; they never mix with the campaign's labels.
    index : which frames, as ASE takes it.
    updates : gradient steps per member.
    """

    kind: Literal["labelled"] = "labelled"
    file: str
    index: str = ":"
    updates: Annotated[int, Field(ge=1, le=10**8)] = 4000


class FoundationSection(Section):
    """Members start from one model that others have trained on much data: its body in all, each with its own readouts.

    kind : "foundation".
    model : NAME.json, which `tentpole models import FILE.model --trust` makes of a MACE model, relative to the campaign
        file; it knows all elements, and has the cutoff of [training].
    file : frames on which the model's own energies and forces are replayed where training.finetuning is "replay".
    index : which of them, as ASE takes it.
    """

    kind: Literal["foundation"] = "foundation"
    model: str
    file: str | None = None
    index: str = ":"


class EarlierCommitteeSection(Section):
    """Members start from those of an earlier campaign.

    kind : "committee".
    folder : an earlier campaign's folder, or a folder of members, relative to the campaign file; its newest committee
        has as many members as this one at least, knows all elements, and has the cutoff of [training].
    """

    kind: Literal["committee"] = "committee"
    folder: str


class BaselineSection(Section):
    """What members learn the difference to: it is computed for every structure, and added back wherever they predict.

    reference : a name from `tentpole references`, or the path of a TOML file of yours: "zbl" keeps atoms apart where no
        label is, "d3" and "d4" (dispersion) reach beyond a member's cutoff, "xtb" leaves little to be learned: best
        with [pretraining] by it too. It gives forces, is not the campaign's reference, and is paid for at every MD
        step; charge and multiplicity are the frames'.
    """

    reference: str


class NoValidationSection(Section):
    """No fixed validation set: new labels alone are judged by.

    kind : "none".
    """

    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True)
class FingerprintSection(FingerprintSettings):
    """Fingerprints of atomic environments and their covariance, for gain and bias.

    kind : "gom", Gaussian overlap matrices, or "mace", the node features of the committee's first member.
    cutoff : radius of an atom's surroundings in Å, of "gom".
    n_max : longest fingerprint of "gom", in eigenvalues; one per neighbour.
    contrast : how strongly "gom" tells species apart beyond their covalent radii; neighbours in the periodic table want
        1 to 3.
    per_species : each species' environments in a block of their own: a species or composition not seen before widens
        the dataset, however alike the radii. The cost of a gain grows with the number of species cubed.
    mode : "per-atom", a row of the covariance per atom, or "per-config", one per structure.
    eps : ε added to the covariance's diagonal.
    """

    BOUNDS: ClassVar[Bounds] = {"cutoff": (0.5, 20), "n_max": (1, 1000), "contrast": (0, 10), "eps": (1e-12, 1e6)}

    def __post_init__(self) -> None:
        FingerprintSettings.__post_init__(self)
        check_bounds(self, self.BOUNDS)

    def build(self) -> FingerprintSettings:
        """Make the settings as the physics takes them."""
        return plain(FingerprintSettings, self)


@dataclass(frozen=True, slots=True)
class LangevinSection(Langevin):
    """Langevin dynamics at constant volume (NVT).

    kind : "langevin".
    timestep_fs : in fs.
    friction_per_fs : 0.01 damps in 100 fs.
    """

    BOUNDS: ClassVar[Bounds] = {"timestep_fs": (1e-3, 20), "friction_per_fs": (0, 1)}
    kind: Literal["langevin"] = "langevin"

    def __post_init__(self) -> None:
        check_bounds(self, self.BOUNDS)

    def build(self) -> Langevin:
        """Make the settings as the physics takes them."""
        return plain(Langevin, self)


@dataclass(frozen=True, slots=True)
class NPTSection(NPT):
    """Langevin dynamics at constant pressure (NPT), for structures that are periodic in all three directions.

    kind : "npt".
    timestep_fs : in fs.
    friction_per_fs : 0.01 damps the atoms in 100 fs.
    barostat_time_fs : period of the cell's oscillation, and damping time of the cell, in fs.
    cell : "isotropic", the volume alone moves, or "full", all lengths and angles.
    """

    BOUNDS: ClassVar[Bounds] = {"timestep_fs": (1e-3, 20), "friction_per_fs": (1e-9, 1), "barostat_time_fs": (1, 1e6)}
    kind: Literal["npt"] = "npt"

    def __post_init__(self) -> None:
        NPT.__post_init__(self)
        check_bounds(self, self.BOUNDS)

    def build(self) -> NPT:
        """Make the settings as the physics takes them."""
        return plain(NPT, self)


@dataclass(frozen=True, slots=True)
class HealthSection(HealthLimits):
    """Bounds outside which a walker goes back to its last healthy state.

    min_distance : nearest distance, an atom's own images included, as a share of the sum of covalent radii.
    max_force_eV_per_A : largest force on any atom that is not held in place.
    max_temperature_ratio : kinetic over target temperature; room for the fluctuations of few atoms is added.
    min_volume_ratio, max_volume_ratio : cell volume over that of the starting structure.
    min_height_ratio : the cell's shortest height over that of the starting structure.
    max_angle_change_deg : largest change of an angle of the cell against the starting structure.
    max_energy_rise_eV_per_atom : potential energy above the starting structure's.
    max_gap_A : widest gap that separates two parts of a molecule or cluster; not checked by default. That unbiased MD
    falls apart holds up a verdict, unless the committee is within the target on the labelled frames right before.
    """

    BOUNDS: ClassVar[Bounds] = {
        "min_distance": (0, 1.5),
        "max_force_eV_per_A": (1e-3, 1e6),
        "max_temperature_ratio": (1, 1e3),
        "min_volume_ratio": (0, 1),
        "max_volume_ratio": (1, 1e3),
        "min_height_ratio": (0, 1),
        "max_angle_change_deg": (0, 180),
        "max_energy_rise_eV_per_atom": (1e-3, 1e6),
        "max_gap_A": (0.1, 1e4),
    }

    def __post_init__(self) -> None:
        check_bounds(self, self.BOUNDS)

    def build(self) -> HealthLimits:
        """Make the settings as the physics takes them."""
        return plain(HealthLimits, self)


class BiasSection(Section):
    """Entropy bias of the walkers.

    ratios : one walker per structure, temperature and ratio, the RMS of the bias forces over that of the physical
        ones; 0 is plain MD, whose health is judged unbiased.
    entropy : "logdet", how widely the structure's own environments are spread, "nearest", how far each is from its like
        in the structure, or "dataset", what the structure would add to the spread of all labels' environments.
    """

    ratios: Annotated[
        tuple[Annotated[float, Field(ge=0, le=5)], ...], Field(min_length=1), AfterValidator(_distinct)
    ] = (0.0, 0.3)
    entropy: Literal["logdet", "nearest", "dataset"] = "logdet"


class PointSection(Section):
    """A point of a ramp; between two points temperature, pressure and strain change linearly.

    at : how much of the ramp lies before it, 0 to 1.
    temperature_K : in K.
    pressure_GPa : of the ensemble "npt"; 0 where none is stated.
    strain : of the starting structure's cell, the components xx, yy, zz, yz, xz, xy of the symmetric tensor; for cells
        that the ensemble leaves alone.
    """

    at: Share
    temperature_K: Temperature
    pressure_GPa: Pressure | None = None
    strain: (
        Annotated[tuple[Annotated[float, Field(ge=-0.5, le=0.5)], ...], Field(min_length=6, max_length=6)] | None
    ) = None

    def build(self, *, npt: bool) -> RampPoint:
        """Make the settings as the physics takes them."""
        pressure = (self.pressure_GPa or 0.0) if npt else None
        return RampPoint(self.at, self.temperature_K, pressure, self.strain or (0.0,) * 6)


class ConditionSection(Section):
    """A single condition. Where some are stated, they are explored in place of every structure at every temperature.

    structure : the name of one of [[structures]].
    temperature_K : in K; left out where `points` state it.
    pressure_GPa : of the ensemble "npt"; 0 where none is stated.
    ratio : of the bias; one walker for each of explore.bias.ratios where none is stated.
    points : a ramp: temperature, pressure and strain by how far the walker has come in it, as for melting and quenching
        in [{ at = 0, temperature_K = 300 }, { at = 0.5, temperature_K = 2000 }, { at = 1, temperature_K = 300 }]. All
        frames of a ramp are of one condition for quotas and for the verdict.
    name : of the ramp; its temperatures and pressures where none is stated.
    rounds : how many rounds of the walker the ramp takes; then the walker begins it anew from the starting structure. A
        ramp of more than one round is explored, but the verdict does not speak of it: no one round shows all of it.
    """

    structure: str
    temperature_K: Temperature | None = None
    pressure_GPa: Pressure | None = None
    ratio: Annotated[float, Field(ge=0, le=5)] | None = None
    points: tuple[PointSection, ...] = ()
    name: Name | None = None
    rounds: Annotated[int, Field(ge=1, le=10**6)] = 1

    @model_validator(mode="after")
    def _one_way(self) -> ConditionSection:
        if (self.temperature_K is None) == (not self.points):
            raise ValueError(f'of structure "{self.structure}": state temperature_K, or points of a ramp, one of both')
        if self.points and self.pressure_GPa is not None:
            raise ValueError("pressure_GPa stands with each of the points of a ramp: leave it out here")
        if not self.points and (self.name is not None or self.rounds > 1):
            raise ValueError("name and rounds belong to a ramp: give its points, or leave them out")
        at = [point.at for point in self.points]
        if at and (len(at) < 2 or at[0] != 0 or at[-1] != 1 or any(b <= a for a, b in pairwise(at))):
            raise ValueError(f"points: at = {at}: two or more are wanted that rise from 0 to 1")
        return self

    @property
    def presses(self) -> bool:
        """Whether a pressure is stated."""
        return any(p is not None for p in (self.pressure_GPa, *(point.pressure_GPa for point in self.points)))

    @property
    def strains(self) -> bool:
        """Whether the cell follows a ramp."""
        return any(point.strain is not None for point in self.points)

    def condition(self, *, npt: bool) -> Condition:
        """What its frames are told by: what it begins with and, for a ramp, its name."""
        first = self.points[0] if self.points else self
        assert first.temperature_K is not None
        pressure = (first.pressure_GPa or 0.0) if npt else None
        return Condition(self.structure, first.temperature_K, pressure, self._ramp_words(npt=npt))

    def _ramp_words(self, *, npt: bool) -> str:
        if not self.points:
            return ""
        if self.name is not None:
            return f"ramp {self.name}"
        words = ["ramp " + "-".join(f"{point.temperature_K:g}" for point in self.points) + " K"]
        if npt:
            words.append(" to ".join(f"{point.pressure_GPa or 0:g}" for point in self.points) + " GPa")
        return ", ".join([*words, "strained"] if self.strains else words)


class StackedSection(Section):
    """A calculator of your own around the driver, for enhanced sampling: one more walker under each condition.

    These walkers have no entropy bias; their frames are candidates, and never judge. A walker resumes bit for bit where
    the forces depend on the structure alone, or where the calculator keeps its memory as
    `tentpole.exploration.Remembering` says.

    calculator : "module:factory" (it is imported): factory(driver, atoms, ...) gives an ASE calculator of energy and
        forces, with stress for the ensemble "npt"; `driver` is the committee's calculator, `atoms` a copy of the
        starting structure.
    parameters : further keywords of the factory.
    """

    calculator: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class ExploreSection(Section):
    """MD between two labellings.

    temperatures_K : one walker per structure, temperature, pressure and bias ratio.
    pressures_GPa : of the ensemble "npt", one walker each; 0 where none is stated.
    conditions : single conditions, each headed [[explore.conditions]], instead of all structures at all temperatures
        and pressures.
    walkers : at most so many in a round, where there are more; their conditions then take turns by the round's number,
        each with all its bias ratios, and tests look back at least as many rounds as they take. A final look has every
        unbiased walker, whatever this says. All in every round where none is stated.
    steps : MD steps per walker and round.
    snapshot_every : steps between two frames that are scored.
    max_force_std_eV_per_A : a frame whose largest atomic disagreement exceeds this sends its walker back.
    keep_last_sound : the last sound frame before a walker is sent back is a candidate too.
    checkpoint_seconds : how often a walker's state is written, in s.
    ahead : walkers run one round ahead of the labels: while a batch is labelled, the next round is explored with what
        was known before it. What the rule queues from that is scored again once the batch is trained on, and dropped
        where it is no longer worth a label. Results do not depend on how fast labels come.
    """

    temperatures_K: Temperatures = (300.0,)
    pressures_GPa: Annotated[tuple[Pressure, ...], AfterValidator(_distinct)] = ()
    conditions: Annotated[tuple[ConditionSection, ...], AfterValidator(_distinct)] = ()
    walkers: Count | None = None
    steps: Count = 500
    snapshot_every: Count = 10
    max_force_std_eV_per_A: Positive = 5.0
    checkpoint_seconds: Positive = 60.0
    keep_last_sound: bool = True
    ahead: bool = False
    ensemble: Annotated[LangevinSection | NPTSection, Field(discriminator="kind")] = LangevinSection()
    bias: BiasSection = BiasSection()
    stacked: StackedSection | None = None
    health: HealthSection = HealthSection()

    @model_validator(mode="after")
    def _a_frame_at_least(self) -> ExploreSection:
        if self.steps < self.snapshot_every:
            raise ValueError(
                f"steps = {self.steps} is less than snapshot_every = {self.snapshot_every}: a walker would keep no "
                "frame of a round. Make steps larger, or snapshot_every smaller"
            )
        return self

    @model_validator(mode="after")
    def _pressure_needs_a_barostat(self) -> ExploreSection:
        if self.pressures_GPa and self.ensemble.kind != "npt":
            raise ValueError('pressures_GPa needs a cell that moves: ensemble = { kind = "npt" }')
        return self

    @model_validator(mode="after")
    def _conditions_fit(self) -> ExploreSection:
        if not self.conditions:
            return self
        if self.pressures_GPa or self.temperatures_K != (300.0,):
            raise ValueError("conditions take the place of temperatures_K and pressures_GPa: leave these out")
        npt = self.ensemble.kind == "npt"
        for one in self.conditions:
            if not npt and one.presses:
                raise ValueError('conditions: pressure_GPa needs a cell that moves: ensemble = { kind = "npt" }')
            if npt and one.strains:
                raise ValueError('conditions: strain is for a cell that the ensemble leaves alone, "npt" moves it')
        told = [(one.condition(npt=npt), one.ratio) for one in self.conditions]
        for condition, ratio in told:
            same = [other for which, other in told if which == condition]
            if len(same) > 1 and (None in same or same.count(ratio) > 1):
                raise ValueError(f'conditions: "{condition}" stands there twice: give each once, ramps a name each')
        return self

    @property
    def pressures(self) -> tuple[float | None, ...]:
        """Of the walkers, GPa; None where the cell is fixed."""
        return (self.pressures_GPa or (0.0,)) if self.ensemble.kind == "npt" else (None,)


class CommitteeSection(Section):
    """The committee that drives, votes and is trained.

    kind : "deep", `members` networks, or "shallow", one network with that many readout heads, each trained on its own
        resample, from scratch every round.
    members : how many, 2 or more.
    driver : whose forces move the walkers: a member's number, "mean" (for a deep committee `members` times the cost),
        or a foundation model: "chgnet", "mace-mp:medium", "nequip:FILE", or any ASE calculator as
        "package.module:name" (it is imported).
    voters : foundation models that are never trained and vote on σ beside the members.
    dtype : "float64" or "float32", of their predictions; with float32 forces differ by about 1e-6 of their size.
    evaluation : "own", by this package's network where it can stand for the members, the same numbers to rounding and
        several times as fast, "mace", by mace-torch's model, or "cuequivariance", by that model with the operations of
        the package of that name, for large models on a GPU.
    """

    kind: Literal["deep", "shallow"] = "deep"
    members: Annotated[int, Field(ge=2, le=64)] = 4
    driver: Annotated[int, Field(ge=0)] | str = 0
    voters: Annotated[tuple[str, ...], AfterValidator(_distinct)] = ()
    dtype: Literal["float32", "float64"] = "float64"
    evaluation: Literal["own", "mace", "cuequivariance"] = "own"

    @property
    def foundations(self) -> tuple[str, ...]:
        """The foundation models that drive or vote."""
        drives = isinstance(self.driver, str) and self.driver != "mean"
        return (*([str(self.driver)] if drives else []), *self.voters)

    @model_validator(mode="after")
    def _driver_exists(self) -> CommitteeSection:
        if isinstance(self.driver, int) and self.driver >= self.members:
            raise ValueError(f'driver {self.driver}: legal are 0 to {self.members - 1}, "mean", or a foundation model')
        for name in self.foundations:
            check_name(name)
        return self


@dataclass(frozen=True, slots=True)
class MACESection(MACESettings):
    """How members are built and trained.

    kind : "mace".
    warm_start : go on from the last round's weights; false: from random ones every round.
    finishing : train until the errors no longer fall before a final look, and at the end of a campaign: the committee
        that is judged, and handed out, is as good as its labels allow. Not for shallow committees, nor by MACE's own
        command.
    size : "small", "medium" or "mace": the model's size, with the rate and the precision that belong to it.
    channels, max_L, max_ell, correlation, interactions, radial_basis, cutoff_basis : instead of the size's own.
    r_max : the model's cutoff in Å.
    updates : gradient steps per member, or "auto": a hundred epochs, at least 2000, at most max_updates.
    updates_warm : those of a training that goes on from the last round's weights, where updates is "auto".
    max_updates : the most that "auto" and a finishing training may take.
    epochs : passes over the training set, instead of updates.
    folds : every label is held out by one member in so many.
    loop : "stacked", all members as one, or "mace", one by one by MACE's own command; "mace-total" is that with
        energies as they are labelled, how campaigns of earlier versions go on.
    together : how many small members train as one in a process.
    finetuning : what a training changes of the members that it goes on from, [pretraining]'s at first: "naive", all
        weights; "frozen", the readouts alone; "lora", linear layers by changes of low rank; "replay", all weights,
        while a second head goes on learning what [pretraining] taught, and is then taken off. "lora" and "replay" are
        by MACE's own command, loop = "mace".
    solve : whether energies are taken as linear in the members' weights at last, and the change that fits the labels is
        solved for: "no"; "after" the updates, which halves errors of smooth labels; or "instead" of them, from the
        weights that [pretraining] left, in every round. Such members are evaluated in float64, at two to three times
        the cost.
    ridge : of that solution, in parts of its kernel's mean diagonal; more for labels that are not smooth. "auto": that
        of several which errs least on labels held out, where solve is "instead" on some twenty in turn; all are solved
        for with it at last. Where none helps forces, one that serves energies and stress, or no change.
    lora_rank : of the changes, where finetuning is "lora".
    replay_frames : of [pretraining], drawn for each member and training where finetuning is "replay"; labels are
        repeated until they are as many, so that half of what is trained on is labels; updates stay as they are.
    frozen : true is finetuning = "frozen".
    embed : what members read of a structure beside its atoms: ["charge"], ["multiplicity"] or both, as embeddings of
        the total charge and spin; needed where structures or frames of one campaign differ in it.
    batch_size : configurations per step.
    lr, lr_warm : learning rate at the start from random weights and from the last round's; the first training from
        members that [pretraining] has taught takes a quarter of the latter where none is given.
    lr_end : the rate it falls to, update by update, at the end.
    ema_decay : of the running mean of the weights that is kept.
    energy_weight, forces_weight, stress_weight : of MACE's loss.
    patience : evaluations without a better one, of about 16 in all, before a training stops early.
    E0s : energies of the isolated atoms in eV by symbol or atomic number; "label", to have the reference label an atom
        of each element, alone and in its ground state, with the first structures; or "average", those of isolated
        atoms among the labels, for the others the least-squares fit to the training set.
    dtype : "float32" or "float64", of the training.
    device : "auto", "cpu", "cuda", "cuda:1", "mps".
    threads : CPU cores per member.
    """

    BOUNDS: ClassVar[Bounds] = {
        "channels": (1, 1024),
        "max_L": (0, 4),
        "max_ell": (0, 6),
        "correlation": (1, 6),
        "interactions": (1, 8),
        "radial_basis": (1, 64),
        "cutoff_basis": (1, 64),
        "r_max": (0.5, 20),
        "updates_warm": (1, 10**8),
        "max_updates": (1, 10**8),
        "folds": (2, 1000),
        "together": (1, 64),
        "lora_rank": (1, 1024),
        "replay_frames": (10, 10**7),
        "epochs": (1, 10**8),
        "batch_size": (1, 10**5),
        "lr": (1e-12, 1),
        "lr_warm": (1e-12, 1),
        "lr_end": (1e-12, 1),
        "ema_decay": (0, 0.99999),
        "energy_weight": (0, 1e9),
        "forces_weight": (0, 1e9),
        "stress_weight": (0, 1e9),
        "patience": (1, 10**6),
        "threads": (1, 1024),
    }
    E0S: ClassVar[tuple[str, ...]] = ("average", "label")
    kind: Literal["mace"] = "mace"
    warm_start: bool = True
    finishing: bool = True

    def __post_init__(self) -> None:
        MACESettings.__post_init__(self)
        check_bounds(self, self.BOUNDS)
        if self.updates != "auto":
            check_bounds(self, {"updates": (1, 10**8)})
        if not self.energy_weight + self.forces_weight > 0:
            raise InputError("energy_weight and forces_weight are both 0: nothing would be learnt")
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,2})?|mps", self.device):
            raise InputError(f'device = "{self.device}": "auto", "cpu", "cuda", "cuda:1" or "mps" is legal')

    def build(self) -> MACESettings:
        """Make the settings as the physics takes them."""
        labelled = self.E0s == "label"  # then they are among the frames
        return plain(MACESettings, replace(self, E0s="average") if labelled else self)


class SelectionSection(Section):
    """Which frames are worth a label.

    rule : random, uncertainty, diversity, hybrid, logdet, two_key, adaptive or gradient.
    batch : labels per round, at most, audit frames included.
    evidence : what the verdict rests on: "audits" alone, or "labels", all new ones, as campaigns of version 0.1.0 do.
    audit : share of the batch that is drawn at random in time from unbiased MD, and judges the committee: 6 frames at
        least, or half the batch where that is fewer; 0: none. Places that the rule leaves empty become audit frames.
    quota_of : "condition" or "system": what the rules that keep quotas keep them for.
    sigma : what a frame's σ_F is of its atoms': "mean", "max", "p95", or "auto", p95 above 50 atoms, else the mean.
    settings : of the rule, as in settings.shortlist = 5.
    """

    rule: str = "two_key"
    batch: Annotated[int, Field(ge=1, le=10**6)] = 20
    evidence: Literal["audits", "labels"] = "audits"
    audit: Share = 0.1
    quota_of: Literal["condition", "system"] = "condition"
    sigma: Literal["auto", "mean", "max", "p95"] = "auto"
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _rule_exists(self) -> SelectionSection:
        checked_rule(self.rule, self.settings)
        return self

    @property
    def audits(self) -> int:
        """Audit frames of a full batch."""
        share = round(self.audit * self.batch)
        if self.evidence == "labels":
            return max(1, share) if self.audit > 0 else 0
        return max(share, min(FEWEST_AUDITS, -(-self.batch // 2))) if self.audit > 0 else 0


def checked_rule(name: str, settings: dict[str, Any], where: str = "settings") -> SelectionRule:
    """The selection rule of that name. Raises InputError for an unknown one and for settings of a wrong type."""
    try:
        if name in selection.KINDS and set(settings) <= set(selection.KINDS[name].__dataclass_fields__):
            validated(selection.KINDS[name], settings)
        return selection.make_rule(name, **settings)
    except ValidationError as error:
        raise InputError(
            "; ".join(f"{where}.{line}" for line in problems(error, selection.KINDS[name], settings))
        ) from None


@dataclass(frozen=True, kw_only=True)
class LabelLimits:
    """What one label may cost before its attempt is ended, and how many attempts it has.

    label_time_limit_s : seconds of one attempt.
    label_memory_limit_GB : memory of one attempt; no limit by default.
    attempts : how often a label is tried before its structure goes to quarantine.
    crashes_in_a_row : so many equal crashes, of three structures or more and with no label before, are the machine's
        fault: the campaign stops and nothing goes to quarantine for them. 0: never.
    persistent : a Quantum ESPRESSO or FHI-aims per worker stays and serves label after label over ASE's socket; measure
        first whether it pays (scripts/bench_persistent.py).
    walkers_stalled_s : walkers at work of which none comes to its next frame for so many seconds stop the campaign.
    walkers_together : how many walkers advance in one process, by one evaluation of the driver for all; "auto": on a
        GPU all, on a CPU so many that every core has its share where structures are small, else 1. On a CPU no result
        depends on it, to the last bit.
    """

    label_time_limit_s: Positive = 3600.0
    label_memory_limit_GB: Annotated[float, Field(ge=0.05, le=1e5)] | None = None
    attempts: Annotated[int, Field(ge=1, le=100)] = 2
    crashes_in_a_row: Annotated[int, Field(ge=0, le=1000)] = 6
    persistent: bool = False
    walkers_stalled_s: Positive = 3600.0
    walkers_together: Annotated[int, Field(ge=1, le=10**4)] | Literal["auto"] = "auto"


@dataclass(frozen=True, kw_only=True)
class LocalSection(LabelLimits):
    """Labels on this machine.

    kind : "local".
    workers : processes at a time; 0: as many as there are cores.
    """

    kind: Literal["local"] = "local"
    workers: Annotated[int, Field(ge=0, le=4096)] = 0


@dataclass(frozen=True, kw_only=True)
class LocalTrainingSection:
    """Training on this machine, as many members at a time as the campaign has local workers.

    kind : "local".
    """

    kind: Literal["local"] = "local"


@dataclass(frozen=True, kw_only=True)
class ParslTrainingSection:
    """Training through a Parsl configuration of your own.

    kind : "parsl".
    config : "module:name" or "file.py:name" (it is imported).
    label : the one of its executors that is meant; "all" by default.
    """

    kind: Literal["parsl"] = "parsl"
    config: str
    label: str = "all"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[^\0]+:[A-Za-z_][\w.]*", self.config):
            raise InputError(f'config = "{self.config}": "module:name" or "file.py:name" is wanted')


@dataclass(frozen=True, kw_only=True)
class ParslSection(LabelLimits, ParslTrainingSection):
    """Labels through a Parsl configuration of your own."""


@dataclass(frozen=True)
class TrainingQueueSection(Queue):
    """Training in the jobs of a queueing system, through Parsl.

    kind : "slurm", "pbs", "lsf" or "kubernetes".
    partition : the queue's name in PBS and LSF.
    account : that pays.
    walltime : of a job, as hours:minutes:seconds.
    nodes, workers, threads, jobs : at most `jobs` jobs of `nodes` nodes run at a time, each node with `workers` workers
        of `threads` cores. They are asked for when there is work and given back when there is none.
    memory_GB : of a node.
    modules : loaded before the workers start.
    setup : lines of shell that run after that.
    options : lines for the head of the job script, such as "#SBATCH --gres=gpu:1".
    image : the container that has Tentpole in it (Kubernetes).
    namespace : of Kubernetes.
    lost_after_s : a node not heard from for that long is given up, and its work tried again.
    """

    BOUNDS: ClassVar[Bounds] = {
        "nodes": (1, 10**5),
        "workers": (1, 10**4),
        "threads": (1, 10**4),
        "jobs": (1, 10**5),
        "memory_GB": (1, 10**5),
        "lost_after_s": (1, 10**6),
    }
    kind: Literal["slurm", "pbs", "lsf", "kubernetes"]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, self.BOUNDS)
        for name in ("partition", "account", "image", "namespace"):
            if not re.fullmatch(r"[\w.:/@+=-]*", getattr(self, name)):
                raise InputError(f"{name} = {getattr(self, name)!r}: one word is wanted")
        if not re.fullmatch(r"(\d+-)?\d+:\d\d(:\d\d)?", self.walltime):
            raise InputError(f'walltime = "{self.walltime}": hours:minutes:seconds is wanted, as in "24:00:00"')

    def build(self) -> Queue:
        """Make the settings as the physics takes them."""
        return plain(Queue, self)


@dataclass(frozen=True)
class QueueSection(TrainingQueueSection, LabelLimits):
    """Labels in the jobs of a queueing system, through Parsl."""


Initial = RattleSection | FramesSection | LabelledSection | PretrainedFramesSection
Pretraining = CheapReferenceSection | CheapLabelsSection | EarlierCommitteeSection | FoundationSection
Validation = ReferenceMDSection | FramesSection | LabelledSection | NoValidationSection
LabelPlaces = LocalSection | ParslSection | QueueSection
TrainingPlaces = LocalTrainingSection | ParslTrainingSection | TrainingQueueSection
USUAL_KINDS = {
    "initial": "rattle",
    "pretraining": "reference",
    "explore.ensemble": "langevin",
    "executor": "local",
    "training_executor": "local",
}
"""What a table without a `kind` is."""


class CampaignConfig(Section):
    """A whole campaign.

    version : of this format.
    name : of the campaign; its folder is runs/<name>.
    seed : fixes every random number of the campaign.
    random_numbers : the scheme by which the seed becomes random numbers; written down, and never to be changed.
    reference : the method that labels: a name from `tentpole references`, or the path of a TOML file of yours.
    charge : total charge of a structure in e, stated where the reference requires it, here or with each structure.
    multiplicity : 2S + 1, stated where the reference requires it, here or with each structure.

    Examples
    --------
    >>> from tentpole import CampaignConfig
    >>> copper = {"file": "copper.xyz", "name": "copper"}
    >>> config = CampaignConfig(name="copper", reference="emt", structures=(copper,), stop={"labels": 200})
    >>> config.committee.members, config.explore.temperatures_K
    (4, (300.0,))
    """

    version: Literal[1] = 1
    name: Name
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    random_numbers: Literal[1, 2] = NEWEST
    reference: str
    charge: Charge | None = None
    multiplicity: Multiplicity | None = None
    magnetism: Magnetism | None = None
    structures: Annotated[tuple[StructureSection, ...], Field(min_length=1)]
    stop: StopSection
    target: TargetSection = TargetSection()
    initial: Annotated[Initial, Field(discriminator="kind")] = RattleSection()
    validation: Annotated[Validation, Field(discriminator="kind")] = NoValidationSection()
    fingerprint: FingerprintSection = FingerprintSection()
    explore: ExploreSection = ExploreSection()
    committee: CommitteeSection = CommitteeSection()
    pretraining: Annotated[Pretraining, Field(discriminator="kind")] | None = None
    training: MACESection = MACESection()
    baseline: BaselineSection | None = None
    selection: SelectionSection = SelectionSection()
    executor: Annotated[LabelPlaces, Field(discriminator="kind")] = LocalSection()
    training_executor: Annotated[TrainingPlaces, Field(discriminator="kind")] = LocalTrainingSection()

    @property
    def states_on_frames(self) -> bool:
        """Whether every frame carries its charge and multiplicity itself: some structures state their own."""
        own = any(one.charge is not None or one.multiplicity is not None for one in self.structures)
        return own or bool(self.training.embed)

    @property
    def systems(self) -> dict[str, str]:
        """The system of each structure, by the structure's name."""
        return {section.name: section.system or section.name for section in self.structures}

    def force_error_of(self, structure: str) -> float:
        """The bound on the force RMSE of a structure's frames, eV/Å.

        Parameters
        ----------
        structure : str
            Its name in the campaign.

        Returns
        -------
        float
            Of its system where that has a target of its own, else the campaign's.
        """
        return self.target.force_errors_eV_per_A.get(self.systems[structure], self.target.force_error_eV_per_A)

    @model_validator(mode="after")
    def _targets_are_of_systems(self) -> CampaignConfig:
        known = sorted(set(self.systems.values()))
        if other := sorted(self.target.force_errors_eV_per_A.keys() - set(known)):
            raise ValueError(f"target.force_errors_eV_per_A: {unknown('system', other[0], known)}")
        if self.target.force_errors_eV_per_A and self.selection.evidence == "labels":
            raise ValueError('target.force_errors_eV_per_A rests on audit frames: selection.evidence = "audits"')
        return self

    @model_validator(mode="after")
    def _conditions_are_of_structures(self) -> CampaignConfig:
        known = [section.name for section in self.structures]
        for one in self.explore.conditions:
            if one.structure not in known:
                raise ValueError(f"explore.conditions: {unknown('structure', one.structure, known)}")
        if self.explore.walkers is not None and self.selection.evidence == "labels":
            raise ValueError('explore.walkers: conditions take turns where selection.evidence = "audits" alone')
        return self

    @model_validator(mode="after")
    def _features_of_one_committee(self) -> CampaignConfig:
        if self.fingerprint.kind == "mace" and self.explore.ahead:
            raise ValueError('fingerprint.kind = "mace" changes with every training: leave explore.ahead out')
        if self.selection.rule == "gradient" and self.explore.ahead:
            raise ValueError('selection.rule = "gradient" looks at the newest weights: leave explore.ahead out')
        return self

    @field_validator("structures")
    @classmethod
    def _names_differ(cls, given: tuple[StructureSection, ...]) -> tuple[StructureSection, ...]:
        named: dict[str, str] = {}
        for structure in given:
            name, key = structure.name, structure.name.casefold()
            if named.get(key) == name:
                raise ValueError(f'two structures are called "{name}": give each a name of its own')
            if key in named:
                raise ValueError(
                    f'two structures are called "{named[key]}" and "{name}", which some disks take for one file: '
                    "give each a name of its own"
                )
            named[key] = name
        return given
