"""Small models made on the spot, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def tiny_committee(
    folder: Path, numbers: Sequence[int] = (1, 8), members: int = 4, seed: int = 0, *, dtype: str = "float32"
) -> Path:
    """Write untrained MACE models that disagree.

    A screened nuclear repulsion keeps atoms apart in MD.

    Parameters
    ----------
    folder : Path
        Where they go.
    numbers : sequence of int
        The atomic numbers that they know.
    members : int
        How many.
    seed : int
        Of their weights.
    dtype : {"float32", "float64"}
        Of their weights.

    Returns
    -------
    Path
        The folder.

    Examples
    --------
    >>> from tentpole.committee import Committee
    >>> from tentpole.testing import tiny_committee
    >>> Committee.load(tiny_committee(Path("models"), (1, 8), members=2)).size
    2
    """
    import numpy as np
    import torch

    from tentpole.committee.committee_files import write_committee_file
    from tentpole.committee.mace_architecture import build_context, mace
    from tentpole.committee.member_files import write_member

    folder = Path(folder)
    modules = mace("modules")
    with build_context(dtype):
        from e3nn import o3

        for k in range(members):
            torch.manual_seed(1000 * seed + k)
            model = modules.ScaleShiftMACE(
                r_max=4.0,
                num_bessel=4,
                num_polynomial_cutoff=3,
                max_ell=1,
                interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
                interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
                num_interactions=2,
                num_elements=len(numbers),
                hidden_irreps=o3.Irreps("4x0e"),
                MLP_irreps=o3.Irreps("4x0e"),
                gate=torch.nn.functional.silu,
                atomic_energies=-10.0 * np.ones(len(numbers)),
                avg_num_neighbors=6.0,
                atomic_numbers=sorted(numbers),
                correlation=1,
                radial_MLP=[8],
                pair_repulsion=True,
                atomic_inter_scale=0.3,
                atomic_inter_shift=0.0,
                use_reduced_cg=False,
            )
            write_member(folder / f"member-{k}", model, training={"untrained": True, "seed": seed})
    write_committee_file(folder, [f"member-{k}" for k in range(members)])
    return folder
