"""A crystal of NaCl heated until it melts: the committee of one campaign beside its teacher, CHGNet (extra "chgnet").

    python scripts/bench_melting.py OUT [--seeds 0 1] [--labels 100] [--smoke]

The campaign sees cells of 16 atoms at constant pressure: the crystal at two temperatures, a ramp that heats it, and one
that melts it and cools the melt. Its MD is the committee's own, and labels are all that the teacher is asked for. Then
64 atoms are heated from 300 K at zero pressure, as fast and from the same momenta by the committee's mean as by the
teacher; each frame's energy is that of the method that moved it.

Every piece is a file or folder in OUT, and the same command goes on where it was stopped. melting.png in OUT has
density and energy against temperature. The last line is JSON: the deviation of density and enthalpy between means over
seeds, in windows of temperature, and how far the teacher's own seeds lie apart.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.io import write

from tentpole import Campaign, CampaignRecord, CommitteeCalculator
from tentpole.benchmarks.figures import new_figure
from tentpole.benchmarks.sampling.driving import UNSCORED
from tentpole.exploration import NPT, ExploreSettings, HealthLimits, Ramp, RampPoint, WalkerSeed, begin, explore
from tentpole.exploration.files import read_exploration, write_exploration
from tentpole.labeling import load
from tentpole.records import Condition, FloatArray
from tentpole.storage.atomic import read_json, write_json
from tentpole.training.network_voter import members_in

TEACHER, LATTICE_A = "chgnet", 5.64
COLD_K, HOT_K = 300.0, 1900.0
TIMESTEP_FS, FRICTION_PER_FS, BAROSTAT_FS = 2.5, 0.02, 400.0
WINDOW_K = 100.0
GRAMS_PER_CM3 = (units.m / 100) ** 3 / (units.kg / 1000)
"""Of one unified atomic mass unit per Å³."""
UNBOUND = HealthLimits(max_volume_ratio=4.0, max_temperature_ratio=10.0, max_energy_rise_eV_per_atom=10.0)


@dataclass(frozen=True)
class Size:
    """How long everything is."""

    repeat: int = 2
    steps: int = 4000
    every: int = 20
    round_steps: int = 800
    first: int = 20
    batch: int = 20
    members: int = 4
    training: tuple[tuple[str, int], ...] = ()


SMOKE = Size(1, 40, 2, 20, 4, 8, 2, (("updates", 20), ("max_updates", 40)))


def campaign(out: Path, labels: int, size: Size) -> CampaignRecord:
    """Make committees from at most so many labels."""
    out.mkdir(parents=True, exist_ok=True)
    crystal = bulk("NaCl", "rocksalt", a=LATTICE_A).repeat(2)
    write(out / "nacl.xyz", crystal, format="extxyz")
    still = [{"structure": "nacl", "temperature_K": kelvin, "pressure_GPa": 0.0} for kelvin in (300.0, 800.0)]
    heating = [{"at": 0.0, "temperature_K": COLD_K}, {"at": 1.0, "temperature_K": HOT_K}]
    melt = [
        {"at": 0.0, "temperature_K": 600.0},
        {"at": 0.4, "temperature_K": 2800.0, "pressure_GPa": 0.5},
        {"at": 0.6, "temperature_K": HOT_K},
        {"at": 1.0, "temperature_K": 1300.0},
    ]
    ramps = [
        {"structure": "nacl", "name": name, "points": [{"pressure_GPa": 0.0, **point} for point in points]}
        for name, points in (("heating", heating), ("melt", melt))
    ]
    content = {
        "name": "melting",
        "seed": 1,
        "reference": TEACHER,
        "structures": [{"file": "nacl.xyz", "name": "nacl"}],
        "target": {"force_error_eV_per_A": 0.02},
        "stop": {"labels": labels},
        "initial": {"kind": "rattle", "count": size.first, "stdev_A": [0.05, 0.2]},
        "committee": {"members": size.members},
        "selection": {"batch": size.batch},
        "explore": {
            "steps": size.round_steps,
            "snapshot_every": 10,
            "ensemble": {
                "kind": "npt",
                "timestep_fs": 2.0,
                "friction_per_fs": FRICTION_PER_FS,
                "barostat_time_fs": 200,
            },
            "conditions": [*still, *ramps],
        },
        "training": {"max_L": 0, "r_max": 6.0, **dict(size.training)},
        "executor": {"workers": 1},
    }
    (out / "campaign.toml").write_text(tomli_w.dumps(content))
    with Campaign(out / "campaign.toml", out / "run") as one:
        one.run()
    return CampaignRecord.read(out / "run")


def heated(file: Path, potential: Calculator, start: Atoms, seed: int, size: Size) -> dict[str, Any]:
    """Heat `start` in `file`.h5: temperature in K, density in g/cm³ and energy in eV/atom of every frame."""
    told = file.with_suffix(".json")
    if told.is_file():
        return dict(read_json(told))
    ramp = Ramp((RampPoint(0.0, COLD_K, 0.0), RampPoint(1.0, HOT_K, 0.0)), size.steps)
    settings = ExploreSettings(
        size.steps,
        size.every,
        ensemble=NPT(TIMESTEP_FS, FRICTION_PER_FS, BAROSTAT_FS),
        health=UNBOUND,
        ramp=ramp,
    )
    key = WalkerSeed(seed, 1, 0)
    if not file.is_file():
        state = begin(1, "heated", Condition("nacl", COLD_K, 0.0, ramp="heating"), start, key, ramp)
        physical = _energy_and_forces(potential)
        write_exploration(file, explore(state, potential, physical, lambda _: UNSCORED, start, settings, key))
    found = read_exploration(file)
    frames = [shot.atoms for shot in found.snapshots]
    content = {
        "temperature_K": [COLD_K + (HOT_K - COLD_K) * shot.step / size.steps for shot in found.snapshots],
        "density": [float(a.get_masses().sum() / a.get_volume() * GRAMS_PER_CM3) for a in frames],
        "energy": [float(potential.get_property("energy", a)) / len(a) for a in frames],
        "mishaps": [mishap.message for mishap in found.mishaps],
        "seconds_per_step": found.md_seconds / size.steps,
    }
    write_json(told, content)
    return content


def _energy_and_forces(potential: Calculator) -> Any:
    def found(atoms: Atoms) -> tuple[float, FloatArray]:
        return potential.get_property("energy", atoms), potential.get_property("forces", atoms)

    return found


def windows(runs: Sequence[dict[str, Any]], what: str) -> FloatArray:
    """(runs, windows) means over each window of temperature."""
    edges = np.arange(COLD_K, HOT_K + 1, WINDOW_K)
    rows = []
    for run in runs:
        place = np.digitize(run["temperature_K"], edges[1:-1], right=True)
        values = np.array(run[what])
        rows.append([values[place == k].mean() if (place == k).any() else np.nan for k in range(len(edges) - 1)])
    return np.array(rows)


def compared(teacher: Sequence[dict[str, Any]], committee: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Deviations of means over seeds: of density as a share, of energy in meV/atom."""
    ours, theirs = windows(committee, "density"), windows(teacher, "density")
    density = np.abs(ours.mean(axis=0) / theirs.mean(axis=0) - 1)
    energy = 1e3 * np.abs(windows(committee, "energy").mean(axis=0) - windows(teacher, "energy").mean(axis=0))
    solid = np.arange(len(density)) * WINDOW_K + COLD_K < 1000.0
    apart = np.ptp(theirs, axis=0) / theirs.mean(axis=0)
    return {
        "density_deviation": density.tolist(),
        "density_deviation_mean": float(density.mean()),
        "density_deviation_largest": float(density.max()),
        "density_deviation_largest_below_1000_K": float(density[solid].max()),
        "energy_deviation_meV_per_atom_mean": float(energy.mean()),
        "energy_deviation_meV_per_atom_largest": float(energy.max()),
        "energy_rise_of_the_teacher_meV_per_atom": 1e3 * float(np.ptp(windows(teacher, "energy").mean(axis=0))),
        "teacher_seeds_apart_in_density_mean": float(apart.mean()),
        "teacher_seeds_apart_in_density_largest": float(apart.max()),
        "seconds_per_step": [float(np.median([r["seconds_per_step"] for r in runs])) for runs in (teacher, committee)],
        "mishaps": sum(len(run["mishaps"]) for run in (*teacher, *committee)),
    }


