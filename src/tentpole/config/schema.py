"""The campaign file: one frozen tree, no unknown keys, everything checked before anything is spent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tentpole import selection
from tentpole.committee.foundation_models import check_name
from tentpole.config.sections import Section, section
from tentpole.errors import InputError
from tentpole.execution.queues import KINDS, Queue
from tentpole.exploration.health import HealthLimits
from tentpole.exploration.walker import Langevin
from tentpole.training.settings import MACESettings

FORMAT_VERSION = 1

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class LabelLimits(Section):
    """What one label may cost before its attempt is ended, and how many attempts it has. `persistent`: one program per
    worker stays and serves label after label over ASE's socket (see `labeling/socket_program.py`)."""

    label_time_limit_s: Positive = 3600.0
    label_memory_limit_GB: Positive | None = None
    attempts: Count = 2
    persistent: bool = False


if TYPE_CHECKING:  # made at run time from the physics' own settings
    HealthSection: TypeAlias = Any
    LangevinSection: TypeAlias = Any
    QueueSection: TypeAlias = Any
    TrainingQueueSection: TypeAlias = Any
    MACESection: TypeAlias = Any
else:
    HealthSection = section(HealthLimits)
    LangevinSection = section(Langevin, kind=(Literal["langevin"], "langevin"))
    MACESection = section(MACESettings, kind=(Literal["mace"], "mace"), warm_start=(bool, True))
    QueueSection = section(Queue, base=LabelLimits, kind=(Literal[KINDS], ...))
    TrainingQueueSection = section(Queue, kind=(Literal[KINDS], ...))


class StructureSection(Section):
    """A starting structure: any file that ASE reads. `name` defaults to the file's stem."""

    file: str
    name: str = ""
    index: int = -1


class StopSection(Section):
    """Hard limits. At least one is required: no campaign runs for ever.

    hours : of drivers at work. core_hours : seconds × cores of the workers, on labels, MD, scoring and training. Both
    are kept across restarts and may pass in the middle of a round; where they do depends on the machine's speed.
    """

    labels: Count | None = None
    rounds: Annotated[int, Field(ge=0)] | None = None
    hours: Positive | None = None
    core_hours: Positive | None = None

    @model_validator(mode="after")
    def _one_at_least(self) -> StopSection:
        if all(limit is None for limit in (self.labels, self.rounds, self.hours, self.core_hours)):
            raise ValueError("state at least one hard limit: labels, rounds, hours or core_hours")
        return self


class TargetSection(Section):
    """When it is enough. Every test must hold for `rounds` rounds in a row.

    force_error_eV_per_A : bound on the force RMSE of the committee, made before retraining, on newly
        labelled frames, and on the upper confidence bound of the audit frames (drawn at random in time).
    labels_needed : fewest new labels that a judgement may rest on.
    miss_rate : how often the error of a frame may exceed what its calibrated disagreement promises; with it the
        target becomes the σ_F below which two_key asks for no label.
    outliers : largest share of new labels whose force RMSE exceeds three times the target.
    stalled_rounds : rounds without a better validation error after which the campaign is STALLED.
    """

    force_error_eV_per_A: Positive = 0.05
    rounds: Count = 2
    miss_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    labels_needed: Count = 50
    outliers: Share = 0.05
    stalled_rounds: Count = 5


class RattleSection(Section):
    """First labels: `count` copies of the starting structures, rattled by each of `stdev_A` in turn."""

    kind: Literal["rattle"] = "rattle"
    count: Count = 20
    stdev_A: tuple[Positive, ...] = (0.02, 0.05, 0.1)


class FramesSection(Section):
    """The frames of a file, labelled by the reference whatever energies they carry."""

    kind: Literal["frames"] = "frames"
    file: str
    index: str = ":"


class ReferenceMDSection(Section):
    """The fixed validation set: MD driven by the reference itself. For references that are cheap."""

    kind: Literal["reference-md"] = "reference-md"
    frames: Count = 100
    temperatures_K: tuple[Positive, ...] = (300.0,)
    every: Count = 20
    timestep_fs: Positive = 0.5


class NoValidationSection(Section):
    """No fixed validation set: new labels alone are judged by."""

    kind: Literal["none"] = "none"


class FingerprintSection(Section):
    """Gaussian-overlap fingerprints and their covariance, for gain and bias."""

    cutoff: Positive = 5.0
    n_max: Count = 50
    mode: Literal["per-atom", "per-config"] = "per-atom"
    eps: Positive = 1e-3


class BiasSection(Section):
    """Entropy bias. Each of `ratios` is a walker per structure and temperature; 0 is plain MD, whose
    health is judged unbiased: the RMS of the bias forces over that of the physical ones."""

    ratios: tuple[Annotated[float, Field(ge=0, le=5)], ...] = (0.0, 0.3)
    entropy: Literal["logdet", "nearest"] = "logdet"


