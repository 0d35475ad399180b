"""Gaussian overlap matrices and their pullback, one sphere after another, compiled.

Spheres lie flat (see `spheres.Spheres`): centre c owns members start[c]:start[c + 1]. A call works on the
centres low:high and writes only what belongs to them, so that calls on disjoint ranges run side by side and
the result does not depend on how the range was cut.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tentpole.entropy.compiled import compiled, ordered

DEGENERATE = 1e-9
"""Neighbouring eigenvalues closer than this, relative to their size, form one cluster..."""
ROUNDING = 1e-13
"""...and those closer than this form one in any case: G is of order 1, its eigenvalues are exact to 1e-15."""


@compiled
def _members(
    first: int, n: int, vector: Any, width: Any, amplitude: Any, cutoff: float,
    x: Any, y: Any, z: Any, s: Any, f: Any,
) -> None:  # fmt: skip
    """Coordinates relative to the centre, σ², and f = a (1 − r²/r_c²)² of one sphere's members."""
    inverse = 1.0 / (cutoff * cutoff)
    for k in range(n):
        x[k] = vector[first + k, 0]
        y[k] = vector[first + k, 1]
        z[k] = vector[first + k, 2]
        s[k] = width[first + k] * width[first + k]
        u = max(1.0 - (x[k] * x[k] + y[k] * y[k] + z[k] * z[k]) * inverse, 0.0)
        f[k] = amplitude[first + k] * u * u


@compiled
def _overlap_row(k: int, x: Any, y: Any, z: Any, s: Any, row: Any) -> None:
    """row[j] = S_kj = [2 σ_k σ_j / (σ_k² + σ_j²)]^{3/2} exp(−d² / 2(σ_k² + σ_j²)) for j < k."""
    for j in range(k):
        dx = x[k] - x[j]
        dy = y[k] - y[j]
        dz = z[k] - z[j]
        row[j] = -0.5 * (dx * dx + dy * dy + dz * dz) / (s[k] + s[j])
    for j in range(k):
        row[j] = math.exp(row[j])
    for j in range(k):
        if s[j] != s[k]:
            ratio = 2.0 * math.sqrt(s[k] * s[j]) / (s[k] + s[j])
            row[j] *= ratio * math.sqrt(ratio)


@compiled
def assemble(
    low: int, high: int, start: Any, vector: Any, width: Any, amplitude: Any, cutoff: float, matrices: Any
) -> None:
    """Lower triangles of G = f S f for the spheres low:high, one n × n matrix after another, from the first."""
    most = 0
    for c in range(low, high):
        most = max(most, start[c + 1] - start[c])
    x, y, z = np.empty(most), np.empty(most), np.empty(most)
    s, f = np.empty(most), np.empty(most)
    at = 0
    for c in range(low, high):
        n = start[c + 1] - start[c]
        _members(start[c], n, vector, width, amplitude, cutoff, x, y, z, s, f)
        for k in range(n):
            row = matrices[at : at + n]
            _overlap_row(k, x, y, z, s, row)
            for j in range(k):
                row[j] *= f[k] * f[j]
            row[k] = f[k] * f[k]
            at += n


@compiled
def _averaged(values: Any, weights: Any, kept: int, w: Any) -> None:
    """Weights with each degenerate cluster's replaced by their mean; zero beyond the fingerprint's end."""
    i = 0
    while i < kept:
        end = i + 1
        while end < kept and values[end - 1] - values[end] < max(DEGENERATE * values[end], ROUNDING):
            end += 1
        total = 0.0
        for k in range(i, min(end, weights.shape[0])):
            total += weights[k]
        for k in range(i, end):
            w[k] = total / (end - i)
        i = end


@ordered
def _in_order(a: Any, b: Any, n: int) -> float:
    """Σ a_k b_k over 1 <= k < n, one after the other."""
    total = 0.0
    for k in range(1, n):
        total += a[k] * b[k]
    return total


