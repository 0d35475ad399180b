"""What no single key shows: keys that contradict each other or the structures, and verdicts out of reach."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from tentpole.config.schema import (
    AUDITS_PER_CONDITION,
    CampaignConfig,
    LabelledSection,
    PretrainedFramesSection,
    RattleSection,
    ReferenceMDSection,
)
from tentpole.config.walkers import judged_conditions, judged_walkers, turns_of, walkers_of
from tentpole.exploration.health import HealthLimits, geometry
from tentpole.exploration.held import moving
from tentpole.exploration.modes import NormalModes
from tentpole.exploration.variants import elements_added
from tentpole.records import own_state, state_of, structure_hash

CLOSE = 0.3
"""Nearest distance in a starting structure, as a share of the covalent radii's sum, below which it is a mistake."""


def initial_labels(config: CampaignConfig, frames: Mapping[str, Sequence[Atoms]]) -> int:
    """How many labels there are before the first committee, isolated atoms apart."""
    if isinstance(config.initial, RattleSection | PretrainedFramesSection):
        return config.initial.count
    return len(frames.get("initial", ()))


def validation_labels(config: CampaignConfig, frames: Mapping[str, Sequence[Atoms]]) -> int:
    """How many labels the fixed validation set takes."""
    if isinstance(config.validation, ReferenceMDSection):
        return config.validation.frames
    return len(frames.get("validation", ()))


def can_finish(config: CampaignConfig) -> bool:
    """Whether committees of this campaign are ever trained until their errors no longer fall.

    Those of campaigns of earlier versions are not: their loop is another one. Nor are those that are solved for, which
    are at their end each time.
    """
    training = config.training
    by_updates = training.loop == "stacked" and training.solve == "no"
    return training.finishing and by_updates and config.committee.kind == "deep"


def contradictions(
    config: CampaignConfig, starts: Mapping[str, Atoms], frames: Mapping[str, Sequence[Atoms]]
) -> list[str]:
    """Why the campaign could not be run, a sentence each; `frames` are those of [initial] and [validation]."""
    return [
        *_too_few_labels(config, frames),
        *_unusable_structures(starts),
        *_impossible_charge(config, starts),
        *_fixed_cells(config, starts),
        *_too_few_walkers(config),
        *_unusable_variants(config, starts),
        *_energies_lacking(config, starts, frames),
        *_foreign_validation(config, starts, frames),
        *_leaks(config, frames),
        *_other_reference(config),
        *_twice(config, frames),
        *_not_solved(config),
    ]


def _not_solved(config: CampaignConfig) -> Iterator[str]:
    """Why members could not be linear in their weights at last."""
    solve = config.training.solve
    if solve == "no":
        return
    if config.committee.kind == "shallow":
        yield f'training.solve = "{solve}" is for members that are networks of their own: set committee.kind = "deep"'
    if config.committee.evaluation == "cuequivariance":
        yield f'training.solve = "{solve}" makes members that are not converted: set committee.evaluation = "own"'


def unreachable(config: CampaignConfig, *, stress: bool = True) -> list[str]:
    """Why the campaign could never be found CONVERGED, a sentence each; empty where nothing is in the way.

    stress : whether any label will have one.
    """
    by = _unreachable_by_labels if config.selection.evidence == "labels" else _unreachable_by_audits
    why = list(by(config))
    if config.target.stress_error_GPa is not None and not stress:
        why.append(
            "target.stress_error_GPa is set, and no label will have a stress, which takes a reference that gives one "
            "and a structure that is periodic in all three directions: leave the key out"
        )
    return why


def final_audits(config: CampaignConfig) -> int:
    """Audit frames of a final look, at least."""
    return max(config.target.final_audits, AUDITS_PER_CONDITION * len(judged_conditions(config)))


