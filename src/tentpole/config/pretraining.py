"""What [pretraining] names, judged before anything is spent: a cheap reference, labels of one, an earlier committee."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.data import chemical_symbols

from tentpole.committee.committee_files import member_stems
from tentpole.committee.electronic_state import embedded
from tentpole.committee.member_files import read_description
from tentpole.config.schema import (
    CampaignConfig,
    CheapLabelsSection,
    CheapReferenceSection,
    EarlierCommitteeSection,
    FoundationSection,
    PretrainedFramesSection,
    Pretraining,
)
from tentpole.errors import InputError, TentpoleError
from tentpole.records import own_state, state_of
from tentpole.training.committee import not_stackable

FEWEST = 10
"""Frames to pretrain on."""


def unusable_pretraining(
    config: CampaignConfig, starts: Mapping[str, Atoms], frames: Mapping[str, Sequence[Atoms]]
) -> Iterator[str]:
    """Why members could not be pretrained so, a sentence each; `frames` are those that the tables take from files."""
    section = config.pretraining
    if isinstance(config.initial, PretrainedFramesSection):
        yield from _no_frames_to_spread(config)
    if section is None:
        if config.training.solve == "instead":
            yield (
                'training.solve = "instead" changes what members know, and random weights know nothing: give members a '
                'start, [pretraining], or write solve = "after"'
            )
        if config.training.finetuning != "naive":
            yield (
                f'training.finetuning = "{config.training.finetuning}" changes part of what members know, and random '
                'weights know nothing: give members a start, [pretraining], or write finetuning = "naive"'
            )
        return
    yield from _nothing_to_replay(config, frames.get("pretraining"))
    if config.committee.kind == "shallow":
        yield "a shallow committee is trained from scratch every round: leave [pretraining] out, or take a deep one"
    if config.training.E0s != "average":
        yield (
            "energies of isolated atoms are estimated anew around what the pretrained members predict, for their zero "
            'of energy is another method\'s: write training.E0s = "average"'
        )
    if config.training.solve == "instead":
        yield from _not_solved(section)
    given, asked = frames.get("pretraining"), [*starts.values(), *frames.get("initial", ())]
    if given is not None and not isinstance(section, FoundationSection):
        yield from _unusable_frames(config, asked, given)
    if isinstance(section, CheapReferenceSection):
        yield from _unusable_reference(config, section, given or list(starts.values()))
    elif isinstance(section, EarlierCommitteeSection):
        yield from _unusable_committee(config, section, asked)
    elif isinstance(section, FoundationSection):
        yield from _unusable_model(config, section, asked, given or ())


def _not_solved(section: Pretraining) -> Iterator[str]:
    """Why nothing could be solved for about the weights that members start from."""
    if isinstance(section, FoundationSection):
        yield (
            'training.solve = "instead" needs members that were pretrained each by itself, and copies of one model '
            'agree: pretrain them on its labels, reference = "…" or kind = "labelled", or write solve = "after"'
        )
    if isinstance(section, EarlierCommitteeSection):
        for stem in _stems(section):
            if why := not_stackable(read_description(stem)["hyperparameters"]):
                yield f'{stem.name} is of another architecture ({why}): set training.solve = "no"'


def _stems(section: EarlierCommitteeSection) -> list[Path]:
    """Of the earlier committee's members; none where they cannot be read, which is said elsewhere."""
    with suppress(TentpoleError):
        stems = committee_to_start_from(Path(section.folder))
        for stem in stems:
            read_description(stem)
        return stems
    return []


def committee_to_start_from(folder: Path) -> list[Path]:
    """The stems of the members in `folder`: an earlier campaign's newest committee, or members by themselves.

    Raises InputError where there is none.
    """
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}. Name an earlier campaign's folder, or a folder of members")
    return member_stems(folder)


def _no_frames_to_spread(config: CampaignConfig) -> Iterator[str]:
    section, count = config.pretraining, config.initial.count if hasattr(config.initial, "count") else 0
    if not isinstance(section, CheapReferenceSection | CheapLabelsSection):
        yield (
            'initial.kind = "pretraining" takes frames of [pretraining], and there are none: give [pretraining] a '
            'cheap reference or labelled frames, or take initial.kind = "rattle"'
        )
    elif isinstance(section, CheapReferenceSection) and section.file is None and count > section.frames:
        yield f"initial.count = {count} is more than the {section.frames} frames of [pretraining]: lower it"


def _nothing_to_replay(config: CampaignConfig, frames: Sequence[Atoms] | None) -> Iterator[str]:
    """What [pretraining] lacks for replay, or states for it without need."""
    section, replays = config.pretraining, config.training.finetuning == "replay"
    if isinstance(section, EarlierCommitteeSection) and replays:
        yield (
            'training.finetuning = "replay" needs frames that the members know, and a folder of members brings none: '
            'start from labels of theirs, kind = "labelled", or write finetuning = "naive"'
        )
    if not isinstance(section, FoundationSection):
        return
    if frames is None and replays:
        yield (
            'training.finetuning = "replay" needs frames for the model to label: name a file of structures that it '
            'must go on knowing, pretraining.file, or write finetuning = "naive"'
        )
    elif frames is not None and not replays:
        yield 'pretraining.file is for training.finetuning = "replay" alone: leave it out'
    elif frames is not None and len(frames) < FEWEST:
        yield f"{section.file} gives {len(frames)} frames: {FEWEST} at least are replayed"


