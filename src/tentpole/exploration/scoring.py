"""Scores of frames: disagreement of the committee and log-det gain; a frame that cannot be scored says why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from tentpole.errors import TentpoleError
from tentpole.exploration.health import HealthLimits, geometry
from tentpole.exploration.held import moving
from tentpole.records import FloatArray, Scores

if TYPE_CHECKING:
    from tentpole.committee import Committee, CommitteeCalculator
    from tentpole.entropy import Covariance, Fingerprint


class FrameScorer:
    """Scores one frame at a time during MD, where the calculator holds the driver's results already.

    σ_F is of the atoms that move: what a committee says of an atom that is held in place moves nothing.
    """

    def __init__(self, calculator: CommitteeCalculator, fingerprint: Fingerprint, covariance: Covariance) -> None:
        self._calculator = calculator
        self._fingerprint = fingerprint
        self._covariance = covariance

    def __call__(self, atoms: Atoms) -> Scores:
        """Score one frame; where that fails, the scores say why."""
        try:
            energy_std = float(self._calculator.get_property("energy_std", atoms))
            atom_std = np.asarray(self._calculator.get_property("forces_std", atoms))[moving(atoms)]
            gain = float(self._covariance.gain(self._fingerprint.fingerprints(atoms)))
        except TentpoleError as error:
            return failed(str(error))
        return _finite(energy_std, len(atoms), atom_std, gain)


def score(
    frames: Sequence[Atoms],
    committee: Committee,
    fingerprint: Fingerprint,
    covariance: Covariance | None,
    health: HealthLimits | None = None,
) -> list[Scores]:
    """Scores of any frames, evaluated in batches.

    A frame is failed, with its reason, where its atoms overlap, its numbers are not finite, or it holds species that
    the committee does not know. σ_F leaves out atoms that constraints hold in place. covariance None: no dataset to
    gain for, gain is that of the frame alone.
    """
    from tentpole.committee import atom_force_std, energy_std
    from tentpole.entropy import Covariance

    limits = health or HealthLimits()
    known = set(committee.numbers)
    reasons = [_unfit(atoms, limits, known) for atoms in frames]
    fit = [i for i, reason in enumerate(reasons) if not reason]
    results = [failed(reason) for reason in reasons]
    if not fit:
        return results
    prediction = committee.evaluate([frames[i] for i in fit])
    rows = [fingerprint.fingerprints(frames[i]) for i in fit]
    covariance = covariance or Covariance()
    gains = covariance.gains(rows)
    for position, i in enumerate(fit):
        try:
            spread = float(energy_std(prediction.energies[:, position]))
            atom_std = np.asarray(atom_force_std(prediction.forces[position]))[moving(frames[i])]
        except TentpoleError as error:
            results[i] = failed(str(error))
        else:
            results[i] = _finite(spread, len(frames[i]), atom_std, float(gains[position]))
    return results


def failed(reason: str) -> Scores:
    """The scores of a frame that has none."""
    return Scores(math.nan, math.nan, math.nan, math.nan, math.nan, failed=reason)


def _finite(energy_std: float, atoms: int, atom_std: FloatArray, gain: float) -> Scores:
    if not (math.isfinite(energy_std) and math.isfinite(gain) and np.isfinite(atom_std).all()):
        return failed("the scores are not finite")
    return Scores(
        energy_std,
        energy_std / atoms,
        float(atom_std.mean()),
        float(atom_std.max()),
        gain,
        p95_force_std=float(np.percentile(atom_std, 95.0)),
    )


def _unfit(atoms: Atoms, limits: HealthLimits, known: set[int]) -> str:
    if len(atoms) == 0:
        return "no atoms"
    if not moving(atoms).any():
        return "no atom can move"
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        return "positions or cell are not finite"
    unknown_species = sorted(set(atoms.get_chemical_symbols()) - {_symbol(z) for z in known})
    if unknown_species:
        return f"the committee does not know {', '.join(unknown_species)}"
    wrong = geometry(atoms, limits)
    return f"{wrong.reason}: {wrong.message}" if wrong else ""


def _symbol(number: int) -> str:
    from ase.data import chemical_symbols

    return str(chemical_symbols[number])
