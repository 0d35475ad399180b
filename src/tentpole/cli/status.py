"""What `tentpole status` prints: rounds, errors, calibration, time, budget, verdict."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from tentpole.cli.printing import marked
from tentpole.units import duration

if TYPE_CHECKING:
    from tentpole.campaign.record import CampaignRecord, Spread, Verdict


ROUNDS = 24
"""Rounds that the table shows unless all are asked for: a terminal's height."""


def print_status(out: Console, record: CampaignRecord, *, every_round: bool = False) -> None:
    """Print where the campaign stands. `every_round` : the table has all rounds, not the first and the last ones."""
    from tentpole.report.standing import advice
    from tentpole.report.tables import tests

    out.print(_rounds(record, every_round))
    words = (
        "σ_F (medians) and force RMSE in meV/Å, energy RMSE in meV/atom, stress in GPa; new: on the round's labels "
        "before training on them; held out: on the validation set after."
    )
    out.print(words, style="dim")
    if record.pretraining is not None:
        out.print(f"Members {record.pretraining.words}.")
    lines = [
        *_changes(record),
        *_funnels(record),
        *_calibration(record),
        *_costs(record),
        *_progress(record),
        *_ahead(record),
    ]
    for line in lines:
        out.print(line)
    if record.verdict is None:
        _print_tests(out, tests(record.tests))
        out.print(standing_now(record))
        if record.forecast is not None:
            out.print(f"Forecast: {record.forecast.words}")
    else:
        _print_verdict(out, record.verdict)
        what, command = advice(record, record.verdict.kind, "")[0]
        out.print(f"{what}:")
        out.print(f"  {command}", soft_wrap=True)


def standing_now(record: CampaignRecord) -> str:
    """What an unfinished campaign is at, and who works on it, or how to go on."""
    if record.running:
        driver = record.driver or {}
        since = str(driver.get("since", "?")).replace("T", " ")[:16]
        who = f"on {driver.get('host', '?')} (pid {driver.get('pid', '?')})"
        return f"Running since {since} {who}: {record.under_way.words}"
    if record.state.is_hopeless:
        accepted, asked = len(record.state.outcome(0).accepted), record.state.batch(0).asked
        return (
            f"Not running: {accepted} of {asked} initial labels were accepted, too few for a committee. Why they "
            f"failed: {record.paths.quarantine}. Where the machine was at fault: tentpole retry {record.folder!s}"
        )
    return f"Not running, stopped in {record.under_way.words}. No verdict yet. To go on: tentpole run {record.folder!s}"


def watch(out: Console, folder: Path, every_s: float) -> None:
    """Print where the campaign stands, again and again, until nobody works on it any more."""
    from tentpole.campaign import CampaignRecord

    while True:
        record = CampaignRecord.read(folder)
        if out.is_terminal:
            out.clear()
        print_status(out, record)
        if not record.running:
            return
        out.print(f"Again every {every_s:g} s; Ctrl-C ends the watching, not the campaign.", style="dim")
        time.sleep(every_s)


def in_meV(value: float | None) -> str:
    """An energy or a force in meV; - for nothing."""
    return "-" if value is None else f"{1000 * value:.1f}"


def _rounds(record: CampaignRecord, every_round: bool) -> Table:
    rounds = record.rounds
    left_out = 0 if every_round else max(0, len(rounds) - ROUNDS)
    shown = [*rounds[:1], *rounds[1 + left_out :]]
    title = f"{record.config.name}: {record.labels} labels by {record.config.reference}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    failed = any(r.failed for r in rounds)
    stress = any(r.new_stress_rmse or r.validation_stress_rmse for r in rounds)
    held_out = any(r.validation is not None for r in rounds)
    columns = {
        "round": [str(r.name) for r in shown],
        "labels": [f"{r.labels}/{r.asked}" for r in shown],
        **({"failed": [str(r.failed) for r in shown]} if failed else {}),
        "σ_F\nchosen": [_median(r.facts.force_std_chosen) for r in shown],
        "σ_F\nleft": [_median(r.facts.force_std_remaining) for r in shown],
        "new:\nforces": [in_meV(r.new_force_rmse) for r in shown],
        "new:\nenergy": [in_meV(r.new_energy_rmse) for r in shown],
        **({"new:\nstress": [_plain(r.new_stress_rmse) for r in shown]} if stress else {}),
    }
    if held_out:
        columns |= {
            "held out:\nforces": [in_meV(r.validation_force_rmse) for r in shown],
            "held out:\nenergy": [in_meV(r.validation_energy_rmse) for r in shown],
        }
    for heading in columns:
        table.add_column(heading, justify="right")
    for number, row in enumerate(zip(*columns.values(), strict=True)):
        table.add_row(*row)
        if left_out and number == 0:
            table.add_row("…")
    if left_out:
        table.caption, table.caption_justify = f"{left_out} rounds left out: all with --every-round", "left"
    return table


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


