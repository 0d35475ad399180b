"""What a round writes down and its readers read: frozen facts with their JSON, format version 1.

BatchFacts stand in batch.json beside the requests, RoundOutcome is labels.json, RoundEnd is done.json. `to_json` gives
what those files hold; `from_json` reads them, and takes a key that a file of the same version lacks for its default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tentpole.committee.calibration import Calibration
from tentpole.committee.prediction_limit import PredictionLimit
from tentpole.records import FloatArray
from tentpole.selection import Funnel

VERSION = 1


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, 5th percentile, median and 95th percentile of a quantity over frames."""

    mean: float
    p05: float
    median: float
    p95: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread | None:
        """The spread of `values`; None for no values."""
        if not len(values):
            return None
        array: FloatArray = np.asarray(values, dtype=float)
        low, middle, high = np.quantile(array, [0.05, 0.5, 0.95])
        return Spread(float(array.mean()), float(low), float(middle), float(high))

    @staticmethod
    def from_json(content: Mapping[str, float]) -> Spread | None:
        """As batch.json keeps it: an empty table for no frames."""
        return Spread(**content) if content else None


@dataclass(frozen=True, slots=True)
class DroppedFrame:
    """A frame that was queued for a label and then dropped.

    force_std (eV/Å), gain : before and after the labels of the round before; None where it could not be scored again.
    """

    id: str
    force_std: tuple[float, float | None]
    gain: tuple[float, float | None]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """As batch.json and the journal keep it."""
        return {"id": self.id, "force_std": [*self.force_std], "gain": [*self.gain], "reason": self.reason}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> DroppedFrame:
        """As `to_json` wrote it."""
        (before, after), (was, now) = content["force_std"], content["gain"]
        return DroppedFrame(content["id"], (before, after), (was, now), content["reason"])


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """How a batch came about; all empty for the initial structures and the validation set.

    candidates, chosen : frames that could be scored, and those that were picked; by_condition : picked per condition.
    force_std_*, gain_* : σ_F (eV/Å) and gain of the picked frames and of those that remain.
    mishaps : resets of walkers by reason; unhealthy : all of them, plain_unhealthy : those of unbiased walkers;
    intervals : stretches of MD between two snapshots. bias_strength_eV : of each walker.
    parted : unbiased walkers' mishaps in which the structure fell apart; brinks : ids of the frames asked for because
    they are the last before one of these.
    first_key : the threshold of the rule in words. queued, dropped : where the choice was looked at again.
    final_look : 1, 2, ... where the batch is audit frames alone, that number of final look; else 0.
    finished : whether the committee that explored had been trained until its errors no longer fall.
    funnel : how many candidates passed each key of the rule; audits, wanted : frames drawn at random before the rule
    looked, and the size of the batch that was wanted. None and 0 in folders from before they were kept.
    """

    candidates: int = 0
    chosen: int = 0
    by_condition: Mapping[str, int] = field(default_factory=dict)
    force_std_chosen: Spread | None = None
    force_std_remaining: Spread | None = None
    gain_chosen: Spread | None = None
    gain_remaining: Spread | None = None
    mishaps: Mapping[str, int] = field(default_factory=dict)
    unhealthy: int = 0
    plain_unhealthy: int = 0
    parted: int = 0
    brinks: tuple[str, ...] = ()
    intervals: int = 0
    bias_strength_eV: Mapping[str, float | None] = field(default_factory=dict)
    first_key: str = ""
    queued: int | None = None
    dropped: tuple[DroppedFrame, ...] = ()
    final_look: int = 0
    finished: bool = False
    funnel: Funnel | None = None
    audits: int = 0
    wanted: int = 0

    @property
    def choice(self) -> str:
        """What became of the candidates, in words."""
        if self.funnel is None:
            return f"{self.candidates} candidates, {self.chosen} picked"
        passed, _, picked = str(self.funnel).rpartition(" → ")
        queued = "" if self.queued is None else f" → {self.queued} queued"
        return f"{passed}{queued} → {picked} + {self.audits} audit of {self.wanted} wanted"

    def to_json(self) -> dict[str, Any]:
        """As batch.json keeps them: nothing for a batch without exploration."""
        if not self.bias_strength_eV:
            return {}
        spreads = ("force_std_chosen", "force_std_remaining", "gain_chosen", "gain_remaining")
        plain = ("candidates", "chosen", "unhealthy", "plain_unhealthy", "intervals", "first_key")
        content: dict[str, Any] = {name: getattr(self, name) for name in plain}
        for name in ("by_condition", "mishaps", "bias_strength_eV"):
            content[name] = dict(getattr(self, name))
        for name in spreads:
            content[name] = _table(getattr(self, name))
        if self.queued is not None:
            content |= {"queued": self.queued, "dropped": [frame.to_json() for frame in self.dropped]}
        if self.final_look:
            content["final_look"] = self.final_look
        if self.finished:
            content["finished"] = True
        if self.parted:
            content |= {"parted": self.parted, "brinks": list(self.brinks)}
        if self.funnel is not None:
            content |= {"funnel": asdict(self.funnel), "audits": self.audits, "wanted": self.wanted}
        return content

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> BatchFacts:
        """As `to_json` wrote them."""
        return BatchFacts(
            candidates=content.get("candidates", 0),
            chosen=content.get("chosen", 0),
            by_condition=content.get("by_condition", {}),
            force_std_chosen=Spread.from_json(content.get("force_std_chosen", {})),
            force_std_remaining=Spread.from_json(content.get("force_std_remaining", {})),
            gain_chosen=Spread.from_json(content.get("gain_chosen", {})),
            gain_remaining=Spread.from_json(content.get("gain_remaining", {})),
            mishaps=content.get("mishaps", {}),
            unhealthy=content.get("unhealthy", 0),
            plain_unhealthy=content.get("plain_unhealthy", 0),
            parted=content.get("parted", 0),
            brinks=tuple(content.get("brinks", ())),
            intervals=content.get("intervals", 0),
            bias_strength_eV=content.get("bias_strength_eV", {}),
            first_key=content.get("first_key", ""),
            queued=content.get("queued"),
            dropped=tuple(DroppedFrame.from_json(frame) for frame in content.get("dropped", ())),
            final_look=content.get("final_look", 0),
            finished=bool(content.get("finished", False)),
            funnel=Funnel(**content["funnel"]) if "funnel" in content else None,
            audits=content.get("audits", 0),
            wanted=content.get("wanted", 0),
        )


