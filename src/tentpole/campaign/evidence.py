"""What a verdict is made of: tests with their values, what a round has to show, and the settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tentpole.campaign.confidence import Look
from tentpole.records import FloatArray


@dataclass(frozen=True, slots=True)
class Evidence:
    """One test: what was looked at, its value, the bound, whether it holds.

    `holds` is None where it cannot be judged yet; a value without a bound is told and tests nothing.
    """

    test: str
    value: float | None
    bound: float | None
    holds: bool | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Audits:
    """The audit frames of one round, judged by the committee that was not trained on them.

    look : squared force error (eV/Å)², condition and walker of each of n frames. energy : (n,) error in eV/atom.
    stress : (n,) RMSE of the stress components in GPa, NaN where a label has none. failed : audit frames without a
    label or without a finite error.
    """

    look: Look = field(default_factory=lambda: Look(np.zeros(0)))
    energy: FloatArray = field(default_factory=lambda: np.zeros(0))
    stress: FloatArray = field(default_factory=lambda: np.zeros(0))
    failed: int = 0

    def __len__(self) -> int:
        return len(self.look)


@dataclass(frozen=True, slots=True)
class Round:
    """What a closed round tells. Errors are of the committee made *before* its labels joined.

    picked : frames that the rule chose, audit frames not counted.
    frame_errors : mean squared force error (eV/Å)² of each new label; audit : which of them are audit frames.
    groups : force RMSE in eV/Å per element and per condition. validation : force RMSE of the committee
    made after this round on the fixed set, NaN where there is none.
    intervals, unhealthy : snapshot intervals in all, and those that ended in a mishap; plain_unhealthy :
    mishaps of unbiased walkers, parted : those of them in which the structure fell apart, brinks : condition and
    squared force error (eV/Å)² of the frames right before, inf where there is no label. asked, failed : structures
    that a label was asked for, and those without one.
    candidates : frames that the rule could choose from. audits : the audit frames. final_look : 1, 2, ... where the
    round is audit frames alone; passed : whether all tests held there, so that no training followed.
    finished : whether the committee that is judged was trained until its errors no longer fall. under_trained : how
    many members of the committee made after this round err nearly as much on frames they were trained on as on others.
    """

    labels: int
    picked: int
    frame_errors: FloatArray
    audit: Sequence[bool]
    groups: dict[str, float]
    validation: float
    intervals: int
    unhealthy: int
    plain_unhealthy: int
    asked: int = 0
    failed: int = 0
    candidates: int = 0
    audits: Audits = field(default_factory=Audits)
    final_look: int = 0
    passed: bool = False
    finished: bool = False
    under_trained: int = 0
    parted: int = 0
    brinks: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Criteria:
    """Settings of the verdict; see the campaign file's [target] and [stop].

    evidence : "audits" or "labels". conditions : all that are judged. batch : labels a round, at most. frames : those
    from which the audit frames of a final look are drawn. turns : rounds in which every condition has its turn.
    targets : force errors of the conditions where it is another, eV/Å. systems : the conditions of each, where there
    are several.
    """

    force_error_eV_per_A: float
    rounds: int
    labels_needed: int
    outliers: float
    stalled_rounds: int
    max_labels: int | None
    max_rounds: int | None
    max_hours: float | None
    max_core_hours: float | None = None
    evidence: str = "labels"
    energy_error_eV_per_atom: float | None = None
    stress_error_GPa: float | None = None
    final_audits: int = 20
    failed: float = 0.1
    conditions: tuple[str, ...] = ()
    batch: int = 1
    frames: int = 0
    turns: int = 1
    targets: Mapping[str, float] = field(default_factory=dict)
    systems: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def span(self) -> int:
        """The last rounds that are looked at: `rounds`, and as many as every condition takes to have its turn."""
        return max(self.rounds, self.turns)

    def target_of(self, condition: str) -> float:
        """The bound on the force RMSE under a condition, eV/Å."""
        return self.targets.get(condition, self.force_error_eV_per_A)


def at_most(test: str, value: float, bound: float, note: str = "") -> Evidence:
    """Test that `value` is not above `bound`; a value that is not finite cannot be judged yet."""
    if not math.isfinite(value):
        return Evidence(test, None, bound, None, note or "cannot be judged yet")
    return Evidence(test, value, bound, value <= bound, note)


def at_least(test: str, value: int, bound: int) -> Evidence:
    """Test that there are enough of what is counted."""
    return Evidence(test, float(value), float(bound), value >= bound, "at least")
