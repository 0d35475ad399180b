"""The report: one self-contained HTML page, and its figures as PNG beside it."""

from __future__ import annotations

import base64
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from tentpole import __version__
from tentpole.campaign.record import CampaignRecord, ErrorFacts
from tentpole.progress import NoProgress, ProgressListener
from tentpole.report import curves, style, tables
from tentpole.report.parity import Pairs, disagreement_and_error, force_errors, parity
from tentpole.report.standing import standing
from tentpole.report.style import Picture
from tentpole.storage.atomic import atomic_write


def write_report(root: Path, out: Path | None = None, progress: ProgressListener | None = None) -> Path:
    """Write index.html and its figures into `out` (default: root/report), and return the page's path.

    Reads the campaign folder `root` and changes nothing in it, finished or not, while a driver works or not.
    Raises StateError for what is no campaign folder, InputError where matplotlib or jinja2 is missing.
    """
    record = CampaignRecord.read(root)
    environment = style.need("jinja2").Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    out = record.paths.report if out is None else Path(out)
    told = progress or NoProgress()
    told.progress("drawing figures", 0, 0)
    page = content(record)
    for picture in page["pictures"].values():
        atomic_write(out / f"{picture.name}.png", picture.png)
    environment.filters["data_uri"] = lambda data: "data:image/png;base64," + base64.b64encode(data).decode()
    environment.filters["sigma"] = _subscripts
    home = resources.files("tentpole.report")
    template = environment.from_string(home.joinpath("page.html").read_text(encoding="utf-8"))
    html = template.render(**page, css=home.joinpath("page.css").read_text(encoding="utf-8"))
    atomic_write(out / "index.html", html.lstrip().encode())
    return out / "index.html"


def _subscripts(text: str) -> Any:
    """σ_F and σ_E of plain text with real subscripts, everything else escaped."""
    markupsafe = style.need("markupsafe")
    return markupsafe.Markup(re.sub("σ_([A-Z])", r"σ<sub>\1</sub>", str(markupsafe.escape(text))))


def content(record: CampaignRecord) -> dict[str, Any]:
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
        "temperatures": ", ".join(f"{t:g}" for t in config.explore.temperatures_K),
        "rule": config.selection.rule,
        "standing": stands,
        "tests": tables.tests(stands.evidence),
        "record": record,
        "tiles": tables.tiles(record),
        "rounds": tables.rounds(record),
        "groups": tables.groups(record.frames),
        "conditions": tables.conditions(record.frames),
        "failed": [f for f in record.frames if f.outcome == "failed"],
        "mishaps": tables.mishaps(record.rounds),
        "times": tables.times(record.usage.shares),
        "pictures": {p.name: p for p in pictures(record)},
    }


def pictures(record: CampaignRecord) -> list[Picture]:
    """Every figure for which there is something to show."""
    target = record.config.target.force_error_eV_per_A
    found = [
        curves.learning_curve(record.rounds, target, record.validation_labels),
        curves.selected_sigma(record.rounds),
        curves.selected_gain(record.rounds),
    ]
    pairs = first_and_last(record)
    if pairs is not None:
        found += [*parity(*pairs), force_errors(*pairs)]
    judged = [(f.round, f.request.scores["force_std"], f.force_rmse) for f in record.frames if f.error is not None]
    if judged:
        of_round, sigma, error = zip(*judged, strict=True)
        found.append(disagreement_and_error(of_round, np.array(sigma), np.array(error)))
    found.append(curves.time_per_round(record.usage.waits_per_round))
    return [picture for picture in found if picture is not None]


def first_and_last(record: CampaignRecord) -> tuple[Pairs, Pairs] | None:
    """Force pairs of the first and of the newest committee.

    They are on the validation set, or where there is none on the labels that each met before it was trained on them.
    """
    total, on_validation, on_new = 0, list[Pairs](), list[Pairs]()
    held_out = f"the {record.validation_labels} validation frames"
    for r in record.rounds:
        number = int(r.name)
        if total:
            on_new += _pairs(number - 1, total, f"the new labels of round {number}, before training on them", r.errors)
        total += r.labels
        on_validation += _pairs(number, total, held_out, r.validation)
    found = on_validation or on_new
    return (found[0], found[-1]) if found else None


def _pairs(number: int, labels: int, what: str, errors: ErrorFacts | None) -> list[Pairs]:
    """The pairs of one committee; none where there were no frames."""
    if errors is None or errors.force_rmse is None or not len(errors.parity):
        return []
    return [Pairs(number, labels, what, errors.force_rmse, errors.parity)]