class FrameError(NamedTuple):
    """Committee mean against one label.

    force_mse : mean squared error of the force components, (eV/Å)². energy_error : signed, eV/atom. force_std : mean
    disagreement, eV/Å. max_force_std, max_force_error : the largest over atoms, eV/Å.
    sigma : σ_F as the campaign's rule looks at it ([selection] sigma), eV/Å. stress_error : RMSE of the stress
    components, GPa. Both None where they were not kept. NaN: a member's prediction was not finite.
    """

    force_mse: float = math.nan
    energy_error: float = math.nan
    force_std: float = math.nan
    max_force_std: float = math.nan
    max_force_error: float = math.nan
    sigma: float | None = None
    stress_error: float | None = None

    def to_json(self) -> dict[str, float]:
        """As labels.json and done.json keep it."""
        return {key: value for key, value in self._asdict().items() if value is not None and math.isfinite(value)}

    @property
    def force_rmse(self) -> float:
        """Root mean squared error of the force components, eV/Å."""
        return math.sqrt(self.force_mse)


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """Errors of a committee on labelled frames.

    force_rmse (eV/Å) over all components, energy_rmse (eV/atom): None for no frames. frames : by label name.
    elements : force RMSE in eV/Å per element. likeness : in words, how far the members still differ.
    parity : (n, 2) pairs of reference and prediction, force components in eV/Å, a sample. stress_parity : the same of
    stress components in GPa; none where no stress was looked at.
    """

    force_rmse: float | None
    energy_rmse: float | None
    frames: Mapping[str, FrameError]
    elements: Mapping[str, float]
    likeness: str
    parity: FloatArray
    stress_parity: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))

    @property
    def stress_rmse(self) -> float | None:
        """Over all stress components, GPa; None where none was looked at."""
        squares = [frame.stress_error**2 for frame in self.frames.values() if frame.stress_error is not None]
        return math.sqrt(sum(squares) / len(squares)) if squares else None

    @property
    def words(self) -> str:
        """Errors of forces, energies and stress, in words."""
        if self.force_rmse is None:
            return "no errors known"
        said = f"force RMSE {1000 * self.force_rmse:.1f} meV/Å"
        said += "" if self.energy_rmse is None else f", energy {1000 * self.energy_rmse:.3g} meV/atom"
        return said + ("" if self.stress_rmse is None else f", stress {self.stress_rmse:.3g} GPa")

    def to_json(self) -> dict[str, Any]:
        """As labels.json and done.json keep them."""
        stress = {"stress_parity": self.stress_parity.tolist()} if len(self.stress_parity) else {}
        return {
            **stress,
            "force_rmse_eV_per_A": self.force_rmse,
            "energy_rmse_eV_per_atom": self.energy_rmse,
            "frames": {name: frame.to_json() for name, frame in self.frames.items()},
            "elements": dict(self.elements),
            "likeness": self.likeness,
            "parity": self.parity.tolist(),
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> ErrorFacts | None:
        """As `to_json` wrote them; None where nothing was judged."""
        if "frames" not in content:
            return None
        return ErrorFacts(
            content.get("force_rmse_eV_per_A"),
            content.get("energy_rmse_eV_per_atom"),
            {name: FrameError(**frame) for name, frame in content["frames"].items()},
            content.get("elements", {}),
            content.get("likeness", ""),
            np.asarray(content.get("parity", []), dtype=float).reshape(-1, 2),
            np.asarray(content.get("stress_parity", []), dtype=float).reshape(-1, 2),
        )


@dataclass(frozen=True, slots=True)
class SigmaScale:
    """A calibrated disagreement: the fit, the σ (eV/Å) below which errors stay within the target, and it in words."""

    fit: Calibration
    threshold_eV_per_A: float | None
    words: str

    def to_json(self) -> dict[str, Any]:
        """As done.json keeps it."""
        return {"fit": asdict(self.fit), "threshold_eV_per_A": self.threshold_eV_per_A, "words": self.words}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> SigmaScale | None:
        """As `to_json` wrote it; None for an empty table."""
        if not content:
            return None
        return SigmaScale(Calibration(**content["fit"]), content["threshold_eV_per_A"], content["words"])


@dataclass(frozen=True, slots=True)
class CalibrationFacts:
    """Conformal calibration on the validation set.

    largest : the largest atomic σ_F of a frame against its largest error. frames : the σ_F of a frame that
    rules look at ([selection] sigma), against its force RMSE, what the target bounds.
    """

    largest: SigmaScale
    frames: SigmaScale | None

    def to_json(self) -> dict[str, Any]:
        """As done.json keeps them."""
        content = self.largest.to_json()
        return content if self.frames is None else {**content, "frames": self.frames.to_json()}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> CalibrationFacts | None:
        """As `to_json` wrote them; None for an empty table."""
        largest = SigmaScale.from_json({key: value for key, value in content.items() if key != "frames"})
        return None if largest is None else CalibrationFacts(largest, SigmaScale.from_json(content.get("frames", {})))


@dataclass(frozen=True, slots=True)
class LimitFacts:
    """What a frame's σ is worth, by audit frames: the limit, and the σ_F (eV/Å) at which it equals the target."""

    limit: PredictionLimit
    threshold_eV_per_A: float | None

    def to_json(self) -> dict[str, Any]:
        """As done.json keeps it."""
        one = self.limit
        names = ("scale", "alpha", "frames", "weight", "method", "why_not")
        fit = {**{name: getattr(one, name) for name in names}, "conditions": dict(one.conditions)}
        return {"fit": fit, "threshold_eV_per_A": self.threshold_eV_per_A, "words": one.words}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> LimitFacts | None:
        """As `to_json` wrote it; None for an empty table."""
        return LimitFacts(PredictionLimit(**content["fit"]), content["threshold_eV_per_A"]) if content else None


@dataclass(frozen=True, slots=True)
class CanaryFacts:
    """A committee against its predecessor on audit frames that neither was trained on; see canary.py.

    worse : beyond noise; None where that cannot be judged. words : the comparison in words.
    """

    worse: bool | None
    words: str


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """What came of a batch.

    accepted : names of labels in batch order. failed : names of what has none. errors : how far the committee of the
    round before was off on the new labels, None where none judged them. coverage : the share of them within the error
    that its calibration promised, None for no promise; covered : the same on the audit frames alone, as counts
    (within, all). passed : whether a final look found every test to hold, None where there was none. canary : whether
    the committee was worse than its predecessor.
    """

    accepted: tuple[str, ...]
    failed: tuple[str, ...]
    errors: ErrorFacts | None = None
    coverage: float | None = None
    covered: tuple[int, int] | None = None
    passed: bool | None = None
    canary: CanaryFacts | None = None

    def to_json(self) -> dict[str, Any]:
        """As labels.json keeps it."""
        facts: dict[str, Any] = {}
        if self.errors is not None:
            facts = {**self.errors.to_json(), "coverage": self.coverage}
        if self.covered is not None:
            facts["covered"] = [*self.covered]
        if self.passed is not None:
            facts["passed"] = self.passed
        if self.canary is not None:
            facts["canary"] = asdict(self.canary)
        return {"version": VERSION, "accepted": [*self.accepted], "failed": [*self.failed], "facts": facts}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> RoundOutcome:
        """As `to_json` wrote it."""
        facts = content["facts"]
        covered, canary = facts.get("covered"), facts.get("canary")
        return RoundOutcome(
            tuple(content["accepted"]),
            tuple(content["failed"]),
            ErrorFacts.from_json(facts),
            facts.get("coverage"),
            None if covered is None else (int(covered[0]), int(covered[1])),
            facts.get("passed"),
            None if canary is None else CanaryFacts(**canary),
        )


@dataclass(frozen=True, slots=True)
class RoundEnd:
    """The committee made after a round.

    validation, calibration : its errors on the validation set, and what they make of σ; None where there is no such
    set. limit : what σ is worth by the audit frames; None where there are none. under_trained : how many members err
    nearly as much on frames that they were trained on as on others: more updates would help more than more labels.
    """

    validation: ErrorFacts | None = None
    calibration: CalibrationFacts | None = None
    limit: LimitFacts | None = None
    under_trained: int = 0

    @property
    def force_rmse(self) -> float:
        """Force RMSE (eV/Å) on the validation set; NaN where there is none."""
        value = None if self.validation is None else self.validation.force_rmse
        return math.nan if value is None else float(value)

    def to_json(self) -> dict[str, Any]:
        """As done.json keeps it."""
        content: dict[str, Any] = {"version": VERSION}
        for name in ("validation", "calibration", "limit"):
            if (part := getattr(self, name)) is not None:
                content[name] = part.to_json()
        if self.under_trained:
            content["under_trained"] = self.under_trained
        return content

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> RoundEnd:
        """As `to_json` wrote it."""
        return RoundEnd(
            ErrorFacts.from_json(content.get("validation", {})),
            CalibrationFacts.from_json(content.get("calibration", {})),
            LimitFacts.from_json(content.get("limit", {})),
            int(content.get("under_trained", 0)),
        )


def _table(spread: Spread | None) -> dict[str, float]:
    return {} if spread is None else asdict(spread)


@dataclass(frozen=True, slots=True)
class PretrainingFacts:
    """How a pretraining went.

    reference : what it learned. labels, failed : of the cheap reference. core_seconds : of its labels and of the
    training. force_rmse : of each member on frames it held out, in eV/Å, of the cheap reference. force_std : members'
    mean disagreement on rattled starting structures, eV/Å.
    """

    reference: str
    labels: int
    failed: int
    updates: int
    core_seconds: float
    force_rmse: tuple[float, ...]
    force_std: float

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> PretrainingFacts:
        """As done.json keeps it."""
        facts = {key: value for key, value in content.items() if key not in ("version", "checksum")}
        return PretrainingFacts(**{**facts, "force_rmse": tuple(facts["force_rmse"])})

    @property
    def words(self) -> str:
        """In a sentence."""
        spread = f"they differ by {1000 * self.force_std:.1f} meV/Å on rattled structures"
        if not self.labels:
            return f"started from {self.reference}; {spread}"
        errors = ", ".join(f"{1000 * error:.1f}" for error in self.force_rmse)
        return (
            f"pretrained on {self.labels} frames of {self.reference} ({self.core_seconds:.0f} core-seconds); members' "
            f"force RMSE on held-out ones of these: {errors} meV/Å; {spread}. Neither says anything of the campaign's "
            "own reference"
        )
