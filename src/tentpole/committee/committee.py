"""A committee: its members, what they predict for many structures at once, and how far they disagree."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from tentpole.committee import disagreement
from tentpole.committee.committee_files import (
    member_stems,
)
from tentpole.committee.graph import Graph, collate, edges_within, graph_of, parts
from tentpole.errors import InputError

FloatArray = NDArray[np.float64]


class Voter(Protocol):
    """A potential with one or more votes, a vote being one member of the committee."""

    numbers: tuple[int, ...]
    cutoff: float

    @property
    def votes(self) -> int:
        """How many members this potential stands for."""
        ...

    def evaluate(
        self, graph: Graph, votes: Sequence[int], stress: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Energies (v, n) in eV, forces (v, N, 3) in eV/Å and, where asked, stresses (v, n, 6) in eV/Å³."""
        ...


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What the committee says of one structure.

    Parameters
    ----------
    energy_std, energy_std_per_atom : float
        Spread of the energies, eV and eV/atom; NaN for a failed structure, as all the others.
    force_std, max_force_std : float
        Mean and maximum over atoms of the spread of the force vectors, eV/Å.
    failed : str
        Why the structure failed; "" where it did not.
    """

    energy_std: float
    energy_std_per_atom: float
    force_std: float
    max_force_std: float
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What M members predict for n structures of N_i atoms.

    Parameters
    ----------
    energies : (M, n) array
        eV.
    forces : list of (M, N_i, 3) arrays
        eV/Å.
    stresses : (M, n, 6) array or None
        eV/Å³, order and sign of ASE, NaN where a structure is not periodic; None where not asked for.
    failed : list of str
        Why each structure failed, "" where all is well; the numbers of a failed one are NaN or what its members said.
    """

    energies: FloatArray
    forces: list[FloatArray]
    stresses: FloatArray | None
    failed: list[str]

    def __len__(self) -> int:
        return len(self.forces)

    def disagreement(self, k: int, *, ddof: int = 0) -> Disagreement:
        """Disagreement over structure k. Never raises for a failed one: it says so.

        Parameters
        ----------
        k : int
            Its place.
        ddof : int
            0 for the population's variance.

        Returns
        -------
        Disagreement
        """
        if self.failed[k]:
            return Disagreement(np.nan, np.nan, np.nan, np.nan, self.failed[k])
        try:
            energy = float(disagreement.energy_std(self.energies[:, k], ddof=ddof))
            atoms = disagreement.atom_force_std(self.forces[k], ddof=ddof)
        except disagreement.NonFinite as error:
            return Disagreement(np.nan, np.nan, np.nan, np.nan, str(error))
        return Disagreement(energy, energy / len(atoms), float(atoms.mean()), float(atoms.max()))

    def disagreements(self, *, ddof: int = 0) -> list[Disagreement]:
        """Disagreement over every structure.

        Parameters
        ----------
        ddof : int
            0 for the population's variance.

        Returns
        -------
        list of Disagreement
            In order.
        """
        return [self.disagreement(k, ddof=ddof) for k in range(len(self))]


