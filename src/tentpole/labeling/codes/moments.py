"""Magnetic moments, the same words for every program: what an SCF starts from and what it ends with, in µB."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from tentpole.errors import InputError
from tentpole.labeling.codes.base import SinglePoint
from tentpole.records import moments_of

LARGEST_MUB = 10.0


def check_moment(moment: float, whose: str) -> None:
    """Raises InputError for a starting moment that no atom has."""
    if not (math.isfinite(moment) and abs(moment) <= LARGEST_MUB):
        raise InputError(f"{whose} starts with {moment} µB: legal are -{LARGEST_MUB:g} to {LARGEST_MUB:g} µB")


def check_moments(atoms: Atoms, where: str) -> None:
    """Raises InputError for starting moments that are vectors, not finite or out of range."""
    moments = atoms.get_initial_magnetic_moments()
    if moments.ndim != 1:
        raise InputError(f"{where}: starting moments are vectors; collinear ones are known here, one number per atom")
    for number, moment in enumerate(moments):
        check_moment(float(moment), f"{where}: atom {number} ({atoms.symbols[number]})")


def unpaired(request: SinglePoint) -> int | None:
    """The unpaired electrons that the campaign fixes, multiplicity − 1; None where it fixes none."""
    return None if request.multiplicity is None else request.multiplicity - 1


def check_spin(request: SinglePoint, key: str, unpolarized: bool) -> None:
    """Raises InputError where the reference is without spin (its `key` says so) and the campaign is not."""
    if unpolarized and (unpaired(request) or moments_of(request.atoms) is not None):
        asked = f"multiplicity {request.multiplicity}" if unpaired(request) else "starting moments"
        raise InputError(
            f"{request.reference}: {key} in the reference and {asked} in the campaign contradict each other. Leave it "
            "out of the reference: the campaign sets it."
        )


def final(
    total: float | None, absolute: float | None = None, sites: Sequence[float] | None = None
) -> dict[str, dict[str, Any]]:
    """The facts of a label with spin: total and absolute magnetisation of the cell and moments of its sites, in µB.

    Where a program does not integrate the absolute magnetisation, the sum of its sites' absolute moments stands in.
    """
    if absolute is None and sites:
        absolute = float(np.abs(sites).sum())
    known = {"total_muB": total, "absolute_muB": absolute, "sites_muB": list(sites) if sites else None}
    facts = {key: value for key, value in known.items() if value is not None}
    return {"magnetization": facts} if facts else {}
