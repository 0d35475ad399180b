"""Machine code is kept where it can be, and made anyway where it cannot."""

import numpy as np

from tentpole.entropy import compile_kernels, compiled
from tentpole.entropy.gom import eigen


def test_kernels_are_at_hand_in_a_moment_once_they_were_made():
    compile_kernels()
    assert compile_kernels() < 1.0


def test_an_installation_that_cannot_keep_machine_code_still_compiles(monkeypatch):
    real = compiled.njit

    def nowhere_to_write(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available for file")
        return real(**options)

    monkeypatch.setattr(compiled, "njit", nowhere_to_write)
    double = compiled.compiled(lambda x: 2.0 * x)
    assert double(21.0) == 42.0


def test_eigenpairs_equal_lapack_s():
    """Random, graded, degenerate, tridiagonal already, and of one and two rows."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    cases = [rng.normal(size=(n, n)) for n in (1, 2, 3, 29, 90)]
    cases = [a + a.T for a in cases]
    cases.append((turn * 10.0 ** -np.arange(12)) @ turn.T)
    cases.append((turn * np.repeat([1.0, 0.5, 0.0], 4)) @ turn.T)
    cases.append(np.diag(np.arange(6.0)) + np.diag(np.ones(5), 1) + np.diag(np.ones(5), -1))
    cases.append(np.zeros((4, 4)))
    for a in cases:
        n = len(a)
        start, offset = np.array([0, n]), np.array([0, n * n])
        values, vectors = np.zeros((1, n)), np.empty(n * n)
        assert eigen.spectra(0, 1, start, a.ravel().copy(), values, offset, vectors)
        scale = max(np.abs(a).max(), 1.0)
        assert np.abs(values[0] - np.linalg.eigvalsh(a)[::-1]).max() < 1e-13 * scale * n
        v = vectors.reshape(n, n)
        assert np.abs(v @ v.T - np.eye(n)).max() < 1e-13 * n
        assert np.abs(v @ a @ v.T - np.diag(values[0])).max() < 1e-13 * scale * n
