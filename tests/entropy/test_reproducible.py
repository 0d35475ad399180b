"""The same structure gives the same bits, wherever its arrays happen to lie in memory: resuming depends on it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from tentpole import GOM
from tentpole.entropy import entropies


@pytest.mark.slow
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


SCRIPT = """
import hashlib, numpy as np
from ase.build import bulk
from tentpole import GOM
from tentpole.entropy import entropies
atoms = bulk("Cu", cubic=True)
atoms.rattle(0.1, seed=1)
rows, pullback = GOM(5.0).value_and_pullback(atoms)
gradient, strain = pullback(entropies.logdet(rows)[1])
print(hashlib.sha256(b"".join(x.tobytes() for x in (rows, gradient, strain, GOM(5.0).fingerprints(atoms)))).hexdigest())
"""


@pytest.mark.slow
def test_the_process_that_compiles_gets_the_same_bits_as_those_that_load_from_disk(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", SCRIPT]
    said = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    assert list(tmp_path.rglob("*.nbc"))
    assert said[0].stdout == said[1].stdout != ""
