"""Policies side by side: which way of driving MD and of choosing its frames learns fastest."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tentpole.benchmarks.sampling.config import SamplingConfig, Study, read_study
    from tentpole.benchmarks.sampling.page import write_page
    from tentpole.benchmarks.sampling.study import run
    from tentpole.benchmarks.sampling.summary import StudyResults, read_results, summarise

_HOME = {
    "SamplingConfig": "config",
    "Study": "config",
    "StudyResults": "summary",
    "read_results": "summary",
    "read_study": "config",
    "run": "study",
    "summarise": "summary",
    "write_page": "page",
}

__all__ = [
    "SamplingConfig",
    "Study",
    "StudyResults",
    "read_results",
    "read_study",
    "run",
    "summarise",
    "write_page",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
