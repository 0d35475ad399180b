"""The labelled frames of a training as graphs, made once, and the batches drawn from them, one row per member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from tentpole.committee.electronic_state import check_readable
from tentpole.committee.graph import edges_within
from tentpole.errors import InputError
from tentpole.records import own_state
from tentpole.training.convolution import NeighbourPairs
from tentpole.training.network import Network

Tensor = torch.Tensor
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FEATURES_B = 4_000_000_000  # what is known of all pairs is kept up to that size, and made anew for each batch above


@dataclass(frozen=True, kw_only=True)
class GraphBatch:
    """M rows of B frames, as one set of tensors.

    The N atoms of each row are sorted by species and filled up, so that species k holds the same `caps[k]` places in
    all rows; pairs are filled up too. What fills up belongs to no frame and touches no atom.

    species (N,). features : parts (M, P, ·) of `Network.pair_features`. frame_of_atom (M N,), frame_of_pair (M P,) :
    counted through the rows, M B for what fills up. volumes (M, B) in Å³. scale, shift (M, 1) : of the members'
    energies. states (k, M, B) : rows of the k embeddings of charge and multiplicity, None where members read neither.
    """

    caps: tuple[int, ...]
    species: Tensor
    features: tuple[Tensor, ...]
    pairs: NeighbourPairs
    frame_of_atom: Tensor
    frame_of_pair: Tensor
    volumes: Tensor
    scale: Tensor
    shift: Tensor
    states: Tensor | None = None

    @property
    def members(self) -> int:
        """How many members, M."""
        return len(self.volumes)

    @property
    def frames(self) -> int:
        """How many frames in each row, B."""
        return self.volumes.shape[1]

    @property
    def atoms(self) -> int:
        """How many places for atoms in each row, N."""
        return len(self.species)


@dataclass(frozen=True, kw_only=True)
class LabelledBatch(GraphBatch):
    """A batch with its labels.

    energies (M, B) in eV, forces (M, N, 3) in eV/Å, stress (M, B, 3, 3) in eV/Å³; sizes (M, B) atoms per frame; mask
    (M, N, 1) and stressed (M, B) : 1 where there is a label.
    """

    energies: Tensor
    forces: Tensor
    stress: Tensor
    sizes: Tensor
    mask: Tensor
    stressed: Tensor


class Graphs:
    """Labelled frames as arrays, those of all frames end to end.

    energies0 : eV, of the isolated atoms by atomic number; the network learns what is left of the energies, computed
    in float64: absolute energies would cost float32 its last digits. Raises InputError for a species without one.
    """

    def __init__(self, frames: Sequence[Atoms], network: Network, energies0: Mapping[int, float]) -> None:
        self.network = network
        self.frames = list(frames)
        table = np.array(network.numbers)
        numbers = np.concatenate([atoms.numbers for atoms in frames])
        if unknown_species := sorted(set(numbers.tolist()) - set(table.tolist())):
            raise InputError(f"atomic numbers {unknown_species} are unknown to a model of {table.tolist()}")
        self.species: IntArray = np.searchsorted(table, numbers)
        self.sizes: IntArray = np.array([len(atoms) for atoms in frames])
        self.first_atom: IntArray = np.concatenate(([0], np.cumsum(self.sizes)))
        isolated = np.array([energies0[int(z)] for z in table])
        sums = np.add.reduceat(isolated[self.species], self.first_atom[:-1])
        self.energies: FloatArray = np.array([float(atoms.info["REF_energy"]) for atoms in frames]) - sums
        self.forces: FloatArray = np.concatenate([atoms.arrays["REF_forces"] for atoms in frames]).astype(float)
        self.stressed: FloatArray = np.array([float(_has_stress(atoms)) for atoms in frames])
        self.stress: FloatArray = np.array([_stress(atoms) for atoms in frames])
        self.volumes: FloatArray = np.array([atoms.get_volume() if _has_stress(atoms) else 1.0 for atoms in frames])
        self.states: IntArray | None = _states(frames, network)
        edges = [_pairs(atoms, network.cutoff) for atoms in frames]
        self.pair_counts: IntArray = np.array([len(send) for send, _, _ in edges])
        self.first_pair: IntArray = np.concatenate(([0], np.cumsum(self.pair_counts)))
        self.send, self.receive = (np.concatenate([pairs[k] for pairs in edges]) for k in range(2))
        self.vectors: FloatArray = np.concatenate([vectors for _, _, vectors in edges])
        size = len(self.vectors) * sum(network.columns) * network.dtype.itemsize
        self._features = network.pair_features(self.vectors) if size <= FEATURES_B else None

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def has_stress(self) -> bool:
        """Whether any frame has a labelled stress."""
        return bool(self.stressed.any())

    def batch(self, rows: IntArray, scale: Tensor, shift: Tensor) -> LabelledBatch:
        """The frames whose numbers are `rows` (M, B); scale and shift (M,) of the members."""
        network = self.network
        members, frames = rows.shape
        flat = rows.reshape(-1)
        sizes, counts = self.sizes[flat], self.pair_counts[flat]
        atoms, pairs = _ranges(self.first_atom[flat], sizes), _ranges(self.first_pair[flat], counts)
        member_of_frame = np.repeat(np.arange(members), frames)
        places, caps = _places(self.species[atoms], np.repeat(member_of_frame, sizes), members, len(network.numbers))
        width = sum(caps)
        first = np.concatenate(([0], np.cumsum(sizes)))[:-1]
        ends = np.repeat(first, counts)
        pairs_of_member = counts.reshape(members, frames).sum(axis=1)
        most = max(1, int(pairs_of_member.max()))
        slots = _ranges(most * np.arange(members), pairs_of_member)

        def spread(values: Any, fill: Any) -> Any:
            out = np.full(members * most, fill, dtype=np.int64)
            out[slots] = values
            return out

        anywhere = np.repeat(width * np.arange(members), most)
        send, receive = anywhere.copy(), anywhere.copy()
        send[slots], receive[slots] = places[ends + self.send[pairs]], places[ends + self.receive[pairs]]
        if self._features is None:
            known, chosen = network.pair_features(self.vectors[pairs]), spread(np.arange(len(pairs)), len(pairs))
        else:
            known, chosen = self._features, spread(pairs, len(self.vectors))
        rows_of_features = known.index_select(0, self._index(chosen)).view(members, most, sum(network.columns))
        frame_of_atom = np.full(members * width, members * frames, dtype=np.int64)
        frame_of_atom[places] = np.repeat(np.arange(len(flat)), sizes)
        forces = np.zeros((members * width, 3))
        forces[places] = self.forces[atoms]
        mask = np.zeros(members * width)
        mask[places] = 1.0

        def real(array: FloatArray, *shape: int) -> Tensor:
            return torch.as_tensor(array, dtype=network.dtype, device=network.device).view(*shape)

        return LabelledBatch(
            caps=caps,
            species=self._index(np.repeat(np.arange(len(caps)), caps)),
            features=torch.split(rows_of_features, network.columns, 2),
            pairs=NeighbourPairs(send, receive, self._index(np.stack([send, receive]))),
            frame_of_atom=self._index(frame_of_atom),
            frame_of_pair=self._index(spread(np.repeat(np.arange(len(flat)), counts), members * frames)),
            energies=real(self.energies[flat], members, frames),
            forces=real(forces, members, width, 3),
            stress=real(self.stress[flat], members, frames, 3, 3),
            sizes=real(sizes.astype(float), members, frames),
            mask=real(mask, members, width, 1),
            stressed=real(self.stressed[flat], members, frames),
            volumes=real(self.volumes[flat], members, frames),
            scale=scale[:, None],
            shift=shift[:, None],
            states=None if self.states is None else self._index(self.states[:, flat].reshape(-1, members, frames)),
        )

    def _index(self, array: IntArray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.int64, device=self.network.device)


def _states(frames: Sequence[Atoms], network: Network) -> IntArray | None:
    """(k, n) row of each frame in each of the k tables that members read; None where they read none.

    Raises InputError for a frame without charge or multiplicity, or with one outside the tables.
    """
    if not network.embeddings:
        return None
    stated = np.array([[np.nan if value is None else value for value in own_state(atoms)] for atoms in frames])
    columns = dict(zip(("total_charge", "total_spin"), stated.T, strict=True))
    rows = []
    for name, spec in network.embeddings.items():
        check_readable(network.embeddings, name, columns[name])
        rows.append(columns[name].astype(np.int64) + int(spec.get("offset", 0)))
    return np.array(rows)


def _ranges(starts: IntArray, lengths: IntArray) -> IntArray:
    """start, start + 1, … of each range, end to end."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def _places(species: IntArray, member: IntArray, members: int, kinds: int) -> tuple[IntArray, tuple[int, ...]]:
    """Where each atom goes among the places of all members, and how many places each species has in every member."""
    key = member * kinds + species
    counts = np.bincount(key, minlength=members * kinds)
    caps = counts.reshape(members, kinds).max(axis=0)
    order = np.argsort(key, kind="stable")
    rank = np.empty(len(key), dtype=np.int64)
    rank[order] = np.arange(len(key)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.cumsum(caps) - caps
    return member * int(caps.sum()) + starts[species] + rank, tuple(int(cap) for cap in caps)


def _pairs(atoms: Atoms, cutoff: float) -> tuple[IntArray, IntArray, FloatArray]:
    """Every pair within the cutoff once: its atoms and the vector in Å from the first to the second."""
    edges = edges_within(atoms, cutoff)
    there = np.column_stack([edges.i, edges.j, edges.shifts])
    back = np.column_stack([edges.j, edges.i, -edges.shifts])
    differs = there != back
    place = differs.argmax(axis=1)[:, None]
    ahead = np.take_along_axis(there, place, 1) < np.take_along_axis(back, place, 1)
    once = ahead[:, 0] & differs.any(axis=1)
    i, j = edges.i[once], edges.j[once]
    vectors = atoms.positions[j] - atoms.positions[i] + edges.shifts[once] @ atoms.cell.complete().array
    return i, j, vectors


def _has_stress(atoms: Atoms) -> bool:
    given = atoms.info.get("REF_stress")
    return given is not None and bool(atoms.pbc.any()) and bool(np.isfinite(given).all())


def _stress(atoms: Atoms) -> FloatArray:
    """(3, 3) in eV/Å³ with ASE's sign; zeros where there is none."""
    if not _has_stress(atoms):
        return np.zeros((3, 3))
    given = np.asarray(atoms.info["REF_stress"], dtype=float)
    return given.reshape(3, 3) if given.size == 9 else np.asarray(voigt_6_to_full_3x3_stress(given.reshape(6)))
