"""Energies of isolated atoms for members that go on to learn another method's labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tentpole.committee.ase_voter import composition_shifts
from tentpole.committee.member_files import read_description


def refitted_energies(models: Path, train: Path) -> dict[int, float]:
    """Energies of isolated atoms that fit the labels in `train` together with the committee.

    Parameters
    ----------
    models : Path
        A folder of members, which share their energies of isolated atoms.
    train : Path
        Labelled frames.

    Returns
    -------
    dict of int to float
        eV by atomic number: those of the members, and the least-squares shift per species of what is left.
    """
    from tentpole.committee.cached import committee_in
    from tentpole.storage.structures import labelled_frames

    frames = labelled_frames(train)
    predicted = committee_in(models, "float64").evaluate(frames).energies.mean(axis=0)
    shifts = composition_shifts(frames, np.array([atoms.info["REF_energy"] for atoms in frames]) - predicted)
    kept = next(iter(read_description(models / "member-0")["E0s"].values()))
    return {int(z): float(energy) + shifts.get(int(z), 0.0) for z, energy in kept.items()}
