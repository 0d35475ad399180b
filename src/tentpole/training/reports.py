"""What a training writes down while it runs and when it is done, and how that is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tentpole.committee.member_files import read_description
from tentpole.training.jobs import TrainingJob, TrainingReport

Row = tuple[int, float, float, float]
"""(update or, by mace's command, epoch; loss; energy RMSE in eV/atom; force RMSE in eV/Å) of held-out frames."""

_NUMBER = r"\s*([-+\w.]+)"
_EPOCH = re.compile(rf"Epoch (\d+): .*loss={_NUMBER}, RMSE_E_per_atom={_NUMBER} meV, RMSE_F={_NUMBER} meV / A")
_UPDATE = re.compile(rf"^update (\d+) of (\d+): loss{_NUMBER}, energy{_NUMBER} meV/atom, forces{_NUMBER} meV/Å", re.M)


def update_line(row: Row, of: int, lr: float) -> str:
    """A line of the log, as `read_curve` and `read_progress` understand it."""
    update, loss, energy, force = row
    return (
        f"update {update} of {of}: loss {loss:.6g}, energy {1e3 * energy:.3f} meV/atom, forces {1e3 * force:.3f} meV/Å "
        f"on held-out frames; rate {lr:.3g}"
    )


def read_progress(log: Path) -> tuple[int, int] | None:
    """Updates done, or epochs by mace's command, and how many there will be; None before the first of them."""
    with suppress(OSError, ValueError):
        done, in_all = log.with_suffix(".progress").read_text(encoding="utf-8").split()
        return int(done), int(in_all)
    text = _text(log)
    if told := _UPDATE.findall(text):
        return int(told[-1][0]), int(told[-1][1])
    if told := _EPOCH.findall(text):
        of = re.search(r"--max_num_epochs=(\d+)", text)
        return int(told[-1][0]) + 1, int(of.group(1)) if of else int(told[-1][0]) + 1
    return None


def read_curve(log: Path) -> list[Row]:
    """Each evaluation that a log tells of. Of several heads the mean is given; not of what is replayed."""
    text = "\n".join(line for line in _text(log).splitlines() if "head: pt_head" not in line)
    errors_at: dict[int, list[tuple[float, float, float]]] = {}
    for place, *values in [(a, *b) for a, _, *b in _UPDATE.findall(text)] or _EPOCH.findall(text):
        loss, energy, force = map(float, values)
        errors_at.setdefault(int(place), []).append((loss, 1e-3 * energy, 1e-3 * force))
    return [
        (place, *(sum(column) / len(rows) for column in zip(*rows, strict=True)))  # type: ignore[misc]
        for place, rows in errors_at.items()
    ]


def read_report(job: TrainingJob, *, skipped: bool = False) -> TrainingReport:
    """The report of a finished job, from the member itself. Raises as read_description does."""
    training = read_description(job.out)["training"]
    rows: Sequence[Row] = [tuple(row) for row in training["curve"]]
    best = min(rows, key=lambda row: row[1])
    return TrainingReport(
        member=job.member,
        out=job.out,
        seconds=float(training["seconds"]),
        updates=int(training["updates"]),
        energy_rmse=float(training.get("energy_rmse", best[2])),
        force_rmse=float(training.get("force_rmse", best[3])),
        curve=tuple((int(place), float(energy), float(force)) for place, _, energy, force in rows),
        warm_start=training["warm_start"] is not None,
        skipped=skipped,
        train_force_rmse=training.get("train_force_rmse"),
        under_trained=bool(training.get("under_trained", False)),
        stopped=str(training.get("stopped", "")),
    )


def _text(log: Path) -> str:
    return log.read_text(errors="replace", encoding="utf-8") if log.is_file() else ""