class ExploreSection(Section):
    """MD between two labellings. `steps` per walker and round; every `snapshot_every` a frame is scored.

    max_force_std_eV_per_A : a frame whose largest atomic disagreement exceeds this sends its walker back.
    ahead : walkers run one round ahead of the labels: while a batch is labelled, the next round is explored with what
        was known before it. What the rule queues from that is scored again once the batch is trained on, and dropped
        where it is no longer worth a label. Results do not depend on how fast labels come.
    """

    temperatures_K: tuple[Positive, ...] = (300.0,)
    steps: Count = 500
    snapshot_every: Count = 10
    max_force_std_eV_per_A: Positive = 5.0
    checkpoint_seconds: Positive = 60.0
    ahead: bool = False
    ensemble: LangevinSection = Field(default_factory=LangevinSection)
    bias: BiasSection = BiasSection()
    health: HealthSection = Field(default_factory=HealthSection)


class CommitteeSection(Section):
    """The committee: "deep", `members` networks, or "shallow", one network with that many readout heads, each
    trained on its own resample, from scratch every round. `driver`: the member whose forces move the walkers, "mean"
    (for a deep committee M times the cost), or a foundation model: "chgnet", "mace-mp:medium", "nequip:FILE", or any
    ASE calculator as "package.module:name" (it is imported). `voters`: foundation models that are never trained and
    vote on σ beside the members."""

    kind: Literal["deep", "shallow"] = "deep"
    members: Annotated[int, Field(ge=2)] = 4
    driver: Annotated[int, Field(ge=0)] | str = 0
    voters: tuple[str, ...] = ()
    dtype: Literal["float32", "float64"] = "float64"

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
            try:
                check_name(name)
            except InputError as error:
                raise ValueError(str(error)) from None
        return self


class SelectionSection(Section):
    """Which frames are worth a label: `batch` per round by one rule, a share `audit` at random in time.

    rule : random, uncertainty, diversity, hybrid, logdet or two_key; `settings` are that rule's own.
    """

    rule: str = "two_key"
    batch: Count = 20
    audit: Share = 0.1
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _rule_exists(self) -> SelectionSection:
        try:
            selection.rule(self.rule, **self.settings)
        except (InputError, TypeError) as error:
            raise ValueError(str(error)) from None
        return self


class LocalSection(LabelLimits):
    """Worker processes on this machine. 0 workers: as many as there are cores."""

    kind: Literal["local"] = "local"
    workers: Annotated[int, Field(ge=0)] = 0


class LocalTrainingSection(Section):
    """Training on this machine, as many members at a time as the campaign has local workers."""

    kind: Literal["local"] = "local"


class ParslTrainingSection(Section):
    """A Parsl configuration of the user's own, "module:name" or "file.py:name" (it is imported). `label` is the one
    of its executors that is meant."""

    kind: Literal["parsl"] = "parsl"
    config: str
    label: str = "all"


class ParslSection(LabelLimits):
    """As for training; labels have limits."""

    kind: Literal["parsl"] = "parsl"
    config: str
    label: str = "all"


class CampaignConfig(Section):
    """A whole campaign. `reference` names a file of `calculators/` or is the path of one's own."""

    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    seed: Annotated[int, Field(ge=0)] = 0
    reference: str
    charge: int | None = None
    multiplicity: Count | None = None
    structures: Annotated[tuple[StructureSection, ...], Field(min_length=1)]
    stop: StopSection
    target: TargetSection = TargetSection()
    initial: Annotated[RattleSection | FramesSection, Field(discriminator="kind")] = RattleSection()
    validation: Annotated[ReferenceMDSection | FramesSection | NoValidationSection, Field(discriminator="kind")] = (
        NoValidationSection()
    )
    fingerprint: FingerprintSection = FingerprintSection()
    explore: ExploreSection = ExploreSection()
    committee: CommitteeSection = CommitteeSection()
    training: MACESection = Field(default_factory=MACESection)
    selection: SelectionSection = SelectionSection()
    executor: Annotated[LocalSection | ParslSection | QueueSection, Field(discriminator="kind")] = LocalSection()
    training_executor: Annotated[
        LocalTrainingSection | ParslTrainingSection | TrainingQueueSection, Field(discriminator="kind")
    ] = LocalTrainingSection()

    @field_validator("initial", "executor", "training_executor", mode="before")
    @classmethod
    def _usual_unless_said(cls, given: Any, info: ValidationInfo) -> Any:
        usual = {"initial": "rattle", "executor": "local", "training_executor": "local"}
        return {"kind": usual[str(info.field_name)], **given} if isinstance(given, dict) else given

    @field_validator("structures")
    @classmethod
    def _names_differ(cls, given: tuple[StructureSection, ...]) -> tuple[StructureSection, ...]:
        named = tuple(s if s.name else s.model_copy(update={"name": Path(s.file).stem}) for s in given)
        names = [s.name for s in named]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'two structures are called "{name}": give each a name of its own')
        return named
