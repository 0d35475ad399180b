"""Disagreement in units of error: conformal scaling, coverage, thresholds from an error target.

For n held-out cases with disagreement σ_i and true error e_i the conformal scale at miss rate α is

    s = the k-th smallest of e_i / σ_i,  k = ⌈(n + 1)(1 − α)⌉,

so that e ≤ s·σ holds for a new, exchangeable case with probability at least 1 − α (Vovk, Gammerman, Shafer,
"Algorithmic Learning in a Random World", 2005; for interatomic potentials Hu et al., Mach. Learn.: Sci. Technol.
3, 045028, 2022). The cases must have had no part in training. Below a minimum n nothing is promised: `scale`
is None and `words` says why; use the uncalibrated σ then.

Atoms of one structure are no independent cases: `minimum` counts structures, in both modes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tentpole.committee.committee import Prediction
from tentpole.committee.disagreement import atom_force_std
from tentpole.errors import InputError

FloatArray = NDArray[np.float64]

MINIMUM = 20
"""Held-out structures below which nothing is promised."""
COLLAPSED = 0.2
"""Spread of the members over their common error below which σ says little."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a σ is worth: the scale s that maps it to an error exceeded with probability at most `alpha`.

    Parameters
    ----------
    scale : float or None
        s, in units of error per unit of σ; None where nothing can be promised.
    alpha : float
        Miss rate.
    cases, structures : int
        Held-out cases, and the structures that they come from.
    minimum : int
        Structures below which nothing is promised.
    """

    scale: float | None
    alpha: float
    cases: int
    structures: int
    minimum: int

    @property
    def words(self) -> str:
        """What is promised, or why nothing is."""
        if self.scale is not None:
            return (
                f"an error stays below {self.scale:.3g} σ in {100 * (1 - self.alpha):g} % of cases "
                f"({self.cases} cases in {self.structures} structures)"
            )
        if self.structures >= self.minimum and self.cases > 1 / self.alpha:
            return "not calibrated: too many held-out cases have an error but no disagreement at all"
        return (
            f"not calibrated: {self.structures} held-out structures and {self.cases} cases, "
            f"{self.minimum} structures are needed for a miss rate of {self.alpha:g}"
        )

    def error_bound(self, sigma: ArrayLike) -> FloatArray:
        """Bound of the error at disagreement `sigma`.

        Parameters
        ----------
        sigma : (n,) array_like
            Disagreement.

        Returns
        -------
        (n,) array
            s·σ, in units of error.

        Raises
        ------
        InputError
            Where there is no calibration.
        """
        return np.asarray(self._known() * np.asarray(sigma, dtype=np.float64))

    def threshold(self, target: float) -> float:
        """The σ below which the error stays under `target` with a miss rate of alpha.

        Parameters
        ----------
        target : float
            In units of error.

        Returns
        -------
        float
            target / s.

        Raises
        ------
        InputError
            Where there is no calibration.
        """
        return float(target / self._known())

    def coverage(self, sigma: ArrayLike, error: ArrayLike) -> float:
        """Share of new cases whose error is within s·σ; to be compared with 1 − alpha.

        Parameters
        ----------
        sigma, error : (n,) array_like
            Disagreement and true error of cases that the calibration has not seen.

        Returns
        -------
        float
            0 to 1.

        Raises
        ------
        InputError
            Where there is no calibration.
        """
        return float(np.mean(np.asarray(error) <= self.error_bound(sigma)))

    def _known(self) -> float:
        if self.scale is None:
            raise InputError(f"{self.words}. Hold more structures out, or give the threshold in units of σ.")
        return self.scale


def calibrate(
    sigma: ArrayLike,
    error: ArrayLike,
    *,
    alpha: float = 0.05,
    structures: int | None = None,
    minimum: int = MINIMUM,
) -> Calibration:
    """Conformal scale of disagreement to error.

    A case without disagreement but with an error counts as an infinite ratio: silence never passes for certainty.

    Parameters
    ----------
    sigma, error : (n,) array_like
        Disagreement and true error of held-out cases, both finite and not negative.
    alpha : float
        Miss rate.
    structures : int, optional
        How many structures the cases come from; n where None.
    minimum : int
        Structures below which nothing is promised.

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        For arrays of different lengths, numbers that are not finite, an alpha outside 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from tentpole.committee import calibrate
    >>> sigma = np.linspace(0.01, 0.1, 40)
    >>> fit = calibrate(sigma, 2.0 * sigma)
    >>> fit.scale, float(fit.threshold(0.1))
    (2.0, 0.05)
    >>> calibrate(sigma[:5], sigma[:5]).words
    'not calibrated: 5 held-out structures and 5 cases, 20 structures are needed for a miss rate of 0.05'
    """
    s, e = np.asarray(sigma, dtype=np.float64).ravel(), np.asarray(error, dtype=np.float64).ravel()
    if s.shape != e.shape:
        raise InputError(f"{len(s)} values of σ and {len(e)} errors: one error per σ is needed")
    if not 0.0 < alpha < 1.0:
        raise InputError(f"alpha = {alpha} must lie between 0 and 1")
    if not (np.isfinite(s).all() and np.isfinite(e).all() and (s >= 0).all() and (e >= 0).all()):
        raise InputError("σ and errors must be finite and not negative: leave failed structures out")
    n = len(s)
    count = n if structures is None else structures
    rank = math.ceil((n + 1) * (1.0 - alpha))
    needed = max(minimum, math.ceil(1.0 / alpha) - 1)
    scale = None
    if count >= needed and rank <= n:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(s > 0, e / s, np.where(e > 0, np.inf, 0.0))
        factor = float(np.partition(ratio, rank - 1)[rank - 1])
        scale = factor if math.isfinite(factor) else None
    return Calibration(scale, alpha, n, count, needed)


def atom_cases(prediction: Prediction, references: Sequence[ArrayLike]) -> tuple[FloatArray, FloatArray]:
    """σ and error of every atom of every structure that did not fail.

    Parameters
    ----------
    prediction : Prediction
        Of held-out structures.
    references : sequence of (N_i, 3) array_like
        Their forces, eV/Å.

    Returns
    -------
    sigma, error : (n,) arrays
        Disagreement, and size of the error of the mean force vector, eV/Å.
    """
    sigma, error = [np.empty(0)], [np.empty(0)]
    for forces, reference, failed in zip(prediction.forces, references, prediction.failed, strict=True):
        if not failed:
            sigma.append(atom_force_std(forces))
            error.append(np.linalg.norm(forces.mean(axis=0) - np.asarray(reference), axis=1))
    return np.concatenate(sigma), np.concatenate(error)


def structure_cases(prediction: Prediction, references: Sequence[ArrayLike]) -> tuple[FloatArray, FloatArray]:
    """Largest σ and largest error over the atoms of each structure that did not fail.

    Parameters
    ----------
    prediction : Prediction
        Of held-out structures.
    references : sequence of (N_i, 3) array_like
        Their forces, eV/Å.

    Returns
    -------
    sigma, error : (n,) arrays
        Disagreement, and size of the error of the mean force vector, eV/Å.
    """
    sigma, error = [], []
    for forces, reference, failed in zip(prediction.forces, references, prediction.failed, strict=True):
        if not failed:
            sigma.append(float(atom_force_std(forces).max()))
            error.append(float(np.linalg.norm(forces.mean(axis=0) - np.asarray(reference), axis=1).max()))
    return np.array(sigma), np.array(error)


@dataclass(frozen=True, slots=True)
class MemberDiversity:
    """How far members still differ, measured against their common error on held-out structures.

    Parameters
    ----------
    spread_ratio : float
        sqrt(mean σ² / mean |error of the mean|²) over atoms. For members whose errors correlate with ρ it is
        sqrt((1 − ρ)(M − 1) / (1 + (M − 1) ρ)): near 1 and above for independent members, 0 for equal ones.
    collapsed : bool
        Whether it is below 0.2 (ρ > 0.95 for four members): σ then says little of the error.
    words : str
        The same for a reader.
    """

    spread_ratio: float
    collapsed: bool
    words: str


def member_diversity(prediction: Prediction, references: Sequence[ArrayLike]) -> MemberDiversity:
    """Measure whether the committee has collapsed: members that have become alike agree and are wrong together.

    Parameters
    ----------
    prediction : Prediction
        Of held-out structures.
    references : sequence of (N_i, 3) arrays
        Their forces, eV/Å.

    Returns
    -------
    MemberDiversity
    """
    sigma, error = atom_cases(prediction, references)
    if not len(sigma) or not error.any():
        return MemberDiversity(math.nan, False, "no held-out errors to measure the members' spread against")
    ratio = float(np.sqrt(np.mean(sigma**2) / np.mean(error**2)))
    collapsed = ratio < COLLAPSED
    words = f"the members' spread is {ratio:.2f} of their common error"
    if collapsed:
        words += ": they have become alike, σ says little. Train them from scratch, or with other seeds or data."
    return MemberDiversity(ratio, collapsed, words)
