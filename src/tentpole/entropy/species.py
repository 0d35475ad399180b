"""Entropies and gains in blocks, one per species.

Pooled, the rows of Na and Cl differ first of all by their species: that gap, which no motion closes, fills a
large part of the covariance and hides what the environments do. In blocks each species is measured against
itself, S = Σ_s (N_s/N) S_s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tentpole.entropy.covariance import Covariance, Mode
from tentpole.entropy.entropies import dataset
from tentpole.records import FloatArray

Entropy = Callable[[FloatArray], tuple[float, FloatArray]]


def in_blocks(entropy: Entropy, rows: FloatArray, numbers: np.ndarray) -> tuple[float, FloatArray]:
    """S = Σ_s (N_s/N) S(rows of species s), and its weights (N, d)."""
    total = 0.0
    weights = np.zeros_like(rows)
    for z in np.unique(numbers):
        mine = numbers == z
        value, part = entropy(rows[mine])
        share = mine.mean()
        total += share * value
        weights[mine] = share * part
    return total, weights


class SpeciesCovariance:
    """One `Covariance` per species.

    H = Σ_s (n_s/n) H_s, and the gain of a configuration is Σ_s (N_s/N) gain_s of its rows of species s.

    Parameters
    ----------
    mode, eps, scale
        As for `Covariance`.
    """

    def __init__(self, mode: Mode = "per-atom", eps: float = 1e-3, *, scale: FloatArray | None = None) -> None:
        self._empty = Covariance(mode, eps, scale=scale)
        self.blocks: dict[int, Covariance] = {}

    @property
    def n(self) -> int:
        """Rows in all blocks."""
        return sum(block.n for block in self.blocks.values())

    def logdet(self) -> float:
        """H; 0 for an empty dataset.

        Returns
        -------
        float
            The sum of the blocks' log-determinants.
        """
        return sum(block.n * block.logdet() for block in self.blocks.values()) / max(self.n, 1)

    def _new(self) -> Covariance:
        return self._empty.copy()

    def add(self, rows: FloatArray, numbers: np.ndarray) -> None:
        """Let a configuration join.

        Parameters
        ----------
        rows : (N, d) array
            Its fingerprint.
        numbers : (N,) array of int
            Its atomic numbers.
        """
        for z in np.unique(numbers):
            self.blocks.setdefault(int(z), self._new()).add(rows[numbers == z])

    def gain(self, rows: FloatArray, numbers: np.ndarray) -> float:
        """What a configuration would add. A species that D lacks counts against an empty block.

        Parameters
        ----------
        rows : (N, d) array
            Its fingerprint.
        numbers : (N,) array of int
            Its atomic numbers.

        Returns
        -------
        float
        """
        return float(self.gains([rows], [numbers])[0])

    def gains(self, batch: Sequence[FloatArray], numbers: Sequence[np.ndarray]) -> FloatArray:
        """Gains of many configurations, each on its own.

        Parameters
        ----------
        batch : sequence of (N, d) arrays
            Their fingerprints.
        numbers : sequence of (N,) arrays of int
            Their atomic numbers.

        Returns
        -------
        (n,) array
        """
        gains = np.zeros(len(batch))
        for z in sorted({int(z) for one in numbers for z in np.unique(one)}):
            having = [i for i, one in enumerate(numbers) if (one == z).any()]
            block = self.blocks.get(z) or self._new()
            share = np.array([(numbers[i] == z).mean() for i in having])
            gains[having] += share * block.gains([batch[i][numbers[i] == z] for i in having])
        return gains

    def entropy(self, rows: FloatArray, numbers: np.ndarray, cap: float = 1.0) -> tuple[float, FloatArray]:
        """The dataset form of a bias, block by block (see entropies.dataset)."""
        total = 0.0
        weights = np.zeros_like(rows)
        for z in np.unique(numbers):
            mine = numbers == z
            value, part = dataset(rows[mine], self.blocks.get(int(z)) or self._new(), cap)
            total += mine.mean() * value
            weights[mine] = mine.mean() * part
        return total, weights

    def arrays(self) -> dict[str, Any]:
        """Everything as plain arrays, by "atomic number/name".

        Returns
        -------
        dict
            Arrays of each block's Covariance.
        """
        return {f"{z}/{k}": v for z, block in self.blocks.items() for k, v in block.arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> SpeciesCovariance:
        """The inverse of `arrays`, which must hold at least one block.

        Parameters
        ----------
        arrays : mapping
            As `arrays` gave them; at least one block.

        Returns
        -------
        SpeciesCovariance
        """
        parts: dict[int, dict[str, Any]] = {}
        for key, value in arrays.items():
            z, name = key.split("/")
            parts.setdefault(int(z), {})[name] = value
        blocks = {z: Covariance.from_arrays(part) for z, part in parts.items()}
        one = next(iter(blocks.values()))
        made = cls(one.mode, one.eps, scale=one.scale)
        made.blocks = blocks
        return made
