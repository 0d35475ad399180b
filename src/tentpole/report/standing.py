"""How far a campaign has come, in words: its verdict, or what is done and what comes next, and the tests."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from tentpole.campaign.record import CampaignRecord, Evidence

TITLES = {
    "CONVERGED": "Converged",
    "COVERAGE_EXHAUSTED": "Coverage exhausted",
    "BUDGET": "Stopped by a limit",
    "STALLED": "Stalled",
    "STARVED": "Starved",
    "UNSTABLE": "Unstable",
}
"""Verdict → its name in plain words."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a campaign stands, in words.

    kind : the verdict's, or "" while there is none. title, reason, meaning : for the reader.
    advice : (what for, command or setting) in the order one would want them.
    """

    kind: str
    title: str
    reason: str
    meaning: str
    evidence: tuple[Evidence, ...]
    advice: tuple[tuple[str, str], ...]


def standing(record: CampaignRecord, example: str) -> Standing:
    """Where the campaign stands. `example` is a snapshot's id for the advice, "" for none."""
    if record.verdict is None:
        return Standing(
            "",
            "Not finished",
            f"there is no verdict yet: {under_way(record)}",
            "The tests of convergence below are judged on the rounds that are done.",
            record.tests,
            advice(record, "", example),
        )
    verdict = record.verdict
    steps = advice(record, verdict.kind, example)
    return Standing(verdict.kind, TITLES[verdict.kind], verdict.reason, verdict.meaning, record.tests, steps)


def under_way(record: CampaignRecord) -> str:
    """What an unfinished campaign is at."""
    return f"{record.under_way.words}, {'running' if record.running else 'not running'}"


def advice(record: CampaignRecord, kind: str, example: str) -> tuple[tuple[str, str], ...]:
    """How to go on from here."""
    folder, file = shlex.quote(str(record.folder)), record.paths.campaign_file
    go_on = f"tentpole run {folder}"
    training = record.config.training  # LAMMPS's pair styles run whole energies of mace's models alone
    alone = record.config.baseline is None and not training.embed and training.solve == "no"
    export = f"tentpole export {folder} --out exported"
    first = {
        "": [("Go on where it stopped. Nothing is lost, and no label is computed twice", go_on)],
        "BUDGET": [
            (f"Go on with a larger budget: raise [stop] in {file}, then", go_on),
        ],
        "CONVERGED": [
            (
                f"Use it: the models and the dataset for ASE{' and LAMMPS' if alone else ''}",
                export + (" --lammps" if alone else ""),
            ),
            (f"Aim lower: reduce [target] force_error_eV_per_A in {file}, then", go_on),
        ],
    }
    steps = first.get(kind, [])
    if not kind and record.state.is_hopeless:
        again = "Too few initial labels were accepted. Where the machine was at fault, have the failed ones tried again"
        steps = [(again, f"tentpole retry {folder}"), ("Then go on", go_on)]
    if kind in ("STALLED", "STARVED", "UNSTABLE", "COVERAGE_EXHAUSTED"):
        change = {
            "STARVED": "Try another rule, or other settings of it: [selection]",
            "STALLED": "Train longer: [training]",
            "UNSTABLE": "Take lower temperatures or smaller steps: [explore]",
            "COVERAGE_EXHAUSTED": "Explore further, by higher temperatures, longer MD or a stronger bias: [explore]",
        }[kind]
        new = "Or begin anew with another model or other initial labels; no label is computed again"
        steps = [
            (f"{change} in {file}, then", go_on),
            (new, f"tentpole run CAMPAIGN.toml --dir NEW --labels-from {folder}"),
        ]
    if example:
        steps.append(("Why a frame was labelled, or was not", f"tentpole explain {folder} {example}"))
    steps += [
        ("Where it stands, in a terminal", f"tentpole status {folder}"),
        ("The dataset as extended XYZ, and the models for ASE", export),
    ]
    return tuple(steps)
