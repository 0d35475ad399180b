"""Small MACE members that this package's own network can stand for, untrained."""

from pathlib import Path
from typing import Any

import numpy as np

from support.structures import zundel

ZUNDEL = zundel(rattle=0.0)


def small_models(members: int = 2, **changes: Any) -> list[Any]:
    """mace's models of H and O, in float64; `changes` replace arguments."""
    import torch

    from tentpole.committee.mace_architecture import build_context, mace

    modules = mace("modules")
    found = []
    with build_context("float64"):
        from e3nn import o3

        for seed in range(members):
            torch.manual_seed(seed)
            arguments = {
                "r_max": 3.5,
                "num_bessel": 4,
                "num_polynomial_cutoff": 3,
                "max_ell": 1,
                "interaction_cls": modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
                "interaction_cls_first": modules.interaction_classes["RealAgnosticInteractionBlock"],
                "num_interactions": 2,
                "num_elements": 2,
                "hidden_irreps": o3.Irreps("8x0e"),
                "MLP_irreps": o3.Irreps("8x0e"),
                "gate": torch.nn.functional.silu,
                "atomic_energies": np.zeros(2),
                "avg_num_neighbors": 6.0,
                "atomic_numbers": [1, 8],
                "correlation": 1,
                "radial_MLP": [8],
                "atomic_inter_scale": 0.3,
                "atomic_inter_shift": 0.0,
            }
            found.append(modules.ScaleShiftMACE(**(arguments | changes)))
    return found


def write_small_members(folder: Path, members: int = 2) -> Path:
    """Their files, as a committee's folder."""
    from tentpole.committee.committee_files import write_committee_file
    from tentpole.committee.member_files import write_member

    for k, model in enumerate(small_models(members)):
        write_member(folder / f"member-{k}", model, training={"untrained": True})
    write_committee_file(folder, [f"member-{k}" for k in range(members)])
    return folder
