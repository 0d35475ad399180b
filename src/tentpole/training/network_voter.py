"""MACE members evaluated by this package's own network: the numbers of mace's model, several times as fast.

A structure's numbers do not depend on what else is evaluated with it, to the last bit on a CPU. Products of matrices
give a row other last bits where it is among the last few of a matrix; rows that fill up keep every row of a structure
out of there. Whether that holds on this machine is tried when a voter is made; where it does not, structures are
evaluated one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from tentpole.committee.baseline import BaselineVoter, without_baseline
from tentpole.committee.cached import committee_in
from tentpole.committee.committee import Committee, Voter
from tentpole.committee.graph import Graph, collate, edges_within, graph_of, parts
from tentpole.committee.linear_voter import LinearVoter
from tentpole.committee.mace_architecture import interpreted
from tentpole.committee.mace_voter import MaceVoter, by_cuequivariance, kinds_of
from tentpole.errors import InputError
from tentpole.training.convolution import NeighbourPairs
from tentpole.training.graphs import GraphBatch
from tentpole.training.network import Network, UnsupportedModel
from tentpole.training.pair_features import pair_functions
from tentpole.training.stack import Stack, Weights

Tensor = torch.Tensor
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FILLED = 24
"""Places for atoms of a species, and rows for pairs, are filled up to a multiple of this, or of as many times it as
mixing the channels of so many atoms takes `FEW` products."""
FEW = 400
"""Matrices that take fewer products are multiplied by PyTorch in a loop of its own, whose last bits are others."""
EDGES = 3000
"""About so many edges are worked on at once on a CPU, where more leave its cache and gain nothing."""
TOLERANCE = 1e-3
"""Relative, between this network and mace's model in float32."""


