"""Is it enough? A verdict with its evidence, from what the rounds have written down.

CONVERGED           every test has held for the stated number of rounds
COVERAGE_EXHAUSTED  exploration brings nothing that the rule thinks worth a label
UNSTABLE            the committee's MD goes wrong too often to explore
STALLED             more labels no longer lower the error, and it is above the target
BUDGET              a hard limit was reached first
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tentpole.records import FloatArray


@dataclass(frozen=True, slots=True)
class Evidence:
    """One test: what was looked at, its value, the bound, whether it holds (None: cannot be judged yet)."""

    test: str
    value: float | None
    bound: float | None
    holds: bool | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a campaign ended, why in one sentence, and the tests behind it."""

    kind: str
    reason: str
    evidence: tuple[Evidence, ...]

    def to_json(self) -> dict[str, Any]:
        """As verdict.json keeps it."""
        return {"kind": self.kind, "reason": self.reason, "evidence": [asdict(e) for e in self.evidence]}

    @staticmethod
    def from_json(content: dict[str, Any]) -> Verdict:
        """As `to_json` wrote it."""
        evidence = tuple(Evidence(**entry) for entry in content["evidence"])
        return Verdict(content["kind"], content["reason"], evidence)


@dataclass(frozen=True, slots=True)
class Round:
    """What a closed round tells. Errors are of the committee made *before* its labels joined.

    picked : frames that the rule chose, audit frames not counted.
    frame_errors : mean squared force error (eV/Å)² of each new label; audit : which of them are audit frames.
    groups : force RMSE in eV/Å per element and per condition. validation : force RMSE of the committee
    made after this round on the fixed set, NaN where there is none.
    walkers, unhealthy : snapshot intervals in all, and those that ended in a mishap; plain_unhealthy :
    mishaps of unbiased walkers.
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


@dataclass(frozen=True, slots=True)
class Criteria:
    """Settings of the verdict; see the campaign file's [target] and [stop]."""

    force_error_eV_per_A: float
    rounds: int
    labels_needed: int
    outliers: float
    stalled_rounds: int
    max_labels: int | None
    max_rounds: int | None
    max_hours: float | None
    max_core_hours: float | None = None


def judge(history: Sequence[Round], hours: float, criteria: Criteria, core_hours: float = 0.0) -> Verdict | None:
    """The verdict after the last of `history` (round 0, the initial labels, included), or None: go on."""
    tests = evidence(history, criteria)
    explored = history[1:]
    recent = explored[-criteria.rounds :]
    if len(recent) == criteria.rounds:
        if all(test.holds for test in tests):
            return Verdict("CONVERGED", f"all tests held for {criteria.rounds} rounds in a row", tests)
        if all(r.picked == 0 for r in recent):
            reason = f"{criteria.rounds} rounds in a row brought nothing that the rule thinks worth a label"
            return Verdict("COVERAGE_EXHAUSTED", reason, tests)
        intervals, unhealthy = sum(r.intervals for r in recent), sum(r.unhealthy for r in recent)
        if intervals and unhealthy > 0.5 * intervals:
            reason = f"{unhealthy} of {intervals} stretches of MD went wrong in the last {len(recent)} rounds"
            return Verdict("UNSTABLE", reason, tests)
    if _stalled(history, criteria):
        reason = f"no better validation error in {criteria.stalled_rounds} rounds, and above the target"
        return Verdict("STALLED", reason, tests)
    limit = _limit(history, criteria) or time_limit(hours, core_hours, criteria)
    return Verdict("BUDGET", limit, tests) if limit else None


def evidence(history: Sequence[Round], criteria: Criteria) -> tuple[Evidence, ...]:
    """The tests of convergence over the last `criteria.rounds` rounds of exploration."""
    target, span = criteria.force_error_eV_per_A, criteria.rounds
    recent = history[1:][-span:]
    errors = np.concatenate([r.frame_errors for r in recent]) if recent else np.zeros(0)
    audit = np.array([a for r in recent for a in r.audit], dtype=bool)
    worst = max((_rms(r.frame_errors) for r in recent if len(r.frame_errors)), default=math.nan)
    groups = {name: max(r.groups.get(name, 0.0) for r in recent) for r in recent for name in r.groups}
    group = max(groups, key=lambda name: groups[name], default="")
    outliers = float((np.sqrt(errors) > 3 * target).mean()) if len(errors) else math.nan
    upper = upper_bound(errors[audit])
    plain = sum(r.plain_unhealthy for r in recent)
    rounds = len(recent)
    return (
        _at_least("rounds judged", rounds, span),
        _at_least("new labels judged", len(errors), criteria.labels_needed),
        _at_most("force RMSE on new labels before training on them, worst round, eV/Å", worst, target),
        _at_most("the same for the worst element or condition, eV/Å", groups.get(group, math.nan), target, group),
        _at_most("share of new labels off by more than three times the target", outliers, criteria.outliers),
        _at_most("upper 95 % confidence bound on audit frames, eV/Å", upper, target, f"{int(audit.sum())} frames"),
        _at_most("mishaps of unbiased MD", float(plain) if rounds else math.nan, 0.0),
    )


def upper_bound(squares: FloatArray, confidence: float = 0.95) -> float:
    """One-sided upper confidence bound on sqrt(E[x]) of frames' mean squared errors x, Student's t.

    NaN below 3 frames: nothing can be said.
    """
    from scipy.stats import t

    n = len(squares)
    if n < 3:
        return math.nan
    return math.sqrt(float(squares.mean() + t.ppf(confidence, n - 1) * squares.std(ddof=1) / math.sqrt(n)))


def _stalled(history: Sequence[Round], criteria: Criteria) -> bool:
    errors = [r.validation for r in history]
    span = criteria.stalled_rounds
    if len(errors) <= span or not all(math.isfinite(e) for e in errors):
        return False
    best_before, best_since = min(errors[:-span]), min(errors[-span:])
    return best_since > 0.98 * best_before and best_since > criteria.force_error_eV_per_A


def time_limit(hours: float, core_hours: float, criteria: Criteria) -> str:
    """Which limit of time is used up, in words; "" for none. It may pass in the middle of a round."""
    if criteria.max_hours is not None and hours >= criteria.max_hours:
        return f"{hours:.3g} hours of {criteria.max_hours:g} are used"
    if criteria.max_core_hours is not None and core_hours >= criteria.max_core_hours:
        return f"{core_hours:.3g} core-hours of {criteria.max_core_hours:g} are used"
    return ""


def _limit(history: Sequence[Round], criteria: Criteria) -> str:
    labels, rounds = sum(r.labels for r in history), len(history) - 1
    if criteria.max_labels is not None and labels >= criteria.max_labels:
        return f"{labels} labels of {criteria.max_labels} are used"
    if criteria.max_rounds is not None and rounds >= criteria.max_rounds:
        return f"{rounds} rounds of {criteria.max_rounds} are done"
    return ""


def _rms(squares: FloatArray) -> float:
    return math.sqrt(float(squares.mean()))


def _at_most(test: str, value: float, bound: float, note: str = "") -> Evidence:
    if not math.isfinite(value):
        return Evidence(test, None, bound, None, note or "cannot be judged yet")
    return Evidence(test, value, bound, value <= bound, note)


def _at_least(test: str, value: int, bound: int) -> Evidence:
    return Evidence(test, float(value), float(bound), value >= bound, "at least")
