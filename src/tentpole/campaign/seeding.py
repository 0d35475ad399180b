"""The structures that are labelled before there is a committee: the initial ones and the validation set."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from tentpole.campaign.batches import Request
from tentpole.campaign.context import Context
from tentpole.campaign.first_structures import refuse_too_few_copies, with_variants
from tentpole.campaign.pretraining import pretraining_frames
from tentpole.campaign.reference_dynamics import trajectories
from tentpole.config.loading import given_frames, label_of
from tentpole.config.schema import (
    FramesSection,
    LabelledSection,
    PretrainedFramesSection,
    RattleSection,
    ReferenceMDSection,
)
from tentpole.execution.metering import measured
from tentpole.exploration.initial import isolated_atoms, rattled, reference_md
from tentpole.exploration.random_numbers import generator
from tentpole.labeling import references
from tentpole.labeling.single_point import single_point
from tentpole.records import FloatArray, Label, bare, first_label_id, state_of
from tentpole.storage.labels import find_label, write_label


def initial_requests(context: Context) -> list[Request]:
    """The structures that are labelled before there is a committee."""
    config, section = context.config, context.config.initial
    if isinstance(section, RattleSection):
        rng = generator(config.seed, "initial structures", scheme=config.random_numbers)
        strains = generator(config.seed, "initial strains", scheme=config.random_numbers)
        bases = with_variants(config, section, context.starts, partial(_forces, context))
        refuse_too_few_copies(section, bases)
        frames = rattled(bases, section.count, section.stdev_A, rng, section.strain, strains)
        reason = "initial: a rattled starting structure"
    elif isinstance(section, PretrainedFramesSection):
        frames = _spread(context, section.count)
        reason = "initial: a frame of [pretraining], one of each cluster"
    else:
        _keep_own_labels(context, "initial")
        frames = _given(context, "initial")
        reason = "initial: a frame of the given file"
    wanted = [(atoms, reason) for _, atoms in frames] + [(atoms, ALONE) for atoms in _isolated(context)]
    return [_request(context, first_label_id(0, i), *one) for i, one in enumerate(wanted)]


ALONE = "initial: an isolated atom, the zero of its element's energies"


def _isolated(context: Context) -> list[Atoms]:
    config = context.config
    if config.training.E0s != "label":
        return []
    return isolated_atoms(context.starts.values(), config.training.r_max, (config.charge, config.multiplicity))


def _forces(context: Context, reference: str, atoms: Atoms) -> FloatArray:
    """Forces (N, 3) in eV/Å by a reference; nothing of them is kept."""
    state = state_of(atoms, context.config.charge, context.config.multiplicity)
    context.paths.work.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="modes-", dir=context.paths.work) as folder:
        method = references.load(reference, atoms.get_chemical_symbols())
        return np.asarray(single_point(method, bare(atoms), *state, Path(folder))[1])


def _spread(context: Context, count: int) -> list[tuple[str, Atoms]]:
    """Frames that members were pretrained on, spread over conditions and, under each, over fingerprints."""
    from tentpole.entropy import make_fingerprint
    from tentpole.selection import Candidates, Diversity, Labelled

    groups: dict[str, list[Atoms]] = {}
    for condition, atoms in pretraining_frames(context):
        groups.setdefault(condition, []).append(atoms)
    fingerprint = make_fingerprint(replace(context.config.fingerprint.build(), kind="gom"))
    rng = generator(context.config.seed, "initial structures", scheme=context.config.random_numbers)
    chosen = []
    for place, (condition, frames) in enumerate(sorted(groups.items())):
        share = count // len(groups) + (place < count % len(groups))
        rows = [fingerprint.fingerprints(atoms) for atoms in frames]
        names = [str(k) for k in range(len(frames))]
        candidates = Candidates.of_rows(names, [0.0] * len(frames), rows, [condition] * len(frames))
        picks = Diversity().select(candidates, Labelled(candidates.features[:0]), share, rng) if share else []
        chosen += [(condition, frames[pick.index]) for pick in picks]
    return chosen


def joined_requests(context: Context, number: int) -> list[Request]:
    """First labels of the structures that join in a round: as many rattled copies of each as of the first ones."""
    names = context.settings.joined(number)
    if not names:
        return []
    config = context.config
    section = config.initial if isinstance(config.initial, RattleSection) else RattleSection()
    count = max(2, round(section.count / (len(context.starts) - len(names))))
    joined = {name: context.starts[name] for name in names}
    starts = with_variants(config, section, joined, partial(_forces, context))
    rng, strains = (
        generator(config.seed, purpose, number, scheme=config.random_numbers)
        for purpose in ("initial structures", "initial strains")
    )
    frames = rattled(starts, max(count * len(names), len(starts)), section.stdev_A, rng, section.strain, strains)
    context.progress.note(f"round {number}: {', '.join(names)} joined, {len(frames)} first labels")
    reason = "a first label: a rattled copy of a structure that joined"
    return [_request(context, first_label_id(number, i), atoms, reason) for i, (_, atoms) in enumerate(frames)]


def validation_requests(context: Context) -> list[Request]:
    """The structures of the fixed validation set. They never enter the pool."""
    config, section = context.config, context.config.validation
    if isinstance(section, FramesSection | LabelledSection):
        _keep_own_labels(context, "validation")
        frames = [atoms for _, atoms in _given(context, "validation")]
    else:
        assert isinstance(section, ReferenceMDSection)
        frames = []
        jobs = trajectories(context, config.reference, section, section.temperatures_K, "validation")
        context.progress.progress("round 0: MD by the reference, for the validation set", 0, 0)
        began = time.monotonic()
        counted = partial(measured, context.root, "labelling", reference_md)
        for future in context.workers.submit(counted, jobs, context.root):
            frames += future.result()
        context.note_phase("labelling", time.monotonic() - began)
    reason = "validation: judges every committee, trains none"
    return [_request(context, f"validation-{i:04d}", atoms, reason) for i, atoms in enumerate(frames)]


def _given(context: Context, table: str) -> list[tuple[str, Atoms]]:
    stem = Path(getattr(context.config, table).file).stem
    return [(stem, bare(atoms)) for atoms in given_frames(context.config, context.paths.campaign_file)[table]]


def own_labels(context: Context, table: str) -> list[Label]:
    """Labels of the user's own, from the frames of [initial] or [validation]; [] where those are to be computed."""
    config, section = context.config, getattr(context.config, table)
    if not isinstance(section, LabelledSection):
        return []
    labels = []
    for number, atoms in enumerate(given_frames(config, context.paths.campaign_file)[table]):
        energy, forces, stress = label_of(atoms)
        request = _request(context, f"{table}-{number:04d}", bare(atoms), "")
        details: dict[str, Any] = {"origin": f"[{table}], frame {number}", "seconds": 0.0, "core_s": 0.0}
        labels.append(request.label(energy, forces, stress, **details))
    return labels


def _keep_own_labels(context: Context, table: str) -> None:
    """Write them where the workers would, so that none is computed again."""
    for label in own_labels(context, table):
        if find_label(context.root, label.structure, label.reference) is None:
            write_label(context.root, label)


def _request(context: Context, identifier: str, atoms: Atoms, reason: str) -> Request:
    return context.state.method.request(identifier, atoms, reason=reason)
