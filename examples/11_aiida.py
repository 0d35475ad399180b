"""A campaign whose labels are calculations of AiiDA: each with its inputs and outputs in the provenance graph.

Without a profile of your own a temporary one is made, which needs no database server and no daemon. A structure that a
calculation has labelled already is taken from AiiDA's cache.

    pip install aiida-core
    python examples/11_aiida.py campaign.toml runs/aiida
"""

from __future__ import annotations

import sys

from aiida import load_profile
from aiida.common.exceptions import ConfigurationError
from aiida.engine import calcfunction
from aiida.manage.caching import enable_caching
from aiida.orm import Dict
from aiida.storage.sqlite_temp import SqliteTempBackend
from ase.calculators.emt import EMT

from tentpole import Campaign
from tentpole.campaign import Request
from tentpole.records import Label
from tentpole.storage.structures import atoms_from_json, atoms_to_json


@calcfunction
def label(structure: Dict) -> Dict:
    """Energy, forces and stress of one structure: the place for a workchain of your code."""
    atoms = atoms_from_json(structure.get_dict())
    atoms.calc = EMT()
    return Dict(
        {
            "energy": float(atoms.get_potential_energy()),
            "forces": atoms.get_forces().tolist(),
            "stress": atoms.get_stress().tolist(),
        }
    )


def labelled(request: Request) -> Label:
    """The answer to a request, with the number of the node in AiiDA that holds it."""
    found = label(Dict(atoms_to_json(request.atoms)))
    return request.label(**found.get_dict(), aiida_node=str(found.uuid))


def main(source: str, folder: str) -> str:
    """Run the campaign in `folder` to its verdict."""
    try:
        load_profile()
    except ConfigurationError:
        load_profile(SqliteTempBackend.create_profile("tentpole"), allow_switch=True)
    with Campaign(source, folder) as campaign, enable_caching():
        while requests := campaign.ask():
            campaign.tell(labelled(request) for request in requests)
        verdict = campaign.verdict
    assert verdict is not None  # nothing more to ask: there is one
    return f"{verdict.kind}: {verdict.reason}"


if __name__ == "__main__":
    print(main(*sys.argv[1:3]))
