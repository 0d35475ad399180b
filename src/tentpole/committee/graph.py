"""Who is near whom: one sorted edge list per configuration, for every member of a committee.

An edge (i, j, S) says that the image of atom j shifted by S cells lies within the cutoff of atom i:
|r_j + S·cell − r_i| < cutoff. Edges are in the order of (i, j, S), whatever list they came from, so that a
sum over edges is the same bit for bit whether the list is new or reused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from tentpole.committee.neighbourhood import box_around, check_finite, check_neighbourhood
from tentpole.errors import InputError
from tentpole.records import CHARGE, MULTIPLICITY, readable_state

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


_SHORTEST = 1.0
"""Å; a committee of voters that find their own neighbours has a cutoff of 0."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Senders i and receivers j (E,), and the cell shifts S (E, 3) of the receivers."""

    i: IntArray
    j: IntArray
    shifts: IntArray


@dataclass(frozen=True, slots=True)
class Graph:
    """n configurations side by side: N atoms in all, their edges counted through.

    numbers (N,); positions (N, 3) in Å; sizes (n,) atoms per configuration; cells (n, 3, 3) in Å, open
    directions completed by unit vectors; pbc (n, 3); charges and multiplicities (n,), NaN where a configuration states
    none, None where none does.
    """

    numbers: IntArray
    positions: FloatArray
    sizes: IntArray
    cells: FloatArray
    pbc: NDArray[np.bool_]
    edges: Edges
    charges: FloatArray | None = None
    multiplicities: FloatArray | None = None

    @property
    def starts(self) -> IntArray:
        """(n + 1,) the index of each configuration's first atom, and N."""
        return np.concatenate(([0], np.cumsum(self.sizes)))


class Neighbours:
    """The edges of one configuration after another, with a skin.

    The list is built for cutoff + skin and used again while no atom has moved more than half the skin and
    species, cell and periodicity are the same; each answer holds the edges within the cutoff only.
    """

    def __init__(self, cutoff: float, skin: float = 0.5) -> None:
        self.cutoff = cutoff
        self.skin = skin
        self.builds = 0
        self._reference: Atoms | None = None
        self._wide: Edges | None = None

    def __call__(self, atoms: Atoms) -> Edges:
        """Edges of `atoms` within the cutoff."""
        if self._wide is None or not self._near(atoms):
            self._wide = edges_within(atoms, self.cutoff + self.skin)
            self._reference = atoms.copy()
            self.builds += 1
        return _within(self._wide, atoms, self.cutoff)

    def _near(self, atoms: Atoms) -> bool:
        old = self._reference
        if old is None or len(old) != len(atoms) or not np.array_equal(old.numbers, atoms.numbers):
            return False
        if not np.array_equal(old.pbc, atoms.pbc) or not np.array_equal(old.cell.array, atoms.cell.array):
            return False
        moved = atoms.positions - old.positions
        return bool((moved**2).sum(axis=1).max() < (0.5 * self.skin) ** 2)


def edges_within(atoms: Atoms, cutoff: float) -> Edges:
    """All edges of `atoms` shorter than `cutoff` (Å), sorted by (i, j, S); an atom sees its own images.

    Raises
    ------
    UnusableGeometry
        Where positions or cell are not finite or absurd: see check_neighbourhood.
    """
    from matscipy.neighbours import neighbour_list

    check_finite(atoms.positions, atoms.cell.array)
    box, origin = box_around(atoms.positions, _cell(atoms), atoms.pbc, max(cutoff, _SHORTEST))
    check_neighbourhood(atoms.positions, box, atoms.pbc, max(cutoff, _SHORTEST))
    positions = atoms.positions if atoms.pbc.all() else atoms.positions - origin
    i, j, shifts = neighbour_list("ijS", positions=positions, cell=box, pbc=atoms.pbc, cutoff=cutoff)
    order = np.lexsort((shifts[:, 2], shifts[:, 1], shifts[:, 0], j, i))
    return Edges(i[order].astype(np.int64), j[order].astype(np.int64), shifts[order].astype(np.int64))


def graph_of(atoms: Atoms, edges: Edges) -> Graph:
    """The graph of one configuration."""
    charge, multiplicity = readable_state(atoms)
    return Graph(
        numbers=np.asarray(atoms.numbers, dtype=np.int64),
        positions=np.array(atoms.positions, dtype=np.float64),
        sizes=np.array([len(atoms)], dtype=np.int64),
        cells=_cell(atoms)[None],
        pbc=np.array([atoms.pbc], dtype=bool),
        edges=edges,
        charges=None if charge is None else np.array([float(charge)]),
        multiplicities=None if multiplicity is None else np.array([float(multiplicity)]),
    )


