"""The structures that are labelled before there is a committee: the initial ones and the validation set."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from ase import Atoms

from tentpole.campaign.batches import Request
from tentpole.campaign.context import Context
from tentpole.config.loading import given_frames
from tentpole.config.schema import FramesSection, RattleSection, ReferenceMDSection
from tentpole.execution.metering import measured
from tentpole.exploration.initial import ReferenceMD, rattled, reference_md
from tentpole.exploration.random_numbers import generator


def initial_requests(context: Context) -> list[Request]:
    """The structures that are labelled before there is a committee."""
    config, section = context.config, context.config.initial
    if isinstance(section, RattleSection):
        rng = generator(config.seed, "initial structures", scheme=config.random_numbers)
        frames = rattled(context.starts, section.count, section.stdev_A, rng)
        reason = "initial: a rattled starting structure"
    else:
        frames = _given(context, "initial")
        reason = "initial: a frame of the given file"
    return [_request(context, f"r000-{i:04d}", atoms, reason) for i, (_, atoms) in enumerate(frames)]


def validation_requests(context: Context) -> list[Request]:
    """The structures of the fixed validation set. They never enter the pool."""
    config, section = context.config, context.config.validation
    if isinstance(section, FramesSection):
        found = [atoms for _, atoms in _given(context, "validation")]
    else:
        assert isinstance(section, ReferenceMDSection)
        found = []
        conditions = [(name, t) for name in context.starts for t in section.temperatures_K]
        jobs = []
        for i, (name, temperature) in enumerate(conditions):
            share = section.frames // len(conditions) + (i < section.frames % len(conditions))
            jobs.append(
                ReferenceMD(
                    config.reference,
                    config.charge,
                    config.multiplicity,
                    name,
                    context.starts[name],
                    temperature,
                    share,
                    section.every,
                    section.timestep_fs,
                    config.seed,
                    i,
                    config.random_numbers,
                    context.paths.work / f"validation-{i}",
                )
            )
        began = time.monotonic()
        counted = partial(measured, context.root, "labelling", reference_md)
        for future in context.workers.submit(counted, jobs, context.root):
            found += future.result()
        context.note_phase("labelling", time.monotonic() - began)
    reason = "validation: judges every committee, trains none"
    return [_request(context, f"validation-{i:04d}", atoms, reason) for i, atoms in enumerate(found)]


def _given(context: Context, table: str) -> list[tuple[str, Atoms]]:
    stem = Path(getattr(context.config, table).file).stem
    return [(stem, atoms) for atoms in given_frames(context.config, context.paths.campaign_file)[table]]


def _request(context: Context, identifier: str, atoms: Atoms, reason: str) -> Request:
    method = context.state.method
    return Request(identifier, atoms, method.reference, method.charge, method.multiplicity, reason=reason)
