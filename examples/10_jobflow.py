"""A campaign as a jobflow: each label a job, each round's jobs made when the round before is told.

What a job returns is plain JSON, so any store and any manager of jobflow's will do: here they run one after another on
this machine, on a cluster through jobflow-remote or FireWorks. A campaign is its folder: where a flow was lost, a new
one goes on with the same command.

    pip install jobflow
    python examples/10_jobflow.py campaign.toml runs/jobflow
"""

from __future__ import annotations

import sys
from typing import Any

from ase.calculators.emt import EMT
from jobflow import Flow, JobStore, Response, job, run_locally
from maggma.stores import MemoryStore

from tentpole import Campaign
from tentpole.storage.structures import atoms_from_json, atoms_to_json


@job
def label(name: str, structure: dict[str, Any]) -> dict[str, Any]:
    """Energy, forces and stress of one structure: the place for atomate2 or a code of your own."""
    atoms = atoms_from_json(structure)
    atoms.calc = EMT()
    try:
        return {
            "name": name,
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces().tolist(),
            "stress": atoms.get_stress().tolist(),
        }
    except ArithmeticError as error:  # no label is an answer too
        return {"name": name, "failed": str(error)}


@job
def next_round(source: str, folder: str, answers: list[dict[str, Any]]) -> Response[str]:
    """Tell the campaign what came of the last round, ask it for the next, and add the jobs that follow."""
    with Campaign(source, folder) as campaign:
        asked = {request.name: request for request in campaign.waiting(answered=True)}
        for answer in answers:
            request = asked[answer.pop("name")]
            lost = answer.pop("failed", None)
            campaign.tell(request.label(**answer) if lost is None else request.failed("crashed", lost))
        requests, verdict = campaign.ask(), campaign.verdict
    if verdict is not None:
        return Response(output=f"{verdict.kind}: {verdict.reason}")
    labels = [label(request.name, atoms_to_json(request.atoms)) for request in requests]
    then = next_round(source, folder, [one.output for one in labels])
    return Response(output=f"{len(labels)} structures asked for", addition=Flow([*labels, then]))


def main(source: str, folder: str) -> str:
    """Run the campaign in `folder` to its verdict; returns what the last job said."""
    store = JobStore(MemoryStore())
    flow = Flow([next_round(source, folder, [])])
    outputs = run_locally(flow, store=store, ensure_success=True, log=False)
    said = [response.output for runs in outputs.values() for response in runs.values()]
    return [text for text in said if isinstance(text, str)][-1]


if __name__ == "__main__":
    print(main(*sys.argv[1:3]))
