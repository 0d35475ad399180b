"""Proof that a campaign can run, before it does: each line is something tried, not something assumed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ase import Atoms

from tentpole.campaign.folder import open_config
from tentpole.committee.foundation_models import check_species
from tentpole.committee.mace_architecture import mace
from tentpole.config.loading import starting_structures
from tentpole.config.schema import CampaignConfig, LocalSection
from tentpole.errors import InputError, TentpoleError

ENOUGH_GB = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was tried, and what was found. `doubtful` is good enough to run, and to be thought over."""

    what: str
    good: bool
    found: str
    doubtful: bool = False


def check_campaign(source: Path) -> Iterator[Line]:
    """Try everything that a campaign needs. Raises InputError where the file itself cannot be used."""
    config = open_config(source)
    starts = starting_structures(config, source)
    names = ", ".join(f"{name} ({atoms.get_chemical_formula()})" for name, atoms in starts.items())
    yield Line("campaign file", True, f"{config.name}: {names}")
    yield _disk(source)
    yield from _magnetism(config, starts.values())
    yield _reference(config, source)
    yield _workers(config)
    for name in ("executor", "training_executor"):
        if getattr(config, name).kind != "local":
            yield _queue(name, getattr(config, name), source)
    yield _models(config)
    for name in config.committee.foundations:
        yield _foundation(name, [z for atoms in starts.values() for z in atoms.numbers])


def _disk(source: Path) -> Line:
    free = shutil.disk_usage(source.resolve().parent).free / 1e9
    return Line("disk", free > ENOUGH_GB, f"{free:.0f} GB free")


def _magnetism(config: CampaignConfig, structures: Iterable[Atoms]) -> Iterator[Line]:
    """A doubt where open d or f shells meet DFT and the campaign says neither moments nor a multiplicity."""
    from tentpole.labeling import references
    from tentpole.labeling.magnetism import unstated

    stated = config.magnetism is not None or config.multiplicity is not None
    doubt = "" if stated else unstated(references.load(config.reference), structures)
    if doubt:
        yield Line("magnetism", True, doubt, doubtful=True)


def _reference(config: CampaignConfig, source: Path) -> Line:
    """One label of the first structure, rattled as the initial ones are, in a fresh worker."""
    import numpy as np

    from tentpole.exploration.initial import rattled
    from tentpole.labeling import references
    from tentpole.labeling.trial import trial

    starts = starting_structures(config, source)
    _, atoms = rattled(starts, 1, [0.02], np.random.default_rng(0))[0]
    elements = [symbol for start in starts.values() for symbol in start.get_chemical_symbols()]
    what = f'reference "{config.reference}"'
    try:
        reference = references.load(config.reference, elements)
        found = trial(
            reference,
            atoms,
            config.charge,
            config.multiplicity,
            time_limit_s=config.executor.label_time_limit_s,
        )
    except TentpoleError as error:
        return Line(what, False, str(error))
    if not found.ok:
        add, advice = found.configuration.add, found.configuration.advice
        lines = f"\nAdd to ASE's config:\n{add}" if add else f"\n{advice}" if advice else ""
        return Line(what, False, f"{found.reason}: {found.message}{lines}")
    words = (
        f"{found.energy_eV:.4f} eV, largest force {found.max_force_eV_per_A:.2f} eV/Å; {found.seconds:.3g} s a label, "
        f"{found.start_s:.3g} s to start, {found.peak_memory_GB:.2f} GB at most"
    )
    if config.stop.labels is not None:
        hours = found.projected_hours(config.stop.labels, 1)
        words += f"; {config.stop.labels} labels would take about {_duration(3600 * hours)} on one worker"
    return Line(what, True, words)


def _workers(config: CampaignConfig) -> Line:
    from tentpole.execution.pools import Workers

    local = config.executor
    wanted = Workers(local.workers if isinstance(local, LocalSection) else 0).processes
    workers = Workers(1)
    try:
        began = time.perf_counter()
        pid = workers.executor.submit(os.getpid).result(timeout=120)
        seconds = time.perf_counter() - began
        return Line("workers", True, f"{wanted}; the first (pid {pid}) answered in {seconds:.1f} s")
    except Exception as error:
        return Line("workers", False, f"{type(error).__name__}: {error}")
    finally:
        workers.close()


def _queue(name: str, section: Any, source: Path) -> Line:
    """Parsl's configuration can be made, and the program that takes jobs is there."""
    from tentpole.execution import queues

    try:
        if section.kind == "parsl":
            made = queues.load_config(section.config)
        else:
            made = queues.parsl_config({name: section.build()}, source.resolve().parent)
    except TentpoleError as error:
        return Line(f"[{name}]", False, str(error))
    labels = ", ".join(executor.label for executor in made.executors)
    program = queues.PROGRAMS.get(section.kind)
    if program is not None and shutil.which(program) is None:
        return Line(f"[{name}]", False, f'kind = "{section.kind}" needs {program} here: run on a node that has it')
    return Line(f"[{name}]", True, f"{section.kind}: {labels if section.kind == 'parsl' else program or 'Parsl'}")


def _models(config: CampaignConfig) -> Line:
    began = time.perf_counter()
    try:
        import torch

        mace("modules")
    except ImportError as error:
        return Line("models", False, f'{error}. Install it: pip install "tentpole"')
    device = "GPU" if torch.cuda.is_available() else "CPU"
    seconds = time.perf_counter() - began
    versions = f"mace {metadata.version('mace-torch')}, torch {torch.__version__} on {device}"
    return Line("models", True, f"{versions}, imported in {seconds:.1f} s")


def _foundation(name: str, numbers: Sequence[int]) -> Line:
    began = time.perf_counter()
    try:
        check_species(name, numbers)
    except InputError as error:
        return Line(f'foundation model "{name}"', False, str(error))
    return Line(f'foundation model "{name}"', True, f"loaded in {time.perf_counter() - began:.1f} s")


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
