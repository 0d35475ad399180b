"""What `tentpole status --json` prints, for dashboards, scripts and agents: its parts, their units, their JSON schema.

Keys may be added within a version of the schema. One that goes, or means something else, makes another version.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

VERSION = 1
_CLOSED = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

RoundName = int | str


@with_config(_CLOSED)
class SpreadStatus(TypedDict, total=False):
    """Of a score over frames: its mean and three percentiles; empty where there are no frames."""

    mean: float
    p05: float
    median: float
    p95: float


@with_config(_CLOSED)
class RoundStatus(TypedDict):
    """One round, round 0 being the initial labels. Errors are None where nothing tells them."""

    round: RoundName
    asked: int
    """Structures that a label was asked for."""
    labels: int
    """Of them, accepted ones."""
    failed: int
    done: bool
    candidates: int
    """Frames that the rule could choose from."""
    choice: str
    """What became of the candidates, in words."""
    mishaps: dict[str, int]
    """Walkers sent back, by reason."""
    force_std_chosen: SpreadStatus
    """σ_F in eV/Å, of the frames that were chosen."""
    force_std_remaining: SpreadStatus
    gain_chosen: SpreadStatus
    """Log-det gain of the frames that were chosen."""
    gain_remaining: SpreadStatus
    bias_strength_eV: dict[str, float | None]
    """By walker; None for plain MD."""
    new_force_rmse: float | None
    """On the round's new labels, before training on them; eV/Å."""
    new_energy_rmse: float | None
    """The same of energies; eV/atom."""
    new_stress_rmse_GPa: float | None
    validation_force_rmse: float | None
    """On the fixed validation set, after training; eV/Å."""
    validation_energy_rmse: float | None
    validation_stress_rmse_GPa: float | None
    coverage: float | None
    """Share of the new labels whose error was within what their calibrated σ promised."""
    calibration: dict[str, Any]
    """Of σ on the validation set; {} where there is none."""
    likeness: str
    """How alike the members are, in words."""


@with_config(_CLOSED)
class AmountStatus(TypedDict):
    """Of each thing that can be limited; None: no limit."""

    labels: float | None
    rounds: float | None
    hours: float | None
    core_hours: float | None


@with_config(_CLOSED)
class BudgetProjectionStatus(TypedDict):
    """An estimate of what is still to be used until the first limit, at the rate of the last rounds."""

    labels: float
    rounds: float
    hours: float
    core_hours: float
    ends_on: str
    over_rounds: int
    words: str
    estimate: bool


@with_config(_CLOSED)
class BudgetStatus(TypedDict):
    """What is used, and what is left."""

    used: AmountStatus
    limit: AmountStatus
    left: AmountStatus
    core_seconds: dict[str, float]
    """Of the workers, by phase."""
    projected: BudgetProjectionStatus | None
    words: list[str]


@with_config(_CLOSED)
class UnderWayStatus(TypedDict):
    """The step that comes next, or runs."""

    round: int
    phase: str
    done: float
    total: float
    share: float | None


@with_config(_CLOSED)
class ForecastStatus(TypedDict):
    """Seconds of wall time: of the round under way, and of the rest until the last limit."""

    round: int
    round_s: float
    rounds: float | None
    rest_s: float | None


@with_config(_CLOSED)
class PretrainingStatus(TypedDict):
    """What members learned before the first label."""

    reference: str
    labels: int
    failed: int
    updates: int
    core_seconds: float
    force_rmse: list[float]
    """Of each member on frames that it held out of the cheap method's; eV/Å."""
    force_std: float
    """Members' mean disagreement on rattled starting structures; eV/Å."""


@with_config(_CLOSED)
class EvidenceStatus(TypedDict):
    """One test. `holds` is None where it cannot be judged yet; without a bound a value is told and tests nothing."""

    test: str
    value: float | None
    bound: float | None
    holds: bool | None
    note: str


@with_config(_CLOSED)
class VerdictStatus(TypedDict):
    """How the campaign ended."""

    kind: Literal["CONVERGED", "COVERAGE_EXHAUSTED", "STARVED", "BUDGET", "STALLED", "UNSTABLE"]
    reason: str
    evidence: list[EvidenceStatus]


@with_config(_CLOSED)
class SettingsChangeStatus(TypedDict):
    """Settings that changed in a campaign under way, as in "explore.steps: 100, now 200"."""

    from_round: int
    """The first round that has them so."""
    changes: list[str]


@with_config(_CLOSED)
class CampaignStatus(TypedDict):
    """A campaign folder as it was when it was read."""

    version: Literal[1]
    """Of this schema."""
    name: str
    folder: str
    reference: str
    rounds: list[RoundStatus]
    labels: int
    """Accepted labels of the rounds that are closed."""
    validation_labels: int
    label_files: int
    """All labels in the folder, those of open rounds included."""
    pretraining: PretrainingStatus | None
    failed_labels: int
    limits: dict[str, float]
    target_force_error_eV_per_A: float
    hours: float
    """Of drivers at work."""
    budget: BudgetStatus
    seconds: dict[str, float]
    """Wall time by phase."""
    engine_share: float
    driver: dict[str, Any] | None
    """Host, pid and start of the driver that holds the folder, or of one that died there."""
    running: bool
    under_way: UnderWayStatus | None
    """None once there is a verdict."""
    forecast: ForecastStatus | None
    starving: str
    """The key of the rule that starves two batches, and what to change; "" for none."""
    setting_changes: list[SettingsChangeStatus]
    verdict: VerdictStatus | None


def status_schema() -> dict[str, Any]:
    """The JSON schema of `tentpole status --json`."""
    return TypeAdapter(CampaignStatus).json_schema()


def check_status(content: object) -> None:
    """See that `content` is what the schema says. Raises pydantic's ValidationError."""
    TypeAdapter(CampaignStatus).validate_python(content)
