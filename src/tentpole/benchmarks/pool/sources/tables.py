"""Files as a source: the rows keep the provenance they have, and get what they lack."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tentpole.benchmarks.pool.files import read
from tentpole.benchmarks.pool.table import Pool


def fetch_table(path: Path) -> Pool:
    """The rows of a csv, json, extxyz or h5 file, with the provenance that they lack.

    Where it does not say, `database` is the file's name, `id` the row's number in it, `date` that of the file. Raises
    InputError for a file that cannot be read.
    """
    pool = read(path)
    day = datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
    lacking = {
        "database": [path.name] * len(pool),
        "id": [f"{path.name}:{row + 1}" for row in range(len(pool))],
        "version": [""] * len(pool),
        "date": [day] * len(pool),
        "query": ["file"] * len(pool),
    }
    for name, values in lacking.items():
        if name not in pool:
            pool = pool.with_column(name, values)
    return pool
