"""Gaussian overlap matrix (GOM) fingerprint: eigenvalues of the overlap of s Gaussians around each atom.

For the sphere of centre c (all atoms and images within r_c of it, and itself),
    f_k = (1 − r_kc²/r_c²)², S_kj = [2σ_kσ_j/(σ_k²+σ_j²)]^{3/2} exp(−d_kj²/2(σ_k²+σ_j²)), G_kj = f_k S_kj f_j,
row c holds G's eigenvalues, descending, cut or zero-padded to n_max. Dimensionless; σ is the covalent radius.

Sources: Sadeghi et al., J. Chem. Phys. 139, 184118 (2013); Zhu et al., J. Chem. Phys. 144, 034203 (2016).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from ase import Atoms

from tentpole.entropy.fingerprint import Pullback
from tentpole.entropy.gom.eigen import spectra
from tentpole.entropy.gom.kernels import assemble, pull
from tentpole.entropy.gom.radii import gaussian_widths
from tentpole.entropy.gom.spheres import Spheres, spheres
from tentpole.entropy.gom.threads import spread
from tentpole.errors import InputError
from tentpole.records import FloatArray

_BEYOND = 8
"""Eigenpairs kept beyond n_max, so that a degenerate cluster across the end is averaged whole."""


@dataclass(frozen=True, slots=True)
class GOM:
    """The fingerprint's settings, and its two operations.

    Parameters
    ----------
    cutoff : float
        r_c, Å.
    n_max : int
        Length of a row; eigenvalues beyond it are dropped, atoms never.
    widths : mapping of int to float
        σ in Å by atomic number, in place of the covalent radii.
    contrast : float
        p > 0 tells species apart by more than their widths: f_k becomes (Z_k/Z_c)^p f_k, so that an atom counts by
        what it is beside the centre. One element alone gives the plain fingerprint.
    threads : int, optional
        Cores to use at most; None: as many as this process may use.

    Raises
    ------
    InputError
        For a cutoff or length that cannot be.

    Examples
    --------
    >>> import numpy as np
    >>> from ase.build import bulk
    >>> from tentpole.entropy import GOM
    >>> fingerprint = GOM(5.0)
    >>> rows = fingerprint.fingerprints(bulk("Si", a=5.43))
    >>> rows.shape, np.round(rows[0, :2], 6).tolist()
    ((2, 50), [1.203461, 0.358973])
    >>> gradient, strain = fingerprint.pullback(bulk("Si", a=5.43), np.ones((2, 50)))
    >>> gradient.shape, strain.shape
    ((2, 3), (3, 3))
    """

    cutoff: float
    n_max: int = 50
    widths: Mapping[int, float] = field(default_factory=dict)
    contrast: float = 0.0
    threads: int | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.cutoff) and self.cutoff > 0):
            raise InputError(f"cutoff must be a length above 0 Å, got {self.cutoff}. 5.0 suits most solids.")
        if self.n_max < 1:
            raise InputError(f"n_max must be at least 1, got {self.n_max}. 50 is usual.")

    @property
    def size(self) -> int:
        """Length of a row, n_max."""
        return self.n_max

    def fingerprints(self, atoms: Atoms) -> FloatArray:
        """Eigenvalues of each atom's overlap matrix, descending.

        Parameters
        ----------
        atoms : ase.Atoms

        Returns
        -------
        (N, n_max) array
            Dimensionless.

        Raises
        ------
        InputError
            For no atoms, an element without a covalent radius, positions or a cell that no list can be built for.
        """
        return self._spectra(atoms, vectors=False)[0][:, : self.n_max].copy()

    def pullback(self, atoms: Atoms, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of a Φ of the rows.

        Parameters
        ----------
        atoms : ase.Atoms
        weights : (N, n_max) array
            ∂Φ/∂q.

        Returns
        -------
        gradient : (N, 3) array
            ∂Φ/∂r, 1/Å.
        strain : (3, 3) array
            ∂Φ/∂ε, symmetric; over the volume it is ASE's stress of an energy Φ.
        """
        return self.value_and_pullback(atoms)[1](weights)

    def value_and_pullback(self, atoms: Atoms) -> tuple[FloatArray, Pullback]:
        """The rows and their pullback, from one eigenproblem.

        A degenerate cluster's weights are averaged: the sum over a multiplet is differentiable, its single eigenvalues
        are
        not.

        Parameters
        ----------
        atoms : ase.Atoms

        Returns
        -------
        rows : (N, n_max) array
            As `fingerprints` gives them.
        pullback : callable
            weights (N, n_max) to what `pullback` returns.

        Raises
        ------
        InputError
            As `fingerprints`.
        """
        values, around, width, amplitude, offset, vectors = self._spectra(atoms, vectors=True)
        rows = values[:, : self.n_max].copy()

        def pulled(weights: FloatArray) -> tuple[FloatArray, FloatArray]:
            w = np.ascontiguousarray(weights, dtype=float)
            if w.shape != rows.shape:
                raise ValueError(f"weights must have the rows' shape {rows.shape}, got {w.shape}")
            members = np.empty((len(around.index), 3))
            strains = np.empty((len(rows), 3, 3))
            spread(
                lambda low, high: pull(low, high, around.start, around.vector, width, amplitude, self.cutoff,
                                       values, offset, vectors, w, members, strains),
                around.sizes.astype(float) ** 3, self.threads,
            )  # fmt: skip
            gradient: FloatArray = np.stack(
                [np.bincount(around.index, members[:, i], minlength=len(rows)) for i in range(3)],
                axis=1,
                dtype=float,
            )
            strain = strains.sum(axis=0)
            return gradient, 0.5 * (strain + strain.T)

        return rows, pulled

    def _spectra(
        self, atoms: Atoms, vectors: bool
    ) -> tuple[FloatArray, Spheres, FloatArray, FloatArray, np.ndarray, FloatArray]:
        per_atom = self._widths(atoms.numbers)
        around = spheres(atoms, self.cutoff)
        width = per_atom[around.index]
        amplitude = np.ones(len(width))
        if self.contrast:
            z = atoms.numbers.astype(float)
            amplitude = (z[around.index] / np.repeat(z, around.sizes)) ** self.contrast
        kept = self.n_max + (_BEYOND if vectors else 0)
        values = np.zeros((len(atoms), kept))
        sizes = around.sizes
        offset = np.zeros(len(atoms) + 1, dtype=np.int64)
        if vectors:
            np.cumsum(sizes * np.minimum(sizes, kept), out=offset[1:])
        store = np.empty(offset[-1])

        def solve(low: int, high: int) -> bool:
            matrices = np.empty(int((sizes[low:high] ** 2).sum()))
            assemble(low, high, around.start, around.vector, width, amplitude, self.cutoff, matrices)
            return spectra(low, high, around.start, matrices, values, offset, store)

        if not all(spread(solve, sizes.astype(float) ** 3, self.threads)):
            raise ArithmeticError("the eigenvalues of an overlap matrix did not converge")
        return values, around, width, amplitude, offset, store

    def _widths(self, numbers: np.ndarray) -> FloatArray:
        if not self.widths:
            return gaussian_widths(numbers)
        own = np.array([float(self.widths.get(int(z), 0.0)) for z in numbers])
        missing = own == 0.0
        own[missing] = gaussian_widths(numbers[missing])
        return own


def compile_kernels() -> float:
    """Have the compiled kernels at hand, from disk or made now.

    Made once per machine, in a few seconds; the first fingerprint does it anyway. Call this where a user is
    to be told why the first one takes its time.

    Returns
    -------
    float
        s that it took.
    """
    began = perf_counter()
    gom = GOM(2.0, n_max=2)
    two = Atoms("H2", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.8]])
    gom.fingerprints(two)
    gom.pullback(two, np.ones((2, 2)))
    return perf_counter() - began
