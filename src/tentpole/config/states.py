"""Charges and multiplicities of a campaign's structures and frames, and whether its members can tell them apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ase import Atoms

from tentpole.committee.electronic_state import KEYS, unreadable
from tentpole.config.schema import CampaignConfig
from tentpole.records import CHARGE, MULTIPLICITY, State, state_of

WORDS = (CHARGE, MULTIPLICITY)
NAMED = ("chgnet", "mace-mp", "mace-off", "nequip")
"""Foundation models that read no charge; a file of a member of one's own, or a calculator of one's own, may."""


def comparable(state: State) -> tuple[int, int]:
    """The state with what nobody states as it usually is: neutral, a singlet."""
    charge, multiplicity = state
    return charge or 0, multiplicity or 1


def unreadable_states(
    config: CampaignConfig, starts: Mapping[str, Atoms], frames: Mapping[str, Sequence[Atoms]]
) -> Iterator[str]:
    """Why members could not tell this campaign's charges and multiplicities apart, a sentence each."""
    states = dict(_states(config, starts, frames))
    embed = config.training.embed
    for place, word in enumerate(WORDS):
        unreadable: dict[int, str] = {}
        for name, state in states.items():
            unreadable.setdefault(comparable(state)[place], name)
        if len(unreadable) > 1 and word not in embed:
            told = ", ".join(f"{value} ({unreadable[value]})" for value in sorted(unreadable))
            yield (
                f"structures differ in {word}: {told}. Members that see atoms alone have one energy for all of "
                f'them. Have them read it, [training] embed = ["{word}"], or run one campaign per {word}'
            )
    yield from _unfit_for_embedding(config, states)


def _unfit_for_embedding(config: CampaignConfig, states: Mapping[str, State]) -> Iterator[str]:
    embed = config.training.embed
    if not embed:
        return
    if config.committee.kind == "shallow":
        yield f"training.embed = {list(embed)}: a shallow committee is trained by mace's own command, without it"
    for name in config.committee.foundations:
        if name.partition(":")[0] in NAMED and not name.endswith(".json"):
            yield f'committee: "{name}" reads no charge and would judge all states alike: leave it out'
    for word in embed:
        for name, state in states.items():
            value = state[WORDS.index(word)]
            if value is None:
                yield f"training.embed reads the {word}, and {name} states none: write {word} = … in the campaign file"
                break
            if why := unreadable(KEYS[word], value):
                yield f"{name}: {why}"
                break


def _states(
    config: CampaignConfig, starts: Mapping[str, Atoms], frames: Mapping[str, Sequence[Atoms]]
) -> Iterator[tuple[str, State]]:
    """Every structure and frame by what it is called, with its charge and multiplicity."""
    shared = config.charge, config.multiplicity
    for name, atoms in starts.items():
        yield f'structure "{name}"', state_of(atoms, *shared)
    for table, given in frames.items():
        for number, atoms in enumerate(given):
            yield f"{table}.file: frame {number}", state_of(atoms, *shared)
