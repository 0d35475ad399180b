"""Log-det entropy of a dataset's fingerprints, and what a configuration would add to it.

H = ln det(C + εI) with C = (1/n) Σ (q − μ)(q − μ)ᵀ over the dataset's n rows; the gain of a configuration X
is H(D ∪ X) − H(D). Only n, μ and the scatter nC are kept, so a dataset of any size costs d² numbers.

Source: Wang, Rao and Zhu, arXiv:2605.20384 (2026).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.linalg import solve_triangular

from tentpole.errors import InputError, StateError, unknown
from tentpole.records import FloatArray

Mode = Literal["per-atom", "per-config"]
Method = Literal["exact", "information", "cholesky"]
"""How `greedy` chooses by a covariance."""
Blocks = Sequence[FloatArray] | FloatArray
"""Candidates: one (N_i, d) block of rows each, or an (n, d) array of one row each."""

FORMAT = 1
_CHUNK = 4_000_000
"""Numbers worked on at once in a batch: 32 MB, so that 100,000 candidates do not fill memory."""


class Covariance:
    """Sufficient statistics of fingerprint rows.

    Parameters
    ----------
    mode : {"per-atom", "per-config"}
        Every row of a configuration joins (disordered matter), or its mean row alone (ordered matter).
    eps : float
        ε, the variance below which a direction counts as noise. The main knob: 1e-3 sees 3 of 50 directions of a
        broad silicon pool, 1e-6 sees 19.
    scale : (d,) array, optional
        Divisors of the components before anything else; None: 1.
    size : int, optional
        d, where it is to be known before the first rows.

    Raises
    ------
    InputError
        For an unknown mode, or an ε or scale that is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from tentpole.entropy import Covariance
    >>> rng = np.random.default_rng(0)
    >>> dataset = Covariance(eps=1e-3)
    >>> for _ in range(20):
    ...     dataset.add(rng.normal(size=(8, 3)))
    >>> usual, new = rng.normal(size=(8, 3)), rng.normal(size=(8, 3)) + [5.0, 0.0, 0.0]
    >>> dataset.configurations, bool(dataset.gain(new) > dataset.gain(usual))
    (20, True)
    """

    def __init__(
        self,
        mode: Mode = "per-atom",
        eps: float = 1e-3,
        *,
        scale: FloatArray | None = None,
        size: int | None = None,
    ) -> None:
        if mode not in ("per-atom", "per-config"):
            raise unknown("covariance mode", str(mode), ["per-atom", "per-config"])
        if not (np.isfinite(eps) and eps > 0):
            raise InputError(f"eps must be a variance above 0, got {eps}. 1e-3 to 1e-6 are usual.")
        if scale is not None and not (np.isfinite(scale).all() and np.all(np.asarray(scale) > 0)):
            raise InputError("scale must be positive and finite in every component.")
        self.mode: Mode = mode
        self.eps = float(eps)
        self.scale = None if scale is None else np.array(scale, dtype=float)
        self.n = 0
        self.configurations = 0
        if self.scale is not None:
            size = len(self.scale)
        self.mean: FloatArray = np.zeros(size or 0)
        self.scatter: FloatArray = np.zeros((size or 0, size or 0))

    @property
    def size(self) -> int:
        """d, or 0 before the first rows of a covariance made without `size`."""
        return len(self.mean)

    @property
    def covariance(self) -> FloatArray:
        """C (d, d), without ε; zero for an empty dataset."""
        return self.scatter / max(self.n, 1)

    def logdet(self) -> float:
        """H = ln det(C + εI); d ln ε for an empty dataset.

        Returns
        -------
        float

        Raises
        ------
        InputError
            For an empty covariance that does not know its size.
        """
        if not self.size:
            raise InputError("an empty covariance has no log-det before it knows its size: give size=d.")
        factor = np.linalg.cholesky(self.covariance + self.eps * np.eye(self.size))
        return float(2.0 * np.log(np.diag(factor)).sum())

    def effective_rank(self) -> int:
        """How many directions of C have a variance above ε: what H sees of the d.

        Returns
        -------
        int
            0 for an empty dataset.
        """
        return int((np.linalg.eigvalsh(self.covariance) > self.eps).sum()) if self.size else 0

    def rows(self, block: FloatArray) -> FloatArray:
        """What a configuration's fingerprint rows become in this covariance: scaled, and their mean per configuration.

        Parameters
        ----------
        block : (N, d) or (d,) array
            Fingerprint rows.

        Returns
        -------
        (N, d) or (1, d) array

        Raises
        ------
        ValueError
            For another shape, or numbers that are not finite.
        """
        rows = np.atleast_2d(np.asarray(block, dtype=float))
        if rows.ndim != 2 or not len(rows) or (self.size and rows.shape[1] != self.size):
            width = self.size or "d"
            raise ValueError(f"fingerprint rows must have shape (N, {width}), N >= 1, got {np.shape(block)}")
        if not np.isfinite(rows).all():
            raise ValueError("fingerprint rows must be finite")
        if self.mode == "per-config":
            rows = rows.mean(axis=0, keepdims=True)
        return rows if self.scale is None else rows / self.scale

    def add(self, block: FloatArray) -> None:
        """Let a configuration join, in O(d²) per row.

        Parameters
        ----------
        block : (N, d) or (d,) array
            Its fingerprint rows.
        """
        rows = self.rows(block)
        if not self.size:
            self.mean = np.zeros(rows.shape[1])
            self.scatter = np.zeros((rows.shape[1],) * 2)
        m = len(rows)
        total = self.n + m
        mean = rows.mean(axis=0)
        centred = rows - mean
        shift = mean - self.mean
        self.scatter = self.scatter + centred.T @ centred + (self.n * m / total) * np.outer(shift, shift)
        self.mean = self.mean + (m / total) * shift
        self.n = total
        self.configurations += 1

    def gain(self, block: FloatArray) -> float:
        """H(D ∪ X) − H(D) of one configuration. Often negative once D is broad; of order 1/n.

        One row on an empty dataset has no spread: its gain counts from the origin, ln(1 + |x|²/ε).

        Parameters
        ----------
        block : (N, d) or (d,) array
            Its fingerprint rows.

        Returns
        -------
        float
        """
        return float(self.gains([block])[0])

    def gains(self, batch: Blocks) -> FloatArray:
        """Gains of many configurations, each on its own against the same dataset, exact.

        Each is a rank-(N + 1) update of the rescaled scatter: with n′ = n + N, B = nC/n′ + εI and U the rows
        (q_j − μ_X)/√n′ and √(nN)/n′ (μ_X − μ), H′ = ln det B + ln det(I + U B⁻¹ Uᵀ).

        Parameters
        ----------
        batch : sequence of (N_i, d) arrays, or (n, d) array
            Fingerprint rows of each; one row each for an array.

        Returns
        -------
        (n,) array
        """
        gains = np.empty(len(batch))
        for indices, blocks in self.stacks(batch):
            gains[indices] = self.stack_gains(blocks)
        return gains

    def stacks(self, batch: Blocks) -> list[tuple[np.ndarray, FloatArray]]:
        """Sort the batch by number of rows into stacks of bounded size.

        Parameters
        ----------
        batch : (n, d) array or sequence of (N, d) arrays
            Fingerprint rows of n configurations; a plain array holds one row for each.

        Returns
        -------
        list of tuple
            Index arrays (m,) into the batch, each with its stack (m, N, d).

        Raises
        ------
        ValueError
            For rows of another length than the dataset's, or not finite.
        """
        if isinstance(batch, np.ndarray) and batch.ndim == 2:
            if self.size and batch.shape[1] != self.size:
                raise ValueError(f"candidates must have shape (n, {self.size}), got {batch.shape}")
            rows = np.asarray(batch, dtype=float)
            if not np.isfinite(rows).all():
                raise ValueError("fingerprint rows must be finite")
            rows = rows if self.scale is None else rows / self.scale
            step = max(_CHUNK // max(rows.shape[1], 1), 1)
            return [
                (np.arange(at, min(at + step, len(rows))), rows[at : at + step, None, :])
                for at in range(0, len(rows), step)
            ]
        prepared = [self.rows(block) for block in batch]
        by_length: dict[int, list[int]] = {}
        for index, rows in enumerate(prepared):
            by_length.setdefault(len(rows), []).append(index)
        stacks = []
        for length, members in by_length.items():
            d = prepared[members[0]].shape[1]
            step = max(_CHUNK // (max(length, d) * d), 1)
            for at in range(0, len(members), step):
                part = members[at : at + step]
                stacks.append((np.array(part), np.stack([prepared[i] for i in part])))
        return stacks

    def stack_gains(self, blocks: FloatArray) -> FloatArray:
        """Gains of a stack that `stacks` made.

        Parameters
        ----------
        blocks : (m, N, d) array
            m configurations of N rows each.

        Returns
        -------
        (m,) array
            What each would add to `logdet()`.
        """
        rows, d = blocks.shape[1:]
        if self.n == 0 and rows == 1:
            return np.asarray(np.log1p((blocks[:, 0] ** 2).sum(axis=1) / self.eps))
        total = self.n + rows
        scatter = self.scatter if self.size else np.zeros((d, d))
        mean = self.mean if self.size else np.zeros(d)
        before = np.linalg.cholesky(scatter / max(self.n, 1) + self.eps * np.eye(d))
        base = np.linalg.cholesky(scatter / total + self.eps * np.eye(d))
        constant = 2.0 * (np.log(np.diag(base)).sum() - np.log(np.diag(before)).sum())
        centre = blocks.mean(axis=1)
        update = (centre - mean)[:, None, :] * (np.sqrt(self.n * rows) / total)
        if rows > 1:
            update = np.concatenate([update, (blocks - centre[:, None, :]) / np.sqrt(total)], axis=1)
        return np.asarray(constant + information(base, update))

    def copy(self) -> Covariance:
        """An independent copy, to try additions on.

        Returns
        -------
        Covariance
            It shares no array with this one.
        """
        return Covariance.from_arrays(self.arrays())

    def with_eps(self, eps: float) -> Covariance:
        """An independent copy with another ε: the statistics do not depend on it.

        Parameters
        ----------
        eps : float
            The new floor of variances, in squared units of the rows.

        Returns
        -------
        Covariance

        Raises
        ------
        InputError
            Where ε is not positive.
        """
        return Covariance.from_arrays({**self.arrays(), "eps": eps})

    def arrays(self) -> dict[str, Any]:
        """Everything, as plain arrays and numbers: for HDF5, for a checkpoint.

        Returns
        -------
        dict
            n, configurations, mean (d,), scatter (d, d), scale, mode, eps and the format's number.
        """
        return {
            "format": np.array(FORMAT), "mode": np.array(self.mode), "eps": np.array(self.eps),
            "scale": np.zeros(0) if self.scale is None else self.scale, "n": np.array(self.n),
            "configurations": np.array(self.configurations), "mean": self.mean, "scatter": self.scatter,
        }  # fmt: skip

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Covariance:
        """The inverse of `arrays`.

        Parameters
        ----------
        arrays : mapping
            As `arrays` gave them.

        Returns
        -------
        Covariance

        Raises
        ------
        StateError
            For another format.
        """
        version = int(arrays["format"])
        if version != FORMAT:
            raise StateError(f"this covariance has format {version}, readable is {FORMAT}: rebuild it.")
        scale = np.array(arrays["scale"], dtype=float)
        mode: Any = str(np.asarray(arrays["mode"]).item())
        made = cls(mode, float(arrays["eps"]), scale=scale if len(scale) else None)
        made.n = int(arrays["n"])
        made.configurations = int(arrays["configurations"])
        made.mean = np.array(arrays["mean"], dtype=float)
        made.scatter = np.array(arrays["scatter"], dtype=float)
        return made

    def save(self, path: Path) -> None:
        """Write an .npz of `arrays`.

        Parameters
        ----------
        path : Path
            Of the file.
        """
        with Path(path).open("wb") as file:
            np.savez(file, **self.arrays())

    @classmethod
    def load(cls, path: Path) -> Covariance:
        """Read what `save` wrote; nothing in the file is executed.

        Parameters
        ----------
        path : Path
            Of the file.

        Returns
        -------
        Covariance

        Raises
        ------
        StateError
            For another format.
        """
        with np.load(Path(path), allow_pickle=False) as arrays:
            return cls.from_arrays(arrays)


def information(factor: FloatArray, update: FloatArray) -> FloatArray:
    """(m,) ln det(I + U A⁻¹ Uᵀ) with A = L Lᵀ, L = factor (d, d), U = update (m, r, d)."""
    m, r, d = update.shape
    white = solve_triangular(factor, update.reshape(-1, d).T, lower=True, check_finite=False).T
    white = white.reshape(m, r, d)
    if r == 1:
        return np.asarray(np.log1p((white[:, 0] ** 2).sum(axis=1)))
    gram = white @ white.transpose(0, 2, 1) if r <= d else white.transpose(0, 2, 1) @ white
    side = min(r, d)
    gram[:, np.arange(side), np.arange(side)] += 1.0
    diagonal = np.diagonal(np.linalg.cholesky(gram), axis1=1, axis2=2)
    return np.asarray(2.0 * np.log(diagonal).sum(axis=1))
