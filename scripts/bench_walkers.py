"""What MD of many walkers costs: side by side in one process, each by itself, and by plain ASE.

    python scripts/bench_walkers.py [--systems zundel Si64 water192] [--walkers 1 4 16 64] [--members 1 4] [--blocks 5]
                                    [--dtype float64] [--device cpu] [--json FILE]

Langevin dynamics of 0.5 fs at 300 K, σ of M members every 25 steps, by untrained MACE models of the size "small" (16
channels, max_L 1, r_max 5 Å): what they cost does not depend on what they have learnt. The ways, in turn block
by block:

    ase         ASE's Langevin and mace's own MACECalculator, one walker after the other; σ by M of them
    processes   each walker by itself, members evaluated by mace's model: how a worker process ran walkers before
    alone       each walker by itself, members evaluated by this package's network
    lockstep    all walkers side by side, by one evaluation of that network
    torch-sim   all walkers in one batch of torch-sim's own Langevin (BAOAB), by mace's model; where it is installed

All run on one core, and on a CPU the time is this process's CPU time, so that other jobs disturb less: with several
cores, worker processes do any of the four side by side. Rates are walker-steps per second; ratios are medians over
blocks. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

EVERY = 25
FEW = 2
"""Walkers that stand for all of them where each runs by itself: their rate is the same however many there are."""


def model(numbers: Sequence[int], seed: int, dtype: str, *, script: bool) -> Any:
    """One untrained model; `script` as mace itself makes it (TorchScript), else as Tentpole runs it."""
    import torch

    from tentpole.committee.mace_architecture import build_context, mace

    modules = mace("modules")
    import e3nn

    with build_context(dtype):
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
            atomic_energies=np.zeros(len(numbers)),
            avg_num_neighbors=20.0,
            atomic_numbers=list(numbers),
            correlation=2,
            radial_MLP=[64, 64, 64],
            atomic_inter_scale=0.1,
            atomic_inter_shift=0.0,
        )


def zundel() -> Atoms:
    positions = [[-1.2, 0, 0], [-1.6, 0.8, 0.3], [-1.6, -0.6, -0.6], [1.2, 0, 0], [1.6, 0.3, -0.8], [1.6, -0.9, 0.2]]
    return Atoms("OHHOHHH", positions=[*positions, [0.0, 0.0, 0.05]])


def water(side: int) -> Atoms:
    """So many molecules along each edge of a cubic box, at the density of the liquid."""
    box, rng = Atoms(cell=[3.105 * side] * 3, pbc=True), np.random.default_rng(0)
    for place in np.ndindex(side, side, side):
        one = molecule("H2O")
        one.euler_rotate(*rng.uniform(0, 360, 3))
        one.translate(np.array(place) * 3.105)
        box += one
    return box


SYSTEMS: dict[str, tuple[Callable[[], Atoms], list[int]]] = {
    "zundel": (zundel, [1, 8]),
    "Si64": (lambda: bulk("Si", cubic=True) * (2, 2, 2), [14]),
    "water192": (lambda: water(4), [1, 8]),
    "Si8": (lambda: bulk("Si", cubic=True), [14]),  # the rest: where the gain ends
    "Si16": (lambda: bulk("Si", cubic=True) * (2, 1, 1), [14]),
    "Si32": (lambda: bulk("Si", cubic=True) * (2, 2, 1), [14]),
    "water24": (lambda: water(2), [1, 8]),
    "water81": (lambda: water(3), [1, 8]),
}


def walkers(make: Callable[[], Atoms], calculators: Sequence[Calculator | None]) -> list[Langevin]:
    """One dynamics per calculator."""
    found = []
    for k, calculator in enumerate(calculators):
        atoms = make()
        atoms.rattle(0.02, seed=k)
        atoms.calc = calculator
        thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(k))
        rng = np.random.default_rng(1000 + k)
        found.append(Langevin(atoms, 0.5 * units.fs, temperature_K=300, friction=0.01 / units.fs, fixcm=False, rng=rng))
    return found


def block(dynamics: Langevin, sigma: Callable[[Atoms], object]) -> None:
    """25 steps and a σ."""
    dynamics.run(EVERY)
    sigma(dynamics.atoms)


def by_ase(make: Callable[[], Atoms], numbers: Sequence[int], members: int, count: int, device: str, dtype: str) -> Any:
    """What runs a block of each walker by mace's own calculators."""
    from tentpole.committee.mace_architecture import mace

    calculator = mace("calculators.mace").MACECalculator
    models = [model(numbers, k, dtype, script=True) for k in range(members)]
    driver, *others = (calculator(models=[one], default_dtype=dtype, device=device) for one in models)

    def sigma(atoms: Atoms) -> object:
        return np.std([c.get_property("forces", atoms) for c in (driver, *others)], axis=0).max()

    dynamics = walkers(make, [driver] * count)
    return lambda: [block(one, sigma) for one in dynamics]


