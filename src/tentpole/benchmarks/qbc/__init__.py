"""Query by committee over a labelled set: selection rules against random, with learning curves."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tentpole.benchmarks.curves import Curve
    from tentpole.benchmarks.qbc.curves import compare, learning_curves, stop_suggestion
    from tentpole.benchmarks.qbc.data import Split, split
    from tentpole.benchmarks.qbc.study import QBCSettings, run, run_one

_HOME = {
    "Curve": "curves",
    "QBCSettings": "study",
    "Split": "data",
    "compare": "curves",
    "learning_curves": "curves",
    "run": "study",
    "run_one": "study",
    "split": "data",
    "stop_suggestion": "curves",
}

__all__ = [
    "Curve",
    "QBCSettings",
    "Split",
    "compare",
    "learning_curves",
    "run",
    "run_one",
    "split",
    "stop_suggestion",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