def draw(out: Path, teacher: Sequence[dict[str, Any]], committee: Sequence[dict[str, Any]], labels: int) -> None:
    """Density and energy against temperature, a line per seed."""
    figure = new_figure(9.0, 3.6)
    for axis, what, words in zip(
        figure.subplots(1, 2), ("density", "energy"), ("density in g/cm³", "energy in eV/atom"), strict=True
    ):
        for runs, colour, name in ((teacher, "0.35", "CHGNet"), (committee, "C0", f"committee, {labels} labels")):
            for k, run in enumerate(runs):
                axis.plot(run["temperature_K"], run[what], color=colour, lw=1, label=None if k else name)
        axis.set(xlabel="temperature in K", ylabel=words)
        axis.legend(frameon=False)
    figure.savefig(out / "melting.png", dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--smoke", action="store_true", help="everything tiny: does it run at all?")
    options = parser.parse_args()
    size = SMOKE if options.smoke else Size()
    record = campaign(options.out, options.labels, size)
    labels = sum(one.labels for one in record.rounds)
    models = record.state.newest_models(len(record.rounds) - 1)
    print(f"{record.verdict.kind}: {record.verdict.reason}\n{labels} labels; the committee is {models}", flush=True)
    start = bulk("NaCl", "rocksalt", a=LATTICE_A, cubic=True).repeat(size.repeat)
    with contextlib.redirect_stdout(io.StringIO()):  # CHGNet announces its device
        chgnet = load(TEACHER, ["Na", "Cl"]).calculator(atoms=start)
    drivers = {
        "committee": CommitteeCalculator(members_in(models, "float32", "own"), "mean", stress=True),
        "teacher": chgnet,
    }
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in drivers}
    for seed in options.seeds:
        for name, driver in drivers.items():
            runs[name].append(heated(options.out / f"{name}-{seed}.h5", driver, start, seed, size))
            print(f"{name}, seed {seed}: {runs[name][-1]['seconds_per_step']:.3f} s a step", flush=True)
    draw(options.out, runs["teacher"], runs["committee"], labels)
    print(
        json.dumps({"labels": labels, "verdict": record.verdict.kind, **compared(runs["teacher"], runs["committee"])})
    )


if __name__ == "__main__":
    main()
