"""The figures of a study: learning curves with bands, σ against error, σ of selected against remaining."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tentpole.benchmarks.figures import draw_curves, new_figure, plain_log, styles_of
from tentpole.benchmarks.qbc.curves import histories, learning_curves

MEASURES = {
    "force_rmse": "force RMSE, meV/Å",
    "force_p95": "95th percentile of the force error, meV/Å",
    "energy_rmse_per_atom": "energy RMSE, meV/atom",
}


def draw(folder: Path, file: Path) -> Path:
    """Write the figures of the study in `folder` as one picture. Raises InputError where no round has ended."""
    study = histories(folder)
    names = list(dict.fromkeys(rule for rule, _ in study))
    styles = styles_of(names, "random")
    figure = new_figure(12.0, 7.5)
    axes = figure.subplots(2, 3)
    for axis, (measure, label) in zip(axes[0], MEASURES.items(), strict=True):
        draw_curves(axis, learning_curves(folder, measure), styles, label, 1e3)
    axes[0, 0].legend(frameon=False, title="mean and range over seeds")
    _against_error(axes[1, 0], [content[-1] for content in study.values()])
    for name in names:
        runs = [content for (rule, _), content in study.items() if rule == name]
        rounds = min(len(content) for content in runs)
        n = [runs[0][k]["n"] for k in range(rounds)]
        ratio = [
            [_ratio(content[k]["sigma_selected"], content[k]["sigma_remaining"]) for content in runs]
            for k in range(rounds)
        ]
        axes[1, 1].plot(n, np.mean(ratio, axis=1), **styles[name])
        rank = np.mean([[content[k]["spearman_atoms"] for content in runs] for k in range(rounds)], axis=1)
        axes[1, 2].plot(n, rank, **styles[name])
    axes[1, 1].axhline(1.0, color="0.7", linewidth=1)
    axes[1, 1].set(xlabel="training frames", ylabel="σ of the selected / σ of the remaining")
    axes[1, 2].set(xlabel="training frames", ylabel="rank correlation of σ and error, atoms")
    figure.savefig(file, dpi=120)
    return file


def _against_error(axis: Any, last: list[dict[str, list[float]]]) -> None:
    sigma = 1e3 * np.concatenate([result["sigma"] for result in last])
    error = 1e3 * np.concatenate([result["error"] for result in last])
    axis.plot(sigma, error, ".", markersize=3, alpha=0.5)
    ends = np.array([sigma.min(), sigma.max()])
    axis.plot(ends, ends, color="0.5", linewidth=1)
    axis.set(xlabel="largest σ in a test frame, meV/Å", ylabel="largest error, meV/Å", xscale="log", yscale="log")
    plain_log(axis.xaxis)
    plain_log(axis.yaxis)


def _ratio(selected: float | None, remaining: float | None) -> float:
    return np.nan if selected is None or remaining is None else selected / remaining
