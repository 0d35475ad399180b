"""Proof that a campaign can run, before it does: each line is something tried, not something assumed."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tentpole.config import CampaignConfig, starting_structures
from tentpole.errors import LabelError, TentpoleError
from tentpole.folder import open_config

ENOUGH_GB = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was tried, and what was found."""

    what: str
    good: bool
    found: str


def check_campaign(source: Path) -> Iterator[Line]:
    """Try everything that a campaign needs. Raises InputError where the file itself cannot be used."""
    config = open_config(source)
    starts = starting_structures(config, source)
    names = ", ".join(f"{name} ({atoms.get_chemical_formula()})" for name, atoms in starts.items())
    yield Line("campaign file", True, f"{config.name}: {names}")
    yield _disk(source)
    yield _reference(config, source)
    yield _workers(config)
    yield _models(config)


def _disk(source: Path) -> Line:
    free = shutil.disk_usage(source.resolve().parent).free / 1e9
    return Line("disk", free > ENOUGH_GB, f"{free:.0f} GB free")


def _reference(config: CampaignConfig, source: Path) -> Line:
    """One label of the first structure, rattled as the initial ones are, on a worker's terms."""
    import numpy as np

    from tentpole.initial import rattled
    from tentpole.labeling import references
    from tentpole.labeling.labeler import single_point

    starts = starting_structures(config, source)
    _, atoms = rattled(starts, 1, [0.02], np.random.default_rng(0))[0]
    what = f'reference "{config.reference}"'
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        try:
            reference = references.load(config.reference, atoms.get_chemical_symbols())
            energy, forces, *_ = single_point(reference, atoms, config.charge, config.multiplicity, Path(scratch))
            reference.accept.label(energy, forces, None, atoms)
        except (TentpoleError, LabelError) as error:
            return Line(what, False, str(error))
        seconds = time.perf_counter() - began
    largest = float(np.sqrt((forces**2).sum(axis=1).max()))
    budget = config.stop.labels
    cost = "" if budget is None else f"; {budget} labels would take about {_duration(seconds * budget)} on one worker"
    return Line(what, True, f"{energy:.4f} eV, largest force {largest:.2f} eV/Å, {seconds:.2f} s{cost}")


def _workers(config: CampaignConfig) -> Line:
    from tentpole.workers import Workers

    workers = Workers(config.executor.workers)
    try:
        began = time.perf_counter()
        pid = workers.executor.submit(os.getpid).result(timeout=120)
        seconds = time.perf_counter() - began
        return Line("workers", True, f"{workers.processes}; the first (pid {pid}) answered in {seconds:.1f} s")
    except Exception as error:
        return Line("workers", False, f"{type(error).__name__}: {error}")
    finally:
        workers.close()


def _models(config: CampaignConfig) -> Line:
    began = time.perf_counter()
    try:
        import mace
        import torch
    except ImportError as error:
        return Line("models", False, f'{error}. Install it: pip install "tentpole"')
    device = "GPU" if torch.cuda.is_available() else "CPU"
    seconds = time.perf_counter() - began
    versions = f"mace {mace.__version__}, torch {torch.__version__} on {device}"
    return Line("models", True, f"{versions}, imported in {seconds:.1f} s")


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