def collate(graphs: Sequence[Graph]) -> Graph:
    """Several graphs as one."""
    if len(graphs) == 1:
        return graphs[0]
    starts = np.concatenate(([0], np.cumsum([len(g.numbers) for g in graphs])))
    return Graph(
        numbers=np.concatenate([g.numbers for g in graphs]),
        positions=np.concatenate([g.positions for g in graphs]),
        sizes=np.concatenate([g.sizes for g in graphs]),
        cells=np.concatenate([g.cells for g in graphs]),
        pbc=np.concatenate([g.pbc for g in graphs]),
        edges=Edges(
            np.concatenate([g.edges.i + s for g, s in zip(graphs, starts, strict=False)]),
            np.concatenate([g.edges.j + s for g, s in zip(graphs, starts, strict=False)]),
            np.concatenate([g.edges.shifts for g in graphs]),
        ),
        charges=_joined([g.charges for g in graphs], graphs),
        multiplicities=_joined([g.multiplicities for g in graphs], graphs),
    )


def _joined(states: Sequence[FloatArray | None], graphs: Sequence[Graph]) -> FloatArray | None:
    if all(state is None for state in states):
        return None
    each = zip(states, graphs, strict=True)
    return np.concatenate([np.full(len(g.sizes), np.nan) if state is None else state for state, g in each])


def parts(graph: Graph, edges_at_once: int | None) -> list[Graph]:
    """The graph cut into graphs of whole configurations, of about so many edges each; None: as it is.

    0: one for each configuration.
    """
    if edges_at_once is None or len(graph.sizes) < 2:
        return [graph]
    ends = np.searchsorted(graph.edges.i, graph.starts[1:])  # edges are in the order of their first atoms
    cuts, before = [0], 0
    for k in range(1, len(graph.sizes)):
        if ends[k] - before > edges_at_once:
            cuts.append(k)
            before = ends[k - 1]
    return [_cut(graph, a, b) for a, b in pairwise([*cuts, len(graph.sizes)])] if len(cuts) > 1 else [graph]


def _cut(graph: Graph, first: int, last: int) -> Graph:
    """Configurations first, …, last − 1 of a graph."""
    starts = graph.starts
    atoms = slice(starts[first], starts[last])
    edges = slice(*np.searchsorted(graph.edges.i, [starts[first], starts[last]]))
    every = graph.edges
    return Graph(
        numbers=graph.numbers[atoms],
        positions=graph.positions[atoms],
        sizes=graph.sizes[first:last],
        cells=graph.cells[first:last],
        pbc=graph.pbc[first:last],
        edges=Edges(every.i[edges] - starts[first], every.j[edges] - starts[first], every.shifts[edges]),
        charges=None if graph.charges is None else graph.charges[first:last],
        multiplicities=None if graph.multiplicities is None else graph.multiplicities[first:last],
    )


def structures_of(graph: Graph) -> list[Atoms]:
    """The structures of a graph, with the charge and multiplicity that they carry."""
    structures = []
    for k, (start, end) in enumerate(pairwise(graph.starts)):
        atoms = Atoms(
            numbers=graph.numbers[start:end],
            positions=graph.positions[start:end],
            cell=graph.cells[k] if graph.pbc[k].any() else None,
            pbc=graph.pbc[k],
        )
        for key, values in ((CHARGE, graph.charges), (MULTIPLICITY, graph.multiplicities)):
            if values is not None and np.isfinite(values[k]):
                atoms.info[key] = int(values[k])
        structures.append(atoms)
    return structures


def _within(wide: Edges, atoms: Atoms, cutoff: float) -> Edges:
    vectors = atoms.positions[wide.j] - atoms.positions[wide.i] + wide.shifts @ _cell(atoms)
    keep = (vectors**2).sum(axis=1) < cutoff**2
    return Edges(wide.i[keep], wide.j[keep], wide.shifts[keep])


def _cell(atoms: Atoms) -> FloatArray:
    """The cell, completed by unit vectors along open directions. Raises InputError for a flat one."""
    cell = np.asarray(atoms.cell.complete().array, dtype=np.float64)
    if atoms.pbc.any() and abs(np.linalg.det(cell)) < 1e-6:
        raise InputError(
            f"{atoms.get_chemical_formula()} has pbc {atoms.pbc.tolist()} but a cell without volume: "
            f"{atoms.cell.tolist()}. Give it a cell, or set pbc = False."
        )
    return cell