def audited_frames(config: CampaignConfig) -> int:
    """Frames that the audit frames of a final look are drawn from: of unbiased walkers, 0 where there are none.

    Those of a round, or as many as a final look takes at least where a walker is on no ramp: for one it goes farther.
    """
    explore, walkers = config.explore, [walker for walker in judged_walkers(config) if walker.unbiased]
    frames = len(walkers) * (explore.steps // explore.snapshot_every)
    farther = frames > 0 and any(walker.section is None for walker in walkers)
    return max(frames, final_audits(config)) if farther else frames


def _unreachable_by_audits(config: CampaignConfig) -> Iterator[str]:
    target, stop, frames = config.target, config.stop, final_audits(config)
    if config.selection.audit == 0:
        yield "selection.audit = 0 leaves no frames that judge the committee: leave it out, or set it to 0.1"
    turns = len(turns_of(config))
    before = max(target.rounds, turns)
    if stop.rounds is not None and stop.rounds < before + 1:
        why = f"target.rounds = {before} rounds" if before == target.rounds else f"{turns} turns of the conditions"
        yield f"{why} come before the final look, which is one more, and stop.rounds = {stop.rounds}: raise stop.rounds"
    if isinstance(config.initial, RattleSection | PretrainedFramesSection) and stop.labels is not None:
        room = stop.labels - config.initial.count
        needed = before * config.selection.audits + frames
        if room < needed:
            yield (
                f"stop.labels = {stop.labels} leaves {room} labels after the initial ones, and {needed} audit frames "
                f"are needed at least, {frames} of them in the final look: raise stop.labels"
            )
    if not judged_walkers(config):
        yield (
            "every condition is a ramp over more than one round, which no verdict speaks of: add a condition at one "
            "temperature, or set rounds = 1"
        )
    elif not (audited := audited_frames(config)):
        yield (
            "a verdict speaks of unbiased MD, and no walker is unbiased: let explore.bias.ratios, or the ratio of a "
            "condition, have a 0"
        )
    elif audited < frames:
        yield (
            f"a final look takes {frames} frames of unbiased MD, and a round has {audited}: raise explore.steps, or "
            "lower explore.snapshot_every"
        )


def _unreachable_by_labels(config: CampaignConfig) -> Iterator[str]:
    target, batch, rounds = config.target, config.selection.batch, config.stop.rounds
    if rounds is not None and rounds < target.rounds:
        yield (
            f"every test must hold for target.rounds = {target.rounds} rounds in a row, and stop.rounds = {rounds}: "
            "raise stop.rounds"
        )
    if target.labels_needed > target.rounds * batch:
        yield (
            f"a judgement needs target.labels_needed = {target.labels_needed} new labels of the last target.rounds = "
            f"{target.rounds} rounds, which bring {target.rounds * batch} at most with selection.batch = {batch}: set "
            f"target.labels_needed = {target.rounds * batch}"
        )
    if isinstance(config.initial, RattleSection | PretrainedFramesSection) and config.stop.labels is not None:
        room = config.stop.labels - config.initial.count
        if room < target.labels_needed:
            yield (
                f"stop.labels = {config.stop.labels} leaves {room} labels after the initial ones, and a judgement "
                f"needs {target.labels_needed}: raise stop.labels"
            )


def _too_few_labels(config: CampaignConfig, frames: Mapping[str, Sequence[Atoms]]) -> Iterator[str]:
    initial = initial_labels(config, frames)
    if initial < 2:
        file = f" in {config.initial.file}" if hasattr(config.initial, "file") else ""
        few = f"{initial} frame is too few{file}"
        yield f"initial: {few}: one is trained on, another judges the training; give 2 or more"
    if config.stop.labels is not None and config.stop.labels < initial:
        yield (
            f"stop.labels = {config.stop.labels} is less than the {initial} initial labels: no round would follow. "
            "Raise it, or make initial smaller"
        )


def _unusable_structures(starts: Mapping[str, Atoms]) -> Iterator[str]:
    for name, atoms in starts.items():
        where = f'structure "{name}"'
        if (atoms.numbers < 1).any():
            yield f"{where}: atom {int(np.argmin(atoms.numbers))} is of no element (X): name one"
        elif atoms.pbc.any() and not np.linalg.norm(atoms.cell.array[atoms.pbc], axis=1).min() > 1e-3:
            yield f"{where}: is periodic along a direction in which its cell has no length: set the cell, or pbc"
        elif atoms.pbc.all() and not atoms.get_volume() > 1e-3:
            yield f"{where}: its cell has no volume"
        elif not moving(atoms).any():
            yield f"{where}: constraints hold every atom in place, and no walker could move: free some of them"
        elif bad := geometry(atoms, dataclasses.replace(HealthLimits(), min_distance=CLOSE)):
            yield f"{where}: {bad.message}"


def _impossible_charge(config: CampaignConfig, starts: Mapping[str, Atoms]) -> Iterator[str]:
    for name, atoms in starts.items():
        electrons = int(atoms.numbers.sum())
        charge, _ = state_of(atoms, config.charge)
        if abs(charge or 0) > electrons:
            yield f'charge = {charge}: structure "{name}" has {electrons} electrons when it is neutral'


def _fixed_cells(config: CampaignConfig, starts: Mapping[str, Atoms]) -> Iterator[str]:
    """A barostat moves the cell, and needs one."""
    for name, atoms in starts.items():
        if config.explore.ensemble.kind == "npt" and not atoms.pbc.all():
            yield (
                f'explore.ensemble: kind = "npt" moves the cell: structure "{name}" must be periodic in all three '
                f'directions, its pbc is {atoms.pbc.tolist()}. Use kind = "langevin" for it'
            )
    for one in config.explore.conditions:
        if one.strains and not starts[one.structure].pbc.all():
            pbc = starts[one.structure].pbc.tolist()
            yield (
                f'explore.conditions: strain is of a cell: structure "{one.structure}" must be periodic in all three '
                f"directions, its pbc is {pbc}"
            )


def standing_still(config: CampaignConfig, starts: Mapping[str, Atoms]) -> list[str]:
    """Structures of one atom whose cell keeps its size and shape: it has nowhere to go, the centre of mass stays."""
    strained = {one.structure for one in config.explore.conditions if one.strains}
    fixed = config.explore.ensemble.kind != "npt"
    return [name for name, atoms in starts.items() if len(atoms) == 1 and fixed and name not in strained]


def _too_few_walkers(config: CampaignConfig) -> Iterator[str]:
    """The walkers of one condition run in one round."""
    budget, walkers = config.explore.walkers, Counter(walker.condition for walker in walkers_of(config))
    condition, most = walkers.most_common(1)[0]
    if budget is not None and most > budget:
        yield (
            f'explore.walkers = {budget}: the condition "{condition}" has {most} walkers, one for each bias ratio, and '
            f"they run in one round: {most} or more is legal"
        )


def _unusable_variants(config: CampaignConfig, starts: Mapping[str, Atoms]) -> Iterator[str]:
    """Variants for the first labels bring no element that no walker will meet, and fit one structure at least."""
    variants = config.initial.variants if isinstance(config.initial, RattleSection) else ()
    known = {symbol for atoms in starts.values() for symbol in atoms.get_chemical_symbols()}
    for number, variant in enumerate(variants):
        where = f"initial.variants.{number}"
        if isinstance(variant, NormalModes):
            if not any(len(atoms) > 1 for atoms in starts.values()):
                yield f'{where}: "modes" needs a structure of two atoms or more'
            continue
        if new := sorted(elements_added(variant) - known):
            yield (
                f"{where}: {', '.join(new)} is in no starting structure, and {', '.join(sorted(known))} are legal. To "
                f'explore it too, give a structure that has it: make = [{{ kind = "{variant.kind}", ... }}]'
            )
        if not any(variant.fits(atoms) for atoms in starts.values()):
            yield f'{where}: "{variant.kind}" fits none of the starting structures: {variant.needs}'


def _energies_lacking(
    config: CampaignConfig, starts: Mapping[str, Atoms], frames: Mapping[str, Sequence[Atoms]]
) -> Iterator[str]:
    given = config.training.E0s
    if isinstance(given, str):
        return
    numbers = {int(z) for atoms in (*starts.values(), *frames.get("initial", ())) for z in atoms.numbers}
    for key in given:
        if not (key in atomic_numbers or (key.isdigit() and 0 < int(key) < len(chemical_symbols))):
            yield f'training.E0s: "{key}" is no element: write its symbol or atomic number'
    known = {int(key) if key.isdigit() else atomic_numbers.get(key, 0) for key in given}
    if absent := sorted(numbers - known):
        lacking = ", ".join(chemical_symbols[z] for z in absent)
        yield f'training.E0s: {lacking} lacking: add the energy of the isolated atom, or write E0s = "average"'


def _foreign_validation(
    config: CampaignConfig, starts: Mapping[str, Atoms], frames: Mapping[str, Sequence[Atoms]]
) -> Iterator[str]:
    """A committee says nothing of elements that it was not trained on."""
    known = {int(z) for atoms in (*starts.values(), *frames.get("initial", ())) for z in atoms.numbers}
    for number, atoms in enumerate(frames.get("validation", ())):
        if foreign := sorted({int(z) for z in atoms.numbers} - known):
            yield (
                f"{getattr(config.validation, 'file', 'validation')}: frame {number} of [validation] has "
                f"{', '.join(chemical_symbols[z] for z in foreign)}, which no structure and no frame of [initial] has: "
                "no committee could be judged on it. Leave it out, or give a structure that has it"
            )
            return


def _leaks(config: CampaignConfig, frames: Mapping[str, Sequence[Atoms]]) -> Iterator[str]:
    initial, validation = config.initial, config.validation
    if not (hasattr(validation, "file") and hasattr(initial, "file")):
        return
    if Path(initial.file).resolve() != Path(validation.file).resolve():
        return
    both = {structure_hash(atoms, *own_state(atoms)) for atoms in frames["initial"]}
    if shared := sum(structure_hash(atoms, *own_state(atoms)) in both for atoms in frames["validation"]):
        yield (
            f"{shared} frames of {validation.file} are in [initial] and in [validation]: what is trained on cannot "
            'judge. Give each its own, as in index = ":50" and index = "50:"'
        )


def _other_reference(config: CampaignConfig) -> Iterator[str]:
    for table in ("initial", "validation"):
        section = getattr(config, table)
        if isinstance(section, LabelledSection) and Path(section.reference).name != Path(config.reference).name:
            yield (
                f'{table}.reference = "{section.reference}", and the campaign\'s is "{config.reference}": labels of '
                'different methods never train one model. Have the frames labelled anew: kind = "frames"'
            )


def _twice(config: CampaignConfig, frames: Mapping[str, Sequence[Atoms]]) -> Iterator[str]:
    for table in ("initial", "validation"):
        if not isinstance(getattr(config, table), LabelledSection):
            continue
        first: dict[str, int] = {}
        for number, atoms in enumerate(frames[table]):
            before = first.setdefault(structure_hash(atoms, *own_state(atoms)), number)
            if before != number:
                yield f"{table}.file: frames {before} and {number} are one structure: leave one of them out"
