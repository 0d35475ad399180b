"""How campaigns and verdicts look in a notebook: small tables of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tentpole.campaign.record import CampaignRecord
    from tentpole.campaign.verdict import Verdict

_HOLDS = {True: "holds", False: "does not hold", None: "cannot be judged yet"}


def verdict_html(verdict: Verdict) -> str:
    """The verdict, what it means, and the tests behind it."""
    rows = [
        [e.test, _number(e.value), _number(e.bound), "told, no test" if e.bound is None else _HOLDS[e.holds], e.note]
        for e in verdict.evidence
    ]
    head = f"<b>{escape(verdict.kind)}</b>: {escape(verdict.reason)}<br>{escape(verdict.meaning)}"
    return head + table(["test", "value", "bound", "result", ""], rows)


def record_html(record: CampaignRecord) -> str:
    """Its rounds, and its verdict or what it is at."""
    rows = [
        [
            str(r.name),
            f"{r.labels} of {r.asked}",
            _milli(r.new_force_rmse),
            _milli(r.new_energy_rmse),
            _milli(r.validation_force_rmse),
            r.facts.choice if r.name and r.facts.candidates else "",
        ]
        for r in record.rounds
    ]
    heads = ["round", "labels", "new: meV/Å", "new: meV/atom", "held out: meV/Å", "from candidates to labels"]
    config = record.config
    said = f"<b>{escape(config.name)}</b>: {record.labels} labels by {escape(config.reference)}"
    if record.verdict is not None:
        return said + table(heads, rows) + verdict_html(record.verdict)
    state = "running" if record.running else "not running"
    return f"{said}; {escape(record.under_way.words)}, {state}" + table(heads, rows)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table of plain text."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _milli(value: float | None) -> str:
    return "–" if value is None else f"{1000 * value:.1f}"
