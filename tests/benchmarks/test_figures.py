"""Axes that can be read."""

import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from tentpole.benchmarks.figures import plain_log


@pytest.mark.parametrize(
    ("low", "high"),
    [(7.4, 15.5), (76.0, 84.0), (21.0, 34.0), (83.0, 125.0), (10.0, 10.5), (60.0, 190.0), (3.0, 300.0)],
)
def test_a_logarithmic_axis_names_two_values_at_least_however_short_it_is(low: float, high: float) -> None:
    axes = Figure().subplots()
    axes.plot([1, 2], [low, high])
    axes.set_yscale("log")
    plain_log(axes.yaxis)
    bottom, top = axes.get_ylim()
    named = [tick.get_text() for tick in axes.get_yticklabels() if bottom <= tick.get_position()[1] <= top]
    assert len([text for text in named if text]) >= 2
    assert not any("times" in text or "e" in text for text in named)
