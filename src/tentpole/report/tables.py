"""The page's tables: numbers with their units, as the reader sees them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from tentpole.campaign.record import CampaignRecord, Evidence, FrameRecord, RoundRecord, Spread
from tentpole.report import thumbnails
from tentpole.report.curves import PHASES
from tentpole.units import duration


def number(value: float | None, digits: int = 3) -> str:
    """`digits` significant ones, whole numbers whole, no exponent where it can be helped; an en dash for nothing."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e6:
        return f"{value:,.0f}".replace(",", " ").replace("-", "−")
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{places}f}".replace(",", " ").replace("-", "−")


def milli(value: float | None) -> str:
    """eV/Å as meV/Å, or eV/atom as meV/atom."""
    return number(None if value is None else 1000 * value)


UNITS = ((", eV/Å", 1000.0, " meV/Å"), (", eV/atom", 1000.0, " meV/atom"), (", GPa", 1.0, " GPa"))
"""End of a test's name, factor and unit as the reader sees it."""


def tests(evidence: Sequence[Evidence]) -> list[dict[str, str]]:
    """The evidence of a verdict: forces in meV/Å, shares in per cent, the bound with its direction."""
    rows = []
    for test in evidence:
        if test.value is None and test.bound is None:  # nothing is known of it and nothing is asked
            continue
        name, factor, unit = test.test, 1.0, ""
        for end, times, shown in UNITS:
            if name.endswith(end):
                name, factor, unit = name.removesuffix(end), times, shown
        if name.startswith("share"):
            factor, unit = 100.0, " %"
        at_least = test.note == "at least"
        note = "" if at_least or test.value is None else test.note
        value = "–" if test.value is None else number(factor * test.value) + unit
        bound = "–" if test.bound is None else f"{'≥' if at_least else '≤'} {number(factor * test.bound)}{unit}"
        state = {True: "holds", False: "fails", None: "open"}[test.holds]
        fails = "not yet" if at_least else "does not hold"
        words = {"holds": "holds", "fails": fails, "open": "cannot be judged yet"}[state]
        if test.bound is None and test.value is not None:
            words, state = "told, no test", "told"
        rows.append({"test": name, "note": note, "value": value, "bound": bound, "state": state, "words": words})
    return rows


def tiles(record: CampaignRecord) -> list[dict[str, Any]]:
    """What stands at the top: a figure, its unit, a line below, and the share of a limit that is used."""
    used, limits = record.budget.used, record.budget.limit
    cores_s = 3600 * used["core_hours"]
    shown = [
        _against("labels", record.labels, str(record.labels), limits["labels"]),
        _against("rounds of exploration", used["rounds"], str(used["rounds"]), limits["rounds"]),
        _against("of work", used["hours"], duration(3600 * used["hours"]), limits["hours"], 3600.0),
        _against("of workers' cores", used["core_hours"], duration(cores_s), limits["core_hours"], 3600.0),
    ]
    errors = record.validation_errors
    target = f"target {1000 * record.config.target.force_error_eV_per_A:g} meV/Å"
    if errors:
        below = target if len(errors) < 2 else f"at first {milli(errors[0])}; {target}"
        what = "force RMSE on the validation set"
        shown.append({"value": milli(errors[-1]), "unit": "meV/Å", "what": what, "below": below})
    fresh = [r.new_force_rmse for r in record.rounds if r.new_force_rmse is not None]
    if fresh:
        below = "last round, before training on them"
        what = "force RMSE on new labels"
        shown.append({"value": milli(fresh[-1]), "unit": "meV/Å", "what": what, "below": below})
    failed = record.failed_labels
    below = "kept in quarantine with the code's own output" if failed else "none failed"
    shown.append({"value": str(failed), "unit": "", "what": "failed labels", "below": below})
    return shown


