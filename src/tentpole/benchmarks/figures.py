"""What the figures of all studies have in common: styles by name, curves with bands, plain numbers on axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tentpole.benchmarks.curves import Curve
from tentpole.errors import optional_module

Style = dict[str, Any]


def new_figure(width: float, height: float) -> Any:
    """A matplotlib figure of so many inches, which no window shows. Raises InputError where it is not installed."""
    figure_class = optional_module("matplotlib.figure", extra="report", needed_by="the picture").Figure
    canvas = optional_module("matplotlib.backends.backend_agg", extra="report", needed_by="the picture")
    figure = figure_class(figsize=(width, height), layout="constrained")
    canvas.FigureCanvasAgg(figure)
    return figure


def styles_of(names: Iterable[str], baseline: str) -> dict[str, Style]:
    """A colour and a label per name; the baseline, which the others are held against, is grey and dashed."""
    others: list[str] = []
    styles: dict[str, Style] = {}
    for name in names:
        look = {"color": "0.35", "linestyle": "--"} if name == baseline else {"color": f"C{len(others)}"}
        others += [] if name == baseline else [name]
        styles[name] = {"marker": "o", "markersize": 3, "label": name, **look}
    return styles


def draw_curves(axis: Any, curves: Mapping[str, Curve], styles: Mapping[str, Style], ylabel: str, scale: float) -> None:
    """Mean curves over seeds with their range as bands, values times `scale`, on a logarithmic axis."""
    for name, curve in curves.items():
        low, high = curve.band
        axis.plot(curve.n, scale * curve.mean, **styles[name])
        band = {"color": styles[name]["color"], "alpha": 0.15, "linewidth": 0}
        axis.fill_between(curve.n, scale * low, scale * high, **band)
    axis.set(xlabel="training frames", ylabel=ylabel, yscale="log")
    plain_log(axis.yaxis)


def plain_log(axis: Any) -> None:
    """Log ticks as plain numbers, the denser the shorter the range: 20, 50, 100 rather than 2 × 10¹."""
    ticker = optional_module("matplotlib.ticker", extra="report", needed_by="the picture")
    low, high = axis.get_view_interval()
    if high < 3 * low:
        axis.set_major_locator(ticker.MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    else:
        subs = (1, 1.5, 2, 3, 4, 5, 6, 8) if high < 8 * low else (1, 2, 5) if high < 1000 * low else (1,)
        axis.set_major_locator(ticker.LogLocator(base=10, subs=subs, numticks=20))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(ticker.NullLocator())
