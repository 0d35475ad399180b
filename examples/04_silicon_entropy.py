"""What the entropy bias buys, and what it costs: silicon at 300 and 1000 K, driven by CHGNet.

Si64 (diamond) walks at each temperature without bias and at several ratios of bias to physical force. For each
walk: the log-det of all fingerprints collected so far, their variance, bond lengths, coordination, and an
independent figure of coverage from QUESTS, which knows nothing of overlap fingerprints. One figure, one table.

    pip install "tentpole[chgnet]" quests
    python examples/04_silicon_entropy.py --out silicon

A walk that is already in the folder is read from there: delete it to walk again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.neighborlist import neighbor_list

from tentpole import GOM, Covariance, EntropyBias

CUTOFF, EPS, BOND = 5.0, 1e-4, 2.85
"""Å, dimensionless, and the length in Å up to which two silicon atoms count as bonded (half way to the second
shell of the crystal)."""


def chgnet() -> Any:
    """The driver. Raises SystemExit with the next step where CHGNet is not installed."""
    try:
        from chgnet.model import CHGNetCalculator
    except ImportError:
        raise SystemExit('CHGNet is not installed: pip install "tentpole[chgnet]"') from None
    return CHGNetCalculator(use_device="cpu")


def walk(driver: Any, temperature_K: float, ratio: float, steps: int, every: int, repeat: int) -> list[Atoms]:
    """Frames of one walk, each with what it cost in its info. Ratio 0 is plain MD."""
    atoms = bulk("Si", "diamond", 5.43, cubic=True).repeat(repeat)
    rng = np.random.RandomState(0)
    atoms.rattle(0.05, rng=rng)
    atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * np.sqrt(28.085 * units.kB * temperature_K))
    calculator = EntropyBias(driver, cutoff=CUTOFF, ratio=ratio, eps=EPS)
    atoms.calc = calculator if ratio else driver
    dynamics = Langevin(
        atoms, 2 * units.fs, temperature_K=temperature_K, friction=0.01 / units.fs, rng=rng, fixcm=False
    )
    frames: list[Atoms] = []
    began = time.perf_counter()

    def keep() -> None:
        frame = atoms.copy()
        results = atoms.calc.results
        frame.info["energy_eV"] = float(results.get("energy_unbiased", results["energy"]))
        frame.info["kinetic_K"] = float(atoms.get_temperature())
        frame.info["bias_strength_eV"] = float(results.get("bias_strength_eV", 0.0))
        frame.info["seconds"] = time.perf_counter() - began
        frames.append(frame)

    dynamics.attach(keep, interval=every)
    dynamics.run(steps)
    return frames


def growth(frames: Sequence[Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """ln det and total variance of the fingerprints collected up to each frame."""
    gom, covariance = GOM(CUTOFF), Covariance("per-atom", eps=EPS)
    logdet, variance = [], []
    for atoms in frames:
        covariance.add(gom.fingerprints(atoms))
        logdet.append(covariance.logdet())
        variance.append(float(np.trace(covariance.covariance)))
    return np.array(logdet), np.array(variance)


def bonds(frames: Sequence[Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """All interatomic distances up to 4.5 Å, and every atom's number of neighbours within BOND."""
    lengths, coordination = [], []
    for atoms in frames:
        i, d = neighbor_list("id", atoms, 4.5)
        lengths.append(d)
        coordination.append(np.bincount(i[d < BOND], minlength=len(atoms)))
    return np.concatenate(lengths), np.concatenate(coordination)


def quests_entropy(frames: Sequence[Atoms], most: int = 10) -> float | None:
    """Information entropy (nats) of the environments of at most `most` frames by QUESTS; None without it."""
    try:
        from quests.descriptor import get_descriptors
        from quests.entropy import perfect_entropy
    except ImportError:
        return None
    chosen = [frames[i].copy() for i in np.linspace(0, len(frames) - 1, min(most, len(frames))).astype(int)]
    return float(perfect_entropy(get_descriptors(chosen, k=32, cutoff=CUTOFF), h=0.015))


