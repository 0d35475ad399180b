"""What [baseline] names, judged before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ase import Atoms

from tentpole.committee.committee_files import member_stems
from tentpole.committee.member_files import read_description
from tentpole.config.schema import CampaignConfig, CheapReferenceSection, EarlierCommitteeSection, FoundationSection
from tentpole.errors import InputError, TentpoleError
from tentpole.labeling import references
from tentpole.labeling.references import Reference
from tentpole.records import state_of


def unusable_baseline(config: CampaignConfig, starts: Mapping[str, Atoms]) -> Iterator[str]:
    """Why members could not learn the difference to it, a sentence each."""
    base: Reference | None = None
    if config.baseline is not None:
        try:
            base = references.load(config.baseline.reference)
        except InputError as error:
            yield str(error)
            return
        yield from _unusable_reference(config, base, starts)
    yield from _unusable_start(config, base)


def _unusable_reference(config: CampaignConfig, base: Reference, starts: Mapping[str, Atoms]) -> Iterator[str]:
    own, name = references.load(config.reference), base.name
    if config.explore.ensemble.kind == "npt" and "stress" not in base.properties:
        yield f'"{name}" gives no stress, and explore.ensemble = "npt" moves cells by it: take one that does'
    if _same(base, own):
        yield f'"{name}" is the campaign\'s own reference: nothing would be left to learn. Name a cheaper one'
    for structure, atoms in starts.items():
        try:
            base.check(atoms, *state_of(atoms, config.charge, config.multiplicity))
        except InputError as error:
            yield f'structure "{structure}": {error}'


def whole_first(config: CampaignConfig) -> bool:
    """Whether members learn whole energies before the first label, and the difference to [baseline] from there on.

    So it is where the difference that they would be pretrained on is zero, and where others have trained them.
    """
    section = config.pretraining
    if config.baseline is None or not isinstance(section, CheapReferenceSection | FoundationSection):
        return False
    return isinstance(section, FoundationSection) or _same(
        references.load(section.reference), references.load(config.baseline.reference)
    )


def _same(one: Reference, other: Reference) -> bool:
    """Whether both compute the same."""
    return (one.import_path, one.physics(one.parameters)) == (other.import_path, other.physics(other.parameters))


def _unusable_start(config: CampaignConfig, base: Reference | None) -> Iterator[str]:
    """Members that others trained learned whole energies, or the difference to their own baseline."""
    section = config.pretraining
    if base is not None and config.training.finetuning == "replay":
        yield 'finetuning = "replay" repeats whole energies, members with a baseline learn a difference: take "naive"'
    if not isinstance(section, EarlierCommitteeSection):
        return
    try:
        told = read_description(member_stems(Path(section.folder))[0]).get("baseline")
    except TentpoleError:
        return  # said where the members themselves are looked at
    if told is None and base is not None:
        yield f"the members in {section.folder} learned whole energies: leave [baseline] out, or start without them"
    if told is not None and (base is None or base.hash != told["hash"]):
        yield (
            f"the members in {section.folder} learned the difference to {told['name']} ({told['hash']}), and this "
            f"campaign's is {'none' if base is None else f'{base.name} ({base.hash})'}: write the same [baseline]"
        )
