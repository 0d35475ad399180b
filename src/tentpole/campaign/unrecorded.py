"""Folders whose journal keeps no configuration, from before it did: what their files say of the settings in force.

Such a journal tells nothing that an edited campaign.toml could be compared with. The rounds do tell some of it: how
many members there are, which walkers ran where, how many structures were asked for first, and which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from ase import Atoms

from tentpole.campaign.paths import CampaignPaths
from tentpole.campaign.state import RoundState
from tentpole.committee.committee_files import COMMITTEE_FILE, read_committee_file
from tentpole.config.schema import CampaignConfig, RattleSection
from tentpole.config.walkers import walkers_of
from tentpole.errors import StateError
from tentpole.exploration.initial import rattled
from tentpole.exploration.random_numbers import generator

SAME_A = 1e-6
"""Two positions are the same that differ by less, in Å: other versions of numpy may round otherwise."""


def refuse_contradictions(
    paths: CampaignPaths, config: CampaignConfig, state: RoundState, starts: Mapping[str, Atoms]
) -> None:
    """Raises StateError, naming the keys, where rounds of the folder cannot have been made with these settings."""
    refused = [*_committees(paths, config, state), *_initial(config, state, starts), *_walkers(config, state)]
    if refused:
        raise StateError(
            f"{paths.campaign_file}: was edited since this campaign began: {'; '.join(dict.fromkeys(refused))}. Undo "
            "that, or start another campaign with another --dir."
        )


def _committees(paths: CampaignPaths, config: CampaignConfig, state: RoundState) -> Iterator[str]:
    wanted = 1 if config.committee.kind == "shallow" else config.committee.members
    for number in range(state.current):
        path = paths.models(number) / COMMITTEE_FILE
        if path.exists() and (there := len(read_committee_file(path))) != wanted:
            yield f"committee.members ({there} networks were trained, {wanted} would be now)"
            return


def _initial(config: CampaignConfig, state: RoundState, starts: Mapping[str, Atoms]) -> Iterator[str]:
    section = config.initial
    if not isinstance(section, RattleSection) or not state.is_decided(0):
        return
    asked = [request.atoms for request in state.batch(0).requests]
    if len(asked) != section.count:
        yield f"initial.count ({len(asked)} structures were asked for)"
        return
    rng = generator(config.seed, "initial structures", scheme=config.random_numbers)
    made = [atoms for _, atoms in rattled(starts, section.count, section.stdev_A, rng)]
    if not all(_same(one, other) for one, other in zip(asked, made, strict=True)):
        yield "seed, initial.stdev_A or the structures (these rattle them otherwise than the first round did)"


def _same(one: Atoms, other: Atoms) -> bool:
    return (
        len(one) == len(other)
        and bool((one.numbers == other.numbers).all())
        and bool(np.allclose(one.positions, other.positions, rtol=0, atol=SAME_A))
        and bool(np.allclose(one.cell.array, other.cell.array, rtol=0, atol=SAME_A))
    )


def _walkers(config: CampaignConfig, state: RoundState) -> Iterator[str]:
    walkers = walkers_of(config)
    conditions = {str(walker.condition) for walker in walkers}
    for number in range(1, state.current + 1):
        if not state.is_decided(number):
            continue
        record = state.record(number)
        ran = record.facts.bias_strength_eV
        if ran and len(ran) != len(walkers):
            yield f"structures, explore.temperatures_K, pressures or bias.ratios ({len(ran)} walkers ran)"
        elif other := {str(f.condition) for f in record.frames if f.condition is not None} - conditions:
            yield f"structures, explore.temperatures_K or pressures (round {number} ran {', '.join(sorted(other))})"
        else:
            continue
        return
