"""Labels: reference methods, the worker that computes one label, executors. Names load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tentpole.labeling.many_labels import label_all
    from tentpole.labeling.one_label import compute
    from tentpole.labeling.references import Reference, available, load
    from tentpole.labeling.tasks import Outcome, Task
    from tentpole.labeling.trial import Trial, trial

_HOME = {
    "Outcome": "tasks",
    "Reference": "references",
    "Task": "tasks",
    "Trial": "trial",
    "available": "references",
    "compute": "one_label",
    "label_all": "many_labels",
    "load": "references",
    "trial": "trial",
}

__all__ = [
    "Outcome",
    "Reference",
    "Task",
    "Trial",
    "available",
    "compute",
    "label_all",
    "load",
    "trial",
]


def __getattr__(name: str) -> Any:
    # lazy: a worker sets its number of threads before NumPy is imported
    if name not in _HOME:
        raise AttributeError(f"module 'tentpole.labeling' has no attribute {name!r}")
    return getattr(import_module(f"tentpole.labeling.{_HOME[name]}"), name)
