"""One label to compute, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from tentpole.labeling.references import Reference
from tentpole.records import structure_hash

CRASHES = ("crashed", "died")
"""Reasons that a broken machine gives to every label alike."""
AGAIN = (*CRASHES, "truncated", "timeout", "memory")
"""Reasons for which a label is tried again: the machine may have been at fault."""


@dataclass(frozen=True, slots=True)
class Task:
    """One label to compute, all that a worker anywhere needs.

    Parameters
    ----------
    root : Path
        The campaign folder.
    reference : Reference
        What labels.
    atoms : ase.Atoms
        The structure.
    charge, multiplicity : int, optional
        In e, and 2S + 1.
    time_limit_s, memory_limit_GB : float, optional
        Per label; None is no limit.
    persistent : bool
        The program stays and serves the worker's next labels too, where ASE can talk to it (Quantum ESPRESSO,
        FHI-aims).
    last : bool
        False where a failure of those AGAIN names may be tried again: it then stays in work/ instead of quarantine/.
    root_exists : bool
        root is a folder that is there; where it is gone by the time the label begins it was moved or removed, and is
        not
        made again.
    """

    root: Path
    reference: Reference
    atoms: Atoms
    charge: int | None = None
    multiplicity: int | None = None
    time_limit_s: float | None = None
    memory_limit_GB: float | None = None
    persistent: bool = False
    last: bool = True
    root_exists: bool = False

    @property
    def structure(self) -> str:
        """The structure's hash."""
        return structure_hash(self.reference.bare(self.atoms), self.charge, self.multiplicity)

    @property
    def name(self) -> str:
        """The label's name, as in Label.name."""
        return f"{self.structure}-{self.reference.hash}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one task ended.

    Parameters
    ----------
    name : str
        The label's.
    ok : bool
        Whether the label is on disk.
    reason, message : str
        A short code, and the rest in words, where it is not.
    seconds : float
        Of this attempt.
    core_seconds : float
        Of all attempts times their cores.
    attempts : int
        How many.
    computed : bool
        False where the label was there before.
    """

    name: str
    ok: bool
    reason: str = ""
    message: str = ""
    seconds: float = 0.0
    core_seconds: float = 0.0
    attempts: int = 1
    computed: bool = True
