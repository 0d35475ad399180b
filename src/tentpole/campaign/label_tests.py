"""The tests of campaigns that rest on all new labels, as those of version 0.1.0 do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tentpole.campaign.evidence import Criteria, Evidence, Round, at_least, at_most
from tentpole.records import FloatArray


def label_tests(history: Sequence[Round], criteria: Criteria) -> tuple[Evidence, ...]:
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
        at_least("rounds judged", rounds, span),
        at_least("new labels judged", len(errors), criteria.labels_needed),
        at_most("force RMSE on new labels before training on them, worst round, eV/Å", worst, target),
        at_most("the same for the worst element or condition, eV/Å", groups.get(group, math.nan), target, group),
        at_most("share of new labels off by more than three times the target", outliers, criteria.outliers),
        at_most("upper 95 % confidence bound on audit frames, eV/Å", upper, target, f"{int(audit.sum())} frames"),
        at_most("mishaps of unbiased MD", float(plain) if rounds else math.nan, 0.0),
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


def _rms(squares: FloatArray) -> float:
    return math.sqrt(float(squares.mean()))
