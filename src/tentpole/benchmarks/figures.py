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
    plain_ticks(axis.yaxis)


def plain_ticks(axis: Any) -> None:
    """Ticks of a logarithmic axis in plain numbers, at 1, 2 and 5, or nearer to each other where it is short."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    subs = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0) if high < 8 * low else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
