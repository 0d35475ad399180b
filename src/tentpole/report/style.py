"""How figures look: one palette that colour-blind readers can tell apart, one kind of axes, PNG bytes out.

Colours: Okabe and Ito, "Color universal design" (2008). Nothing here touches matplotlib's global state.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

from tentpole.benchmarks.figures import plain_log as plain_log
from tentpole.errors import optional_module

BLUE, ORANGE, GREEN, VERMILLION, SKY, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
INK, FAINT, GRID = "#1d2733", "#5b6875", "#e3e7eb"

WIDTH_IN, HEIGHT_IN, DPI = 5.6, 3.9, 200
"""Size of a figure in inches; the page shows it at about 96 pixels an inch, and screens differ."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished figure: its file's stem, title, alternative text, a sentence or two on what it shows."""

    name: str
    title: str
    alt: str
    caption: str
    png: bytes


def need(module: str) -> Any:
    """The optional module. Raises InputError with the command that installs it."""
    return optional_module(module, extra="report", needed_by="the report")


def figure(width_in: float = WIDTH_IN, height_in: float = HEIGHT_IN) -> tuple[Any, Any]:
    """A figure and its axes, on the Agg canvas."""
    drawing = need("matplotlib.figure").Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    need("matplotlib.backends.backend_agg").FigureCanvasAgg(drawing)
    axes = drawing.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=10, color=FAINT, which="both")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return drawing, axes


def name_axes(axes: Any, x: str, y: str) -> None:
    """Name both axes."""
    axes.set_xlabel(x, fontsize=10.5, color=INK)
    axes.set_ylabel(y, fontsize=10.5, color=INK)


def legend(axes: Any, **where: Any) -> None:
    """Draw the legend, without a frame."""
    axes.legend(frameon=False, fontsize=9.5, labelcolor=INK, handlelength=1.6, **where)


def near_zero_log(axis: Any) -> None:
    """A scale that is logarithmic on both sides of a linear stretch about zero, for values of either sign."""
    ticker = need("matplotlib.ticker")
    low, high = axis.get_data_interval()
    top = max(abs(low), abs(high)) or 1.0
    linear = 10.0 ** math.floor(math.log10(top / 100))
    axis.axes.set_yscale("symlog", linthresh=linear, linscale=0.6)
    decades = [linear * 10**i for i in range(6) if linear * 10**i <= top * 3]
    axis.set_major_locator(ticker.FixedLocator([-d for d in decades if d < -low] + [0.0, *decades]))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axis.set_minor_locator(ticker.NullLocator())


def whole_numbers(axis: Any) -> None:
    """Ticks at whole numbers only."""
    axis.set_major_locator(need("matplotlib.ticker").MaxNLocator(integer=True, nbins=9, steps=[1, 2, 5, 10]))


def png(drawing: Any) -> bytes:
    """The figure as PNG: the same bytes for the same figure and matplotlib."""
    out = io.BytesIO()
    drawing.savefig(out, format="png", facecolor="white")
    return out.getvalue()
