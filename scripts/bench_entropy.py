#!/usr/bin/env python
"""Time the entropy core: fingerprints, and value + pullback + strain of the ½ ln det bias; a table and JSON.

Beside it, in the same run: the same in plain NumPy, a force call of an untrained MACE model (32 channels,
max_L 1, the rest MACE's defaults; its time does not depend on its weights), and libfp's gradient where that
package can be imported. Medians over --repeat runs, one BLAS thread.

    python scripts/bench_entropy.py [--repeat 7] [--largest 4096] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from threadpoolctl import threadpool_limits

from tentpole.entropy import GOM, compile_kernels
from tentpole.entropy.entropies import logdet
from tentpole.entropy.gom.radii import gaussian_widths
from tentpole.entropy.gom.spheres import spheres

ZUNDEL = Atoms(
    "O2H5",
    [
        [-1.2, 0, 0], [1.2, 0, 0], [0, 0, 0.05], [-1.6, 0.75, 0.45],
        [-1.6, -0.75, 0.45], [1.6, 0.6, -0.65], [1.6, -0.6, 0.65],
    ],
)  # fmt: skip

# Gradient of libfp 4.0.1 (C), ms, one thread, as recorded elsewhere on two cores: compared with only where
# libfp cannot be imported here, and marked so.
LIBFP_RECORDED_MS = {"Si64 5": 71.0, "Si64 6": 124.0, "C64 5": 990.0, "Si216 5": 1170.0}


def crystal(kind: str, repeat: tuple[int, int, int]) -> Atoms:
    cell = {
        "Si": lambda: bulk("Si", "diamond", 5.43, cubic=True),
        "C": lambda: bulk("C", "diamond", 3.567, cubic=True),
        "NaCl": lambda: bulk("NaCl", "rocksalt", 5.64, cubic=True),
    }[kind]()
    atoms = cell.repeat(repeat)
    atoms.rattle(0.05, seed=0)
    return atoms


def median_ms(work: Callable[[], Any], repeat: int, warm_up: int = 1) -> float:
    for _ in range(warm_up):
        work()
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times))


def bias_step(gom: GOM, atoms: Atoms) -> None:
    """What an MD step of EntropyBias adds to the calculator it wraps."""
    rows, pullback = gom.value_and_pullback(atoms)
    pullback(logdet(rows)[1])


def numpy_step(atoms: Atoms, cutoff: float, n_max: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same in plain NumPy: spheres of one size at a time through a batched eigh. Rows, gradient, strain."""
    around = spheres(atoms, cutoff)
    width = gaussian_widths(atoms.numbers)[around.index] ** 2
    rows, parts = np.zeros((len(atoms), n_max)), []
    for n in np.unique(around.sizes):
        centres = np.flatnonzero(around.sizes == n)
        member = around.start[centres, None] + np.arange(n)
        r, s = around.vector[member], width[member]
        u = 1 - (r**2).sum(-1) / cutoff**2
        f = u**2
        apart = r[:, :, None] - r[:, None]
        total = s[:, :, None] + s[:, None]
        overlap = (2 * np.sqrt(s[:, :, None] * s[:, None]) / total) ** 1.5
        overlap *= np.exp(-0.5 * (apart**2).sum(-1) / total)
        gom = f[:, :, None] * overlap * f[:, None]
        values, vectors = np.linalg.eigh(gom)
        kept = min(n, n_max)
        rows[centres, :kept] = values[:, ::-1][:, :kept]
        parts.append((centres, member, r, u, f, apart, total, overlap, gom, vectors[:, :, ::-1][:, :, :kept]))
    weights = logdet(rows)[1]
    gradient, strain = np.zeros((len(atoms), 3)), np.zeros((3, 3))
    for centres, member, r, u, f, apart, total, overlap, gom, vectors in parts:
        m = (vectors * weights[centres, None, : vectors.shape[2]]) @ vectors.transpose(0, 2, 1)
        pulled = -2 * np.einsum("ckj,ckjx->ckx", m * gom / total, apart)
        slope = -8 / cutoff**2 * ((m * overlap) @ f[:, :, None])[:, :, 0] * u
        radial = slope[:, :, None] * r
        pulled += radial
        pulled[:, 0] -= radial.sum(axis=1)
        np.add.at(gradient, around.index[member], pulled)
        strain += np.einsum("ckx,cky->xy", pulled, r)
    return rows, gradient, 0.5 * (strain + strain.T)