@compiled
def pull(  # noqa: C901, one numerical kernel, compiled
    low: int, high: int, start: Any, vector: Any, width: Any, amplitude: Any, cutoff: float,
    values: Any, offset: Any, vectors: Any, weights: Any, gradient: Any, strain: Any,
) -> None:  # fmt: skip
    """∂Φ/∂r of every member into gradient (P, 3) and Σ_k ∂Φ/∂r_k ⊗ (r_k − r_c) into strain (N, 3, 3).

    With M = V diag(w) Vᵀ, w_n = ∂Φ/∂λ_n:
    ∂Φ/∂r_k = −2 Σ_j M_kj G_kj (r_k − r_j)/(σ_k² + σ_j²) + 2 (Σ_j M_kj S_kj f_j) ∇f_k,
    ∇f_k = −(4/r_c²) sqrt(a_k f_k) (r_k − r_c); the centre takes minus the sum of the ∇f terms.
    """
    most = 0
    for c in range(low, high):
        most = max(most, start[c + 1] - start[c])
    x, y, z = np.empty(most), np.empty(most), np.empty(most)
    s, f = np.empty(most), np.empty(most)
    gx, gy, gz = np.empty(most), np.empty(most), np.empty(most)
    slope = np.empty(most)
    overlap, m_row = np.empty(most), np.empty(most)
    w = np.empty(values.shape[1])
    for c in range(low, high):
        first = start[c]
        n = start[c + 1] - first
        kept = min(n, values.shape[1])
        _members(first, n, vector, width, amplitude, cutoff, x, y, z, s, f)
        _averaged(values[c], weights[c], kept, w)
        v = vectors[offset[c] : offset[c] + kept * n].reshape((kept, n))
        for k in range(n):
            gx[k] = 0.0
            gy[k] = 0.0
            gz[k] = 0.0
            slope[k] = 0.0
        for k in range(n):
            for j in range(k + 1):
                m_row[j] = 0.0
            for i in range(kept):
                factor = w[i] * v[i, k]
                vector_i = v[i]
                for j in range(k + 1):
                    m_row[j] += factor * vector_i[j]
            _overlap_row(k, x, y, z, s, overlap)
            sum_x = 0.0
            sum_y = 0.0
            sum_z = 0.0
            sum_f = m_row[k] * f[k]
            slope_k = f[k]
            for j in range(k):
                ms = m_row[j] * overlap[j]
                t = 2.0 * ms * slope_k * f[j] / (s[k] + s[j])
                dx = t * (x[k] - x[j])
                dy = t * (y[k] - y[j])
                dz = t * (z[k] - z[j])
                sum_x += dx
                sum_y += dy
                sum_z += dz
                gx[j] += dx
                gy[j] += dy
                gz[j] += dz
                sum_f += ms * f[j]
                slope[j] += ms * slope_k
            gx[k] -= sum_x
            gy[k] -= sum_y
            gz[k] -= sum_z
            slope[k] += sum_f
        for k in range(1, n):
            slope[k] *= -8.0 / (cutoff * cutoff) * math.sqrt(amplitude[first + k] * f[k])
            gx[k] += slope[k] * x[k]
            gy[k] += slope[k] * y[k]
            gz[k] += slope[k] * z[k]
        gx[0] -= _in_order(slope, x, n)
        gy[0] -= _in_order(slope, y, n)
        gz[0] -= _in_order(slope, z, n)
        for i in range(3):
            for j in range(3):
                strain[c, i, j] = 0.0
        for k in range(n):
            gradient[first + k, 0] = gx[k]
            gradient[first + k, 1] = gy[k]
            gradient[first + k, 2] = gz[k]
            for i in range(3):
                strain[c, i, 0] += gradient[first + k, i] * x[k]
                strain[c, i, 1] += gradient[first + k, i] * y[k]
                strain[c, i, 2] += gradient[first + k, i] * z[k]
