"""Figures of errors: parity of forces, how the errors are distributed, whether disagreement tells them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tentpole.records import FloatArray
from tentpole.report import style
from tentpole.report.style import Picture

SIDE_IN = 4.1
"""Three of these stand side by side on a wide page."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Force components of one committee on labelled frames: (n, 2) reference, prediction in eV/Å.

    round : that the committee was made in. what : the frames, in words. rmse : over all components, in
    eV/Å (`pairs` may be a sample of them).
    """

    round: int
    labels: int
    what: str
    rmse: float
    pairs: FloatArray


def parity(first: Pairs, last: Pairs) -> list[Picture]:
    """One figure per committee on the same axes; a single one where both are the same."""
    both = np.concatenate([first.pairs, last.pairs])
    reach = 1.05 * float(np.abs(both).max() or 1.0)
    two = first.round != last.round
    shown = [("parity-first", "first", first, style.VERMILLION)] if two else []
    shown.append(("parity-last", "last" if two else "only", last, style.BLUE))
    pictures = []
    for name, which, one, colour in shown:
        drawing, axes = style.figure(SIDE_IN, SIDE_IN)
        axes.axline((0, 0), slope=1, color=style.FAINT, lw=1)
        axes.plot(one.pairs[:, 0], one.pairs[:, 1], "o", color=colour, ms=3, alpha=0.35, mew=0)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.text(
            0.05, 0.95, f"{one.labels} labels\nRMSE {1000 * one.rmse:.1f} meV/Å", transform=axes.transAxes,
            va="top", fontsize=10.5, color=style.INK, linespacing=1.5,
        )  # fmt: skip
        style.name_axes(axes, "reference force component (eV/Å)", "committee mean (eV/Å)")
        same = "; the axes are the same for both committees" if two else ""
        caption = (
            f"Force components of the {which} committee (round {one.round}, {one.labels} labels) against the "
            f"reference, on {one.what}. On the line the two agree{same}."
        )
        alt = f"Parity of forces, {which} committee: RMSE {1000 * one.rmse:.1f} meV/Å"
        pictures.append(Picture(name, f"Parity of forces, {which} committee", alt, caption, style.png(drawing)))
    return pictures


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a parity figure shows: its file's stem, its name, the unit of the axes, and a word on the zero."""

    name: str
    what: str
    unit: str
    zero: str = ""


ENERGY = Quantity(
    "parity-energy", "energy", "meV/atom", " Energies are per atom, less the mean of the frames of the same formula."
)
STRESS = Quantity("parity-stress", "stress component", "GPa")


def values_parity(quantity: Quantity, first: Pairs, last: Pairs) -> Picture:
    """Energies or stresses of the first and of the newest committee in one figure.

    The pairs of `first` and `last` are in the unit of `quantity`, and so is their rmse.
    """
    drawing, axes = style.figure(SIDE_IN, SIDE_IN)
    both = np.concatenate([first.pairs, last.pairs])
    low, high = float(both.min()), float(both.max())
    edge = 0.06 * (high - low or 1.0)
    axes.axline((low, low), slope=1, color=style.FAINT, lw=1)
    shown = [(first, style.VERMILLION, "s")] if first.round != last.round else []
    said = []
    for one, colour, marker in [*shown, (last, style.BLUE, "o")]:
        words = f"{one.labels} labels: RMSE {one.rmse:.2g} {quantity.unit}"
        axes.plot(one.pairs[:, 0], one.pairs[:, 1], marker, color=colour, ms=3.4, alpha=0.5, mew=0, label=words)
        said.append(words)
    axes.set(xlim=(low - edge, high + edge), ylim=(low - edge, high + edge), aspect="equal")
    style.name_axes(axes, f"reference {quantity.what} ({quantity.unit})", f"committee mean ({quantity.unit})")
    style.legend(axes, loc="upper left")
    caption = f"On {last.what}. {quantity.zero}".strip()
    title = f"Parity of {'energies' if quantity.what == 'energy' else 'stresses'}"
    return Picture(quantity.name, title, f"{title}: {'; '.join(said)}", caption, style.png(drawing))