def mace_force_calls(atoms: Atoms, threads: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Force calls of one model, neighbour list included: MACE's own calculator as it comes (float64), and this
    project's evaluation in float32, the fastest way here."""
    import torch

    from tentpole.committee.graph import edges_within, graph_of
    from tentpole.committee.mace_architecture import build_context, mace
    from tentpole.committee.mace_voter import MaceVoter

    torch.set_num_threads(threads)
    modules = mace("modules")
    numbers = sorted(set(atoms.numbers.tolist()))
    with build_context("float32"):
        from e3nn import o3

        torch.manual_seed(0)
        model = modules.ScaleShiftMACE(
            r_max=5.0, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, num_interactions=2, correlation=3,
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            num_elements=len(numbers), hidden_irreps=o3.Irreps("32x0e + 32x1o"),
            MLP_irreps=o3.Irreps("16x0e"), gate=torch.nn.functional.silu,
            atomic_energies=np.zeros(len(numbers)), avg_num_neighbors=30.0, atomic_numbers=numbers,
            radial_MLP=[64, 64, 64], atomic_inter_scale=1.0, atomic_inter_shift=0.0,
        )  # fmt: skip
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    voter = MaceVoter(model.to(torch.float32).eval(), [0], "cpu")
    own = mace("calculators.mace").MACECalculator(
        models=[copy.deepcopy(model).to(torch.float64)], device="cpu", default_dtype="float64"
    )
    torch.set_default_dtype(torch.float64)  # as that calculator expects it

    def fast() -> Any:
        return voter.evaluate(graph_of(atoms, edges_within(atoms, voter.cutoff)), [0], False)

    return lambda: own.calculate(atoms, ["forces"]), fast


def libfp_gradient() -> tuple[Callable[[Atoms, float], Any] | None, str]:
    """libfp's fingerprint gradient, or None and why not."""
    code = "import libfp"  # in a process of its own: the import can take the interpreter with it
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if tried.returncode != 0:
        return None, (tried.stderr.strip().splitlines() or [f"exit {tried.returncode}"])[-1]
    import libfp

    def gradient(atoms: Atoms, cutoff: float) -> Any:
        kinds = sorted(set(atoms.numbers.tolist()))
        types = np.array([kinds.index(z) + 1 for z in atoms.numbers], dtype=np.int32)
        cell = (atoms.cell.array, atoms.positions, types, np.array(kinds, dtype=np.int32))
        largest = int(spheres(atoms, cutoff).sizes.max())
        return libfp.get_dfp(cell, cutoff=cutoff, log=False, natx=max(50, largest))

    return gradient, ""


def peak_mib(n: int) -> tuple[float, float]:
    """Peak memory of a process that makes n atoms' bias step, and of one that only imports for it. MiB."""
    found = []
    for size in (n, 0):
        command = [sys.executable, __file__, "--peak", str(size)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found.append(float(output.split()[-1]))
    return found[0], found[1]


def silicon(n: int) -> Atoms:
    """n = 8 · 2^k atoms of silicon, as near to a cube as doubling goes."""
    repeat = [1, 1, 1]
    while 8 * repeat[0] * repeat[1] * repeat[2] < n:
        repeat[int(np.argmin(repeat))] *= 2
    return crystal("Si", (repeat[0], repeat[1], repeat[2]))


def measure(name: str, atoms: Atoms, cutoff: float, repeat: int, cores: int, mace: bool) -> dict[str, Any]:
    one, all_cores = GOM(cutoff, threads=1), GOM(cutoff, threads=cores)
    rows, gradient, strain = numpy_step(atoms, cutoff)
    ours, pullback = one.value_and_pullback(atoms)
    again, stretched = pullback(logdet(rows)[1])
    assert np.abs(ours - rows).max() < 1e-10, "the NumPy version and the compiled one differ"
    assert np.abs(again - gradient).max() < 1e-6 * np.abs(gradient).max()
    assert np.abs(stretched - strain).max() < 1e-6 * np.abs(strain).max()
    print(f"measuring {name}, r_c {cutoff:g}", flush=True)
    row: dict[str, Any] = {
        "system": name,
        "cutoff_A": cutoff,
        "atoms": len(atoms),
        "sphere": int(np.median(spheres(atoms, cutoff).sizes)),
        "fingerprint_ms": median_ms(lambda: one.fingerprints(atoms), repeat),
        "bias_1_thread_ms": median_ms(lambda: bias_step(one, atoms), repeat),
        "bias_all_cores_ms": median_ms(lambda: bias_step(all_cores, atoms), repeat),
        "numpy_1_thread_ms": median_ms(lambda: numpy_step(atoms, cutoff), min(repeat, 7)),
    }
    if mace:
        own, fast = mace_force_calls(atoms, cores)
        row["mace_all_cores_ms"] = median_ms(own, repeat, warm_up=10)  # torch warms up in its first calls
        row["mace_float32_all_cores_ms"] = median_ms(fast, repeat, warm_up=10)
        row["bias_per_mace"] = row["bias_all_cores_ms"] / row["mace_all_cores_ms"]
        row["bias_per_mace_float32"] = row["bias_all_cores_ms"] / row["mace_float32_all_cores_ms"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--largest", type=int, default=4096)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-mace", action="store_true")
    parser.add_argument("--out", default="")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak is not None:
        if given.peak:
            bias_step(GOM(5.0), silicon(given.peak))
        status = Path("/proc/self/status").read_text()  # rusage would count the parent it was forked from
        print(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024)
        return
    threadpool_limits(1, user_api="blas")  # more are slower for small matrices, up to tenfold
    compiling = compile_kernels()
    systems = [
        ("Si64", crystal("Si", (2, 2, 2)), 5.0), ("Si64", crystal("Si", (2, 2, 2)), 6.0),
        ("C64", crystal("C", (2, 2, 2)), 5.0), ("Si216", crystal("Si", (3, 3, 3)), 5.0),
        ("NaCl64", crystal("NaCl", (2, 2, 2)), 5.0), ("H5O2+", ZUNDEL, 5.0),
    ]  # fmt: skip
    table = [measure(n, a, c, given.repeat, given.cores, not given.no_mace) for n, a, c in systems]
    libfp, why = libfp_gradient()
    for row, (_, atoms, cutoff) in zip(table, systems, strict=True):
        key = f"{row['system']} {cutoff:g}"
        if libfp is not None and atoms.pbc.all():  # it knows crystals only
            theirs = libfp(atoms, cutoff)[0]
            assert np.abs(theirs[:, :50] - GOM(cutoff).fingerprints(atoms)).max() < 1e-10, "libfp differs"
            row["libfp_gradient_ms"] = median_ms(lambda a=atoms, c=cutoff: libfp(a, c), given.repeat)
        elif key in LIBFP_RECORDED_MS:
            row["libfp_gradient_recorded_ms"] = LIBFP_RECORDED_MS[key]
        if libfp_ms := row.get("libfp_gradient_ms", row.get("libfp_gradient_recorded_ms")):
            row["times_libfp_1_thread"] = libfp_ms / row["bias_1_thread_ms"]
    scaling = []
    n = 64
    while n <= given.largest:
        one, every = GOM(5.0, threads=1), GOM(5.0, threads=given.cores)
        atoms = silicon(n)
        peak, base = peak_mib(n)
        scaling.append({
            "atoms": n,
            "fingerprint_ms": median_ms(lambda g=one, a=atoms: g.fingerprints(a), given.repeat),
            "bias_1_thread_ms": median_ms(lambda g=one, a=atoms: bias_step(g, a), given.repeat),
            "bias_all_cores_ms": median_ms(lambda g=every, a=atoms: bias_step(g, a), given.repeat),
            "peak_MiB": peak,
            "peak_before_MiB": base,
        })  # fmt: skip
        n *= 2
    large = [s for s in scaling if s["atoms"] >= 512]
    exponent = (
        float(np.polyfit(*np.log([[s["atoms"], s["bias_1_thread_ms"]] for s in large]).T, 1)[0])
        if len(large) > 1
        else None
    )
    result = {
        "machine": platform.processor() or platform.machine(), "cores": given.cores, "repeat": given.repeat,
        "load_average": os.getloadavg()[0], "kernels_s": compiling, "libfp": why or "imported",
        "systems": table, "scaling": scaling, "exponent_512_up": exponent,
    }  # fmt: skip
    show(result)
    print(json.dumps(result))
    if given.out:
        Path(given.out).write_text(json.dumps(result, indent=1))


def show(result: dict[str, Any]) -> None:
    def cell(row: dict[str, Any], key: str, form: str = "9.2f") -> str:
        value = row.get(key)
        return f"{'-':>9}" if value is None else f"{value:{form}}"

    print(f"kernels at hand after {result['kernels_s']:.2f} s; cores {result['cores']}; ms, medians")
    print(f"libfp: {result['libfp']}")
    print("system r_c  sphere    rows   bias/1 bias/all  NumPy/1     MACE   ratio   MACE32   ratio    libfp   times")
    for row in result["systems"]:
        here = "libfp_gradient_ms" in row
        libfp = cell(row, "libfp_gradient_ms" if here else "libfp_gradient_recorded_ms")
        ratio = "        -" if "bias_per_mace" not in row else f"{100 * row['bias_per_mace']:8.1f}%"
        ratio32 = "       -" if "bias_per_mace" not in row else f"{100 * row['bias_per_mace_float32']:7.1f}%"
        print(f"{row['system']:<7}{row['cutoff_A']:3g} {row['sphere']:6d} {cell(row, 'fingerprint_ms')}"
              f"{cell(row, 'bias_1_thread_ms')}{cell(row, 'bias_all_cores_ms')}{cell(row, 'numpy_1_thread_ms')}"
              f"{cell(row, 'mace_all_cores_ms')}{ratio}{cell(row, 'mace_float32_all_cores_ms')}{ratio32}"
              f"{libfp}{cell(row, 'times_libfp_1_thread', '8.1f')}")  # fmt: skip
    print("MACE: its own ASE calculator as it comes, float64; MACE32: this project's evaluation in float32")
    if "libfp_gradient_ms" not in result["systems"][0]:
        print("libfp's figures were recorded on another run and machine; they are compared with one thread of ours")
    print("\nSi atoms     rows   bias/1 bias/all   peak MiB (of which imports)")
    for row in result["scaling"]:
        print(f"{row['atoms']:8d} {cell(row, 'fingerprint_ms')}{cell(row, 'bias_1_thread_ms')}"
              f"{cell(row, 'bias_all_cores_ms')} {row['peak_MiB']:9.0f} {row['peak_before_MiB']:9.0f}")  # fmt: skip
    if result["exponent_512_up"] is not None:
        print(f"cost grows as atoms^{result['exponent_512_up']:.2f} from 512 up")


if __name__ == "__main__":
    main()
