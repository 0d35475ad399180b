"""What a committee is worth on test frames, and what its σ is worth there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.stats import spearmanr

from tentpole.committee import Committee
from tentpole.committee.calibration import atom_cases, calibrate, member_diversity, structure_cases

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """What `measure` found.

    summary : JSON-able figures, in eV, eV/atom, eV/Å. pool_sigma : (n,) force_std of the pool in eV/Å; pool_error :
    (n,) the force RMSE of its frames.
    """

    summary: dict[str, Any]
    pool_sigma: FloatArray
    pool_error: FloatArray


def measure(committee: Committee, test: Sequence[Atoms], valid: Sequence[Atoms], pool: Sequence[Atoms]) -> Measured:
    """Errors of the committee's mean on `test`, its σ against them, and σ over `pool`.

    force_rmse over components; force_p95, the 95th percentile of |error of the force vector| over atoms;
    energy_rmse per atom, the mean error over the set included; spearman of σ and error over structures (largest
    of the atoms) and over atoms; spread_ratio as `member_diversity` defines it; scale and coverage: of the conformal
    calibration of a frame's largest error on `valid`, and the share of `test` within it (promised: 95 %), None
    where `valid` is too small.
    """
    forces = [atoms.arrays["REF_forces"] for atoms in test]
    prediction = committee.evaluate(test)
    errors = [f.mean(axis=0) - r for f, r in zip(prediction.forces, forces, strict=True)]
    energies = np.array([atoms.info["REF_energy"] for atoms in test])
    sizes = np.array([len(atoms) for atoms in test])
    members = [_rms([f[m] - r for f, r in zip(prediction.forces, forces, strict=True)]) for m in range(committee.size)]
    atom_sigma, atom_error = atom_cases(prediction, forces)
    sigma, error = structure_cases(prediction, forces)
    diversity = member_diversity(prediction, forces)
    held = committee.evaluate(valid)
    fit = calibrate(*structure_cases(held, [atoms.arrays["REF_forces"] for atoms in valid]), minimum=0)
    rest = committee.evaluate(pool)
    pool_sigma = np.array([d.force_std for d in rest.disagreements()])
    pool_error = np.array(
        [_rms([f.mean(axis=0) - atoms.arrays["REF_forces"]]) for f, atoms in zip(rest.forces, pool, strict=True)]
    )
    summary = {
        "force_rmse": _rms(errors),
        "force_rmse_members": members,
        "force_p95": float(np.percentile(atom_error, 95)),
        "energy_rmse_per_atom": _rms([(prediction.energies.mean(axis=0) - energies) / sizes]),
        "force_std": float(np.mean([d.force_std for d in prediction.disagreements()])),
        "spearman_structures": float(spearmanr(sigma, error).statistic),
        "spearman_atoms": float(spearmanr(atom_sigma, atom_error).statistic),
        "spread_ratio": diversity.spread_ratio,
        "alike": diversity.collapsed,
        "scale": fit.scale,
        "coverage": None if fit.scale is None else fit.coverage(sigma, error),
        "sigma": sigma.tolist(),
        "error": error.tolist(),
    }
    return Measured(summary, pool_sigma, pool_error)


def _rms(arrays: Sequence[FloatArray]) -> float:
    return float(np.sqrt(np.mean(np.concatenate([array.ravel() for array in arrays]) ** 2)))