def force_errors(first: Pairs, last: Pairs) -> Picture:
    """Cumulative distribution of the absolute errors of force components."""
    drawing, axes = style.figure(SIDE_IN, SIDE_IN)
    quantiles = []
    shown = [(first, style.VERMILLION, "--")] if first.round != last.round else []
    for one, colour, line in [*shown, (last, style.BLUE, "-")]:
        errors = np.sort(1000 * np.abs(one.pairs[:, 1] - one.pairs[:, 0]))
        share = 100 * np.arange(1, len(errors) + 1) / len(errors)
        axes.plot(errors, share, line, color=colour, lw=2, label=f"round {one.round}, {one.labels} labels")
        quantiles.append((one, *np.quantile(errors, [0.5, 0.95])))
    axes.set_xscale("log")
    axes.set_xlim(left=max(axes.get_xlim()[0], float(quantiles[-1][1]) / 100))
    style.plain_log(axes.xaxis)
    axes.set_ylim(0, 101)
    axes.grid(axis="x", color=style.GRID, linewidth=0.8)
    style.name_axes(axes, "absolute error of a force component (meV/Å)", "components below it (%)")
    style.legend(axes, loc="upper left")
    said = "; ".join(f"{q50:.1f} and {q95:.1f} meV/Å in round {one.round}" for one, q50, q95 in quantiles)
    caption = (
        f"How many force components have an error below a given size. Half and 95 % of them lie below {said}. "
        "A long tail to the right means that a few environments are still predicted badly."
    )
    return Picture("force-errors", "Distribution of force errors", said, caption, style.png(drawing))


def disagreement_and_error(rounds: Sequence[int], sigma: FloatArray, error: FloatArray) -> Picture | None:
    """σ_F against force RMSE of each new label before it was trained on; None for fewer than 5 labels.

    rounds, sigma, error : (n,) per label; the last two in eV/Å.
    """
    keep = (sigma > 0) & (error > 0)
    if keep.sum() < 5:
        return None
    from scipy.stats import spearmanr

    sigma, error, number = 1000 * sigma[keep], 1000 * error[keep], np.asarray(rounds)[keep]
    late = number > (number.min() + number.max()) / 2
    drawing, axes = style.figure()
    low, high = 0.8 * float(min(sigma.min(), error.min())), 1.25 * float(max(sigma.max(), error.max()))
    axes.plot([low, high], [low, high], color=style.FAINT, lw=1, label=r"error = $\sigma_F$")
    for part, colour, marker, name in (
        (~late, style.VERMILLION, "o", "earlier rounds"),
        (late, style.BLUE, "s", "later rounds"),
    ):
        if part.any():
            span = f"{number[part].min()}–{number[part].max()}" if np.ptp(number[part]) else f"{number[part][0]}"
            spread = f"{name} ({span})" if late.any() else "new labels"
            axes.plot(sigma[part], error[part], marker, color=colour, ms=4.5, alpha=0.6, mew=0, label=spread)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    style.plain_log(axes.xaxis)
    style.plain_log(axes.yaxis)
    axes.grid(axis="x", color=style.GRID, linewidth=0.8)
    style.name_axes(axes, r"disagreement $\sigma_F$ before the label (meV/Å)", "force RMSE found (meV/Å)")
    style.legend(axes, loc="lower right")
    rank, ratio = float(spearmanr(sigma, error).statistic), float(np.median(error / sigma))
    correlation = f"Their rank correlation is {rank:.2f}; " if math.isfinite(rank) else ""
    caption = (
        f"Does disagreement tell the error? Each point is one of {len(sigma)} new labels: what the committee's "
        f"disagreement was, and the force error that its label then showed. {correlation}the median error is "
        f"{ratio:.1f} times the disagreement. Points well above the line are errors that the members share, "
        "which disagreement cannot see: audit frames are there to find them."
    )
    return Picture("calibration", "Disagreement against error", caption.split(". ")[1], caption, style.png(drawing))
