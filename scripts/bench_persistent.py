#!/usr/bin/env python3
"""One Quantum ESPRESSO for many labels over ASE's socket, against one process per label, on the same frames.

Rattled silicon, eight atoms, in one worker without parallelism. Both ways label the same frames by the same reference
in turn, `--repeats` times; given are the medians of the wall times, of pw.x's own CPU time, SCF steps per label, and
how far the labels differ. Needs pw.x and pseudopotentials, configured in ASE's config ([espresso] command, pseudo_dir).

    python scripts/bench_persistent.py --frames 20
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REFERENCE = """\
parent = "espresso"
[parameters]
k_spacing_per_A = {spacing}
[parameters.input_data.system]
ecutwfc = {cutoff}
ecutrho = {density}
"""


def label(root: Path, reference: Any, frames: list[Any], persistent: bool) -> tuple[float, float, list[Any]]:
    """Wall seconds, CPU seconds of the programs, and the labels."""
    from tentpole.labeling import Task, compute
    from tentpole.labeling import socket_program as serving
    from tentpole.storage.labels import label_path, read_label

    began, busy = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    labels = []
    for atoms in frames:
        outcome = compute(Task(root, reference, atoms, 0, persistent=persistent))
        if not outcome.ok:
            raise SystemExit(f"{outcome.reason}: {outcome.message}")
        labels.append(read_label(label_path(root, *outcome.name.split("-"))))
    serving.end()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - busy.ru_utime - busy.ru_stime
    return time.perf_counter() - began, spent, labels


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cutoff", type=float, default=20.0, help="ecutwfc in Ry")
    parser.add_argument("--spacing", type=float, default=0.9, help="of k-points, per Å")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import numpy as np
    from ase.build import bulk

    from tentpole.labeling import load

    frames = []
    for seed in range(given.frames):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.05, seed=seed)
        frames.append(atoms)
    found: dict[str, list[tuple[float, float, list[Any]]]] = {"fresh": [], "persistent": []}
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        text = REFERENCE.format(spacing=given.spacing, cutoff=given.cutoff, density=8 * given.cutoff)
        (top / "silicon.toml").write_text(text)
        reference = load(top / "silicon.toml", ["Si"])
        for repeat in range(given.repeats):
            for kind in found:
                found[kind].append(label(top / f"{kind}-{repeat}", reference, frames, kind == "persistent"))
                print(f"{repeat + 1}/{given.repeats} {kind:10s} {found[kind][-1][0]:.1f} s", flush=True)
    facts: dict[str, Any] = {"frames": given.frames, "cutoff_Ry": given.cutoff, "k_spacing_per_A": given.spacing}
    for kind, runs in found.items():
        wall, cpu = (statistics.median(run[i] for run in runs) for i in (0, 1))
        steps = [step.details.get("scf_steps") for step in runs[0][2]]
        known = [step for step in steps if step is not None]
        facts[kind] = {"seconds": round(wall, 2), "cpu_seconds": round(cpu, 2)}
        if known:
            facts[kind]["scf_steps"] = statistics.median(known)
        print(f"{kind:10s} {wall:6.1f} s, pw.x {cpu:6.1f} s of CPU, SCF steps {facts[kind].get('scf_steps', '-')}")
    pairs = list(zip(found["fresh"][0][2], found["persistent"][0][2], strict=True))
    facts["ratio"] = round(facts["persistent"]["seconds"] / facts["fresh"]["seconds"], 3)
    energies = [abs(a.energy - b.energy) / len(a.atoms) for a, b in pairs]
    forces = [float(np.abs(a.forces - b.forces).max()) for a, b in pairs]
    facts["largest_difference_meV_per_atom"] = round(1e3 * max(energies), 5)
    facts["largest_difference_meV_per_A"] = round(1e3 * max(forces), 4)
    print(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