def _against(what: str, used: float, shown: str, limit: float | None, seconds: float = 0.0) -> dict[str, Any]:
    """`seconds` : in a unit of `limit`, where that is a time."""
    if limit is None:
        return {"value": shown, "unit": "", "what": what, "below": "no limit set"}
    share = min(1.0, used / limit) if limit else 1.0
    at_most = duration(seconds * limit) if seconds else f"{limit:g}"
    return {"value": shown, "unit": "", "what": what, "below": f"of at most {at_most}", "share": 100 * share}


def rounds(record: CampaignRecord) -> dict[str, Any]:
    """One row per round: labels, σ_F and gain of selected and remaining, errors. Columns without a value are left out.

    Each column is its heading in parts and its unit; the cells of a row are in the columns' order.
    """
    all_of_it, total = list[tuple[str, str, str, list[str]]](), 0
    counts, sums = [], []
    for r in record.rounds:
        total += r.labels
        counts.append(f"{r.labels} of {r.asked}")
        sums.append(str(total))
    each = record.rounds
    force, energy, stress = "meV/Å", "meV/atom", "GPa"
    all_of_it += [
        ("Round", "", "", [str(r.name) for r in each]),
        ("Labels", "", "", counts),
        ("In all", "", "", sums),
        ("σ_F", "selected", force, [milli(_median(r.facts.force_std_chosen)) for r in each]),
        ("σ_F", "remaining", force, [milli(_median(r.facts.force_std_remaining)) for r in each]),
        ("Gain", "selected", "", [number(_median(r.facts.gain_chosen)) for r in each]),
        ("Gain", "remaining", "", [number(_median(r.facts.gain_remaining)) for r in each]),
        ("New labels,", "forces", force, [milli(r.new_force_rmse) for r in each]),
        ("New,", "energy", energy, [milli(r.new_energy_rmse) for r in each]),
        ("New,", "stress", stress, [number(r.new_stress_rmse, 2) for r in each]),
        ("Validation,", "forces", force, [milli(r.validation_force_rmse) for r in each]),
        ("Validation,", "energy", energy, [milli(r.validation_energy_rmse) for r in each]),
        ("Validation,", "stress", stress, [number(r.validation_stress_rmse, 2) for r in each]),
    ]
    kept = [column for column in all_of_it if set(column[3]) != {"–"} or column[0] in ("σ_F", "Gain", "New labels,")]
    rows = [list(cells) for cells in zip(*(column[3] for column in kept), strict=True)]
    return {"columns": [column[:3] for column in kept], "rows": rows}


def funnels(record: CampaignRecord) -> list[dict[str, str]]:
    """Each explored round's way from candidates to labels, in words."""
    explored = [r for r in record.rounds if r.name and r.facts.candidates]
    return [{"round": str(r.name), "words": r.facts.choice, "key": r.facts.first_key} for r in explored]


def _median(spread: Spread | None) -> float | None:
    return None if spread is None else spread.median


def groups(frames: Sequence[FrameRecord]) -> list[dict[str, Any]]:
    """What was labelled, by round, the newest first; the initial structures and the validation set at the end."""
    names = list(dict.fromkeys(f.round for f in frames))
    order = sorted((n for n in names if isinstance(n, int)), reverse=True) + [n for n in names if isinstance(n, str)]
    rows, pictured = [], _pictured(frames)
    for name in order:
        of_round = [f for f in frames if f.round == name]
        counts = {o: sum(f.outcome == o for f in of_round) for o in ("accepted", "failed", "waiting")}
        said = [f"{n} {outcome}" for outcome, n in counts.items() if n]
        audits = sum(f.request.audit for f in of_round)
        title = f"Round {name}" if name else "Round 0: the initial structures"
        rows.append(
            {
                "title": title if isinstance(name, int) else "The validation set",
                "said": ", ".join(said + ([f"{audits} for audit"] if audits else [])),
                "scored": any(f.request.scores for f in of_round),
                "pictured": any(f.request.id in pictured for f in of_round),
                "rows": [_row(f, drawn=f.request.id in pictured) for f in of_round],
            }
        )
    return rows


MOST_PICTURES = 240
"""Frames with a small picture, the newest; and so many atoms in all of them."""
MOST_ATOMS = 12_000