def by_committee(make: Callable[[], Atoms], committee: Any, count: int, *, together: bool) -> Any:
    """What runs a block of each walker by a committee."""
    from tentpole.committee import Committee, CommitteeCalculator
    from tentpole.exploration.lockstep import Lockstep

    lockstep = Lockstep()
    shared = Committee([lockstep.shared(voter) for voter in committee.voters]) if together else committee

    def sigma(atoms: Atoms) -> object:
        return atoms.calc.get_property("max_force_std", atoms) if committee.size > 1 else None

    dynamics = walkers(make, [CommitteeCalculator(shared, 0) for _ in range(count)])
    if together:
        return lambda: lockstep.run([partial(block, one, sigma) for one in dynamics])
    return lambda: [block(one, sigma) for one in dynamics]


def by_torch_sim(
    make: Callable[[], Atoms], numbers: Sequence[int], members: int, count: int, device: str, dtype: str
) -> Any:
    """What runs a block of all walkers by torch-sim; None where it is not installed."""
    try:
        import torch_sim
        from torch_sim.models.mace import MaceModel
    except ImportError:
        return None
    import torch

    kind = getattr(torch, dtype)
    options: dict[str, Any] = {"device": torch.device(device), "dtype": kind, "compute_stress": False}
    models = [MaceModel(model(numbers, k, dtype, script=True), **options) for k in range(members)]
    atoms = [one.atoms for one in walkers(make, [None] * count)]
    for one in atoms:
        if not one.cell:  # it wants one, periodic or not
            one.cell = [40.0] * 3
    kT = torch.tensor(300 * units.kB, dtype=kind, device=device)
    dt, gamma = (torch.tensor(v, dtype=kind, device=device) for v in (0.5 * units.fs, 0.01 / units.fs))
    begin, step = torch_sim.integrators.nvt_langevin(models[0], dt=dt, kT=kT, gamma=gamma, seed=0)
    now = [begin(torch_sim.io.atoms_to_state(atoms, torch.device(device), kind))]

    def run() -> None:
        for _ in range(EVERY):
            now[0] = step(now[0])
        if members > 1:
            forces = torch.stack([now[0].forces, *(one(now[0])["forces"] for one in models[1:])])
            float(forces.std(dim=0, unbiased=False).max())

    return run


def measured(
    make: Callable[[], Atoms], numbers: list[int], members: int, many: Sequence[int], given: argparse.Namespace
) -> dict[str, list[float]]:
    """Walker-steps per second, block by block: of each way, lockstep once for every number of walkers."""
    from tentpole.committee import Committee, write_member
    from tentpole.training.network_voter import NetworkVoter, faster

    with tempfile.TemporaryDirectory() as name:
        stems = [
            write_member(Path(name) / f"m{k}", model(numbers, k, given.dtype, script=False)) for k in range(members)
        ]
        mace = Committee.load(stems, device=given.device, dtype=given.dtype)
    own = faster(mace)
    assert isinstance(own.voters[0], NetworkVoter)
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "ase": (by_ase(make, numbers, members, FEW, given.device, given.dtype), FEW),
        "processes": (by_committee(make, mace, FEW, together=False), FEW),
        "alone": (by_committee(make, own, FEW, together=False), FEW),
    }
    for count in many:
        ways[f"lockstep {count}"] = (by_committee(make, own, count, together=True), count)
        if (run := by_torch_sim(make, numbers, members, count, given.device, given.dtype)) is not None:
            ways[f"torch-sim {count}"] = (run, count)
    clock = time.process_time if given.device == "cpu" else time.perf_counter
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for k in range(given.blocks + 1):  # the first block warms up
        for name, (run, count) in ways.items():
            began = clock()
            run()
            if k:
                rates[name].append(EVERY * count / (clock() - began))
    return rates


def summary(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, and medians of ratios over blocks."""
    return {
        "walker-steps per s": {name: round(float(np.median(values)), 2) for name, values in rates.items()},
        "over ase": {name: round(ratio(values, rates["ase"]), 2) for name, values in rates.items()},
        "over processes": {name: round(ratio(values, rates["processes"]), 2) for name, values in rates.items()},
    }


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """Median over blocks of one over the other."""
    return float(np.median(np.array(one) / np.array(other)))


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS)[:3], choices=list(SYSTEMS))
    parser.add_argument("--walkers", nargs="+", type=int, default=[1, 4, 16, 64])
    parser.add_argument("--members", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--dtype", default="float64", choices=["float32", "float64"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(words)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
    found: dict[str, Any] = {"dtype": given.dtype, "device": given.device, "blocks": given.blocks}
    for system in given.systems:
        make, numbers = SYSTEMS[system]
        for members in given.members:
            name = f"{system}, {members} members"
            found[name] = one = summary(measured(make, numbers, members, given.walkers, given))
            print(f"\n{name}")
            for way, rate in one["walker-steps per s"].items():
                print(f"  {way:14s}{rate:10.1f} / s{one['over ase'][way]:8.2f} of ase")
    found["peak memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    found["load"] = [round(value, 1) for value in os.getloadavg()]
    line = json.dumps(found)
    print(line)
    if given.json:
        given.json.write_text(line + "\n", encoding="utf-8")
    return found


if __name__ == "__main__":
    main()
