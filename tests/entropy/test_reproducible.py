"""The same structure gives the same bits, wherever its arrays happen to lie in memory: resuming depends on it."""

import numpy as np
from ase.build import bulk

from tentpole import GOM
from tentpole.entropy import entropies


def test_fingerprints_and_pullback_do_not_depend_on_where_arrays_lie() -> None:
    fingerprint, rng = GOM(5.0), np.random.default_rng(1)
    elsewhere: list[np.ndarray] = []
    for seed in range(6):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        seen = set()
        for _ in range(150):
            elsewhere.append(np.empty(int(rng.integers(1, 4000))))  # so that the next arrays lie elsewhere
            if len(elsewhere) > 40:
                elsewhere.pop(int(rng.integers(0, 40)))
            rows, pullback = fingerprint.value_and_pullback(atoms)
            entropy, weights = entropies.logdet(rows)
            gradient, strain = pullback(weights)
            seen.add(b"".join(x.tobytes() for x in (rows, np.float64(entropy), weights, gradient, strain)))
        assert len(seen) == 1
