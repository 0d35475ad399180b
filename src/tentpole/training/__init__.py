"""Training: members as one by our own loop, or one by one by MACE's command. Names load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tentpole.training.client import prepare
    from tentpole.training.committee import train_committee
    from tentpole.training.jobs import TrainingError, TrainingJob, TrainingReport
    from tentpole.training.settings import MACESettings

_HOME = {
    "MACESettings": "settings",
    "TrainingError": "jobs",
    "TrainingJob": "jobs",
    "TrainingReport": "jobs",
    "prepare": "client",
    "train_committee": "committee",
}

__all__ = [
    "MACESettings",
    "TrainingError",
    "TrainingJob",
    "TrainingReport",
    "prepare",
    "train_committee",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