class NetworkVoter(Voter):
    """Members of one architecture. Raises UnsupportedModel for one that the network cannot stand for.

    Parameters
    ----------
    voters : sequence of MaceVoter
        The members as mace evaluates them, all on one device.
    """

    gains_together = True
    """Several structures at once cost less than one by one, and each has the numbers it has alone."""

    def __init__(self, voters: Sequence[MaceVoter]) -> None:
        first = voters[0]
        if any(len(voter.terms) != len(first.terms) for voter in voters):
            raise UnsupportedModel("members of which some are linear in their weights")
        if any(voter.votes != 1 or voter.dtype != first.dtype or voter.numbers != first.numbers for voter in voters):
            raise UnsupportedModel("members of several kinds")
        self.network = Network(first.model, str(first.device))
        if self.network.embeddings:
            raise UnsupportedModel("members that read charges or multiplicities")
        self.filled = FILLED * -(-FEW // (FILLED * self.network.channels**2))
        self.numbers, self.cutoff = first.numbers, first.cutoff
        self.e0s: FloatArray = np.concatenate([voter.e0s for voter in voters])
        models = [model for voter in voters for _, model in voter.terms]
        self._factors: FloatArray = np.array([[factor for factor, _ in voter.terms] for voter in voters])
        try:
            stack = Stack(models, self.network.parts, 0.0, str(first.device))
        except ValueError as error:
            raise UnsupportedModel(str(error)) from None
        flats = {group: flat.detach() for group, flat in stack.flat.items()}
        own = [self._rows([vote]) for vote in range(len(voters))]
        self._weights = [stack.parted({g: flat[rows] for g, flat in flats.items()}) for rows in own]
        self._stack, self._flats = stack, flats
        like = {"dtype": self.network.dtype, "device": self.network.device}
        scales = [model.scale_shift for model in models]
        self._scale = torch.tensor([[float(block.scale.reshape(-1)[0])] for block in scales], **like)
        self._shift = torch.tensor([[float(block.shift.reshape(-1)[0])] for block in scales], **like)
        self._functions = pair_functions(first.model)
        self._at_once = EDGES if self.network.device.type == "cpu" else None

    @property
    def votes(self) -> int:
        """How many members."""
        return len(self._weights)

    def _rows(self, votes: Sequence[int]) -> list[int]:
        """Which of the stacked models are the terms of these votes, those of one after those of another."""
        terms = self._factors.shape[1]
        return [terms * vote + k for vote in votes for k in range(terms)]

    @property
    def independent(self) -> bool:
        """Whether a structure's last bits are its own, whatever it is evaluated with."""
        return self.network.device.type == "cpu"

    def one_by_one(self) -> None:
        """From now on evaluate every structure by itself."""
        self._at_once = 0

    def evaluate(
        self, graph: Graph, votes: Sequence[int], stress: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Energies (v, n) in eV, forces (v, N, 3) in eV/Å, stresses (v, n, 6) in eV/Å³ of the given votes."""
        answers = [self._evaluate(part, votes, stress) for part in parts(graph, self._at_once)]
        energies, forces, stresses = zip(*answers, strict=True)
        together = np.concatenate(stresses, axis=1) if stress else None
        return np.concatenate(energies, axis=1), np.concatenate(forces, axis=1), together

    def _evaluate(self, graph: Graph, votes: Sequence[int], stress: bool) -> Any:
        kinds = kinds_of(graph, self.numbers)
        places, caps = _places(kinds, len(self.numbers), self.filled)
        energies, forces, stresses = self._predicted(graph, votes, stress, places, caps)
        own = self.e0s[list(votes)][:, kinds]
        energies = energies + np.add.reduceat(own, graph.starts[:-1], axis=1)
        if stresses is None:
            return energies, forces[:, places], None
        voigt = stresses[..., [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        voigt[:, ~graph.pbc.any(axis=1)] = np.nan
        return energies, forces[:, places], voigt

    def _predicted(
        self, graph: Graph, votes: Sequence[int], stress: bool, places: IntArray, caps: tuple[int, ...]
    ) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Interaction energies (v, n), forces (v, places, 3) and stresses (v, n, 3, 3) of the given votes.

        On a CPU one member after the other, so that a member's bits do not depend on who else is asked; elsewhere all
        at once, since starting operations is what takes time there.
        """
        if self.network.device.type == "cpu":
            groups = [(self._weights[vote], [vote]) for vote in votes]
        else:
            chosen = {group: flat[self._rows(votes)] for group, flat in self._flats.items()}
            groups = [(self._stack.parted(chosen), list(votes))]
        batch, answers = None, []
        for weights, members in groups:
            if batch is None:
                batch = self._batch(graph, places, caps, self._rows(members))
            answers.append(self._prediction(weights, batch, members, stress))
        energies, forces, stresses = zip(*answers, strict=True)
        together = np.concatenate(stresses) if stress else None
        return np.concatenate(energies), np.concatenate(forces), together

    def _prediction(self, weights: Weights, batch: GraphBatch, members: Sequence[int], stress: bool) -> Any:
        rows = self._rows(members)
        own = replace(batch, scale=self._scale[rows], shift=self._shift[rows])
        out = self.network.predict(weights, own, training=False, stress=stress)
        return tuple(
            None if part is None else self._summed(part.detach().double().cpu().numpy(), members)
            for part in (out.energies, out.forces, out.stress)
        )

    def _summed(self, terms: FloatArray, members: Sequence[int]) -> FloatArray:
        """(v, …) for each member the sum of its terms, times their factors."""
        factors = self._factors[list(members)]
        parts = terms.reshape(*factors.shape, *terms.shape[1:])
        each = factors.reshape(*factors.shape, *[1] * (terms.ndim - 1))
        return np.asarray(sum(parts[:, k] * each[:, k] for k in range(factors.shape[1])))

    def _batch(self, graph: Graph, places: IntArray, caps: tuple[int, ...], members: Sequence[int]) -> GraphBatch:
        network, copies, n, width = self.network, len(members), len(graph.sizes), sum(caps)
        i, j, vectors, frames = _pairs(graph)
        rows = max(1, -(-len(i) // self.filled)) * self.filled
        send, receive = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
        send[: len(i)], receive[: len(i)] = places[i], places[j]
        frame_of_pair, frame_of_atom = np.full(rows, n, dtype=np.int64), np.full(width, n, dtype=np.int64)
        frame_of_pair[: len(i)] = frames
        frame_of_atom[places] = np.repeat(np.arange(n), graph.sizes)
        volumes = np.where(graph.pbc.any(axis=1), np.abs(np.linalg.det(graph.cells)), 1.0)
        step = np.arange(copies)[:, None]

        def index(array: IntArray) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(array), dtype=torch.int64, device=network.device)

        def real(array: FloatArray) -> Tensor:
            one = torch.as_tensor(array, dtype=network.dtype, device=network.device)
            return one.expand(copies, *one.shape).contiguous()

        def of_frame(array: IntArray) -> Tensor:
            return index(np.where(array == n, copies * n, array + n * step).reshape(-1))

        send, receive = ((array + width * step).reshape(-1) for array in (send, receive))
        return GraphBatch(
            caps=caps,
            species=index(np.repeat(np.arange(len(caps)), caps)),
            features=tuple(real(part) for part in self._features(vectors, rows)),
            pairs=NeighbourPairs(send, receive, index(np.stack([send, receive]))),
            frame_of_atom=of_frame(frame_of_atom),
            frame_of_pair=of_frame(frame_of_pair),
            volumes=real(volumes),
            scale=self._scale,
            shift=self._shift,
        )

    def _features(self, vectors: FloatArray, rows: int) -> Sequence[Any]:
        if self._functions is not None:
            return self._functions.of(vectors, rows)
        known = self.network.pair_features(vectors)
        filled = torch.cat([known, known[-1:].expand(rows - len(vectors), -1)])[:rows]
        return [part.contiguous() for part in torch.split(filled, self.network.columns, 1)]


def faster(committee: Committee) -> Committee:
    """The committee with its MACE members evaluated by this package's network, where that can stand for them all.

    Parameters
    ----------
    committee : Committee
        It stays as it is.

    Returns
    -------
    Committee
        The same one where a member is of another kind, or mace's own model gives other numbers.

    Examples
    --------
    >>> from ase.calculators.emt import EMT
    >>> from tentpole import Committee, faster
    >>> from tentpole.committee import AseVoter
    >>> committee = Committee([AseVoter(EMT()), AseVoter(EMT())])
    >>> faster(committee) is committee
    True
    """
    if isinstance(committee.voters[0], BaselineVoter):
        return _beside_baseline(committee, faster)
    members = [voter for voter in committee.voters if isinstance(voter, MaceVoter)]
    if not members or committee.voters[: len(members)] != tuple(members):
        return committee
    try:
        voter = NetworkVoter(members)
    except UnsupportedModel:
        return committee
    trial = [_cluster(voter.numbers, seed) for seed in range(5)]
    graphs = [graph_of(atoms, edges_within(atoms, voter.cutoff)) for atoms in trial]
    if not _agrees(voter, members[0], graphs[0]):
        return committee
    if voter.independent and not _is_independent(voter, graphs):
        voter.one_by_one()
    return Committee([voter, *committee.voters[len(members) :]])


@lru_cache(maxsize=2)
def members_in(models: Path, dtype: str, evaluation: str) -> Committee:
    """The committee in a folder, kept for the next job of this process; see the key [committee] evaluation."""
    committee = committee_in(models, dtype)
    if evaluation == "cuequivariance":
        return converted(committee)
    return faster(committee) if evaluation == "own" else committee


def converted(committee: Committee) -> Committee:
    """The same committee, its members' models converted to the operations of cuequivariance.

    Raises InputError for members that are linear in their weights.
    """
    if any(isinstance(without_baseline(voter), LinearVoter) for voter in committee.voters):
        raise InputError('members that are linear in their weights are not converted: set evaluation = "own"')
    if isinstance(committee.voters[0], BaselineVoter):
        return _beside_baseline(committee, converted)
    return Committee(by_cuequivariance(one) if isinstance(one, MaceVoter) else one for one in committee.voters)


def _beside_baseline(committee: Committee, change: Callable[[Committee], Committee]) -> Committee:
    """What `change` makes of the members of a committee with a baseline, which is added to them again."""
    based = committee.voters[0]
    assert isinstance(based, BaselineVoter)
    alone = Committee([without_baseline(voter) for voter in committee.voters])
    made = change(alone)
    return committee if made is alone else Committee(BaselineVoter(one, based.baseline) for one in made.voters)


def _agrees(voter: NetworkVoter, member: MaceVoter, graph: Graph) -> bool:
    """Whether mace's own model gives the same energy and forces."""
    with interpreted():
        mine, theirs = voter.evaluate(graph, [0], False), member.evaluate(graph, [0], False)
    return all(
        np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * (1.0 + float(np.abs(b).max())))
        for a, b in zip(mine[:2], theirs[:2], strict=True)
    )


def _is_independent(voter: NetworkVoter, graphs: Sequence[Graph]) -> bool:
    """Whether structures have the same energies and forces by themselves and side by side, to the last bit."""
    alone = [voter.evaluate(graph, [0], False) for graph in graphs]
    for count in range(2, len(graphs) + 1):
        energies, forces, _ = voter.evaluate(collate(graphs[:count]), [0], False)
        known = np.concatenate([a[1] for a in alone[:count]], axis=1)
        if not (np.array_equal(energies[0], [a[0][0, 0] for a in alone[:count]]) and np.array_equal(forces, known)):
            return False
    return True


def _cluster(numbers: Sequence[int], seed: int) -> Atoms:
    """A few atoms of each species, about 2 Å apart."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(np.tile(numbers, 2 + 3 // len(numbers) + seed))
    side = int(np.ceil(len(chosen) ** (1 / 3)))
    grid = np.array(list(np.ndindex(side, side, side)))[: len(chosen)]
    return Atoms(numbers=chosen, positions=2.0 * grid + rng.normal(scale=0.2, size=grid.shape))


def _places(kinds: IntArray, species: int, filled: int) -> tuple[IntArray, tuple[int, ...]]:
    """Where each atom goes among atoms sorted by species, and the places that each species has."""
    counts = np.bincount(kinds, minlength=species)
    caps = -(-counts // filled) * filled
    order = np.argsort(kinds, kind="stable")
    places = np.empty(len(kinds), dtype=np.int64)
    places[order] = np.arange(len(kinds)) + np.repeat(np.cumsum(caps) - caps - np.cumsum(counts) + counts, counts)
    return places, tuple(int(cap) for cap in caps)


def _pairs(graph: Graph) -> tuple[IntArray, IntArray, FloatArray, IntArray]:
    """Every edge in one of its two directions: its atoms, its vector in Å, and its frame."""
    edges, shifts = graph.edges, graph.edges.shifts
    own = edges.i == edges.j
    ahead = edges.j > edges.i
    if own.any():  # an atom's own images: the shift whose first component that is not zero is positive
        ahead |= own & (shifts @ np.array([1 << 40, 1 << 20, 1]) > 0)
    i, j = edges.i[ahead], edges.j[ahead]
    frames = np.repeat(np.arange(len(graph.sizes)), graph.sizes)[i]
    vectors = graph.positions[j] - graph.positions[i]
    if graph.pbc.any():
        vectors += np.einsum("qs,qsc->qc", shifts[ahead].astype(float), graph.cells[frames])
    return i, j, vectors, frames
