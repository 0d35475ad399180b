"""Eigenpairs of many small dense symmetric matrices, compiled: Householder, then implicit QL.

Made for the 5 to 100 rows of a fingerprint sphere, where LAPACK spends its time on being general: every
inner loop here runs along rows, no BLAS thread starts, and the GIL is not held.
Method: Golub and Van Loan, Matrix Computations, 4th ed., 8.3.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tentpole.entropy.compiled import compiled

EPS = float(np.finfo(np.float64).eps)
MAX_SWEEPS = 60
"""QL sweeps allowed per eigenvalue; one to three are usual."""


@compiled
def tridiagonalise(a: Any, n: int, d: Any, e: Any, h: Any) -> None:
    """Qᵀ A Q = T for the lower triangle of a[:n, :n], which becomes the reflectors u_i (rows 1 to n − 1).

    d (n,) takes T's diagonal, e (n,) its off-diagonal (e[i] couples i − 1 and i), h (n,) uᵀu / 2 of each
    reflector (0: none). Row i's reflector spans 0..i − 1.
    """
    for i in range(n - 1, 0, -1):
        row = a[i]
        scale = 0.0
        for k in range(i - 1):
            scale += row[k] * row[k]
        last = row[i - 1]
        if scale == 0.0:
            e[i] = last
            h[i] = 0.0
            continue
        norm = math.sqrt(scale + last * last)
        g = -norm if last >= 0.0 else norm
        e[i] = g
        half = norm * norm - last * g
        row[i - 1] = last - g
        h[i] = half
        # p = A u / half in e's free part, reading only the lower triangle
        for j in range(i):
            e[j] = 0.0
        for j in range(i):
            other = a[j]
            u_j = row[j]
            dot = 0.0
            for k in range(j):
                dot += other[k] * row[k]
                e[k] += other[k] * u_j
            e[j] += dot + other[j] * u_j
        inverse = 1.0 / half
        inner = 0.0
        for j in range(i):
            e[j] *= inverse
            inner += e[j] * row[j]
        inner *= 0.5 * inverse
        for j in range(i):
            e[j] -= inner * row[j]
        for j in range(i):
            other = a[j]
            u_j = row[j]
            q_j = e[j]
            for k in range(j + 1):
                other[k] -= u_j * e[k] + q_j * row[k]
    e[0] = 0.0
    h[0] = 0.0
    for i in range(n):
        d[i] = a[i, i]


@compiled
def accumulate(a: Any, n: int, h: Any, z: Any) -> None:
    """Z = Qᵀ (n, n) from the reflectors that `tridiagonalise` left in a and h."""
    for i in range(n):
        for k in range(n):
            z[i, k] = 0.0
    z[0, 0] = 1.0
    for i in range(1, n):
        if h[i] != 0.0:
            u = a[i]
            inverse = 1.0 / h[i]
            for r in range(i):
                row = z[r]
                dot = 0.0
                for k in range(i):
                    dot += row[k] * u[k]
                dot *= inverse
                for k in range(i):
                    row[k] -= dot * u[k]
        z[i, i] = 1.0


@compiled
def ql(d: Any, e: Any, n: int, z: Any, vectors: bool) -> bool:  # noqa: C901, one numerical kernel, compiled
    """Eigenvalues of the tridiagonal (d, e) into d; rows of z are turned along. False: no convergence.

    An off-diagonal element counts as zero below machine precision times the matrix norm, which is what the
    reduction to T has cost already: the tail of vanishing eigenvalues takes no sweeps.
    """
    norm = 0.0
    for i in range(1, n):
        e[i - 1] = e[i]
    e[n - 1] = 0.0
    for i in range(n):
        norm = max(norm, abs(d[i]) + abs(e[i]))
    small = EPS * norm
    for start in range(n):
        for sweep in range(MAX_SWEEPS + 1):
            end = start
            while end < n - 1 and abs(e[end]) > small:
                end += 1
            if end == start:
                break
            if sweep == MAX_SWEEPS:
                return False
            g = (d[start + 1] - d[start]) / (2.0 * e[start])
            r = math.sqrt(g * g + 1.0)
            g = d[end] - d[start] + e[start] / (g + (r if g >= 0.0 else -r))
            s = 1.0
            c = 1.0
            p = 0.0
            whole = True
            for i in range(end - 1, start - 1, -1):
                f = s * e[i]
                b = c * e[i]
                r = math.sqrt(f * f + g * g)
                e[i + 1] = r
                if r == 0.0:
                    d[i + 1] -= p
                    e[end] = 0.0
                    whole = False
                    break
                inverse = 1.0 / r
                s = f * inverse
                c = g * inverse
                g = d[i + 1] - p
                r = (d[i] - g) * s + 2.0 * c * b
                p = s * r
                d[i + 1] = g + p
                g = c * r - b
                if vectors:
                    low = z[i]
                    high = z[i + 1]
                    for k in range(n):
                        old = high[k]
                        high[k] = s * low[k] + c * old
                        low[k] = c * low[k] - s * old
            if whole:
                d[start] -= p
                e[start] = g
                e[end] = 0.0
    return True


@compiled
def _descending(d: Any, n: int, order: Any) -> None:
    """order[:n] sorts d[:n] from high to low, by insertion: QL leaves it nearly sorted."""
    for i in range(n):
        j = i
        while j > 0 and d[order[j - 1]] < d[i]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = i


@compiled
def spectra(low: int, high: int, start: Any, matrices: Any, values: Any, offset: Any, vectors: Any) -> bool:
    """Eigenvalues, descending, of the matrices low:high (lower triangles, flat, spoilt) into values (N, m).

    Matrix c has n_c = start[c + 1] − start[c] rows. Its first min(n_c, m) eigenvectors become the rows of
    vectors[offset[c]:offset[c + 1]]; none where offset[-1] is 0. False: no convergence.
    """
    most = 0
    for c in range(low, high):
        most = max(most, start[c + 1] - start[c])
    d, e, h = np.empty(most), np.empty(most), np.empty(most)
    order = np.empty(most, np.int64)
    wanted = offset[-1] > 0
    turned = np.empty(most * most if wanted else 0)
    m = values.shape[1]
    at = 0
    for c in range(low, high):
        n = start[c + 1] - start[c]
        a = matrices[at : at + n * n].reshape((n, n))
        at += n * n
        q = turned[: n * n if wanted else 0].reshape((n if wanted else 0, n))
        tridiagonalise(a, n, d, e, h)
        if wanted:
            accumulate(a, n, h, q)
        if not ql(d, e, n, q, wanted):
            return False
        _descending(d, n, order)
        to = offset[c]
        for i in range(min(n, m)):
            values[c, i] = d[order[i]]
            if wanted:
                for k in range(n):
                    vectors[to + k] = q[order[i], k]
                to += n
    return True
