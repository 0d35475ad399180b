"""What the learning curves say: rules against random, over seeds that share splits and first labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tentpole.errors import InputError
from tentpole.records import FloatArray

BASELINE = "random"


@dataclass(frozen=True)
class Comparison:
    """One rule against random, from the errors (MAE) of S paired seeds. Differences are rule − random.

    final_mean, final_sd : last round's MAE, mean and sample standard deviation over seeds.
    r2_mean : last round's R². aulc : mean over seeds of the area under the learning curve (below).
    difference, low, high : mean difference of the final MAE and its 95 % bootstrap interval.
    effect, effect_low, effect_high : paired Cohen's d_z = mean/sd of the differences, and its interval.
    p_paired, p_unpaired, p_wilcoxon : two-sided; p_holm : p_paired after Holm's correction over the rules.
    labels_needed : labels at which the rule's mean curve first meets random's final mean MAE; NaN: never.
    saved : (random's labels − labels_needed) / random's labels.
    """

    rule: str
    seeds: int
    labels: float
    final_mean: float
    final_sd: float
    r2_mean: float
    aulc: float
    difference: float
    low: float
    high: float
    effect: float
    effect_low: float
    effect_high: float
    p_paired: float
    p_unpaired: float
    p_wilcoxon: float
    p_holm: float
    aulc_difference: float
    p_aulc_holm: float
    labels_needed: float
    saved: float

    @property
    def verdict(self) -> str:
        """No more than the corrected paired test allows, at the 5 % level."""
        if self.rule == BASELINE:
            return "baseline"
        if not self.p_holm < 0.05:
            return "not distinguishable from random"
        return "better than random" if self.difference < 0 else "worse than random"


def compare(
    labels: Mapping[str, FloatArray],
    mae: Mapping[str, FloatArray],
    r2: Mapping[str, FloatArray],
    bootstrap: int = 5000,
) -> list[Comparison]:
    """One Comparison per rule, random first. Each mapping gives (S, T): seeds by rounds; seeds in one order.

    Raises InputError without random or with fewer than two seeds.
    """
    if BASELINE not in mae:
        raise InputError(f'the statistics compare with "{BASELINE}", which was not run. Add it to --rules.')
    seeds = len(mae[BASELINE])
    if seeds < 2:
        raise InputError(f"{seeds} seed gives no statistics; run at least 2 (the study used 5).")
    others = [rule for rule in mae if rule != BASELINE]
    base, base_area = mae[BASELINE][:, -1], area(labels[BASELINE], mae[BASELINE])
    tests = {rule: paired_t(mae[rule][:, -1], base) for rule in others}
    areas = {rule: area(labels[rule], mae[rule]) for rule in mae}
    corrected = dict(zip(others, holm([tests[rule] for rule in others]), strict=True))
    area_tests = holm([paired_t(areas[rule], base_area) for rule in others])
    corrected_areas = dict(zip(others, area_tests, strict=True))
    result = []
    for rule in [BASELINE, *others]:
        final = mae[rule][:, -1]
        difference = final - base
        (low, high), (effect_low, effect_high) = bootstrap_intervals(difference, bootstrap)
        last = float(labels[BASELINE][:, -1].mean())
        needed = labels_needed(labels[rule].mean(axis=0), mae[rule].mean(axis=0), float(base.mean()))
        result.append(
            Comparison(
                rule=rule,
                seeds=seeds,
                labels=float(labels[rule][:, -1].mean()),
                final_mean=float(final.mean()),
                final_sd=float(final.std(ddof=1)),
                r2_mean=float(r2[rule][:, -1].mean()),
                aulc=float(areas[rule].mean()),
                difference=float(difference.mean()),
                low=low,
                high=high,
                effect=cohen(difference),
                effect_low=effect_low,
                effect_high=effect_high,
                p_paired=tests.get(rule, np.nan),
                p_unpaired=unpaired_t(final, base) if rule in tests else np.nan,
                p_wilcoxon=wilcoxon(difference) if rule in tests else np.nan,
                p_holm=corrected.get(rule, np.nan),
                aulc_difference=float((areas[rule] - base_area).mean()),
                p_aulc_holm=corrected_areas.get(rule, np.nan),
                labels_needed=needed,
                saved=(last - needed) / last,
            )
        )
    return result


def area(labels: FloatArray, mae: FloatArray) -> FloatArray:
    """(S,) trapezoidal mean of the MAE over the labels: ∫ MAE dn / (n_last − n_first)."""
    from scipy.integrate import trapezoid

    width = labels[:, -1] - labels[:, 0]
    whole = trapezoid(mae, labels, axis=1)
    return np.asarray(np.where(width > 0, whole / np.where(width > 0, width, 1), mae[:, 0]))


def paired_t(a: FloatArray, b: FloatArray) -> float:
    """Two-sided p of Student's paired t; 1 where no pair differs."""
    from scipy.stats import ttest_rel

    return 1.0 if np.array_equal(a, b) else float(ttest_rel(a, b).pvalue)


def unpaired_t(a: FloatArray, b: FloatArray) -> float:
    """Two-sided p of Student's t with equal variances, as the study used it: it ignores the pairing."""
    from scipy.stats import ttest_ind

    return 1.0 if np.array_equal(a, b) else float(ttest_ind(a, b).pvalue)


def wilcoxon(differences: FloatArray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; 1 where no pair differs."""
    from scipy.stats import wilcoxon as test

    return float(test(differences).pvalue) if np.any(differences) else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p_(i) ← max_{j≤i} min(1, (m − j + 1) p_(j)) in ascending order."""
    corrected = [1.0] * len(p)
    running = 0.0
    for place, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - place) * p[i]))
        corrected[i] = running
    return corrected


def cohen(differences: FloatArray) -> float:
    """d_z = mean / sample standard deviation of the paired differences; 0 where none differs."""
    spread = float(differences.std(ddof=1))
    return float(differences.mean()) / spread if spread > 0 else 0.0


def bootstrap_intervals(
    differences: FloatArray, draws: int, seed: int = 0
) -> tuple[tuple[float, float], tuple[float, float]]:
    """95 % percentile intervals of the mean difference and of d_z, seeds redrawn with replacement."""
    n = len(differences)
    sample = differences[np.random.default_rng(seed).integers(n, size=(draws, n))]
    means, spreads = sample.mean(axis=1), sample.std(axis=1, ddof=1)
    usable = spreads > 1e-12 * max(float(np.abs(differences).max()), 1e-300)
    effects = means[usable] / spreads[usable] if usable.any() else np.zeros(1)
    mean_low, mean_high = np.percentile(means, [2.5, 97.5])
    effect_low, effect_high = np.percentile(effects, [2.5, 97.5])
    return (float(mean_low), float(mean_high)), (float(effect_low), float(effect_high))


def labels_needed(labels: FloatArray, mae: FloatArray, level: float) -> float:
    """Labels at which a curve first comes down to `level`, linear between rounds; NaN where it never does."""
    for i, value in enumerate(mae):
        if value <= level:
            if i == 0 or mae[i - 1] == value:
                return float(labels[i])
            share = (mae[i - 1] - level) / (mae[i - 1] - value)
            return float(labels[i - 1] + share * (labels[i] - labels[i - 1]))
    return float("nan")
