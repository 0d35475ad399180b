"""MACE models as committee members, evaluated on a graph that all members share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tentpole.committee.electronic_state import check_readable
from tentpole.committee.graph import Graph
from tentpole.committee.mace_architecture import build_context, mace
from tentpole.errors import InputError, require_module

FloatArray = NDArray[np.float64]
NO_EMBEDDINGS: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


class MaceVoter:
    """One MACE model; each of its heads that votes is one member of the committee.

    energies are summed in float64: the isolated atoms' share would cost float32 its last digits.
    """

    def __init__(self, model: Any, heads: Sequence[int], device: str) -> None:
        import torch

        self.model = model.to(device)
        self.heads = tuple(heads)
        self.device = torch.device(device)
        self.dtype = next(model.parameters()).dtype
        self.numbers: tuple[int, ...] = tuple(int(z) for z in model.atomic_numbers)
        self.cutoff = float(model.r_max)
        self.embeddings: Mapping[str, Mapping[str, Any]] = getattr(model, "embedding_specs", None) or {}
        e0s = np.atleast_2d(model.atomic_energies_fn.atomic_energies.double().cpu().numpy())
        self.e0s: FloatArray = e0s[list(self.heads)]

    @property
    def terms(self) -> tuple[tuple[float, Any], ...]:
        """The models that its energies are the sum of, each with its factor."""
        return ((1.0, self.model),)

    @property
    def gains_together(self) -> bool:
        """Whether several structures at once cost less than one by one, and each has the numbers it has alone."""
        return bool(self.device.type != "cpu")

    @property
    def votes(self) -> int:
        """How many heads vote."""
        return len(self.heads)

    def evaluate(
        self, graph: Graph, votes: Sequence[int], stress: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Energies (v, n) in eV, forces (v, N, 3) in eV/Å, stresses (v, n, 6) in eV/Å³ of the given votes."""
        heads = [self.heads[vote] for vote in votes]
        inputs = tensors(graph, self.numbers, heads, self.dtype, self.device, self.embeddings)
        out = self.model(inputs, training=False, compute_force=True, compute_stress=stress)
        v, n = len(heads), len(graph.sizes)
        kinds = np.searchsorted(self.numbers, graph.numbers)
        own = self.e0s[list(votes)][:, kinds]  # (v, N)
        isolated = np.add.reduceat(own, graph.starts[:-1], axis=1)
        energies = isolated + out["interaction_energy"].detach().double().cpu().numpy().reshape(v, n)
        forces = out["forces"].detach().double().cpu().numpy().reshape(v, -1, 3)
        if not stress:
            return energies, forces, None
        full = out["stress"].detach().double().cpu().numpy().reshape(v, n, 3, 3)
        voigt = full[..., [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        voigt[:, ~graph.pbc.any(axis=1)] = np.nan
        return energies, forces, voigt


def check_cuequivariance(needed_by: str) -> None:
    """Raise InputError where the package that converts members for a GPU is not installed."""
    command = "pip install cuequivariance-torch, and cuequivariance-ops-torch-cu12 for its kernels"
    require_module("cuequivariance_torch", command=command, needed_by=needed_by)


def by_cuequivariance(voter: MaceVoter) -> MaceVoter:
    """The same member with mace's model converted, by mace, to the operations of cuequivariance."""
    check_cuequivariance("converting a member")
    dtype = str(voter.dtype).removeprefix("torch.")
    with build_context(dtype):  # mace's converter changes torch's default
        try:
            model = mace("cli.convert_e3nn_cueq").run(voter.model, device=voter.device.type)
        except NotImplementedError as error:
            remedy = 'set [committee] evaluation = "own"'
            raise InputError(f"mace does not convert this member ({error}): {remedy}") from None
    model.atomic_energies_fn.atomic_energies = voter.model.atomic_energies_fn.atomic_energies  # in float64
    return MaceVoter(model.eval().requires_grad_(False), voter.heads, str(voter.device))


def tensors(
    graph: Graph,
    numbers: Sequence[int],
    heads: Sequence[int],
    dtype: Any,
    device: Any,
    embeddings: Mapping[str, Mapping[str, Any]] = NO_EMBEDDINGS,
) -> dict[str, Any]:
    """What a MACE model reads, once per head: the graph is laid out len(heads) times side by side.

    embeddings : the model's own, of total charge and spin. Raises InputError for elements, charges and multiplicities
    that it does not know.
    """
    import torch

    copies, n, atoms = len(heads), len(graph.sizes), len(graph.numbers)
    kinds, table = kinds_of(graph, numbers), np.asarray(numbers)
    attributes = np.zeros((atoms, len(table)))
    attributes[np.arange(atoms), kinds] = 1.0
    edges = np.stack([graph.edges.i, graph.edges.j])
    cell_of_edge = np.repeat(np.arange(n), graph.sizes)[edges[0]]
    unit_shifts = graph.edges.shifts.astype(np.float64)
    shifts = np.einsum("es,esc->ec", unit_shifts, graph.cells[cell_of_edge])
    of_atom = np.repeat(np.arange(n), graph.sizes)

    def real(array: FloatArray) -> Any:
        return torch.as_tensor(np.tile(array, (copies, 1)), dtype=dtype, device=device)

    def index(array: NDArray[np.int64]) -> Any:
        return torch.as_tensor(array, dtype=torch.int64, device=device)

    step = np.arange(copies)
    states = {}
    for key, given in (("total_charge", graph.charges), ("total_spin", graph.multiplicities)):
        if key in embeddings:
            values = np.full(n, np.nan) if given is None else given
            check_readable(embeddings, key, values)
            states[key] = torch.as_tensor(np.tile(values, copies), dtype=dtype, device=device)
    return states | {
        "positions": real(graph.positions),
        "node_attrs": real(attributes),
        "shifts": real(shifts),
        "unit_shifts": real(unit_shifts),
        "cell": real(graph.cells.reshape(-1, 3)),
        "edge_index": index((edges[:, None] + atoms * step[:, None]).reshape(2, -1)),
        "batch": index((of_atom + n * step[:, None]).reshape(-1)),
        "ptr": index(np.append((graph.starts[:-1] + atoms * step[:, None]).reshape(-1), copies * atoms)),
        "head": index(np.repeat(np.asarray(heads), n)),
    }


def kinds_of(graph: Graph, numbers: Sequence[int]) -> NDArray[np.int64]:
    """The place of each atom's species (N,) in `numbers`. Raises InputError for one that is not there."""
    table = np.asarray(numbers)
    kinds = np.minimum(np.searchsorted(table, graph.numbers), len(table) - 1)
    if not np.array_equal(table[kinds], graph.numbers):
        unknown_species = sorted(set(graph.numbers.tolist()) - set(table.tolist()))
        raise InputError(
            f"atomic numbers {unknown_species} are unknown to a model of {table.tolist()}. "
            "Train a committee on structures that hold them."
        )
    return kinds
