"""The database benchmark: pools of materials, descriptors, models, selection rules, statistics.

    pool = tentpole.pool.read(Path("pool.h5"))
    results = tentpole.pool.run(pool, tentpole.pool.Settings("my pool"), Path("out"), seeds=range(10))
    tentpole.pool.write_report([Path("out")], Path("out/report"))
"""

from __future__ import annotations

from tentpole.pool.benchmark import Measurement, Protocol, Task, run_seed
from tentpole.pool.features import describe
from tentpole.pool.files import read, write
from tentpole.pool.models import Forest, GaussianProcess, Networks, model
from tentpole.pool.page import write_report
from tentpole.pool.runner import Results, Settings, load, run
from tentpole.pool.statistics import Comparison, compare
from tentpole.pool.table import Pool, build, concatenate

__all__ = [
    "Comparison",
    "Forest",
    "GaussianProcess",
    "Measurement",
    "Networks",
    "Pool",
    "Protocol",
    "Results",
    "Settings",
    "Task",
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
