"""What a committee costs: MD with σ every 25 steps, scoring in batches, memory.

    python scripts/bench_committee.py [--blocks 8] [--snapshots 200] [--threads 1] [--json FILE]

Models are untrained MACE of the demonstration's size (16 channels, max_L 1, r_max 5 Å, float32): what they cost
does not depend on what they have learnt. Time per MD step is the median over blocks of 25 steps; the blocks of the
calculators compared alternate, so that a disturbance of the machine meets all of them, and ratios are medians of
blocks' ratios. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet

EVERY = 25


def model(numbers: list[int], seed: int, heads: int, script: bool) -> Any:
    """One untrained model; `script` as mace itself makes it (TorchScript), else as Tentpole runs it."""
    import torch

    from tentpole.committee.mace_architecture import build_context, mace

    modules = mace("modules")
    import e3nn

    with build_context("float32"):
        e3nn.set_optimization_defaults(jit_script_fx=script)
        torch.manual_seed(seed)
        return modules.ScaleShiftMACE(
            r_max=5.0,
            num_bessel=5,
            num_polynomial_cutoff=3,
            max_ell=2,
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
            num_interactions=2,
            num_elements=len(numbers),
            hidden_irreps=e3nn.o3.Irreps("16x0e+16x1o"),
            MLP_irreps=e3nn.o3.Irreps("16x0e"),
            gate=torch.nn.functional.silu,
            atomic_energies=np.zeros((heads, len(numbers))),
            avg_num_neighbors=20.0,
            atomic_numbers=numbers,
            correlation=2,
            radial_MLP=[64, 64, 64],
            pair_repulsion=True,
            heads=[f"head-{k}" for k in range(heads)],
            atomic_inter_scale=[0.2] * heads,
            atomic_inter_shift=[0.0] * heads,
        )


def silicon() -> Atoms:
    atoms = bulk("Si", cubic=True) * (2, 2, 2)
    atoms.rattle(0.02, seed=0)
    return atoms


def zundel() -> Atoms:
    atoms = Atoms(
        "OHHOHHH",
        positions=[
            [-1.2, 0.0, 0.0],
            [-1.6, 0.8, 0.3],
            [-1.6, -0.6, -0.6],
            [1.2, 0.0, 0.0],
            [1.6, 0.3, -0.8],
            [1.6, -0.9, 0.2],
            [0.0, 0.0, 0.05],
        ],
    )
    atoms.rattle(0.02, seed=0)
    return atoms


def block(atoms: Atoms, calculator: Calculator, ask: Callable[[Atoms], object]) -> float:
    """Seconds per step of 25 MD steps with one question about σ."""
    if atoms.calc is not calculator:
        atoms.calc = calculator
        MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(1))
    started = time.perf_counter()
    VelocityVerlet(atoms, 0.5 * units.fs).run(EVERY)
    ask(atoms)
    return (time.perf_counter() - started) / EVERY


def md(make: Callable[[], Atoms], numbers: list[int], blocks: int, folder: Path) -> dict[str, list[float]]:
    """Milliseconds per step of each calculator, block by block."""
    from tentpole.committee import Committee, CommitteeCalculator, write_member
    from tentpole.committee.mace_architecture import mace

    deep = [write_member(folder / f"deep-{k}", model(numbers, k, 1, False)) for k in range(4)]
    shallow = write_member(folder / "shallow", model(numbers, 9, 4, False))
    mace_calculator = mace("calculators.mace").MACECalculator
    scripted = [model(numbers, k, 1, True) for k in range(4)]

    def sigma(atoms: Atoms) -> object:
        return atoms.calc.get_property("forces_std", atoms)

    def nothing(atoms: Atoms) -> object:
        return None

    runs: dict[str, tuple[Calculator, Callable[[Atoms], object]]] = {
        "single": (CommitteeCalculator(Committee.load([deep[0]])), nothing),
        "deep": (CommitteeCalculator(Committee.load(deep)), sigma),
        "shallow": (CommitteeCalculator(Committee.load([shallow])), sigma),
        "shallow single": (CommitteeCalculator(Committee.load([shallow])), nothing),
        "MACECalculator single": (mace_calculator(models=scripted[:1], default_dtype="float32"), nothing),
        "MACECalculator committee": (mace_calculator(models=scripted, default_dtype="float32"), nothing),
    }
    atoms = {name: make() for name in runs}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for k in range(blocks + 1):  # the first block warms up
        for name, (calculator, ask) in runs.items():
            taken = block(atoms[name], calculator, ask)
            if k:
                times[name].append(1e3 * taken)
    return times


def ratio(times: dict[str, list[float]], one: str, other: str) -> float:
    """Median over blocks of one over the other: both of a block ran within the same seconds."""
    return float(np.median(np.array(times[one]) / np.array(times[other])))


def scoring(folder: Path, snapshots: int) -> dict[str, float]:
    """Seconds to score snapshots of 64 atoms with four deep members: one by one, and in batches."""
    from tentpole.committee import Committee, CommitteeCalculator

    committee = Committee.load([folder / f"deep-{k}" for k in range(4)])
    frames = []
    for k in range(snapshots):
        frames.append(silicon())
        frames[-1].rattle(0.05, seed=k)
    committee.evaluate(frames[:2])
    started = time.perf_counter()
    one = CommitteeCalculator(committee)
    alone = [one.get_property("force_std", atoms) for atoms in frames]
    between = time.perf_counter()
    together = [found.force_std for found in committee.evaluate(frames).disagreements()]
    ended = time.perf_counter()
    np.testing.assert_allclose(together, alone, rtol=1e-3)
    return {"one by one": between - started, "batched": ended - between}


def peak_MB() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--snapshots", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(given.threads))
    import torch

    torch.set_num_threads(given.threads)
    found: dict[str, Any] = {"threads": given.threads, "blocks": given.blocks, "load": os.getloadavg()}
    from tentpole.committee.mace_architecture import mace

    mace("modules")
    found["memory_MB"] = {"mace imported": peak_MB()}
    with tempfile.TemporaryDirectory() as name:
        for system, make, numbers in (("zundel", zundel, [1, 8]), ("Si64", silicon, [14])):
            folder = Path(name) / system
            times = md(make, numbers, given.blocks, folder)
            found[f"{system} ms per step"] = {label: float(np.median(values)) for label, values in times.items()}
            found[f"{system} ratios"] = ratios = {
                "deep / single": ratio(times, "deep", "single"),
                "shallow / its single": ratio(times, "shallow", "shallow single"),
                "MACECalculator committee / its single": ratio(
                    times, "MACECalculator committee", "MACECalculator single"
                ),
            }
            found["memory_MB"][f"after MD of {system}"] = peak_MB()
            print(f"\n{system}: ms per MD step, sigma every {EVERY} steps")
            for label, value in found[f"{system} ms per step"].items():
                print(f"  {label:38s} {value:8.2f}")
            for label, value in ratios.items():
                print(f"  {label:38s} {value:8.3f}", flush=True)
        scored = scoring(Path(name) / "Si64", given.snapshots)
    found[f"scoring {given.snapshots} snapshots of 64 atoms, s"] = scored
    found["memory_MB"]["after scoring"] = peak_MB()
    print(f"\nscoring {given.snapshots} snapshots of 64 atoms, 4 members:")
    print(f"  one by one {scored['one by one']:.2f} s, batched {scored['batched']:.2f} s")
    print("peak memory, MB: " + ", ".join(f"{k} {v:.0f}" for k, v in found["memory_MB"].items()))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
