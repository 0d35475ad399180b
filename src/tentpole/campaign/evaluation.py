"""Errors of a committee's mean on labels, as a job for a worker process."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from tentpole.campaign.facts import ErrorFacts, FrameError
from tentpole.committee.isolated_energies import refitted_energies as refitted_energies
from tentpole.records import LARGE_CELL, FloatArray, Label
from tentpole.storage.labels import read_label
from tentpole.units import GPA


@dataclass(frozen=True, slots=True)
class FrameErrors:
    """Committee mean against labels, frame by frame.

    names : label names. force_mse : (n,) mean squared error of the force components, (eV/Å)².
    energy_error : (n,) signed, eV/atom. force_std : (n,) disagreement, eV/Å. max_force_std, max_force_error :
    (n,) largest over the atoms of each frame, eV/Å, what conformal calibration compares. elements : element →
    force RMSE in eV/Å. parity : at most 2000 pairs (reference, prediction) of force components, eV/Å.
    p95_force_std : (n,) 95th percentile of the disagreement over the atoms, eV/Å. stress_error : (n,) RMSE of the
    stress components, GPa, NaN where a label has none. stress_parity : pairs of them, GPa.
    likeness : in words, how far the members still differ; collapsed : too little for σ to mean much. moving : (n,)
    atoms that forces and disagreement are of, all where it is None. A frame on which a member's prediction is not
    finite has NaN and counts as failed; no error over all frames is told then, elements and parity are of the others.
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
    collapsed: bool = False
    p95_force_std: FloatArray | None = None
    stress_error: FloatArray | None = None
    stress_parity: FloatArray | None = None
    moving: FloatArray | None = None

    @property
    def sound(self) -> NDArray[np.bool_]:
        """(n,) frames on which every member's prediction is finite."""
        return np.isfinite(self.force_mse)

    @property
    def force_rmse(self) -> float:
        """Root mean square over all force components, eV/Å; NaN for no frames."""
        if not len(self.names):
            return math.nan
        weights = self.atoms if self.moving is None else self.moving
        return math.sqrt(float((self.force_mse * weights).sum() / weights.sum()))

    @property
    def energy_rmse(self) -> float:
        """Root mean square of the energy error per atom, eV/atom; NaN for no frames."""
        return math.sqrt(float((self.energy_error**2).mean())) if len(self.names) else math.nan

    def sigma(self, kind: str) -> FloatArray:
        """(n,) σ of each frame, eV/Å, as a campaign's rule looks at it: see Scores.sigma."""
        p95 = self.p95_force_std if self.p95_force_std is not None else self.max_force_std
        auto = np.where(self.atoms > LARGE_CELL, p95, self.force_std)
        return {"auto": auto, "mean": self.force_std, "max": self.max_force_std, "p95": p95}[kind]

    def facts(self, sigma: str = "") -> ErrorFacts:
        """What a round writes down of it.

        Parameters
        ----------
        sigma : str
            Which σ of each frame is kept too, with the error of its stress: see Scores.sigma. "" : neither.
        """
        columns = (self.force_mse, self.energy_error, self.force_std, self.max_force_std, self.max_force_error)
        rows = zip(self.names, *(column.tolist() for column in columns), strict=True)
        frames = {name: FrameError(*values) for name, *values in rows}
        if sigma:
            stress = np.full(len(self.names), math.nan) if self.stress_error is None else self.stress_error
            more = zip(self.sigma(sigma).tolist(), stress.tolist(), strict=True)
            frames = {
                name: frame._replace(sigma=s, stress_error=_none(e))
                for (name, frame), (s, e) in zip(frames.items(), more, strict=True)
            }
        return ErrorFacts(
            force_rmse=_none(self.force_rmse),
            energy_rmse=_none(self.energy_rmse),
            frames=frames,
            elements=self.elements,
            likeness=self.likeness,
            parity=self.parity,
            stress_parity=self.stress_parity if sigma and self.stress_parity is not None else np.zeros((0, 2)),
        )


