"""The database benchmark: pools of materials, descriptors, models, selection rules, statistics.

   from tentpole.benchmarks import pool

   results = pool.run(pool.read(Path("pool.h5")), pool.Settings("my pool"), Path("out"), seeds=range(10))
   pool.write_report([Path("out")], Path("out/report"))

Names load on first use: the command line pays for none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tentpole.benchmarks.pool.benchmark import BenchmarkProtocol, LearningTask, Measurement, run_seed
    from tentpole.benchmarks.pool.features import describe
    from tentpole.benchmarks.pool.files import read, write
    from tentpole.benchmarks.pool.models import Forest, GaussianProcess, model
    from tentpole.benchmarks.pool.networks import Networks
    from tentpole.benchmarks.pool.page import write_report
    from tentpole.benchmarks.pool.runner import Results, Settings, load, run
    from tentpole.benchmarks.pool.statistics import Comparison, compare
    from tentpole.benchmarks.pool.table import Pool, build, concatenate

_HOMES = {
    "benchmark": ("Measurement", "BenchmarkProtocol", "LearningTask", "run_seed"),
    "features": ("describe",),
    "files": ("read", "write"),
    "models": ("Forest", "GaussianProcess", "model"),
    "networks": ("Networks",),
    "page": ("write_report",),
    "runner": ("Results", "Settings", "load", "run"),
    "statistics": ("Comparison", "compare"),
    "table": ("Pool", "build", "concatenate"),
}

__all__ = [
    "BenchmarkProtocol",
    "Comparison",
    "Forest",
    "GaussianProcess",
    "LearningTask",
    "Measurement",
    "Networks",
    "Pool",
    "Results",
    "Settings",
    "build",
    "compare",
    "concatenate",
    "describe",
    "load",
    "model",
    "read",
    "run",
    "run_seed",
    "write",
    "write_report",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
