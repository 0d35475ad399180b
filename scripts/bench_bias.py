#!/usr/bin/env python
"""How hard each entropy pulls: RMS bias force in eV/Å per eV of strength, against the size of the dataset.

Rattled silicon, r_c 5 Å. The dataset form is shown as it stands and with the dataset's weight capped at that of
one configuration (cap 1, the default): uncapped it dies as 1/|D|, capped it levels off.

    python scripts/bench_bias.py
"""

from __future__ import annotations

import argparse
import json
from functools import partial

import numpy as np
from ase import Atoms
from ase.build import bulk
from threadpoolctl import threadpool_limits

from tentpole.entropy import GOM, Covariance
from tentpole.entropy.entropies import dataset, logdet, nearest

SIZES = (0, 1, 20, 200, 2000)


def silicon(repeat: int, amplitude: float, seed: int) -> Atoms:
    atoms = bulk("Si", "diamond", 5.43, cubic=True).repeat(repeat)
    atoms.rattle(amplitude, seed=seed)
    return atoms


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    threadpool_limits(1, user_api="blas")
    gom = GOM(5.0)
    result = {}
    for name, repeat, amplitude in (("Si8, 0.02 Å", 1, 0.02), ("Si64, 0.10 Å", 2, 0.10)):
        rows, pullback = gom.value_and_pullback(silicon(repeat, amplitude, seed=0))

        def rms(form, rows=rows, pullback=pullback):  # type: ignore[no-untyped-def]
            return float(np.sqrt((pullback(form(rows)[1])[0] ** 2).sum(axis=1).mean()))

        print(f"{name}: nearest neighbour {rms(nearest):.3g}, ½ ln det {rms(logdet):.3g} eV/Å per eV")
        print(f"  dataset form, |D| ={''.join(f'{n:>9}' for n in SIZES)}")
        # the dataset: other draws of the same and of twice the amplitude, half and half
        known = [gom.fingerprints(silicon(repeat, amplitude * (1 + i % 2), seed=i + 1)) for i in range(SIZES[-1])]
        result[name] = {"nearest": rms(nearest), "logdet": rms(logdet)}
        for mode in ("per-atom", "per-config"):
            lines: dict[str, list[float]] = {"as it stands": [], "capped": []}
            covariance = Covariance(mode, eps=1e-3)
            for n in range(SIZES[-1] + 1):
                if n in SIZES:
                    lines["as it stands"].append(rms(partial(dataset, covariance=covariance, cap=np.inf)))
                    lines["capped"].append(rms(partial(dataset, covariance=covariance, cap=1.0)))
                if n < SIZES[-1]:
                    covariance.add(known[n])
            for kind, values in lines.items():
                print(f"  {mode:<11}{kind:<13}" + "".join(f"{value:9.4f}" for value in values))
            result[name][mode] = lines
    print(json.dumps({"dataset_sizes": SIZES, "rms_eV_per_A_per_eV": result}))


if __name__ == "__main__":
    main()
