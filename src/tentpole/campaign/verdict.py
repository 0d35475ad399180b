"""Is it enough? A verdict with its evidence, from what the rounds have written down.

CONVERGED           every test holds, by a final look at fresh audit frames of the committee in force
UNSTABLE            the committee's MD goes wrong too often to explore
COVERAGE_EXHAUSTED  exploration brings nothing that the rule thinks worth a label, and the error is within the target
STARVED             the rule asks for no label although the error is above the target
STALLED             more labels no longer lower the error, and it is above the target
BUDGET              a hard limit was reached first
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tentpole.campaign import audit_tests
from tentpole.campaign.evidence import Audits, Criteria, Evidence, Round
from tentpole.campaign.label_tests import label_tests

__all__ = [
    "MEANING",
    "Audits",
    "Criteria",
    "Evidence",
    "Round",
    "Verdict",
    "evidence",
    "judge",
    "stalls_for_lack_of_updates",
    "time_limit",
]

UNDER_TRAINED = "under-trained members of the committee in force"

MEANING = {
    "CONVERGED": (
        "On frames that unbiased MD visits under these conditions the committee's force RMSE is within the target, "
        "with 95 % confidence, by frames that it was not trained on. That says nothing of other conditions or of rare "
        "events. Next: export the models, or lower the target."
    ),
    "UNSTABLE": (
        "MD with this committee goes wrong too often to explore with it; errors on what it reached say little. Next: "
        "lower temperatures, smaller steps or longer training, and the same command; or a new campaign with more "
        "initial labels."
    ),
    "COVERAGE_EXHAUSTED": (
        "Exploration finds nothing that the rule thinks worth a label; a test that does not hold yet says what is "
        "missing. Next: longer MD, higher temperatures or a stronger bias in [explore], and the same command."
    ),
    "STARVED": (
        "The rule asks for no more labels although the error is above the target: its keys stand in the way, not the "
        "data. Next: another rule, or other settings of it in [selection], and the same command."
    ),
    "STALLED": (
        "More labels no longer lower the error, and it is above the target: the model, its training or the labels' own "
        "noise limit it. Next: longer training, and the same command; or a larger model in a new campaign, which takes "
        "the labels along: tentpole run NEW --labels-from this one."
    ),
    "BUDGET": (
        "A limit of the campaign file was reached before convergence could be shown; that it is not converged is not "
        "shown either. Next: raise the limit in [stop] and go on; nothing is lost."
    ),
}
"""What each verdict means, and what to do next."""

OF_SETTINGS = ("UNSTABLE", "COVERAGE_EXHAUSTED", "STARVED", "STALLED")
"""Verdicts after which other settings of exploration, selection or training are to help."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a campaign ended.

    Parameters
    ----------
    kind : str
        One of MEANING.
    reason : str
        Why, in one sentence.
    evidence : tuple of Evidence
        The tests behind it.

    Examples
    --------
    >>> from tentpole.campaign import Verdict
    >>> verdict = Verdict("BUDGET", "200 labels of 200 are used.", ())
    >>> verdict.meaning.split("; ")[0]
    'A limit of the campaign file was reached before convergence could be shown'
    >>> print(verdict)
    BUDGET: 200 labels of 200 are used.
    >>> Verdict.from_json(verdict.to_json()) == verdict
    True
    """

    kind: str
    reason: str
    evidence: tuple[Evidence, ...]

    @property
    def meaning(self) -> str:
        """What it means, and what to do next."""
        return MEANING[self.kind]

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"

    def _repr_html_(self) -> str:
        from tentpole.campaign.notebook import verdict_html

        return verdict_html(self)

    def to_json(self) -> dict[str, Any]:
        """As verdict.json keeps it."""
        return {"kind": self.kind, "reason": self.reason, "evidence": [asdict(e) for e in self.evidence]}

    @staticmethod
    def from_json(content: dict[str, Any]) -> Verdict:
        """As `to_json` wrote it."""
        evidence = tuple(Evidence(**entry) for entry in content["evidence"])
        return Verdict(content["kind"], content["reason"], evidence)


def judge(
    history: Sequence[Round], hours: float, criteria: Criteria, core_hours: float = 0.0, since: int = 0
) -> Verdict | None:
    """The verdict after the last of `history` (round 0, the initial labels, included), or None: go on.

    since : the first round that had the newest settings. Rounds before say nothing of what is in the way now: those of
    `OF_SETTINGS` rest on the others alone.
    """
    tests = evidence(history, criteria)
    recent = history[1:][-criteria.span :]
    full = len(recent) == criteria.span
    newest = full and len(history) - max(1, since) >= criteria.span
    by_audits = criteria.evidence == "audits"
    verdict = (
        (newest and _unstable(recent))
        or (_converged_by_audits(history, criteria) if by_audits else full and _converged_by_labels(tests, criteria))
        or (newest and (_silent(recent, criteria) if by_audits else _exhausted_by_labels(recent)))
        or (None if _lacks_updates(history, criteria) else _stalled(history, criteria, since))
    )
    if verdict:
        return Verdict(*verdict, tests)
    limit = _limit(history, criteria) or time_limit(hours, core_hours, criteria)
    return Verdict("BUDGET", limit, tests) if limit else None


def evidence(history: Sequence[Round], criteria: Criteria) -> tuple[Evidence, ...]:
    """The tests of convergence on the rounds that are done."""
    if criteria.evidence == "labels":
        return label_tests(history, criteria)
    tests = audit_tests.audit_tests(history, criteria)
    if not (history and history[-1].under_trained):
        return tests
    words = "they err nearly as much on trained frames as on others: more updates would help more than more labels"
    return (*tests, Evidence(UNDER_TRAINED, float(history[-1].under_trained), None, None, words))


Found = tuple[str, str] | None
"""Kind and reason of a verdict."""


def _unstable(recent: Sequence[Round]) -> Found:
    intervals, unhealthy = sum(r.intervals for r in recent), sum(r.unhealthy for r in recent)
    if not intervals or unhealthy <= 0.5 * intervals:
        return None
    return "UNSTABLE", f"{unhealthy} of {intervals} stretches of MD went wrong in the last {len(recent)} rounds"


def _converged_by_audits(history: Sequence[Round], criteria: Criteria) -> Found:
    if not audit_tests.converged(history, criteria):
        return None
    last = history[-1]
    frames = f"{len(last.audits)} fresh audit frames that the committee was not trained on"
    return "CONVERGED", f"all tests hold in final look {last.final_look}, on {frames}"


def _converged_by_labels(tests: Sequence[Evidence], criteria: Criteria) -> Found:
    if not all(test.holds for test in tests):
        return None
    return "CONVERGED", f"all tests held for {criteria.rounds} rounds in a row"


def _exhausted_by_labels(recent: Sequence[Round]) -> Found:
    if any(r.picked for r in recent):
        return None
    reason = f"{len(recent)} rounds in a row brought nothing that the rule thinks worth a label"
    return "COVERAGE_EXHAUSTED", reason


def _silent(recent: Sequence[Round], criteria: Criteria) -> Found:
    """The rule picks nothing, and no labels come from audit frames either by which the committee would still learn."""
    if any(r.picked or r.labels or r.final_look for r in recent):
        return None
    if any(r.candidates < criteria.batch for r in recent):
        return None
    silent = f"{len(recent)} rounds in a row brought nothing that the rule thinks worth a label"
    errors = [math.sqrt(float(r.audits.look.squares.mean())) for r in recent if len(r.audits)]
    failed = sum(r.failed for r in recent)
    if any(error > criteria.force_error_eV_per_A for error in errors):
        return "STARVED", f"{silent}, and the error on audit frames is above the target"
    if failed:
        return "STARVED", f"{silent}, and {failed} audit frames got no label"
    return "COVERAGE_EXHAUSTED", silent


def stalls_for_lack_of_updates(history: Sequence[Round], criteria: Criteria) -> bool:
    """Whether the error no longer falls, and it may be for want of updates: a finishing training tells."""
    return _lacks_updates(history, criteria) and _stalled(history, criteria) is not None


def _lacks_updates(history: Sequence[Round], criteria: Criteria) -> bool:
    """Whether the committee in force is under-trained, and none of the last rounds' was trained to its end."""
    recent = history[-criteria.stalled_rounds :]
    return bool(recent) and recent[-1].under_trained > 0 and not any(r.finished for r in recent)


def _stalled(history: Sequence[Round], criteria: Criteria, since: int = 0) -> Found:
    errors = [r.validation for r in history[max(0, since - 1) :]]
    span = criteria.stalled_rounds
    if errors and all(math.isfinite(e) for e in errors):
        if len(errors) <= span:
            return None
        best_before, best_since = min(errors[:-span]), min(errors[-span:])
        if best_since > 0.98 * best_before and best_since > criteria.force_error_eV_per_A:
            return "STALLED", f"no better validation error in {span} rounds, and above the target"
        return None
    if criteria.evidence == "audits" and audit_tests.stalled(history, criteria, since):
        reason = f"audit frames of the last {span} rounds or more err no less than as many before, above the target"
        if any(r.picked for r in history[-span:]):
            return "STALLED", reason
        return "STARVED", f"{reason}, and the rule asked for no label in the last {span} rounds"
    return None


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
