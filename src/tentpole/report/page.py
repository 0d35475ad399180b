"""The report: one self-contained HTML page, and its figures as PNG beside it."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from tentpole import __version__
from tentpole.campaign.record import CampaignRecord, ErrorFacts, FrameRecord
from tentpole.config.walkers import temperatures_K
from tentpole.progress import NoProgress, ProgressListener
from tentpole.records import bare
from tentpole.report import curves, style, tables
from tentpole.report.atlas import Atlas, atlas
from tentpole.report.atlas import flat as atlas_flat
from tentpole.report.atlas import page as atlas_page
from tentpole.report.atlas import viewer as atlas_viewer
from tentpole.report.parity import (
    ENERGY,
    STRESS,
    Pairs,
    disagreement_and_error,
    force_errors,
    parity,
    values_parity,
)
from tentpole.report.standing import standing
from tentpole.report.style import Picture
from tentpole.storage.atomic import atomic_write
from tentpole.storage.labels import read_label
from tentpole.storage.structures import write_frames


def write_report(root: Path, out: Path | None = None, progress: ProgressListener | None = None) -> Path:
    """Write index.html and its figures.

    Changes nothing in the campaign folder, finished or not, while a driver works or not.

    Parameters
    ----------
    root : Path
        The campaign folder.
    out : Path, optional
        Where the page goes; root/report where None.
    progress : ProgressListener, optional
        Told what is being made.

    Returns
    -------
    Path
        The page's.

    Raises
    ------
    StateError
        For what is no campaign folder.
    InputError
        Where matplotlib or jinja2 is missing.
    """
    record = CampaignRecord.read(root)
    environment = style.need("jinja2").Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    out = record.paths.report if out is None else Path(out)
    told = progress or NoProgress()
    told.progress("drawing figures and the map of frames", 0, 0)
    the_map = atlas(record) if record.rounds else None
    page = content(record, the_map)
    page["map_page"], page["selected"] = _beside(record, the_map, out)
    for picture in page["pictures"].values():
        atomic_write(out / f"{picture.name}.png", picture.png)
    environment.filters["data_uri"] = lambda data: "data:image/png;base64," + base64.b64encode(data).decode()
    environment.filters["sigma"] = _subscripts
    home = resources.files("tentpole.report")
    template = environment.from_string(home.joinpath("page.html").read_text(encoding="utf-8"))
    text = template.render(**page, css=home.joinpath("page.css").read_text(encoding="utf-8"))
    atomic_write(out / "index.html", text.lstrip().encode())
    return out / "index.html"


def _subscripts(text: str) -> Any:
    """σ_F and σ_E of plain text with real subscripts, everything else escaped."""
    markupsafe = style.need("markupsafe")
    return markupsafe.Markup(re.sub("σ_([A-Z])", r"σ<sub>\1</sub>", str(markupsafe.escape(text))))


@dataclass(frozen=True, slots=True)
class Page:
    """A report page that is written: a notebook shows it.

    Parameters
    ----------
    path : Path
        Of index.html.
    """

    path: Path

    def _repr_html_(self) -> str:
        inside = html.escape(self.path.read_text(encoding="utf-8"), quote=True)
        style = "width: 100%; height: 48rem; border: 1px solid #ccc"
        return f'<iframe sandbox="allow-popups" style="{style}" srcdoc="{inside}"></iframe>'


def show(root: Path | str) -> Page:
    """Write the report of the campaign in `root` into its folder, for a notebook to show."""
    return Page(write_report(Path(root)))


def _beside(record: CampaignRecord, the_map: Atlas | None, out: Path) -> tuple[str, int]:
    """Write the chosen frames, and the map with structures where chemiscope is installed.

    Returns the map's file name, "" for none, and how many frames were chosen.
    """
    chosen = [frame for frame in record.frames if isinstance(frame.round, int) and frame.round]
    if chosen:
        write_frames(out / "selected.xyz", [_described(frame) for frame in chosen])
    script = atlas_viewer()
    if the_map is None or script is None:
        return "", len(chosen)
    walked = atlas_page(the_map, record.config.name, script.read_text(encoding="utf-8"))
    atomic_write(out / "map.html", walked.encode())
    return "map.html", len(chosen)


def _described(frame: FrameRecord) -> Atoms:
    """A chosen frame with what is known of it in its info."""
    atoms, request = bare(frame.request.atoms), frame.request
    told = {"id": request.id, "round": frame.round, "condition": frame.condition, "outcome": frame.outcome}
    atoms.info |= {**told, "audit": request.audit, **request.scores, "reason": request.reason}
    if frame.error is not None:
        atoms.info["force_rmse_found"] = frame.force_rmse
    return atoms


def content(record: CampaignRecord, the_map: Atlas | None = None) -> dict[str, Any]:
    """All that the page says, as plain data and finished figures."""
    config = record.config
    example = next((f.request.id for f in reversed(record.frames) if f.round and isinstance(f.round, int)), "")
    stands = standing(record, example)
    return {
        "version": __version__,
        "name": config.name,
        "reference": config.reference if not config.reference.endswith(".toml") else Path(config.reference).stem,
        "as_of": record.written.replace("T", " ").replace("Z", " UTC"),
        "structures": [s.name for s in config.structures],
        "temperatures": ", ".join(f"{t:g}" for t in temperatures_K(config)),
        "rule": config.selection.rule,
        "standing": stands,
        "tests": tables.tests(stands.evidence),
        "record": record,
        "tiles": tables.tiles(record),
        "rounds": tables.rounds(record),
        "funnels": tables.funnels(record),
        "groups": tables.groups(record.frames),
        "conditions": tables.conditions(record.frames),
        "failed": [f for f in record.frames if f.outcome == "failed"],
        "mishaps": tables.mishaps(record.rounds),
        "times": tables.times(record.usage.shares),
        "starving": record.starving,
        "forecast": record.forecast,
        "map_missing": the_map is not None and atlas_viewer() is None,
        "pictures": {p.name: p for p in [*pictures(record), *([atlas_flat(the_map)] if the_map is not None else [])]},
    }


def pictures(record: CampaignRecord) -> list[Picture]:
    """Every figure for which there is something to show."""
    target = record.config.target.force_error_eV_per_A
    drawn = [
        curves.learning_curve(record.rounds, target, record.validation_labels),
        curves.selected_sigma(record.rounds),
        curves.selected_gain(record.rounds),
    ]
    pairs = first_and_last(record)
    if pairs is not None:
        drawn += [*parity(*pairs), force_errors(*pairs)]
    for quantity, more in ((ENERGY, _energy_pairs), (STRESS, _stress_pairs)):
        if (both := first_and_last(record, more)) is not None:
            drawn.append(values_parity(quantity, *both))
    judged = [
        (f.round, f.request.scores["force_std"], f.force_rmse)
        for f in record.frames
        if f.error is not None and "force_std" in f.request.scores
    ]
    if judged:
        of_round, sigma, error = zip(*judged, strict=True)
        drawn.append(disagreement_and_error(of_round, np.array(sigma), np.array(error)))
    drawn.append(curves.time_per_round(record.usage.waits_per_round))
    return [picture for picture in drawn if picture is not None]


_Judged = tuple[int, int, str, Callable[[], ErrorFacts | None]]
"""The round of a committee, its labels, what it was judged on, and what reads its errors with the pairs."""

Finder = Callable[[CampaignRecord, int, int, str, ErrorFacts | None], Pairs | None]


def first_and_last(record: CampaignRecord, pairs: Finder | None = None) -> tuple[Pairs, Pairs] | None:
    """Pairs (of forces, or what `pairs` finds) of the first and of the newest committee.

    They are on the validation set, or where there is none on the labels that each met before it was trained on them.
    """
    find = pairs or _force_pairs
    on_validation, on_new = list[_Judged](), list[_Judged]()
    total, held_out = 0, f"the {record.validation_labels} validation frames"
    for r in record.rounds:
        number = int(r.name)
        if total and r.errors is not None:
            what = f"the new labels of round {number}, before training on them"
            on_new.append((number - 1, total, what, r.errors_with_pairs))
        if r.outcome is None or not r.outcome.passed:  # nothing is trained on a final look that was passed
            total += r.labels
        if r.validation is not None:
            on_validation.append((number, total, held_out, r.validation_with_pairs))
    for committees in (on_validation, on_new):
        first, last = (
            next(filter(None, (find(record, n, labels, what, read()) for n, labels, what, read in order)), None)
            for order in (committees, committees[::-1])
        )
        if first is not None and last is not None:
            return first, last
    return None


def _force_pairs(
    _record: CampaignRecord, number: int, labels: int, what: str, errors: ErrorFacts | None
) -> Pairs | None:
    """The pairs of one committee; none where there were no frames."""
    if errors is None or errors.force_rmse is None or not len(errors.parity):
        return None
    return Pairs(number, labels, what, errors.force_rmse, errors.parity)


def _energy_pairs(
    record: CampaignRecord, number: int, labels: int, what: str, errors: ErrorFacts | None
) -> Pairs | None:
    """Energies per atom in meV, less the mean of the frames of the same formula."""
    if errors is None or errors.energy_rmse is None:
        return None
    known = [(read_label(path), e) for name, e in errors.frames.items() if (path := record.paths.label(name)).exists()]
    formulas = np.array([label.atoms.get_chemical_formula() for label, _ in known])
    reference = np.array([1000 * label.energy / len(label.atoms) for label, _ in known])
    off = np.array([1000 * error.energy_error for _, error in known])
    for formula in set(formulas.tolist()):
        reference[formulas == formula] -= reference[formulas == formula].mean()
    good = np.isfinite(off)
    if not good.any():
        return None
    pairs = np.column_stack([reference, reference + off])[good]
    return Pairs(number, labels, what, 1000 * errors.energy_rmse, pairs)


def _stress_pairs(
    _record: CampaignRecord, number: int, labels: int, what: str, errors: ErrorFacts | None
) -> Pairs | None:
    """Stress components in GPa."""
    if errors is None or errors.stress_rmse is None or not len(errors.stress_parity):
        return None
    return Pairs(number, labels, what, errors.stress_rmse, errors.stress_parity)
