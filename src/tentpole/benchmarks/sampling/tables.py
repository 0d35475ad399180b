"""A study's figures as tables: for the terminal, and for the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tentpole.benchmarks.sampling.sets import MEASURES, WHOLE, scale_of
from tentpole.units import duration

Lines = list[list[str]]
StudyTable = tuple[str, list[str], Lines]
"""Title, header and lines."""
SHORT = ("energy_mae", "force_mae")
"""What the terminal tells; the page has every measure."""


def errors_of(facts: Mapping[str, Any], name: str, group: str) -> StudyTable:
    """All measures of a test set at the largest size, a line per policy."""
    lines = [
        [policy, *(_cell(measures[measure][-1], scale_of(measure)) for measure in MEASURES)]
        for policy, measures in facts["errors"][name][group].items()
    ]
    return f"{_title(name, group)}, N = {facts['sizes'][-1]}", ["policy", *MEASURES.values()], lines


def errors_at_the_end(facts: Mapping[str, Any]) -> StudyTable:
    """Energy and force MAE of every test set at the largest size, a line per policy."""
    names = list(facts["errors"])
    lines: dict[str, list[str]] = {}
    for name in names:
        for policy, measures in facts["errors"][name][WHOLE].items():
            cells = [_cell(measures[measure][-1], scale_of(measure)) for measure in SHORT]
            lines.setdefault(policy, []).append(" | ".join(cells))
    title = f"N = {facts['sizes'][-1]}: energy MAE in meV/atom | force MAE in meV/Å, means over draws"
    return title, ["policy", *names], [[policy, *cells] for policy, cells in lines.items()]


def ratios_of(facts: Mapping[str, Any], name: str, group: str) -> StudyTable:
    """All ratios to the baseline on a test set, a line per policy."""
    rows = [row for row in facts["ratios"] if (row["set"], row["group"]) == (name, group)]
    columns = list(dict.fromkeys((row["measure"], row["what"]) for row in rows))
    found = {(row["rule"], row["measure"], row["what"]): ratio_words(row) for row in rows}
    header = ["policy", *(f"{MEASURES[measure].partition(',')[0]}, {what}" for measure, what in columns)]
    policies = dict.fromkeys(row["rule"] for row in rows)
    return _title(name, group), header, [[p, *(found.get((p, *c), "") for c in columns)] for p in policies]


def ratios_over_all(facts: Mapping[str, Any]) -> list[StudyTable]:
    """Ratios to the baseline over all sizes, a table per measure; none where nothing is compared."""
    tables = []
    last = [row["what"] for row in facts["ratios"]][-1:]
    for measure in SHORT if last else ():
        rows = [r for r in facts["ratios"] if (r["measure"], r["what"], r["group"]) == (measure, last[0], WHOLE)]
        found = {(row["rule"], row["set"]): ratio_words(row) for row in rows}
        lines = [
            [p, *(found.get((p, name), "") for name in facts["errors"])] for p in dict.fromkeys(r for r, _ in found)
        ]
        title = f"{MEASURES[measure].partition(',')[0]} over that of {facts['baseline']}, {last[0]}"
        tables.append((title, ["policy", *facts["errors"]], lines))
    return tables


def times_of_all(facts: Mapping[str, Any]) -> StudyTable:
    """Times per draw, a line per policy."""
    kinds = ("md", "choosing", "labelling", "training")
    lines = [[policy, *(duration(t[kind]) for kind in kinds)] for policy, t in facts["times"].items() if t]
    return "Times", ["policy", "MD", "choosing", "labels", "training"], lines


def cut_short(facts: Mapping[str, Any]) -> str:
    """A warning where trainings ended before their errors had ceased to fall; "" where none did."""
    trained = facts["trainings"]
    if not trained["at_their_limit"]:
        return ""
    return (
        f"{trained['at_their_limit']} of {trained['models']} models ended at the limit of their updates, before errors "
        "had ceased to fall: part of the errors is the training's, and hides what policies differ by. Raise "
        "training.updates and training.max_updates."
    )


def ratio_words(row: Mapping[str, Any]) -> str:
    """As in "0.62 (0.55–0.71)"; "" where it is not known."""
    if row["ratio"] is None:
        return ""
    bounds = "" if row["low"] is None else f" ({row['low']:.2f}–{row['high']:.2f})"
    return f"{row['ratio']:.2f}{bounds}"


def _title(name: str, group: str) -> str:
    return name if group == WHOLE else f"{name}: {group}"


def _cell(value: float | None, scale: float) -> str:
    return "" if value is None or not math.isfinite(value) else f"{scale * value:.3g}"
