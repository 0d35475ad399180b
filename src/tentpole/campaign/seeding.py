"""The structures that are labelled before there is a committee: the initial ones and the validation set."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from ase import Atoms

from tentpole.campaign.batches import Request
from tentpole.campaign.context import Context
from tentpole.config.schema import FramesSection, RattleSection, ReferenceMDSection
from tentpole.execution.metering import measured
from tentpole.exploration.initial import ReferenceMD, rattled, reference_md
from tentpole.exploration.random_numbers import generator
from tentpole.storage.structures import read_structures


def initial_requests(work: Context) -> list[Request]:
    """The structures that are labelled before there is a committee."""
    config, section = work.config, work.config.initial
    if isinstance(section, RattleSection):
        rng = generator(config.seed, "initial structures", scheme=config.random_numbers)
        frames = rattled(work.starts, section.count, section.stdev_A, rng)
        reason = "initial: a rattled starting structure"
    else:
        frames = _named(section, work)
        reason = "initial: a frame of the given file"
    return [_request(work, f"r000-{i:04d}", atoms, reason) for i, (_, atoms) in enumerate(frames)]


def validation_requests(work: Context) -> list[Request]:
    """The structures of the fixed validation set. They never enter the pool."""
    config, section = work.config, work.config.validation
    if isinstance(section, FramesSection):
        found = [atoms for _, atoms in _named(section, work)]
    else:
        assert isinstance(section, ReferenceMDSection)
        found = []
        conditions = [(name, t) for name in work.starts for t in section.temperatures_K]
        jobs = []
        for i, (name, temperature) in enumerate(conditions):
            share = section.frames // len(conditions) + (i < section.frames % len(conditions))
            jobs.append(
                ReferenceMD(
                    config.reference,
                    config.charge,
                    config.multiplicity,
                    name,
                    work.starts[name],
                    temperature,
                    share,
                    section.every,
                    section.timestep_fs,
                    config.seed,
                    i,
                    config.random_numbers,
                    work.root / "work" / f"validation-{i}",
                )
            )
        began = time.monotonic()
        counted = partial(measured, work.root, "labelling", reference_md)
        for future in work.workers.submit(counted, jobs, work.root):
            found += future.result()
        work.note_phase("labelling", time.monotonic() - began)
    reason = "validation: judges every committee, trains none"
    return [_request(work, f"validation-{i:04d}", atoms, reason) for i, atoms in enumerate(found)]


def _named(section: FramesSection, work: Context) -> list[tuple[str, Atoms]]:
    file = Path(section.file)
    return [(file.stem, atoms) for atoms in read_structures(file, section.index, str(file))]


def _request(work: Context, id: str, atoms: Atoms, reason: str) -> Request:
    config = work.config
    return Request(id, atoms, work.reference.hash, config.charge, config.multiplicity, reason=reason)
