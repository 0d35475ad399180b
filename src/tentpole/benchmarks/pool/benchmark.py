"""The protocol of the benchmark: one seed, all rules, the same split and the same first labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tentpole.benchmarks.pool.models import Fitted, Model, Scale
from tentpole.errors import InputError
from tentpole.records import FloatArray
from tentpole.selection import WITHOUT_SIGMA
from tentpole.selection.base import Candidates, Labelled, SelectionRule

Index = NDArray[np.int64]
Found = tuple[float, float, float, float, float]  # as _measure gives it


@dataclass(frozen=True)
class BenchmarkProtocol:
    """80/20 split; `initial` random labels, then `batch` more a round until there are `labels`."""

    test_fraction: float = 0.2
    initial: int = 30
    batch: int = 15
    labels: int = 105

    def __post_init__(self) -> None:
        if not 0 < self.test_fraction < 1:
            raise InputError(f"test_fraction is {self.test_fraction}, legal is between 0 and 1, such as 0.2.")
        if not 2 <= self.initial <= self.labels or self.batch < 1:
            raise InputError(
                f"initial {self.initial}, batch {self.batch}, labels {self.labels}: "
                "legal is 2 ≤ initial ≤ labels and batch ≥ 1."
            )

    @property
    def rounds(self) -> int:
        """Fits of one rule: the first, and one after each batch."""
        return 1 - (self.initial - self.labels) // self.batch

    def check(self, rows: int) -> None:
        """Raises InputError where a table of this many rows is too small."""
        test = max(1, round(self.test_fraction * rows))
        if rows - test < self.labels or test < 2:
            least = int(np.ceil(self.labels / (1 - self.test_fraction))) + 1
            raise InputError(
                f"the table has {rows} usable rows; {self.labels} labels beside a test set of "
                f"{self.test_fraction:.0%} need at least {least}. Ask for fewer labels, or use a larger table."
            )


@dataclass(frozen=True)
class LearningTask:
    """What is to be learnt: inputs (n, d) and target (n,); `elsewhere` is another pool's, tested as well."""

    inputs: FloatArray
    target: FloatArray
    elsewhere: tuple[FloatArray, FloatArray] | None = None


@dataclass(frozen=True)
class Measurement:
    """One rule after one round of one seed. Errors are in the target's unit.

    `spearman` is the rank correlation of uncertainty and absolute error on the test set; `elsewhere_mae`
    and `elsewhere_r2` are those on the other pool, NaN without one.
    """

    rule: str
    seed: int
    round: int
    labels: int
    mae: float
    r2: float
    spearman: float
    elsewhere_mae: float
    elsewhere_r2: float
    seconds: float


def split(protocol: BenchmarkProtocol, rows: int, seed: int) -> tuple[Index, Index, Index]:
    """Indices of the test set, of the first labels, and of the remaining candidates. Seed and size decide."""
    order = np.random.default_rng([seed, 0]).permutation(rows)
    test = max(1, round(protocol.test_fraction * rows))
    return order[:test], order[test : test + protocol.initial], order[test + protocol.initial :]


def errors(truth: FloatArray, prediction: FloatArray) -> tuple[float, float]:
    """Mean absolute error, and R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)²."""
    residual = truth - prediction
    spread = float(((truth - truth.mean()) ** 2).sum())
    r2 = 1 - float((residual**2).sum()) / spread if spread > 0 else float("nan")
    return float(np.abs(residual).mean()), r2


def run_seed(
    task: LearningTask,
    rules: Mapping[str, SelectionRule],
    model: Model,
    protocol: BenchmarkProtocol,
    seed: int,
    on_round: Callable[[Measurement], None] = lambda _: None,
) -> tuple[list[Measurement], dict[str, list[int]]]:
    """The whole protocol for one seed: the measurements, and each rule's labels in their order.

    All rules start from the same labels, so the first fit and its uncertainties are shared. A rule's random
    numbers and its networks' initial weights are named by seed and round: its curve does not depend on its
    companions.
    A rule that finds fewer than a batch worth a label gets fewer, and no more rounds for it.
    """
    test, initial, rest = split(protocol, len(task.target), seed)
    began = time.perf_counter()
    start = _fit(task, model, initial, seed * 1000)
    first, start_sigma = _measure(task, start, test), start.predict(task.inputs[rest])[1]
    seconds = time.perf_counter() - began
    measurements: list[Measurement] = []
    chosen: dict[str, list[int]] = {}

    def note(rule: str, round_: int, labels: int, measured: Found, seconds: float) -> None:
        measurements.append(Measurement(rule, seed, round_, labels, *measured, seconds))
        on_round(measurements[-1])

    for name, rule in rules.items():
        labelled, candidates, trained = initial, rest, start
        note(name, 0, len(labelled), first, seconds)
        for round_ in range(1, protocol.rounds):
            began = time.perf_counter()
            k = min(protocol.batch, protocol.labels - len(labelled))
            if isinstance(rule, WITHOUT_SIGMA):
                sigma = np.zeros(len(candidates))
            else:
                sigma = start_sigma if round_ == 1 else trained.predict(task.inputs[candidates])[1]
            taken = _choose(task, rule, trained.inputs, sigma, labelled, candidates, k, [seed, round_])
            if not len(taken):
                break
            labelled = np.concatenate([labelled, candidates[taken]])
            candidates = np.delete(candidates, taken)
            trained = _fit(task, model, labelled, seed * 1000 + round_)
            measured = _measure(task, trained, test)
            note(name, round_, len(labelled), measured, time.perf_counter() - began)
        chosen[name] = labelled.tolist()
    return measurements, chosen


@dataclass(frozen=True)
class _Trained:
    fitted: Fitted
    inputs: Scale
    target: Scale

    def predict(self, inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation in the target's unit."""
        mean, std = self.fitted.predict(self.inputs.forward(inputs))
        return self.target.back(mean), np.asarray(std * self.target.width)


def _fit(task: LearningTask, model: Model, labelled: Index, seed: int) -> _Trained:
    inputs, target = Scale.of(task.inputs[labelled]), Scale.of(task.target[labelled])
    x, y = inputs.forward(task.inputs[labelled]), target.forward(task.target[labelled])
    return _Trained(model.fit(x, y, seed), inputs, target)


def _measure(task: LearningTask, trained: _Trained, test: Index) -> Found:
    """Give (mae, r2, spearman, elsewhere_mae, elsewhere_r2)."""
    from scipy.stats import spearmanr

    truth = task.target[test]
    mean, std = trained.predict(task.inputs[test])
    rank = float(spearmanr(std, np.abs(mean - truth)).statistic) if np.ptp(std) > 0 else float("nan")
    other = (float("nan"), float("nan"))
    if task.elsewhere is not None:
        other = errors(task.elsewhere[1], trained.predict(task.elsewhere[0])[0])
    return (*errors(truth, mean), rank, *other)


def _choose(
    task: LearningTask,
    rule: SelectionRule,
    scale: Scale,
    sigma: FloatArray,
    labelled: Index,
    candidates: Index,
    k: int,
    stream: list[int],
) -> Index:
    """Positions in `candidates`. The rule sees descriptors standardised on the labelled rows, and σ."""
    names = candidates.astype(str).tolist()
    table = Candidates(names, sigma, scale.forward(task.inputs[candidates]), ["pool"] * len(names))
    known = Labelled(scale.forward(task.inputs[labelled]), ["pool"] * len(labelled))
    picks = rule.select(table, known, k, np.random.default_rng([1, *stream]))
    return np.array([pick.index for pick in picks], dtype=np.int64)
