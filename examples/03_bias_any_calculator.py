"""Entropy bias around any ASE calculator: here EMT copper at 300 K, with the bias and without.

The bias lowers the energy of configurations whose atoms see environments unlike one another. What that does
to the fingerprints a walker collects is drawn in one figure and said in two numbers: how widely they scatter
about their mean, and ln det of their covariance, the entropy that the bias raises.

    python examples/03_bias_any_calculator.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin

from tentpole import GOM, Covariance, EntropyBias

EVERY = 10
"""Steps between the frames that are kept."""


def run(ratio: float, steps: int, seed: int = 0) -> list[Atoms]:
    """Frames of a biased walk: these ten lines are all there is to it."""
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.rattle(0.02, seed=seed)
    atoms.calc = EntropyBias(EMT(), cutoff=5.0, ratio=ratio)
    rng = np.random.RandomState(seed)
    dynamics = Langevin(atoms, 2 * units.fs, temperature_K=300, friction=0.01 / units.fs, rng=rng, fixcm=False)
    frames: list[Atoms] = []
    dynamics.attach(lambda: frames.append(atoms.copy()), interval=EVERY)
    dynamics.run(steps)
    return frames


def spread(frames: list[Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """All fingerprint rows of the frames, and the log-det of the dataset as it grows frame by frame."""
    fingerprint, covariance = GOM(5.0), Covariance("per-atom", eps=1e-4)
    rows, growth = [], []
    for atoms in frames:
        rows.append(fingerprint.fingerprints(atoms))
        covariance.add(rows[-1])
        growth.append(covariance.logdet())
    return np.concatenate(rows), np.array(growth)


def main(steps: int = 300, out: str | Path = "bias_any_calculator.png", ratio: float = 1.0) -> dict[str, float]:
    """Draw the figure into `out` and return ln det and scatter of the collected fingerprints, plain and biased."""
    plain, biased = spread(run(0.0, steps)), spread(run(ratio, steps))
    _draw(plain, biased, ratio, Path(out))
    result = {"plain": float(plain[1][-1]), "biased": float(biased[1][-1])}
    wide = [float(np.sqrt(rows.var(axis=0).sum())) for rows, _ in (plain, biased)]
    result |= {"plain_scatter": wide[0], "biased_scatter": wide[1]}
    print(f"ln det of the fingerprint covariance after {steps} steps of 2 fs at 300 K:")
    print(f"  plain MD {result['plain']:.2f}, biased (force ratio {ratio:g}) {result['biased']:.2f}")
    print(
        f"scatter of the fingerprints about their mean: {wide[0]:.3f} and {wide[1]:.3f}, {wide[1] / wide[0]:.1f} times"
    )
    print(f"figure: {out}")
    return result


def _draw(plain: tuple[np.ndarray, np.ndarray], biased: tuple[np.ndarray, np.ndarray], ratio: float, out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    centre = plain[0].mean(axis=0)
    axes = np.linalg.svd(np.concatenate([plain[0], biased[0]]) - centre, full_matrices=False)[2][:2]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
    runs = [(biased, "#c44e00", f"biased, force ratio {ratio:g}"), (plain, "#20639b", "plain MD")]
    for (rows, growth), colour, name in runs:
        x, y = (rows - centre) @ axes.T[:, 0], (rows - centre) @ axes.T[:, 1]
        left.plot(x, y, ".", ms=2, alpha=0.4, color=colour, label=name, rasterized=True)
        right.plot(EVERY * np.arange(len(growth)), growth, color=colour, label=name)
    left.set(xlabel="first principal component", ylabel="second principal component")
    left.set_title("fingerprints of all atoms, 300 K")
    left.legend(markerscale=5, frameon=False)
    right.set(xlabel="MD step (2 fs)", ylabel="ln det of the fingerprint covariance")
    right.set_title("how wide the collected set is")
    right.legend(frameon=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=140)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", default="bias_any_calculator.png")
    parser.add_argument("--ratio", type=float, default=1.0)
    given = parser.parse_args()
    main(given.steps, given.out, given.ratio)