class Committee:
    """M members that vote. `Committee.load` reads one; the constructor takes voters of any kind.

    Parameters
    ----------
    voters : iterable of Voter
        Each with one vote or several.

    Raises
    ------
    InputError
        Where there is none.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from ase.calculators.emt import EMT
    >>> from tentpole.committee import AseVoter, Committee
    >>> committee = Committee([AseVoter(EMT()), AseVoter(EMT())])
    >>> prediction = committee.evaluate([molecule("H2O"), molecule("CO")])
    >>> prediction.energies.shape, prediction.disagreement(0).force_std
    ((2, 2), 0.0)
    """

    def __init__(self, voters: Iterable[Voter]) -> None:
        self.voters = tuple(voters)
        self._most_edges: dict[Voter, int] = {}  # that have fitted into memory, where more did not
        self._seats = [(voter, vote) for voter in self.voters for vote in range(voter.votes)]
        if not self._seats:
            raise InputError("a committee needs at least one member")

    @classmethod
    def load(
        cls,
        path: str | Path | Sequence[str | Path],
        *,
        device: str = "auto",
        dtype: str | None = None,
        same_energies: bool = True,
        baseline: Any = None,
    ) -> Committee:
        """Read a committee from a campaign folder (its newest models), a models folder, or member files.

        Parameters
        ----------
        path : path, or sequence of paths
            A folder, or members' files with or without their ending. Nothing in them is executed.
        device : str
            "cpu", "cuda", or "auto" for a GPU where there is one.
        dtype : {"float32", "float64"}, optional
            The files' own where None.
        same_energies : bool
            False lets members differ in the energies of their isolated atoms; such an offset passes for uncertainty
            unless it is taken out (see `aligned`).
        baseline : str, Path, Reference, Calculator or Baseline, optional
            What members learned the difference to, where they did: it is added back. A name from `tentpole references`
            or a reference file is held against the hash in the members' descriptions; nothing else is imported.

        Returns
        -------
        Committee

        Raises
        ------
        InputError
            For files that are no members, copies of one member, or energies of isolated atoms that differ.
        StateError
            For members that are damaged or of another version.
        """
        from tentpole.committee.baseline import with_baselines
        from tentpole.committee.member_files import read_voter, refuse_copies

        chosen, stems = choose_device(device), member_stems(path)
        refuse_copies(stems)
        voters = [read_voter(stem, device=chosen, dtype=dtype) for stem in stems]
        if same_energies:
            _check_energies([(voter.numbers, row) for voter in voters for row in voter.e0s])
        return cls(with_baselines(voters, stems, baseline))

    @property
    def size(self) -> int:
        """The number of members, M."""
        return len(self._seats)

    @property
    def cutoff(self) -> float:
        """The largest cutoff of any member, in Å."""
        return max(voter.cutoff for voter in self.voters)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The atomic numbers that every member knows."""
        return tuple(sorted(set.intersection(*(set(voter.numbers) for voter in self.voters))))

    def vote(
        self, graph: Graph, members: Sequence[int], *, stress: bool = False
    ) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Predictions of some members for one graph.

        Parameters
        ----------
        graph : Graph
            n structures of N atoms in all.
        members : sequence of int
            Which of the M members, m of them.
        stress : bool
            Whether stresses are wanted.

        Returns
        -------
        energies : (m, n) array
            eV.
        forces : (m, N, 3) array
            eV/Å.
        stresses : (m, n, 6) array or None
            eV/Å³; None where not wanted.
        """
        n, atoms = len(graph.sizes), len(graph.numbers)
        energies, forces = np.empty((len(members), n)), np.empty((len(members), atoms, 3))
        stresses = np.empty((len(members), n, 6)) if stress else None
        for voter in self.voters:
            rows = [k for k, member in enumerate(members) if self._seats[member][0] is voter]
            if not rows:
                continue
            votes = [self._seats[members[k]][1] for k in rows]
            energies[rows], forces[rows], answer = self._evaluated(voter, graph, votes, stress)
            if stresses is not None:
                stresses[rows] = np.nan if answer is None else answer
        return energies, forces, stresses

    def _evaluated(
        self, voter: Voter, graph: Graph, votes: Sequence[int], stress: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """The voter's answer; where memory does not suffice, from then on in parts of half as many edges."""
        while True:
            pieces = parts(graph, self._most_edges.get(voter))
            try:
                answers = [voter.evaluate(piece, votes, stress) for piece in pieces]
                break
            except Exception as error:
                if not _out_of_memory(error) or len(pieces) == len(graph.sizes):
                    raise
            self._most_edges[voter] = max(len(piece.edges.i) for piece in pieces) // 2
        if len(answers) == 1:
            return answers[0]
        energies, forces, stresses = zip(*answers, strict=True)
        known = [answer for answer in stresses if answer is not None]
        together = np.concatenate(known, axis=1) if len(known) == len(answers) else None
        return np.concatenate(energies, axis=1), np.concatenate(forces, axis=1), together

    def evaluate(self, frames: Sequence[Atoms], *, stress: bool = False, edges_per_batch: int = 20_000) -> Prediction:
        """Predictions of all members for `frames`.

        Parameters
        ----------
        frames : sequence of ase.Atoms
            One without atoms or with positions that are not finite is marked failed and not evaluated.
        stress : bool
            Whether stresses are wanted.
        edges_per_batch : int
            About so many pairs of neighbours are worked on at once.

        Returns
        -------
        Prediction

        Raises
        ------
        InputError
            For species that a member does not know.
        """
        members, n = range(self.size), len(frames)
        energies = np.full((self.size, n), np.nan)
        stresses = np.full((self.size, n, 6), np.nan) if stress else None
        forces = [np.full((self.size, len(atoms), 3), np.nan) for atoms in frames]
        failed = [_unusable(atoms) for atoms in frames]
        for batch in self._batches(frames, failed, edges_per_batch):
            graph = collate([graph for _, graph in batch])
            e, f, s = self.vote(graph, members, stress=stress)
            for place, (k, _) in enumerate(batch):
                energies[:, k] = e[:, place]
                forces[k] = f[:, graph.starts[place] : graph.starts[place + 1]]
                if stresses is not None and s is not None:
                    stresses[:, k] = s[:, place]
                if not (np.isfinite(energies[:, k]).all() and np.isfinite(forces[k]).all()):
                    failed[k] = "a member's prediction is not finite"
        return Prediction(energies, forces, stresses, failed)

    def _batches(self, frames: Sequence[Atoms], failed: list[str], most: int) -> Iterator[list[tuple[int, Graph]]]:
        batch: list[tuple[int, Graph]] = []
        edges = 0
        for k, atoms in enumerate(frames):
            if failed[k]:
                continue
            graph = graph_of(atoms, edges_within(atoms, self.cutoff))
            if batch and edges + len(graph.edges.i) > most:
                yield batch
                batch, edges = [], 0
            batch.append((k, graph))
            edges += len(graph.edges.i)
        if batch:
            yield batch


def choose_device(device: str) -> str:
    """Turn "auto" into "cuda" where a GPU is ready, else "cpu"; other names pass through."""
    if device != "auto":
        return device
    if "torch" not in sys.modules and sys.platform == "linux" and not any(map(_is_gpu, Path("/dev").iterdir())):
        return "cpu"  # torch, which drivers of campaigns need for nothing else, takes seconds to say the same
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _is_gpu(file: Path) -> bool:
    """Whether a file in /dev is one that a GPU's programs open: NVIDIA's, also on boards, AMD's, Windows' for Linux."""
    return file.name.startswith(("nvidia", "nvhost", "nvmap", "nvgpu")) or file.name in ("kfd", "dxg")


def _out_of_memory(error: Exception) -> bool:
    """Whether a device, or this machine, had no memory left."""
    words = ("out of memory", "can't allocate memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


def _check_energies(tables: Sequence[tuple[tuple[int, ...], FloatArray]], tolerance_eV: float = 1e-3) -> None:
    """Raises InputError where members differ in the energy of an isolated atom that they share."""
    first = dict(zip(*tables[0], strict=True))
    for member, (numbers, energies) in enumerate(tables):
        for z, energy in zip(numbers, energies, strict=True):
            if abs(energy - first.get(z, energy)) > tolerance_eV:
                raise InputError(
                    f"member {member} puts an isolated atom of number {z} at {energy:.6f} eV, member 0 at "
                    f"{first[z]:.6f} eV: the offset would pass for uncertainty. Train the members with the "
                    "same E0s, or load with same_energies=False and take it out with `aligned`."
                )


def _unusable(atoms: Atoms) -> str:
    if len(atoms) == 0:
        return "no atoms"
    if not np.isfinite(atoms.positions).all():
        return "positions are not finite"
    if not np.isfinite(atoms.cell.array).all():
        return "the cell is not finite"
    return ""