def frame_errors(
    models: Path,
    dtype: str,
    labels: Sequence[Path],
    *,
    stress: bool = False,
    evaluation: str = "own",
    held: Mapping[str, Sequence[int]] | None = None,
) -> FrameErrors:
    """Evaluate the committee in `models` on the labels in these files; where asked, on the stress of those with one.

    evaluation : see the key [committee] evaluation. held : by label name, the atoms that constraints hold in place:
    forces and disagreement are those of the others.
    """
    from tentpole.committee import atom_force_std, calibration, p95_force_std
    from tentpole.training.network_voter import members_in

    known = [read_label(path) for path in labels]
    if not known:
        none = np.zeros(0)
        return FrameErrors((), none, none, none, none, none, none, {}, np.zeros((0, 2)))
    with_stress = stress and any(label.stress is not None for label in known)
    prediction = members_in(models, dtype, evaluation).evaluate([label.atoms for label in known], stress=with_stress)
    parts = [_looked_at(label, (held or {}).get(label.name, ())) for label in known]
    prediction = replace(prediction, forces=[f[:, part] for f, part in zip(prediction.forces, parts, strict=True)])
    labelled = [label.forces[part] for label, part in zip(known, parts, strict=True)]
    rows, pairs = list[list[float]](), [np.zeros((0, 2))]
    squares: dict[str, list[float]] = {}
    for i, label in enumerate(known):
        if prediction.failed[i]:
            rows.append([math.nan] * 6)
            continue
        forces = prediction.forces[i].mean(axis=0)
        difference = forces - labelled[i]
        for symbol, row in zip(
            np.array(label.atoms.get_chemical_symbols())[parts[i]].tolist(), difference, strict=True
        ):
            squares.setdefault(symbol, []).extend((row**2).tolist())
        energy, sigma = prediction.energies[:, i].mean(), atom_force_std(prediction.forces[i])
        largest = [sigma.max(), np.linalg.norm(difference, axis=1).max()]
        off = (energy - label.energy) / len(label.atoms)
        rows.append([(difference**2).mean(), off, sigma.mean(), *largest, float(p95_force_std(prediction.forces[i]))])
        pairs.append(np.column_stack([labelled[i].ravel(), forces.ravel()]))
    parity = np.concatenate(pairs)
    diversity = calibration.member_diversity(prediction, labelled)
    force_mse, energy_error, force_std, max_force_std, max_force_error, p95 = np.array(rows).T
    return FrameErrors(
        names=tuple(label.name for label in known),
        force_mse=force_mse,
        energy_error=energy_error,
        force_std=force_std,
        max_force_std=max_force_std,
        max_force_error=max_force_error,
        atoms=np.array([len(label.atoms) for label in known], dtype=float),
        elements={symbol: math.sqrt(sum(values) / len(values)) for symbol, values in squares.items()},
        parity=parity[:: max(1, -(-len(parity) // 2000))],
        likeness=diversity.words,
        collapsed=diversity.collapsed,
        p95_force_std=p95,
        stress_error=_stress_errors(prediction.stresses, known),
        stress_parity=_stress_pairs(prediction.stresses, known),
        moving=np.array([len(forces) for forces in labelled], dtype=float),
    )


def _looked_at(label: Label, held: Sequence[int]) -> slice | NDArray[np.int64]:
    """The atoms that are not held; all, where no other is left."""
    free = np.setdiff1d(np.arange(len(label.atoms)), np.array(held, dtype=np.int64))
    return free if 0 < len(free) < len(label.atoms) else slice(None)


def _stress_pairs(stresses: FloatArray | None, labels: Sequence[Label]) -> FloatArray | None:
    """At most 2000 pairs (reference, prediction) of stress components, GPa."""
    rows = [i for i, label in enumerate(labels) if label.stress is not None]
    if stresses is None or not rows:
        return None
    known = np.array([labels[i].stress for i in rows]).ravel() / GPA
    pairs = np.column_stack([known, stresses.mean(axis=0)[rows].ravel() / GPA])
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    some: FloatArray = pairs[:: max(1, -(-len(pairs) // 2000))]
    return some


def _stress_errors(stresses: FloatArray | None, labels: Sequence[Label]) -> FloatArray | None:
    """(n,) RMSE of the mean stress's components, GPa, from (M, n, 6) in eV/Å³; NaN for labels without stress."""
    if stresses is None:
        return None
    known = np.array([np.full(6, math.nan) if label.stress is None else label.stress for label in labels])
    errors: FloatArray = np.sqrt(((stresses.mean(axis=0) - known) ** 2).mean(axis=1)) / GPA
    return errors


def force_spread(models: Path, members: int, frames: Sequence[Atoms]) -> list[float]:
    """Mean disagreement (eV/Å) of the first `members` members in a folder on each frame."""
    from tentpole.committee import Committee
    from tentpole.committee.baseline import baseline_beside

    stems = [models / f"member-{number}" for number in range(members)]
    committee = Committee.load(stems, dtype="float64", baseline=baseline_beside(models))
    return [d.force_std for d in committee.evaluate(frames).disagreements()]


def energy_error(models: Path, train: Path, energies: Mapping[int, float]) -> float:
    """RMSE in eV/atom of a committee's energies for the labels in `train`, were its isolated atoms' energies these."""
    from tentpole.committee.cached import committee_in
    from tentpole.storage.structures import labelled_frames
    from tentpole.training.frames import kept_energies

    frames, own = labelled_frames(train), kept_energies(models / "member-0")
    predicted = committee_in(models, "float64").evaluate(frames).energies.mean(axis=0)
    shift = [sum(energies.get(int(z), own[int(z)]) - own[int(z)] for z in atoms.numbers) for atoms in frames]
    off = predicted + np.array(shift) - np.array([atoms.info["REF_energy"] for atoms in frames])
    return float(np.sqrt(np.mean((off / np.array([len(atoms) for atoms in frames])) ** 2)))


def _none(value: float) -> float | None:
    return value if math.isfinite(value) else None
