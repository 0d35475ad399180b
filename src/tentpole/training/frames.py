"""The frames of a training: which are trained on, which are held out, and which are isolated atoms and neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from tentpole.committee.graph import edges_within
from tentpole.committee.member_files import read_description
from tentpole.errors import InputError, unknown
from tentpole.storage.structures import labelled_frames
from tentpole.training.jobs import TrainingJob
from tentpole.training.schedule import hold_out
from tentpole.training.settings import MACESettings

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Frames:
    """The labelled frames of some members, and for each member its places among them: trained on, and held out."""

    frames: list[Atoms]
    train: list[IntArray]
    valid: list[IntArray]

    def of(self, member: int) -> tuple[list[Atoms], list[Atoms]]:
        """The frames that the member in this place trains on, and those that it is judged by."""
        train, valid = ([self.frames[k] for k in part[member]] for part in (self.train, self.valid))
        return train, valid


def frames_of(jobs: Sequence[TrainingJob], settings: MACESettings) -> Frames:
    """The frames of `jobs` without isolated atoms, each file read once. Raises InputError where none is left."""
    result = Frames([], [], [])
    places: dict[Path, IntArray] = {}

    def read(path: Path) -> IntArray:
        if path not in places:
            labels = [atoms for atoms in learned_frames(path) if not is_isolated_atom(atoms, settings.r_max)]
            if not labels:
                raise InputError(f"{path} holds nothing but isolated atoms: there is nothing to train on")
            places[path] = len(result.frames) + np.arange(len(labels))
            result.frames.extend(labels)
        return places[path]

    for job in jobs:
        own = read(job.train)
        if job.valid is not None:
            train, valid = own, read(job.valid)
        else:
            held = hold_out(len(own), job.member, settings.folds)
            train, valid = np.delete(own, held), own[held] if held else own
        result.train.append(train)
        result.valid.append(valid)
    return result


def learned_frames(path: Path) -> list[Atoms]:
    """The frames of a training file as members learn them: less their baseline, where they carry one."""
    return [_less_baseline(atoms) for atoms in labelled_frames(path)]


def _less_baseline(atoms: Atoms) -> Atoms:
    """A frame whose label is less its baseline_energy, baseline_forces, baseline_stress; itself where it has none.

    A stress that the baseline does not give is not learned.
    """
    if "baseline_energy" not in atoms.info:
        return atoms
    less = atoms.copy()
    less.info["REF_energy"] = float(atoms.info["REF_energy"]) - float(atoms.info["baseline_energy"])
    less.arrays["REF_forces"] = np.asarray(atoms.arrays["REF_forces"]) - atoms.arrays["baseline_forces"]
    stress = less.info.pop("REF_stress", None)
    if stress is not None and "baseline_stress" in atoms.info:
        less.info["REF_stress"] = _voigt(stress) - _voigt(atoms.info["baseline_stress"])
    return less


def _voigt(stress: Any) -> NDArray[np.float64]:
    values = np.asarray(stress, dtype=np.float64)
    return np.asarray(full_3x3_to_voigt_6_stress(values.reshape(3, 3))) if values.size == 9 else values.reshape(6)


def is_isolated_atom(atoms: Atoms, cutoff: float) -> bool:
    """Whether a frame is one atom without neighbours: a cell of one atom is a crystal where its images are near."""
    if len(atoms) != 1:
        return False
    return atoms.info.get("config_type") == "IsolatedAtom" or len(edges_within(atoms, cutoff).i) == 0


def isolated_energies(settings: MACESettings, frames: Sequence[Atoms]) -> dict[int, float]:
    """Energy of every species' isolated atom in eV, from the settings, found among `frames`, or fitted to them.

    Of several frames of the same isolated atom the lowest counts. For species without one, the fit is the
    least-squares solution of smallest norm of Σ_Z n_Z E0_Z = E over the other frames. Raises InputError for a species
    without an energy.
    """
    species = sorted({int(z) for atoms in frames for z in atoms.numbers})
    if isinstance(settings.E0s, str):
        return _found_or_fitted(frames, species, settings.r_max)
    given: dict[int, float] = {}
    for key, energy in settings.E0s.items():
        if not str(key).isdigit() and key not in atomic_numbers:
            raise unknown("element", str(key), atomic_numbers, where="E0s")
        given[int(key) if str(key).isdigit() else atomic_numbers[key]] = float(energy)
    if absent := [chemical_symbols[z] for z in species if z not in given]:
        raise InputError(f'E0s lack {", ".join(absent)}: add the energy of the isolated atom, or use "average"')
    return {z: given[z] for z in species}


def difference_energies(settings: MACESettings, train: Path) -> dict[int, float]:
    """As `isolated_energies`, of the frames of a file, less their baseline where they carry one."""
    return isolated_energies(settings, learned_frames(train))


def _found_or_fitted(frames: Sequence[Atoms], species: Sequence[int], cutoff: float) -> dict[int, float]:
    known: dict[int, float] = {}
    others = []
    for atoms in frames:
        if not is_isolated_atom(atoms, cutoff):
            others.append(atoms)
            continue
        z, energy = int(atoms.numbers[0]), float(atoms.info["REF_energy"])
        known[z] = min(energy, known.get(z, energy))
    wanted = [z for z in species if z not in known]
    if wanted:
        counts = np.array([[np.count_nonzero(atoms.numbers == z) for z in species] for atoms in others], dtype=float)
        energies = np.array([atoms.info["REF_energy"] for atoms in others], dtype=float)
        share = counts @ np.array([known.get(z, 0.0) for z in species])
        fitted, *_ = np.linalg.lstsq(counts[:, [z not in known for z in species]], energies - share, rcond=None)
        known |= {z: float(e) for z, e in zip(wanted, fitted, strict=True)}
    return {z: known[z] for z in species}


def kept_energies(warm_start: Path) -> dict[int, float]:
    """The isolated atoms' energies that a member was trained with."""
    tables: list[Mapping[str, float]] = list(read_description(warm_start)["E0s"].values())
    return {int(z): float(e) for z, e in tables[0].items()}
