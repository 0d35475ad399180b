"""Figures over rounds: learning curve, what was selected beside what remained, where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tentpole.campaign.record import RoundRecord, Spread
from tentpole.report import style
from tentpole.report.style import Picture

PHASES = {
    "md": ("MD", style.BLUE),
    "scoring": ("scoring", style.SKY),
    "labelling": ("labelling", style.ORANGE),
    "training": ("training", style.GREEN),
}
"""Phase in the journal → its name on the page and its colour."""


def learning_curve(rounds: Sequence[RoundRecord], target: float, validation_labels: int) -> Picture | None:
    """Force RMSE on the validation set, and on new labels before training on them, against labels.

    The labels of a final look that was passed are in no training. Both points above one number of labels belong to the
    same committee. None where there is neither.
    """
    total, held_out, new = 0, [], []
    for r in rounds:
        if r.new_force_rmse is not None and total:
            new.append((total, 1000 * r.new_force_rmse))
        if r.outcome is None or not r.outcome.passed:
            total += r.labels
        if r.validation_force_rmse is not None:
            held_out.append((total, 1000 * r.validation_force_rmse))
    if not held_out and not new:
        return None
    drawing, axes = style.figure()
    if held_out:
        axes.plot(*zip(*held_out, strict=True), "o-", color=style.BLUE, lw=2, ms=6, label="validation set")
    if new:
        axes.plot(
            *zip(*new, strict=True), "s--", color=style.VERMILLION, lw=1.6, ms=6, mfc="white", mew=1.6,
            label="new labels, before training on them",
        )  # fmt: skip
    axes.axhline(1000 * target, color=style.FAINT, lw=1.2, ls=":", label=f"target, {1000 * target:g} meV/Å")
    axes.set_yscale("log")
    style.plain_log(axes.yaxis)
    if len({n for n, _ in held_out + new}) == 1:
        axes.set_xlim(max(0, total - 10), total + 10)
    style.whole_numbers(axes.xaxis)
    style.name_axes(axes, "labels the committee was trained on", "force RMSE (meV/Å)")
    style.legend(axes, loc="best")
    said = []
    if held_out:
        first, last = held_out[0], held_out[-1]
        change = f" ({first[1] / last[1]:.1f} times lower)" if last[1] < first[1] else ""
        said.append(
            f"On {validation_labels} validation frames, which are never trained on, the force RMSE went from "
            f"{first[1]:.1f} meV/Å with {first[0]} labels to {last[1]:.1f} meV/Å with {last[0]}{change}."
            if len(held_out) > 1
            else f"With {first[0]} labels the force RMSE on {validation_labels} validation frames, which are "
            f"never trained on, is {first[1]:.1f} meV/Å."
        )
    if new:
        said.append(
            "Squares are the same committee's error on the frames selected next, judged before it was trained "
            "on them; chosen for being hard, they usually lie above the curve until little is left to learn."
        )
    alt = "Learning curve. " + "; ".join(f"{n} labels: {e:.1f} meV/Å" for n, e in held_out or new)
    return Picture("learning-curve", "Learning curve", alt, " ".join(said), style.png(drawing))


def selected_sigma(rounds: Sequence[RoundRecord]) -> Picture | None:
    """σ_F of the selected batch beside σ_F of the candidates that remained, per round."""
    picture = _beside(_spreads(rounds, "force_std"), 1000.0, r"disagreement $\sigma_F$ (meV/Å)", log=True)
    if picture is None:
        return None
    drawing, (chosen, left) = picture
    caption = (
        "Disagreement of the committee on the frames selected in each round, beside that on the candidates it "
        "left: medians, with bars from the 5th to the 95th percentile. The two approach each other, and both "
        f"fall, as the campaign converges; in the last round the medians are {chosen:.1f} and {left:.1f} meV/Å."
    )
    alt = f"Disagreement of selected and remaining frames per round; last medians {chosen:.1f}, {left:.1f} meV/Å"
    return Picture("sigma", "Disagreement: selected and remaining", alt, caption, style.png(drawing))


def selected_gain(rounds: Sequence[RoundRecord]) -> Picture | None:
    """Gain of the selected batch beside that of the candidates that remained, per round."""
    picture = _beside(_spreads(rounds, "gain"), 1.0, "gain in log-det of the dataset", log=False)
    if picture is None:
        return None
    drawing, (chosen, left) = picture
    caption = (
        "What each frame alone would add to the variety of the dataset (log-det gain of its fingerprint "
        "covariance, dimensionless), reckoned before the round's labels join it: medians, with bars from the 5th "
        "to the 95th percentile. Gains shrink as the dataset grows and may be negative for commonplace frames; "
        f"in the last round the medians are {chosen:.3g} and {left:.3g}.".replace("-0", "−0")
    )
    alt = f"Gain of selected and remaining frames per round; last medians {chosen:.3g} and {left:.3g}"
    return Picture("gain", "Gain: selected and remaining", alt, caption, style.png(drawing))


def time_per_round(seconds: Sequence[dict[str, float]]) -> Picture | None:
    """Stacked bars: minutes of each phase per round. `seconds`: one dict per round, from round 0."""
    if not any(sum(s.values()) for s in seconds):
        return None
    most = max(sum(s.values()) for s in seconds)
    unit, name = (3600, "hours") if most > 7200 else (60, "minutes") if most > 120 else (1, "seconds")
    drawing, axes = style.figure()
    base = [0.0] * len(seconds)
    for phase, (label, colour) in PHASES.items():
        heights = [s.get(phase, 0.0) / unit for s in seconds]
        axes.bar(range(len(seconds)), heights, bottom=base, color=colour, width=0.72, label=label, ec="white", lw=0.6)
        base = [b + h for b, h in zip(base, heights, strict=True)]
    axes.set_ylim(0, max(base) * 1.18)
    style.whole_numbers(axes.xaxis)
    style.name_axes(axes, "round", f"wall time ({name})")
    style.legend(axes, loc="upper center", ncols=4, columnspacing=1.2)
    caption = (
        "Wall time of each round by what it was spent on. A loop that slows down as the dataset grows shows "
        "here, and whether labels or training are worth speeding up."
    )
    alt = "Wall time per round: " + "; ".join(f"round {i} {sum(s.values()):.0f} s" for i, s in enumerate(seconds))
    return Picture("time", "Time per round", alt, caption, style.png(drawing))


Spreads = Sequence[tuple[int, Spread]]
"""Round and spread, where there were frames."""


def _spreads(rounds: Sequence[RoundRecord], quantity: str) -> tuple[Spreads, Spreads]:
    """Of the selected frames and of those that remained, of force_std or gain."""
    by_kind: dict[str, list[tuple[int, Spread]]] = {"chosen": [], "remaining": []}
    for r in rounds:
        for part, spreads in by_kind.items():
            spread = getattr(r.facts, f"{quantity}_{part}")
            if spread is not None:
                spreads.append((int(r.name), spread))
    return by_kind["chosen"], by_kind["remaining"]


def _beside(
    spreads: tuple[Spreads, Spreads], factor: float, label: str, *, log: bool
) -> tuple[Any, tuple[float, float]] | None:
    """Medians and 5–95 % bars, chosen beside remaining; the last round's two medians."""
    if not all(spreads):
        return None
    drawing, axes = style.figure()
    bars = max(2.0, min(8.0, 110.0 / max(*map(len, spreads), 1)))
    last = []
    styles = (("selected", "o", style.VERMILLION, -0.12), ("remaining candidates", "s", style.BLUE, 0.12))
    for part, (name, marker, colour, shift) in zip(spreads, styles, strict=True):
        x = [number + shift for number, _ in part]
        low, middle, high = ([factor * value for value in column] for column in _columns(part))
        axes.vlines(x, low, high, color=colour, alpha=0.3, lw=bars)
        axes.plot(x, middle, marker=marker, color=colour, lw=1.4, ms=5.5, label=name)
        last.append(middle[-1])
    if log:
        axes.set_yscale("log")
        style.plain_log(axes.yaxis)
    else:
        style.near_zero_log(axes.yaxis)
        axes.axhline(0, color=style.FAINT, lw=0.9)
    style.whole_numbers(axes.xaxis)
    style.name_axes(axes, "round", label)
    style.legend(axes, loc="best")
    return drawing, (last[0], last[1])


def _columns(spreads: Spreads) -> tuple[list[float], list[float], list[float]]:
    """5th percentile, median, 95th percentile."""
    return [s.p05 for _, s in spreads], [s.median for _, s in spreads], [s.p95 for _, s in spreads]
