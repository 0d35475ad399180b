"""The pictures of a study: learning curves per test set, ratios to the baseline, where frames come from."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from tentpole.benchmarks.figures import draw_curves, new_figure, styles_of
from tentpole.benchmarks.sampling.sets import MEASURES, WHOLE, scale_of
from tentpole.benchmarks.sampling.summary import EVERY_SIZE, StudyResults, ratios

DRAWN = ("energy_mae", "force_mae", "force_p95", "stress_mae")


def curves_png(results: StudyResults, group: str = WHOLE) -> bytes:
    """Learning curves: a row per test set, a column per measure; bands are the range over draws."""
    names = [name for name in results.config.tests if group in results.groups(name)]
    styles = styles_of(results.config.policies, results.config.baseline)
    figure = new_figure(4.1 * len(DRAWN), 0.6 + 3.1 * len(names))
    axes = figure.subplots(len(names), len(DRAWN), squeeze=False)
    for row, name in zip(axes, names, strict=True):
        for axis, measure in zip(row, DRAWN, strict=True):
            curves = results.curves(name, measure, group)
            if any(np.isfinite(curve.values).all() for curve in curves.values()):
                draw_curves(axis, curves, styles, MEASURES[measure], scale_of(measure))
                axis.set_title(f"{name}", fontsize=10)
            else:
                axis.set_axis_off()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(6, len(labels)), frameon=False)
    return _png(figure)


def ratios_png(results: StudyResults) -> bytes:
    """Each policy's error over the baseline's over all sizes, with its interval, per test set and measure."""
    names, base = list(results.config.tests), results.config.baseline
    others = [p for p in results.config.policies if p != base and results.draws_of(p)]
    styles = styles_of(results.config.policies, base)
    what = EVERY_SIZE if len(results.config.sizes) > 1 else f"N = {results.config.sizes[-1]}"
    shown = ("energy_mae", "force_mae")
    figure = new_figure(5.6 * len(shown), 1.0 + 0.22 * (len(others) + 1) * len(names))
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for axis, measure in zip(axes, shown, strict=True):
        for number, name in enumerate(names):
            compared = [r for r in ratios(results, name, measure) if r.what == what]
            for place, policy in enumerate(others):
                found = [r for r in compared if r.rule == policy]
                y = -(number * (len(others) + 1) + place)
                for r in found:
                    axis.plot([r.low, r.high], [y, y], color=styles[policy]["color"], linewidth=2)
                    label = policy if number == 0 else None
                    axis.plot(r.ratio, y, "o", color=styles[policy]["color"], markersize=5, label=label)
        middles = [-(n * (len(others) + 1) + (len(others) - 1) / 2) for n in range(len(names))]
        axis.set_yticks(middles, names)
        axis.axvline(1.0, color="0.5", linewidth=1, linestyle="--")
        axis.set(xlabel=f"{MEASURES[measure].partition(',')[0]} over that of {base}, {what}", xscale="log")
        _plain_ratios(axis)
    axes[0].legend(frameon=False, fontsize=8)
    return _png(figure)


def _plain_ratios(axis: Any) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    axis.xaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0]))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())


def origins_png(results: StudyResults) -> bytes:
    """Under which conditions each policy's training frames were taken, of the largest size, means over draws."""
    shares: dict[str, dict[str, float]] = {}
    for policy in results.config.policies:
        draws = results.draws_of(policy)
        for (name, draw, _), joined in results.conditions.items():
            if name == policy and draw in draws:
                for condition, count in joined.items():
                    table = shares.setdefault(policy, {})
                    table[condition] = table.get(condition, 0.0) + count / len(draws)
    conditions = sorted({condition for table in shares.values() for condition in table}, key=_by_heat)
    figure = new_figure(10.0, 1.4 + 0.35 * len(shares) + 0.16 * len(conditions))
    axis = figure.subplots()
    left = np.zeros(len(shares))
    for number, condition in enumerate(conditions):
        widths = np.array([table.get(condition, 0.0) for table in shares.values()])
        colour = _colour(number / max(1, len(conditions) - 1))
        axis.barh(list(shares), widths, left=left, color=colour, label=condition, edgecolor="white", linewidth=0.4)
        left += widths
    axis.invert_yaxis()
    axis.set(xlabel="training frames")
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    return _png(figure)


def _by_heat(condition: str) -> tuple[str, float, str]:
    """Structure, then temperature, then the rest, of a condition's words."""
    structure, _, rest = condition.partition(", ")
    first = rest.split(" ")[0]
    return structure, float(first) if first.replace(".", "", 1).isdigit() else 0.0, rest


def _colour(share: float) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](share)


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()
