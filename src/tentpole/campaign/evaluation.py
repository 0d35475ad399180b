"""Errors of a committee's mean on labels, as a job for a worker process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tentpole.campaign.batches import Request
from tentpole.records import FloatArray
from tentpole.storage.labels import read_label


@dataclass(frozen=True, slots=True)
class FrameErrors:
    """Committee mean against labels, frame by frame.

    names : label names. force_mse : (n,) mean squared error of the force components, (eV/Å)².
    energy_error : (n,) signed, eV/atom. force_std : (n,) disagreement, eV/Å. max_force_std, max_force_error :
    (n,) largest over the atoms of each frame, eV/Å, what conformal calibration compares. elements : element →
    force RMSE in eV/Å. parity : at most 2000 pairs (reference, prediction) of force components, eV/Å.
    likeness : in words, how far the members still differ; alike : too little for σ to mean much.
    """

    names: tuple[str, ...]
    force_mse: FloatArray
    energy_error: FloatArray
    force_std: FloatArray
    max_force_std: FloatArray
    max_force_error: FloatArray
    atoms: FloatArray
    elements: dict[str, float]
    parity: FloatArray
    likeness: str = ""
    alike: bool = False

    @property
    def force_rmse(self) -> float:
        """Root mean square over all force components, eV/Å; NaN for no frames."""
        if not len(self.names):
            return math.nan
        return math.sqrt(float((self.force_mse * self.atoms).sum() / self.atoms.sum()))

    @property
    def energy_rmse(self) -> float:
        """Root mean square of the energy error per atom, eV/atom; NaN for no frames."""
        return math.sqrt(float((self.energy_error**2).mean())) if len(self.names) else math.nan

    def to_json(self) -> dict[str, Any]:
        return {
            "force_rmse_eV_per_A": _none(self.force_rmse),
            "energy_rmse_eV_per_atom": _none(self.energy_rmse),
            "frames": {
                name: {key: float(column[i]) for key, column in self._columns().items()}
                for i, name in enumerate(self.names)
            },
            "elements": self.elements,
            "likeness": self.likeness,
            "parity": self.parity.tolist(),
        }

    def _columns(self) -> dict[str, FloatArray]:
        names = ("force_mse", "energy_error", "force_std", "max_force_std", "max_force_error")
        return {name: getattr(self, name) for name in names}


def frame_errors(models: Path, dtype: str, labels: Sequence[Path]) -> FrameErrors:
    """Evaluate the committee in `models` on the labels in these files."""
    from tentpole.committee import atom_force_std, calibration
    from tentpole.committee.cached import committee_in

    known = [read_label(path) for path in labels]
    if not known:
        none = np.zeros(0)
        return FrameErrors((), none, none, none, none, none, none, {}, np.zeros((0, 2)))
    prediction = committee_in(models, dtype).evaluate([label.atoms for label in known])
    force_mse, energy_error, spread, pairs = [], [], [], []
    squares: dict[str, list[float]] = {}
    for i, label in enumerate(known):
        forces = prediction.forces[i].mean(axis=0)
        squared = (forces - label.forces) ** 2
        force_mse.append(squared.mean())
        energy_error.append((prediction.energies[:, i].mean() - label.energy) / len(label.atoms))
        spread.append(float(atom_force_std(prediction.forces[i]).mean()))
        pairs.append(np.column_stack([label.forces.ravel(), forces.ravel()]))
        for symbol, row in zip(label.atoms.get_chemical_symbols(), squared, strict=True):
            squares.setdefault(symbol, []).extend(row.tolist())
    parity = np.concatenate(pairs)
    likeness = calibration.likeness(prediction, [label.forces for label in known])
    largest_std, largest_error = calibration.structure_cases(prediction, [label.forces for label in known])
    return FrameErrors(
        names=tuple(label.name for label in known),
        force_mse=np.array(force_mse),
        energy_error=np.array(energy_error),
        force_std=np.array(spread),
        max_force_std=largest_std,
        max_force_error=largest_error,
        atoms=np.array([len(label.atoms) for label in known], dtype=float),
        elements={symbol: math.sqrt(sum(values) / len(values)) for symbol, values in squares.items()},
        parity=parity[:: max(1, -(-len(parity) // 2000))],
        likeness=likeness.words,
        alike=likeness.alike,
    )


def refitted_energies(models: Path, train: Path) -> dict[int, float]:
    """Energies of isolated atoms, in eV by atomic number, that fit the labels in `train` around what the committee in
    `models` says beyond its own: the least-squares shift per species added to those that its members share."""
    from tentpole.committee.ase_voter import composition_shifts
    from tentpole.committee.cached import committee_in
    from tentpole.storage.structures import labelled_frames
    from tentpole.training.frames import kept_energies

    frames, committee = labelled_frames(train), committee_in(models, "float64")
    found = committee.evaluate(frames).energies.mean(axis=0)
    shifts = composition_shifts(frames, np.array([atoms.info["REF_energy"] for atoms in frames]) - found)
    return {z: energy + shifts.get(z, 0.0) for z, energy in kept_energies(models / "member-0").items()}


def _none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def group_errors(requests: dict[str, Request], facts: dict[str, Any]) -> dict[str, float]:
    """Force RMSE in eV/Å per element and per condition, from a closed round's facts."""
    squares: dict[str, list[float]] = {}
    for name, error in facts.get("frames", {}).items():
        squares.setdefault(str(requests[name].condition), []).append(error["force_mse"])
    conditions = {name: math.sqrt(sum(values) / len(values)) for name, values in squares.items()}
    return {**facts.get("elements", {}), **conditions}