def _pictured(frames: Sequence[FrameRecord]) -> set[str]:
    """Ids of the frames that get a picture."""
    names, atoms = set[str](), 0
    explored = [f for f in frames if isinstance(f.round, int) and f.round]
    for frame in [*reversed(explored), *(f for f in frames if f.round == 0)][:MOST_PICTURES]:
        atoms += min(thumbnails.MOST_ATOMS, len(frame.request.atoms))
        if atoms <= MOST_ATOMS:
            names.add(frame.request.id)
    return names


def _row(frame: FrameRecord, *, drawn: bool = False) -> dict[str, str]:
    scores = frame.request.scores
    return {
        "picture": thumbnails.svg(frame.request.atoms) if drawn else "",
        "id": frame.request.id,
        "condition": frame.condition,
        "sigma": milli(scores.get("force_std")),
        "largest": milli(scores.get("max_force_std")),
        "gain": number(scores.get("gain")),
        "audit": "audit" if frame.request.audit else "",
        "outcome": frame.outcome if frame.failure is None else frame.failure.reason,
        "state": frame.outcome,
        "error": milli(frame.force_rmse),
        "reason": in_meV(frame.request.reason.removeprefix("audit: ")),
    }


def in_meV(reason: str) -> str:
    """A rule's reason with its σ, which rules know in eV/Å, in meV/Å like the columns beside it.

    >>> in_meV("σ 0.08136 at least 0.0386: gain 0.5 at choice 1")
    'σ 81.4 meV/Å, at least 38.6: gain 0.5 at choice 1'
    """
    match = re.match(r"σ ([0-9.e+-]+) at least ([0-9.e+-]+)", reason)
    if match is None:
        return reason
    return f"σ {milli(float(match[1]))} meV/Å, at least {milli(float(match[2]))}{reason[match.end() :]}"


def conditions(frames: Sequence[FrameRecord]) -> dict[str, Any]:
    """Labels per condition and round, with totals, and for shading each cell's share of the largest."""
    counts = _by_condition(frames)
    columns = sorted({r for row in counts.values() for r in row})
    most = max((n for row in counts.values() for n in row.values()), default=1)
    rows = [
        {
            "name": name,
            "cells": [{"n": row.get(r, 0), "shade": round(0.45 * row.get(r, 0) / most, 3)} for r in columns],
            "total": sum(row.values()),
        }
        for name, row in counts.items()
    ]
    return {"columns": columns, "rows": rows}


def _by_condition(frames: Sequence[FrameRecord]) -> dict[str, dict[int, int]]:
    """How many labels each condition was given per round of exploration, failed ones not counted."""
    counts: dict[str, dict[int, int]] = {}
    for frame in frames:
        if isinstance(frame.round, int) and frame.round > 0 and frame.outcome == "accepted":
            row = counts.setdefault(frame.condition, {})
            row[frame.round] = row.get(frame.round, 0) + 1
    return dict(sorted(counts.items()))


def mishaps(rounds: Sequence[RoundRecord]) -> dict[str, Any]:
    """How often walkers were reset, by reason and round."""
    explored = [r for r in rounds if r.name]
    reasons = sorted({reason for r in explored for reason in r.facts.mishaps})
    rows = []
    for reason in reasons:
        cells = [r.facts.mishaps.get(reason, 0) for r in explored]
        rows.append({"name": reason, "cells": cells, "total": sum(cells)})
    return {"columns": [r.name for r in explored], "rows": rows}


def times(seconds: dict[str, float]) -> list[dict[str, Any]]:
    """Where all the time went: phase, time, share in per cent."""
    total = sum(seconds.values())
    if not total:
        return []
    known = PHASES | {"engine": ("the engine itself", "#8a95a0")}
    rows = []
    for phase, s in seconds.items():
        name, colour = known.get(phase, (phase, "#8a95a0"))
        percent = 100 * s / total
        rows.append({"name": name, "time": duration(s), "percent": percent, "colour": colour})
    return rows
