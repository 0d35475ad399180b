"""The page's tables: numbers with their units, as the reader sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tentpole.campaign.record import CampaignRecord, Evidence, FrameRecord, RoundRecord, Spread
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
            words = "told, no test"
        rows.append({"test": name, "note": note, "value": value, "bound": bound, "state": state, "words": words})
    return rows


def tiles(record: CampaignRecord) -> list[dict[str, Any]]:
    """What stands at the top: a figure, its unit, a line below, and the share of a limit that is used."""
    used, limits = record.budget.used, record.budget.limit
    found = [
        _against("labels", record.labels, str(record.labels), limits["labels"]),
        _against("rounds of exploration", used["rounds"], str(used["rounds"]), limits["rounds"]),
        _against("hours of work", used["hours"], number(used["hours"], 2), limits["hours"]),
        _against("core-hours of workers", used["core_hours"], number(used["core_hours"], 2), limits["core_hours"]),
    ]
    errors = record.validation_errors
    target = f"target {1000 * record.config.target.force_error_eV_per_A:g} meV/Å"
    if errors:
        below = target if len(errors) < 2 else f"at first {milli(errors[0])}; {target}"
        what = "force RMSE on the validation set"
        found.append({"value": milli(errors[-1]), "unit": "meV/Å", "what": what, "below": below})
    fresh = [r.new_force_rmse for r in record.rounds if r.new_force_rmse is not None]
    if fresh:
        below = "last round, before training on them"
        what = "force RMSE on new labels"
        found.append({"value": milli(fresh[-1]), "unit": "meV/Å", "what": what, "below": below})
    failed = record.failed_labels
    below = "kept in quarantine with the code's own output" if failed else "none failed"
    found.append({"value": str(failed), "unit": "", "what": "failed labels", "below": below})
    return found


def _against(what: str, used: float, shown: str, limit: float | None) -> dict[str, Any]:
    if limit is None:
        return {"value": shown, "unit": "", "what": what, "below": "no limit set"}
    share = min(1.0, used / limit) if limit else 1.0
    return {"value": shown, "unit": "", "what": what, "below": f"of at most {limit:g}", "share": 100 * share}


def rounds(record: CampaignRecord) -> list[list[str]]:
    """One line per round: candidates, labels, σ_F and gain of selected and remaining, errors."""
    rows, total = [], 0
    for r in record.rounds:
        total += r.labels
        facts = r.facts
        sigma = [milli(_median(spread)) for spread in (facts.force_std_chosen, facts.force_std_remaining)]
        gain = [number(_median(spread)) for spread in (facts.gain_chosen, facts.gain_remaining)]
        errors = [milli(e) for e in (r.new_force_rmse, r.validation_force_rmse, r.validation_energy_rmse)]
        candidates = str(facts.candidates) if r.name else "–"
        rows.append([str(r.name), candidates, f"{r.labels} of {r.asked}", str(total), *sigma, *gain, *errors])
    return rows


def _median(spread: Spread | None) -> float | None:
    return None if spread is None else spread.median


def groups(frames: Sequence[FrameRecord]) -> list[dict[str, Any]]:
    """What was labelled, by round, the newest first; the initial structures and the validation set at the end."""
    names = list(dict.fromkeys(f.round for f in frames))
    order = sorted((n for n in names if isinstance(n, int)), reverse=True) + [n for n in names if isinstance(n, str)]
    found = []
    for name in order:
        of_round = [f for f in frames if f.round == name]
        counts = {o: sum(f.outcome == o for f in of_round) for o in ("accepted", "failed", "waiting")}
        said = [f"{n} {outcome}" for outcome, n in counts.items() if n]
        audits = sum(f.request.audit for f in of_round)
        title = f"Round {name}" if name else "Round 0: the initial structures"
        found.append(
            {
                "title": title if isinstance(name, int) else "The validation set",
                "said": ", ".join(said + ([f"{audits} for audit"] if audits else [])),
                "scored": any(f.request.scores for f in of_round),
                "rows": [_row(f) for f in of_round],
            }
        )
    return found


def _row(frame: FrameRecord) -> dict[str, str]:
    scores = frame.request.scores
    return {
        "id": frame.request.id,
        "condition": frame.condition,
        "sigma": milli(scores.get("force_std")),
        "largest": milli(scores.get("max_force_std")),
        "gain": number(scores.get("gain")),
        "audit": "audit" if frame.request.audit else "",
        "outcome": frame.outcome if frame.failure is None else frame.failure.reason,
        "state": frame.outcome,
        "error": milli(frame.force_rmse),
        "reason": frame.request.reason.removeprefix("audit: "),
    }


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
