"""Which structures the rattled first labels take turns over: the starting ones, and what [initial] has made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ase import Atoms

from tentpole.config.schema import CampaignConfig, RattleSection
from tentpole.errors import InputError
from tentpole.exploration.modes import NormalModes
from tentpole.exploration.random_numbers import generator
from tentpole.records import FloatArray

Forces = Callable[[str, Atoms], FloatArray]
"""Forces (N, 3) in eV/Å by the reference of that name."""


def with_variants(
    config: CampaignConfig, section: RattleSection, starts: Mapping[str, Atoms], forces: Forces | None
) -> dict[str, Atoms]:
    """Starting structures, and each variant of each that it can be made of.

    Parameters
    ----------
    config : CampaignConfig
    section : RattleSection
    starts : mapping of str to ase.Atoms
        All of the campaign's structures, or some.
    forces : callable, optional
        For variants along modes; where None, as many copies that are not displaced stand for these.

    Returns
    -------
    dict of str to ase.Atoms

    Raises
    ------
    InputError
        Where a variant cannot be made.
    """
    bases, places = dict(starts), [structure.name for structure in config.structures]
    for name, atoms in starts.items():
        for number, variant in enumerate(section.variants):
            rng = generator(config.seed, "variants", places.index(name), number, scheme=config.random_numbers)
            try:
                variants = _made(variant, atoms, rng, forces)
            except InputError as error:
                raise InputError(f'initial.variants.{number}: structure "{name}": {error}') from None
            for k, made in enumerate(variants):
                bases[f"{name}, {variant.kind} {number}-{k}"] = made
    return bases


def _made(variant: Any, atoms: Atoms, rng: np.random.Generator, forces: Forces | None) -> list[Atoms]:
    if not isinstance(variant, NormalModes):
        return list(variant.of(atoms, rng)) if variant.fits(atoms) else []
    if len(atoms) < 2:
        return []
    if forces is None:
        return [atoms] * variant.copies
    return variant.displaced(atoms, lambda moved: forces(variant.reference, moved), rng)


def refuse_too_few_copies(section: RattleSection, bases: Mapping[str, Atoms]) -> None:
    """Raises InputError where variants would be left out."""
    if section.variants and section.count < len(bases):
        raise InputError(
            f"initial.count = {section.count}: {len(bases)} structures take turns, variants included: "
            f"{len(bases)} or more is legal"
        )
