"""The figures of a study: learning curves with bands, σ against error, σ of selected against remaining."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tentpole.qbc.curves import histories, learning_curves

MEASURES = {
    "force_rmse": "force RMSE, meV/Å",
    "force_p95": "95th percentile of the force error, meV/Å",
    "energy_rmse_per_atom": "energy RMSE, meV/atom",
}


def draw(folder: Path, file: Path) -> Path:
    """Write the figures of the study in `folder` as one picture. Raises InputError where no round has ended."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    study = histories(folder)
    figure = Figure(figsize=(12.0, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    for axis, (measure, label) in zip(axes[0], MEASURES.items(), strict=True):
        for name, curve in learning_curves(folder, measure).items():
            low, high = curve.band
            (line,) = axis.plot(curve.n, 1e3 * curve.mean, marker="o", markersize=3, label=name)
            axis.fill_between(curve.n, 1e3 * low, 1e3 * high, color=line.get_color(), alpha=0.15, linewidth=0)
        axis.set(xlabel="training frames", ylabel=label, yscale="log")
        for ticks in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
            ticks("{x:g}")
    axes[0, 0].legend(frameon=False, title="mean and range over seeds")
    _against_error(axes[1, 0], [content[-1] for content in study.values()])
    for name in dict.fromkeys(rule for rule, _ in study):
        runs = [content for (rule, _), content in study.items() if rule == name]
        rounds = min(len(content) for content in runs)
        n = [runs[0][k]["n"] for k in range(rounds)]
        ratio = [
            [_ratio(content[k]["sigma_selected"], content[k]["sigma_remaining"]) for content in runs]
            for k in range(rounds)
        ]
        axes[1, 1].plot(n, np.mean(ratio, axis=1), marker="o", markersize=3, label=name)
        rank = np.mean([[content[k]["spearman_atoms"] for content in runs] for k in range(rounds)], axis=1)
        axes[1, 2].plot(n, rank, marker="o", markersize=3, label=name)
    axes[1, 1].axhline(1.0, color="0.7", linewidth=1)
    axes[1, 1].set(xlabel="training frames", ylabel="σ of the selected / σ of the remaining")
    axes[1, 2].set(xlabel="training frames", ylabel="rank correlation of σ and error, atoms")
    figure.savefig(file, dpi=120)
    return file


def _against_error(axis: object, last: list[dict[str, list[float]]]) -> None:
    sigma = 1e3 * np.concatenate([result["sigma"] for result in last])
    error = 1e3 * np.concatenate([result["error"] for result in last])
    axis.plot(sigma, error, ".", markersize=3, alpha=0.5)  # type: ignore[attr-defined]
    ends = np.array([sigma.min(), sigma.max()])
    axis.plot(ends, ends, color="0.5", linewidth=1)  # type: ignore[attr-defined]
    axis.set(  # type: ignore[attr-defined]
        xlabel="largest σ in a test frame, meV/Å", ylabel="largest error, meV/Å", xscale="log", yscale="log"
    )


def _ratio(selected: float | None, remaining: float | None) -> float:
    return np.nan if selected is None or remaining is None else selected / remaining