FUNNELS = 3
"""Newest rounds whose way from candidates to labels is printed; JSON and page have all."""


def _funnels(record: CampaignRecord) -> list[str]:
    explored = [r for r in record.rounds if r.name and r.facts.candidates]
    lines = [f"round {r.name}: {r.facts.choice}" for r in explored[-FUNNELS:]]
    return lines + ([record.starving[:1].upper() + record.starving[1:]] if record.starving else [])


def _changes(record: CampaignRecord) -> list[str]:
    """Settings that changed between rounds: the newest; JSON and page have all."""
    told = [change.words for change in record.setting_changes]
    earlier = [f"Earlier changes of settings: {len(told) - FUNNELS}, on the page"] if len(told) > FUNNELS else []
    return [*earlier, *told[-FUNNELS:]]


def _median(spread: Spread | None) -> str:
    return in_meV(None if spread is None else spread.median)


OF_THE_COMMITTEE_BEFORE = (
    ". Since then the committee was trained until its errors no longer fell, and its σ is worth something else"
)


def _calibration(record: CampaignRecord) -> list[str]:
    lines = []
    limits = [r.end.limit for r in record.rounds if r.end is not None and r.end.limit is not None]
    if limits:
        further = OF_THE_COMMITTEE_BEFORE if record.state.trained_further(len(record.rounds) - 1) else ""
        lines.append(f"Calibration of a frame's σ_F by audit frames: {limits[-1].limit.words}{further}")
        lines.append(f"Promises kept: {record.kept_promises.words}")
    worse = [r.outcome.canary.words for r in record.rounds if r.outcome and r.outcome.canary and r.outcome.canary.worse]
    lines += [f"A committee became worse: {words}" for words in worse[-FUNNELS:]]
    calibration = record.rounds[-1].calibration if record.rounds else None
    if calibration is not None:
        lines.append(f"Calibration of the largest atomic σ_F: {calibration.largest.words}")
        if calibration.frames is not None:
            lines.append(f"Calibration of a frame's mean σ_F: {calibration.frames.words}")
    covered = [f"{r.coverage:.0%}" for r in record.rounds if r.coverage is not None]
    if covered:
        lines.append(f"New frames within the error promised a round before: {', '.join(covered[-ROUNDS:])}")
    return lines


def _ahead(record: CampaignRecord) -> list[str]:
    """Labels still to come, while there is no verdict that more of them would be no use to."""
    if record.verdict is not None and record.verdict.kind != "BUDGET":
        return []
    projection = record.projection
    return [] if projection is None else [projection.words[:1].upper() + projection.words[1:]]


def _costs(record: CampaignRecord) -> list[str]:
    seconds = record.usage.shares
    total = sum(seconds.values()) or 1.0
    waits = ", ".join(f"{name} {duration(value)} ({value / total:.0%})" for name, value in seconds.items())
    used = ", ".join(f"{name} {duration(value)}" for name, value in record.budget.core_seconds.items())
    lines = [f"Time: {waits}", f"Time of workers' cores: {used}"]
    return lines + [f"{words}." for words in record.budget.words]


def _progress(record: CampaignRecord) -> list[str]:
    errors = record.validation_errors
    if len(record.rounds) < 2 or not errors or not errors[-1] > 0:
        return []
    first, last = errors[0], errors[-1]
    change = f", {first / last:.2f} times lower" if last < first else ""
    return [
        f"Force RMSE on {record.validation_labels} held-out frames: {1000 * first:.1f} -> {1000 * last:.1f} "
        f"meV/Å{change}"
    ]


def _print_verdict(out: Console, verdict: Verdict) -> None:
    from tentpole.report.tables import tests

    out.print(marked(verdict.kind, "bold", f": {verdict.reason}"))
    out.print(verdict.meaning)
    _print_tests(out, tests(verdict.evidence))


def _print_tests(out: Console, rows: list[dict[str, str]]) -> None:
    colours = {"holds": "green", "not yet": "yellow", "does not hold": "red", "cannot be judged yet": "yellow"}
    short = {"does not hold": "fails", "cannot be judged yet": "not yet", "told, no test": "told"}
    for row in rows:
        words, note = row["words"], f" ({row['note']})" if row["note"] else ""
        bound = "" if row["bound"] == "–" else f", wanted {row['bound']}"
        mark = f"  {short.get(words, words):7}"
        out.print(marked(mark, colours.get(words, "dim"), f"  {row['test']}: {row['value']}{bound}{note}"))
