"""The head-to-head of campaigns: ratios of labels at equal error, and the structures that it makes."""

import math
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from support.paths import TOP


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(TOP / "scripts"))
    import bench_policies

    yield bench_policies
    sys.modules.pop("bench_policies", None)


def curve(scale: float, labels: tuple[int, ...] = (20, 40, 80)) -> list[dict[str, Any]]:
    """Errors of scale/N, an hour a label."""
    return [{"labels": n, "hours": float(n), "force": {"md": scale / n}} for n in labels]


def test_labels_at_equal_error_are_read_between_points_log_log(bench: ModuleType) -> None:
    assert bench.needed(curve(1000.0), "labels", "md", 1000 / 31) == pytest.approx(31)
    assert bench.needed(curve(1000.0), "labels", "md", 100.0) == 20  # an upper bound
    assert bench.needed(curve(1000.0), "labels", "md", 1.0) == math.inf


def test_the_best_of_each_side_are_compared_at_what_both_reach(bench: ModuleType) -> None:
    curves = {
        "tentpole": {0: curve(900.0), 1: curve(900.0)},
        "tentpole_pretrained": {0: curve(500.0), 1: curve(1000 / 3)},
        "random": {0: curve(1000.0), 1: curve(1000.0)},
        "band": {0: curve(2000.0), 1: curve(2000.0)},
    }
    found = bench.compared(curves, "md")
    assert (found["best"], found["best_other"]) == ("tentpole_pretrained", "random")
    ratios = found["ratios"]["random"]["labels"]
    assert ratios["ratio"] == pytest.approx(math.sqrt(0.5 / 3), abs=1e-3)
    assert ratios["from"] < ratios["ratio"] < ratios["to"]
    assert found["ratios"]["band"]["labels"]["ratio"] == pytest.approx(0.25, abs=1e-3)  # 20 of 80: a bound
    named = bench.compared(curves, "md", of=["random"])
    assert (named["best"], named["best_other"]) == ("random", "tentpole_pretrained")
    assert named["ratios"]["band"]["labels"]["ratio"] == pytest.approx(0.5, abs=1e-3)
    assert bench.interval([math.log(0.5)]) == {"ratio": 0.5, "seeds": 1}


def test_the_water_cluster_has_eight_whole_molecules_and_twelve_hydrogen_bonds(bench: ModuleType) -> None:
    water = bench.water_octamer()
    distances = water.get_all_distances()
    oxygen, hydrogen = np.flatnonzero(water.numbers == 8), np.flatnonzero(water.numbers == 1)
    between = distances[np.ix_(oxygen, hydrogen)]
    assert ((between < 1.1).sum(axis=1) == 2).all()
    assert ((between > 1.1) & (between < 2.0)).sum() == 12
