"""What a network knows of a pair of atoms from its vector alone, and its derivatives, as machine code.

Radial functions are mace's, Bessel functions times a polynomial cutoff,

    R_n(r) = sqrt(2/r_c) sin(nπr/r_c)/r · [1 − (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) − p(p+1)/2 x^(p+2)],    x = r/r_c,

and spherical harmonics are e3nn's, written as polynomials of the unit vector whose coefficients are fitted once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tentpole.entropy.compiled import ordered

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class PairFunctions:
    """Radial functions and spherical harmonics of a model.

    waves (n,) : nπ/r_c in 1/Å. norm : sqrt(2/r_c). power, cutoff : p, and r_c in Å. harmonic, powers, coefficients :
    (t,), (t, 3), (t,) terms of the harmonics, each coefficient · x^a y^b z^c of the unit vector.
    """

    waves: FloatArray
    norm: float
    power: int
    cutoff: float
    harmonic: IntArray
    powers: IntArray
    coefficients: FloatArray
    count: int

    def of(self, vectors: FloatArray, rows: int) -> tuple[FloatArray, ...]:
        """R (rows, n), dR/dr, Y (rows, m), dY/dv (rows, 3 m), v/r (rows, 3), v (rows, 3); zeros below the vectors."""
        widths = (len(self.waves), len(self.waves), self.count, 3 * self.count, 3, 3)
        arrays = tuple(np.zeros((rows, width)) for width in widths)
        terms = (self.harmonic, self.powers, self.coefficients)
        _fill(vectors, self.waves, self.norm, self.power, self.cutoff, *terms, *arrays)
        return arrays


def pair_functions(model: Any) -> PairFunctions | None:
    """Those of mace's model; None where its radial functions are others."""
    radial = model.radial_embedding
    names = type(radial.bessel_fn).__name__, type(radial.cutoff_fn).__name__
    if names != ("BesselBasis", "PolynomialCutoff"):
        return None
    harmonics = model.spherical_harmonics
    degree = int(harmonics.irreps_out.lmax)
    harmonic, powers, coefficients = polynomials(degree, bool(harmonics.normalize), str(harmonics.normalization))
    return PairFunctions(
        waves=radial.bessel_fn.bessel_weights.detach().double().cpu().numpy(),
        norm=float(radial.bessel_fn.prefactor.double()),
        power=int(radial.cutoff_fn.p),
        cutoff=float(radial.cutoff_fn.r_max.double()),
        harmonic=harmonic,
        powers=powers,
        coefficients=coefficients,
        count=(degree + 1) ** 2,
    )


@lru_cache(maxsize=8)
def polynomials(degree: int, normalize: bool, normalization: str) -> tuple[IntArray, IntArray, FloatArray]:
    """e3nn's harmonics of every order as homogeneous polynomials of the unit vector: harmonic, powers, coefficients."""
    import torch
    from e3nn.o3 import SphericalHarmonics

    harmonics = SphericalHarmonics(list(range(degree + 1)), normalize, normalization)

    points = np.random.default_rng(0).normal(size=(200, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    values = harmonics(torch.tensor(points)).numpy()
    terms = []
    for l in range(degree + 1):
        choices = list(combinations_with_replacement(range(3), l))
        powers = np.array([[choice.count(axis) for axis in range(3)] for choice in choices])
        monomials = (points[:, None, :] ** powers).prod(axis=2)
        fitted, *_ = np.linalg.lstsq(monomials, values[:, l * l : (l + 1) ** 2], rcond=None)
        for m, row in enumerate(fitted.T):
            terms += [(l * l + m, *power, c) for power, c in zip(powers.tolist(), row, strict=True) if abs(c) > 1e-10]
    table = np.array(terms)
    return table[:, 0].astype(np.int64), table[:, 1:4].astype(np.int64), np.ascontiguousarray(table[:, 4])


@ordered
def _fill(
    vectors: FloatArray,
    waves: FloatArray,
    norm: float,
    p: int,
    cutoff: float,
    harmonic: IntArray,
    powers: IntArray,
    coefficients: FloatArray,
    R: FloatArray,
    slopes: FloatArray,
    Y: FloatArray,
    turns: FloatArray,
    unit: FloatArray,
    copied: FloatArray,
) -> None:
    table = np.ones((3, 16))
    for q in range(len(vectors)):
        r = np.sqrt(vectors[q, 0] ** 2 + vectors[q, 1] ** 2 + vectors[q, 2] ** 2)
        for k in range(3):
            copied[q, k] = vectors[q, k]
            unit[q, k] = vectors[q, k] / r
            for n in range(1, 16):
                table[k, n] = table[k, n - 1] * unit[q, k]
        x = r / cutoff
        if x < 1.0:
            a, b, c = (p + 1.0) * (p + 2.0) / 2.0, p * (p + 2.0), p * (p + 1.0) / 2.0
            low = x ** (p - 1)
            envelope = 1.0 - a * low * x + b * low * x**2 - c * low * x**3
            bend = (-a * p * low + b * (p + 1.0) * low * x - c * (p + 2.0) * low * x**2) / cutoff
            for n in range(len(waves)):
                value = norm * np.sin(waves[n] * r) / r
                slope = norm * waves[n] * np.cos(waves[n] * r) / r - value / r
                R[q, n] = value * envelope
                slopes[q, n] = slope * envelope + value * bend
        for t in range(len(harmonic)):
            m = harmonic[t]
            e0, e1, e2 = powers[t, 0], powers[t, 1], powers[t, 2]
            Y[q, m] += coefficients[t] * table[0, e0] * table[1, e1] * table[2, e2]
            if e0 > 0:
                turns[q, 3 * m] += coefficients[t] * e0 * table[0, e0 - 1] * table[1, e1] * table[2, e2]
            if e1 > 0:
                turns[q, 3 * m + 1] += coefficients[t] * e1 * table[0, e0] * table[1, e1 - 1] * table[2, e2]
            if e2 > 0:
                turns[q, 3 * m + 2] += coefficients[t] * e2 * table[0, e0] * table[1, e1] * table[2, e2 - 1]
        for m in range(Y.shape[1]):  # along the unit vector a harmonic does not change
            along = turns[q, 3 * m] * unit[q, 0] + turns[q, 3 * m + 1] * unit[q, 1] + turns[q, 3 * m + 2] * unit[q, 2]
            for k in range(3):
                turns[q, 3 * m + k] = (turns[q, 3 * m + k] - along * unit[q, k]) / r