def main(
    steps: int = 200,
    out: str | Path = "silicon",
    ratios: Sequence[float] = (0.0, 0.1, 0.3, 0.5),
    temperatures_K: Sequence[float] = (300.0, 1000.0),
    every: int = 5,
    repeat: int = 2,
    driver: Callable[[], Any] = chgnet,
    quests: bool = True,
) -> list[dict[str, Any]]:
    """Walk, measure, draw out/silicon_entropy.png, and return the table's rows.

    The first of `ratios` is what the others are compared with: 0, plain MD.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    calculator = None
    walks: dict[tuple[float, float], list[Atoms]] = {}
    for temperature in temperatures_K:
        for ratio in ratios:
            file = folder / f"si_{temperature:g}K_ratio{ratio:g}.extxyz"
            frames: list[Atoms] = list(read(file, ":")) if file.exists() else []
            if len(frames) < steps // every + 1:
                calculator = calculator or driver()
                print(f"walking: {temperature:g} K, ratio {ratio:g}, {steps} steps", flush=True)
                write(file, walk(calculator, temperature, ratio, steps, every, repeat))
                frames = list(read(file, ":"))
            walks[temperature, ratio] = frames[: steps // every + 1]
    rows = [_row(t, r, frames, walks[t, ratios[0]], quests) for (t, r), frames in walks.items()]
    _compare_with_heating(rows, ratios[0])
    _print(rows, steps, every)
    _draw(walks, every, folder / "silicon_entropy.png")
    (folder / "silicon_entropy.json").write_text(json.dumps(rows, indent=1))
    return rows


def _row(
    temperature: float, ratio: float, frames: Sequence[Atoms], plain: Sequence[Atoms], quests: bool
) -> dict[str, Any]:
    logdet, variance = growth(frames)
    reference, _ = growth(plain)
    below = np.flatnonzero(logdet < reference[-1])  # matched once it stays above
    matched = int(below[-1]) + 1 if len(below) else 0
    half = frames[len(frames) // 2 :]
    coordination = bonds(frames)[1]
    return {
        "temperature_K": temperature,
        "ratio": ratio,
        "logdet": float(logdet[-1]),
        "logdet_above_plain": float(logdet[-1] - reference[-1]),
        "share_of_steps_to_match_plain": matched / (len(frames) - 1) if matched < len(frames) else None,
        "variance": float(variance[-1]),
        "not_fourfold": float((coordination != 4).mean()),
        "kinetic_K": float(np.mean([atoms.info["kinetic_K"] for atoms in half])),
        "energy_meV_per_atom": 1e3 * _energy(half),
        "energy_above_plain_meV_per_atom": 1e3 * (_energy(half) - _energy(plain[len(plain) // 2 :])),
        "strength_eV": float(frames[-1].info["bias_strength_eV"]),
        "quests_nats": quests_entropy(frames) if quests else None,
    }


def _compare_with_heating(rows: list[dict[str, Any]], plain: float) -> None:
    """Add to each row its ln det above that of plain MD heated to the same mean energy.

    Linear in energy between the plain walks; None outside their range. A bias raises the energy too: only what
    is left here is more than a hotter thermostat would have bought.
    """
    reference = sorted((r["energy_meV_per_atom"], r["logdet"]) for r in rows if r["ratio"] == plain)
    energies, logdets = np.array(reference).T
    for row in rows:
        energy = row["energy_meV_per_atom"]
        within = len(reference) > 1 and energies[0] <= energy <= energies[-1]
        heated = float(np.interp(energy, energies, logdets))
        row["logdet_above_heating"] = row["logdet"] - heated if within else None


def _energy(frames: Sequence[Atoms]) -> float:
    return float(np.mean([atoms.info["energy_eV"] / len(atoms) for atoms in frames]))


def _print(rows: list[dict[str, Any]], steps: int, every: int) -> None:
    print(f"one walk each, {steps} steps of 2 fs, a frame every {every}; energy and T over the second half")
    print("T/K   ratio  k/eV  ln det (over plain)  matches plain at  variance  not 4-fold  "
          "T kin/K  E over plain/meV  over heating  QUESTS/nats")  # fmt: skip
    for row in rows:
        share, quests = row["share_of_steps_to_match_plain"], row["quests_nats"]
        matches = "never" if share is None else f"{100 * share:.0f} %"
        coverage = "-" if quests is None else f"{quests:.3f}"
        heating = "-" if row["logdet_above_heating"] is None else f"{row['logdet_above_heating']:+.2f}"
        print(
            f"{row['temperature_K']:<5g} {row['ratio']:5g} {row['strength_eV']:5.2f} {row['logdet']:9.2f} "
            f"({row['logdet_above_plain']:+.2f}) {matches:>13} {row['variance']:13.5f} "
            f"{100 * row['not_fourfold']:8.2f} % {row['kinetic_K']:9.0f} "
            f"{row['energy_above_plain_meV_per_atom']:12.1f} {heating:>18} {coverage:>12}"
        )
    if all(row["quests_nats"] is None for row in rows):
        print("QUESTS figures are missing: pip install quests")


def _draw(walks: dict[tuple[float, float], list[Atoms]], every: int, out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    temperatures = sorted({t for t, _ in walks})
    ratios = sorted({r for _, r in walks})
    colours = dict(zip(ratios, plt.get_cmap("viridis")(np.linspace(0, 0.85, len(ratios))), strict=True))
    figure, grid = plt.subplots(
        len(temperatures), 4, figsize=(15, 3.6 * len(temperatures)), layout="constrained", squeeze=False
    )
    for line, temperature in zip(grid, temperatures, strict=True):
        for at, ratio in enumerate(ratios):
            frames = walks[temperature, ratio]
            logdet, variance = growth(frames)
            lengths, coordination = bonds(frames)
            steps = every * np.arange(len(frames))
            style = {"color": colours[ratio], "label": f"ratio {ratio:g}" if ratio else "plain MD"}
            line[0].plot(steps, logdet, **style)
            line[1].plot(steps, variance, **style)
            line[2].hist(lengths, bins=np.arange(1.9, 4.5, 0.04), histtype="step", density=True, **style)
            counts = np.array([(coordination == n).mean() for n in range(2, 8)])
            width = 0.8 / len(ratios)
            line[3].bar(np.arange(2, 8) + (at - 0.5 * (len(ratios) - 1)) * width, counts, width, **style)
        line[0].set(title=f"{temperature:g} K", xlabel="MD step (2 fs)", ylabel="ln det of fingerprints so far")
        line[1].set(xlabel="MD step (2 fs)", ylabel="their total variance")
        line[2].set(xlabel="distance (Å)", ylabel="density")
        line[2].set_xlim(1.9, 4.4)
        line[3].set(xlabel=f"neighbours within {BOND} Å", ylabel="share of atoms", yscale="log", ylim=(1e-4, 2))
        line[0].legend(frameon=False)
    figure.savefig(out, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", default="silicon")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.0, 0.1, 0.3, 0.5])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[300.0, 1000.0])
    given = parser.parse_args()
    main(given.steps, given.out, given.ratios, given.temperatures)
