"""Whether labels that a user brings are the reference's: its own label of one of their frames, beside theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from ase import Atoms, units

from tentpole.campaign.plan import Line
from tentpole.config.loading import label_of
from tentpole.records import FloatArray, Label
from tentpole.units import GPA

OTHER_METHOD_eV, OTHER_VERSION_eV = 0.05, 0.001
"""Energy differences per atom beyond which a label is of another method, or perhaps of another version."""
OTHER_METHOD, OTHER_VERSION = 0.3, 0.02
"""The same of forces and stress, as shares of the reference's own size."""
LEAST_eV_PER_A, LEAST_GPa = 0.02, 0.05
"""Differences of forces and stress that say nothing."""
UNITS = {
    "forces": {
        "gradients, forces with the other sign": -1.0,
        "in Hartree/Bohr": units.Bohr / units.Hartree,
        "in Ry/Bohr": units.Bohr / units.Rydberg,
        "in kcal/mol/Å": units.mol / units.kcal,
        "in kJ/mol/Å": units.mol / units.kJ,
    },
    "stress": {
        "a pressure: stress with the other sign": -1.0,
        "in GPa": 1.0 / units.GPa,
        "in kbar": 10.0 / units.GPa,
        "in Hartree/Bohr³": units.Bohr**3 / units.Hartree,
    },
}
"""What labels are taken for by mistake, as multiples of eV/Å and eV/Å³."""


def telling_frame(frames: Sequence[Atoms]) -> Atoms:
    """The frame that tells most of units: the one with the largest force."""
    return max(frames, key=lambda atoms: float(np.abs(atoms.arrays["REF_forces"]).max()))


def own_labels_line(own: Atoms, reference: Label) -> Line:
    """What the reference says of a frame beside its REF_energy, REF_forces and REF_stress."""
    energy, forces, stress = label_of(own)
    off = abs(energy - reference.energy) / len(own)
    words = [f"the reference gives the frame with your largest force {reference.energy:.4f} eV"]
    words.append(f"{1000 * off:.2g} meV/atom off your label")
    worst = _grade(off, OTHER_VERSION_eV, OTHER_METHOD_eV)
    pairs = [("forces", forces, reference.forces, LEAST_eV_PER_A, "meV/Å", 1e-3)]
    if stress is not None and reference.stress is not None:
        pairs.append(("stress", stress, reference.stress, LEAST_GPa * GPA, "GPa", GPA))
    for what, mine, theirs, least, unit, size in pairs:
        difference, scale = _rms(mine - theirs), _rms(theirs)
        grade = _grade(difference, max(least, OTHER_VERSION * scale), max(least, OTHER_METHOD * scale))
        words.append(f"{what} {difference / size:.2g} {unit} off")
        worst = max(worst, grade)
        if grade and (name := _taken_for(what, mine, theirs)):
            words[-1] += f" (yours look like {name})"
    said = ", ".join(words)
    if worst == 2:
        said += ': they are of another method, or in another unit. Have the frames labelled anew: kind = "frames"'
    elif worst:
        said += ": another version, or other settings of convergence?"
    return Line("your labels", worst < 2, said, worst == 1)


def _taken_for(what: str, mine: FloatArray, theirs: FloatArray) -> str:
    """What their unit or sign is by all appearances; "" where the labels are no multiple of the reference's."""
    factor = float((mine * theirs).sum() / (theirs**2).sum()) if theirs.any() else 0.0
    if _rms(mine - factor * theirs) > 0.1 * _rms(mine):
        return ""
    return next((name for name, known in UNITS[what].items() if math.isclose(factor, known, rel_tol=0.1)), "")


def _grade(off: float, version: float, method: float) -> int:
    """0: the same. 1: perhaps another version. 2: another method; so is what is not finite."""
    return 0 if off <= version else 1 if off <= method else 2


def _rms(values: FloatArray) -> float:
    return math.sqrt(float((np.asarray(values) ** 2).mean()))
