"""The report: one self-contained HTML page, and its figures as PNG beside it."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from tentpole import __version__
from tentpole.campaign import batches
from tentpole.campaign.folder import stored_config
from tentpole.campaign.record import summarize
from tentpole.config.schema import CampaignConfig
from tentpole.report import curves, style, tables
from tentpole.report.frames import Frame, read_frames
from tentpole.report.parity import Pairs, disagreement_and_error, force_errors, parity
from tentpole.report.standing import standing
from tentpole.report.style import Picture
from tentpole.storage.atomic import atomic_write, read_json
from tentpole.storage.journal import read


def write_report(root: Path, out: Path | None = None) -> Path:
    """Write index.html and its figures into `out` (default: root/report), and return the page's path.

    Reads the campaign folder `root` and changes nothing in it, finished or not, while a driver works or not.
    Raises StateError for what is no campaign folder, InputError where matplotlib or jinja2 is missing.
    """
    root = Path(root)
    config = stored_config(root)
    environment = style.need("jinja2").Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    out = root / "report" if out is None else Path(out)
    page = content(root, config)
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


def content(root: Path, config: CampaignConfig) -> dict[str, Any]:
    """All that the page says, as plain data and finished figures."""
    summary, events = summarize(root), read(root / "journal.jsonl")
    frames = read_frames(root, config)
    explored = [f for f in frames if isinstance(f.round, int) and f.round > 0]
    example = next((f.request.id for f in reversed(explored)), "")
    stands = standing(root, config, summary, example)
    return {
        "version": __version__,
        "name": config.name,
        "reference": config.reference if not config.reference.endswith(".toml") else Path(config.reference).stem,
        "as_of": events[-1]["time"].replace("T", " ").replace("Z", " UTC") if events else "",
        "structures": [s.name for s in config.structures],
        "temperatures": ", ".join(f"{t:g}" for t in config.explore.temperatures_K),
        "rule": config.selection.rule,
        "standing": stands,
        "tests": tables.tests(stands.evidence),
        "summary": summary,
        "tiles": tables.tiles(summary, config),
        "rounds": tables.rounds(summary),
        "groups": tables.groups(frames),
        "conditions": tables.conditions(frames),
        "failed": [f for f in frames if f.outcome == "failed"],
        "mishaps": tables.mishaps(summary["rounds"]),
        "times": tables.times(summary["seconds"]),
        "pictures": {p.name: p for p in pictures(root, summary, frames, events)},
    }


def pictures(
    root: Path, summary: dict[str, Any], frames: Sequence[Frame], events: Sequence[dict[str, Any]]
) -> list[Picture]:
    """Every figure for which there is something to show."""
    rounds = summary["rounds"]
    found = [
        curves.learning_curve(rounds, summary["target_force_error_eV_per_A"], summary["validation_labels"]),
        curves.selected_sigma(rounds),
        curves.selected_gain(rounds),
    ]
    pairs = first_and_last(root, rounds, summary["validation_labels"])
    if pairs is not None:
        found += [*parity(*pairs), force_errors(*pairs)]
    judged = [(f.round, f.request.scores["force_std"], f.error) for f in frames if math.isfinite(f.error)]
    if judged:
        of_round, sigma, error = zip(*judged, strict=True)
        found.append(disagreement_and_error(of_round, np.array(sigma), np.array(error)))
    found.append(curves.time_per_round(tables.seconds_per_round(events)))
    return [picture for picture in found if picture is not None]


def first_and_last(root: Path, rounds: Sequence[dict[str, Any]], held_out: int) -> tuple[Pairs, Pairs] | None:
    """Force pairs of the first and of the newest committee: on the validation set, or where there is none on
    the labels that each met before it was trained on them."""
    total, on_validation, on_new = 0, [], []
    for r in rounds:
        number = r["round"]
        closed = batches.read_closed(root, number)["facts"] if batches.is_closed(root, number) else {}
        if closed.get("parity") and total:
            what = f"the new labels of round {number}, before training on them"
            on_new.append((number - 1, total, what, closed))
        total += r["labels"]
        if r["done"]:
            facts = read_json(root / "rounds" / f"r{number:03d}" / "done.json").get("validation", {})
            if facts.get("parity"):
                on_validation.append((number, total, f"the {held_out} validation frames", facts))
    found = [
        Pairs(number, labels, what, facts["force_rmse_eV_per_A"], np.asarray(facts["parity"], dtype=float))
        for number, labels, what, facts in (on_validation or on_new)
    ]
    return (found[0], found[-1]) if found else None
