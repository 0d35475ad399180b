"""Query by committee over a labelled set: selection rules against random, with learning curves."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tentpole.qbc.curves import Curve, compare, learning_curves, stop_suggestion
    from tentpole.qbc.data import LabelledSet, Split, read_labelled, split, twins
    from tentpole.qbc.study import QBCSettings, run, run_one

_HOME = {
    "Curve": "curves",
    "LabelledSet": "data",
    "QBCSettings": "study",
    "Split": "data",
    "compare": "curves",
    "learning_curves": "curves",
    "read_labelled": "data",
    "run": "study",
    "run_one": "study",
    "split": "data",
    "stop_suggestion": "curves",
    "twins": "data",
}

__all__ = [
    "Curve",
    "LabelledSet",
    "QBCSettings",
    "Split",
    "compare",
    "learning_curves",
    "read_labelled",
    "run",
    "run_one",
    "split",
    "stop_suggestion",
    "twins",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
