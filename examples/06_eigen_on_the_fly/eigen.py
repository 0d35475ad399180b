"""Labels on the fly where a committee has never been: trained on the Zundel cation, sent to the Eigen cation.

A committee of MACE models learns H5O2+ from GFN2-xTB, labelled on the spot, and then drives molecular dynamics of
H9O4+. Its disagreement σ_F is high there; frames worth a label go to xTB, the committee goes on from its weights,
and σ_F and the true force error fall, round after round. The same step as "regime 2" of the query-by-committee
tutorial of the Max Planck Institute for the Structure and Dynamics of Matter (2025), with its own reference.

    python examples/06_eigen_on_the_fly/eigen.py runs/eigen

Stop it at any time: the same command goes on where it was. At the end the folder holds eigen.png, and the campaign
in campaign/ (`tentpole report runs/eigen/campaign`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.io import read, write
from ase.md.langevin import Langevin
from rich.console import Console

from tentpole import Campaign, CampaignRecord
from tentpole.cli.progress_bars import Screen
from tentpole.config.loading import resolve

HERE = Path(__file__).parent
TIMESTEP_FS = 0.5


def zundel_frames(count: int, every: int = 20, temperature_K: float = 400.0) -> list[Atoms]:
    """Frames of the Zundel cation's dynamics with GFN2-xTB itself."""
    from tblite.ase import TBLite

    atoms = read(HERE.parent / "01_zundel" / "zundel.xyz")
    atoms.calc = TBLite(method="GFN2-xTB", charge=1, multiplicity=1, verbosity=0)
    rng = np.random.default_rng(0)
    thermal = np.sqrt(atoms.get_masses() * units.kB * temperature_K)
    atoms.set_momenta(thermal[:, None] * rng.normal(size=(len(atoms), 3)))
    dynamics = Langevin(
        atoms, TIMESTEP_FS * units.fs, temperature_K=temperature_K, friction=0.01 / units.fs, rng=rng, fixcm=False
    )
    frames = []
    for _ in range(count):
        dynamics.run(every)
        frames.append(Atoms(atoms.numbers, atoms.positions))
    return frames


def configuration(folder: Path, **changes: Any) -> dict[str, Any]:
    """The campaign: Zundel frames to start from, walkers of the Eigen cation alone."""
    content: dict[str, Any] = {
        "name": "eigen",
        "seed": 2,
        "reference": "xtb",
        "charge": 1,
        "multiplicity": 1,
        "structures": [{"file": str(HERE / "eigen.xyz")}],
        "initial": {"kind": "frames", "file": str(folder / "zundel.xyz")},
        "validation": {"kind": "reference-md", "frames": 60, "temperatures_K": [300], "timestep_fs": TIMESTEP_FS},
        "explore": {
            "temperatures_K": [300],
            "steps": 500,
            "snapshot_every": 5,
            "max_force_std_eV_per_A": 2.0,
            "ensemble": {"timestep_fs": TIMESTEP_FS},
            "health": {"max_gap_A": 2.5},
            "bias": {"ratios": [0.0, 0.3]},
        },
        "training": {"updates": 600},
        "selection": {"batch": 25, "rule": "two_key", "settings": {"gain": 0.001}},
        "stop": {"rounds": 4},
    }
    for section, values in changes.items():
        content[section] = {**content.get(section, {}), **values}
    return content


def course(folder: Path) -> list[dict[str, float]]:
    """Per round: Eigen labels so far, and on the held-out Eigen frames σ_F and the true force RMSE, in meV/Å."""
    rows, labels = [], 0
    for one in CampaignRecord.read(folder).rounds:
        held = one.validation
        if held is None or held.force_rmse is None:  # under way
            break
        labels += one.labels if one.name else 0
        spread = np.mean([frame.force_std for frame in held.frames.values()])
        rows.append({"labels": labels, "sigma": 1e3 * float(spread), "error": 1e3 * held.force_rmse})
    return rows


def draw(folder: Path, rows: list[dict[str, float]]) -> Path:
    """Draw σ_F and error over the rounds, and σ_F along the committee's own dynamics, beside the campaign."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    labels = [row["labels"] for row in rows]
    left.plot(labels, [row["error"] for row in rows], "o-", label="force RMSE against xTB")
    left.plot(labels, [row["sigma"] for row in rows], "s--", label="σ_F, the committee's own word")
    left.set(xlabel="Eigen frames labelled", ylabel="meV/Å, held-out xTB dynamics", yscale="log")
    left.legend(frameon=False)
    record = CampaignRecord.read(folder)
    for number in range(1, len(rows)):
        shard = record.explorations(number)["w00"]  # the walker without bias
        time_fs = [TIMESTEP_FS * snapshot.step for snapshot in shard.snapshots]
        sigma = [1e3 * scores.force_std for scores in shard.scores]
        right.plot(time_fs, sigma, linewidth=1, label=f"{int(labels[number - 1])} Eigen frames")
    right.set(xlabel="time, fs", ylabel="σ_F along the committee's dynamics, meV/Å", yscale="log")
    right.legend(frameon=False, title="trained on")
    for axis in (left, right):
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
    figure.savefig(folder.parent / "eigen.png", dpi=120)
    return folder.parent / "eigen.png"


def main(folder: Path, frames: int = 100, **changes: Any) -> list[dict[str, float]]:
    """Run the campaign in `folder`/campaign to its end, print the course and draw it."""
    folder, campaign_folder = folder.resolve(), folder / "campaign"
    folder.mkdir(parents=True, exist_ok=True)
    start = folder / "zundel.xyz"
    if not start.exists():
        write(start, zundel_frames(frames), format="extxyz")
    config = resolve(configuration(folder, **changes), start)
    with Screen(Console()) as screen, Campaign(config, campaign_folder, progress=screen) as campaign:
        print(campaign.run().kind)
    rows = course(campaign_folder)
    for row in rows:
        print(f"{row['labels']:4.0f} Eigen labels: σ_F {row['sigma']:6.1f}, force RMSE {row['error']:6.1f} meV/Å")
    print(draw(campaign_folder, rows))
    return rows


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/eigen"))