def _unusable_frames(config: CampaignConfig, asked: Sequence[Atoms], frames: Sequence[Atoms]) -> Iterator[str]:
    where = f"{getattr(config.pretraining, 'file', '')}"
    if len(frames) < FEWEST:
        yield f"{where} gives {len(frames)} frames: {FEWEST} at least are pretrained on"
    known = {int(z) for atoms in frames for z in atoms.numbers}
    yield from _strangers(where, known, asked)


def _unusable_reference(
    config: CampaignConfig, section: CheapReferenceSection, frames: Sequence[Atoms]
) -> Iterator[str]:
    from tentpole.labeling import references

    try:
        cheap, own = references.load(section.reference), references.load(config.reference)
    except InputError as error:
        yield str(error)
        return
    if "forces" not in cheap.properties:
        yield (
            f'reference "{section.reference}" gives {", ".join(cheap.properties)}: without forces there is next to '
            "nothing to learn from. Take one that gives them"
        )
    if (cheap.import_path, cheap.physics(cheap.parameters)) == (own.import_path, own.physics(own.parameters)):
        yield (
            f"reference \"{section.reference}\" is the campaign's own: its labels would be the campaign's at their "
            "price. Name a cheaper method, or leave [pretraining] out"
        )
    for atoms in {(atoms.get_chemical_formula(), own_state(atoms)): atoms for atoms in frames}.values():
        try:
            cheap.check(atoms, *state_of(atoms, config.charge, config.multiplicity))
        except InputError as error:
            yield f"{atoms.get_chemical_formula()}: {error}"


def _unusable_committee(
    config: CampaignConfig, section: EarlierCommitteeSection, asked: Sequence[Atoms]
) -> Iterator[str]:
    try:
        stems = committee_to_start_from(Path(section.folder))
        members = [read_description(stem) for stem in stems]
    except TentpoleError as error:
        yield str(error)
        return
    if len(members) < config.committee.members:
        yield (
            f"{section.folder} has {len(members)} member{'s' * (len(members) > 1)}, and committee.members = "
            f"{config.committee.members}: copies of one agree exactly. Lower committee.members"
        )
    for stem, member in zip(stems, members, strict=True):
        yield from _unusable_member(config, stem.name, member, asked)
    if any(member["E0s"] != members[0]["E0s"] for member in members):
        yield f"the members in {section.folder} have different energies of isolated atoms: they are no one's committee"


def _unusable_model(
    config: CampaignConfig, section: FoundationSection, asked: Sequence[Atoms], replayed: Sequence[Atoms]
) -> Iterator[str]:
    try:
        member = read_description(Path(section.model))
    except TentpoleError as error:
        yield str(error)
        return
    yield from _unusable_member(config, Path(section.model).name, member, [*asked, *replayed])
    if config.training.loop == "stacked" and (why := not_stackable(member["hyperparameters"])):
        words = "training.frozen cannot be had of it" if config.training.frozen else 'set training.loop = "mace"'
        yield f"{Path(section.model).name} is of another architecture than members trained as one ({why}): {words}"


def _unusable_member(
    config: CampaignConfig, name: str, member: Mapping[str, Any], asked: Sequence[Atoms]
) -> Iterator[str]:
    if abs(float(member["r_max"]) - config.training.r_max) > 1e-6:
        yield (
            f"{name} has the cutoff {member['r_max']:g} Å, and training.r_max = {config.training.r_max:g}: set "
            f"training.r_max = {member['r_max']:g}"
        )
    if len(member["hyperparameters"]["heads"]) > 1:
        yield f"{name} has several heads: one is wanted"
    reads = embedded(member["hyperparameters"])
    if set(reads) != set(config.training.embed):
        yield (
            f"{name} reads {' and '.join(reads) or 'neither charge nor multiplicity'}, and "
            f"training.embed = {list(config.training.embed)}: its body cannot be another one's. Set embed = "
            f"{list(reads)}, or leave [pretraining] out"
        )
    yield from _strangers(name, set(member["atomic_numbers"]), asked)


def _strangers(where: str, known: set[int], asked: Sequence[Atoms]) -> Iterator[str]:
    """Elements of the campaign that are not `known`."""
    numbers = {int(z) for atoms in asked for z in atoms.numbers}
    if absent := sorted(numbers - known):
        lacking = ", ".join(chemical_symbols[z] for z in absent)
        has = ", ".join(chemical_symbols[z] for z in sorted(known))
        yield f"{where} does not know {lacking}, which this campaign has; it knows {has}"
