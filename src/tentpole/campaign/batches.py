"""Batches: which structures a round asks labels for, why, and what became of them.

A batch is decided once and written whole; a round is closed once all its structures have an outcome.
What a campaign knows is always read back from these files and from the labels, never from memory.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ase import Atoms

from tentpole.records import Condition, FloatArray, Label, structure_hash
from tentpole.storage.atomic import read_json, write_json
from tentpole.storage.labels import find_label, label_path, read_label
from tentpole.storage.structures import atoms_from_json, atoms_to_json

VERSION = 1


@dataclass(frozen=True, slots=True)
class Request:
    """One structure that wants a label. Make the answer with `label` or `failed`."""

    id: str
    atoms: Atoms
    reference: str
    charge: int | None
    multiplicity: int | None
    condition: Condition | None = None
    audit: bool = False
    reason: str = ""
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def structure(self) -> str:
        return structure_hash(self.atoms, self.charge, self.multiplicity)

    @property
    def name(self) -> str:
        """The label's name: structure hash, reference hash."""
        return f"{self.structure}-{self.reference}"

    def label(self, energy: float, forces: FloatArray, stress: FloatArray | None = None, **details: Any) -> Label:
        """The answer: energy in eV, forces (N, 3) in eV/Å, stress (6,) in eV/Å³ (ASE sign and order)."""
        return Label(
            self.structure,
            self.reference,
            self.atoms,
            energy,
            forces,
            stress,
            self.charge,
            self.multiplicity,
            details,
        )

    def failed(self, reason: str, message: str = "") -> Failure:
        """The answer where there is no label: a reason code, and the rest in words."""
        return Failure(self.name, reason, message)


@dataclass(frozen=True, slots=True)
class Failure:
    """A structure that got no label."""

    name: str
    reason: str
    message: str = ""


def batch_path(root: Path, round: int | str) -> Path:
    return root / "rounds" / _name(round) / "batch.json"


def closed_path(root: Path, round: int | str) -> Path:
    return root / "rounds" / _name(round) / "labels.json"


def write_batch(root: Path, round: int | str, requests: list[Request], facts: dict[str, Any]) -> None:
    """Decide a batch, once. `facts` are what the round's report needs beside the picks themselves."""
    entries = [
        {
            "id": request.id,
            "atoms": atoms_to_json(request.atoms),
            "condition": None if request.condition is None else asdict(request.condition),
            "audit": request.audit,
            "reason": request.reason,
            "scores": request.scores,
        }
        for request in requests
    ]
    write_json(batch_path(root, round), {"version": VERSION, "requests": entries, "facts": facts})


def read_batch(
    root: Path, round: int | str, reference: str, charge: int | None, multiplicity: int | None
) -> list[Request]:
    """The batch of a round, in its order."""
    return [
        Request(
            id=entry["id"],
            atoms=atoms_from_json(entry["atoms"]),
            reference=reference,
            charge=charge,
            multiplicity=multiplicity,
            condition=None if entry["condition"] is None else Condition(**entry["condition"]),
            audit=entry["audit"],
            reason=entry["reason"],
            scores=entry["scores"],
        )
        for entry in read_json(batch_path(root, round))["requests"]
    ]


def read_facts(root: Path, round: int | str) -> dict[str, Any]:
    """What a round's report needs beside its picks."""
    return dict(read_json(batch_path(root, round))["facts"])


def failure_of(root: Path, request: Request) -> Failure | None:
    """Why this structure has no label, if its labelling was given up."""
    path = root / "quarantine" / request.name / "reason.json"
    if not path.exists():
        return None
    content = read_json(path)
    return Failure(request.name, content["reason"], content["message"])


def pending(root: Path, requests: list[Request]) -> list[Request]:
    """Those without an outcome. A structure asked for twice is pending once."""
    seen: set[str] = set()
    waiting = []
    for request in requests:
        if request.name in seen or find_label(root, request.structure, request.reference):
            continue
        if failure_of(root, request) is None:
            seen.add(request.name)
            waiting.append(request)
    return waiting


def close(root: Path, round: int | str, requests: list[Request], facts: dict[str, Any]) -> None:
    """Fix the outcome of a round: the names of its labels in batch order, and of what failed."""
    accepted: list[str] = []
    failed: list[str] = []
    for request in requests:
        has_label = find_label(root, request.structure, request.reference) is not None
        (accepted if has_label else failed).append(request.name)
    accepted = list(dict.fromkeys(accepted))
    content = {"version": VERSION, "accepted": accepted, "failed": failed, "facts": facts}
    write_json(closed_path(root, round), content)


def is_closed(root: Path, round: int | str) -> bool:
    return closed_path(root, round).exists()


def read_closed(root: Path, round: int | str) -> dict[str, Any]:
    return read_json(closed_path(root, round))


def lost(root: Path, round: int | str) -> bool:
    """Whether a label that a closed round brought is no longer there."""
    names = read_closed(root, round)["accepted"]
    return not all(label_path(root, *name.split("-")).exists() for name in names)


def labels_of(root: Path, round: int | str) -> list[Label]:
    """The labels that a closed round brought, in batch order."""
    names = read_closed(root, round)["accepted"]
    return [read_label(label_path(root, *name.split("-"))) for name in names]


def _name(round: int | str) -> str:
    return f"r{round:03d}" if isinstance(round, int) else round
