"""Batches: which structures a round asks labels for, why, and what became of them.

A batch is decided once and written whole; a round is closed once all its structures have an outcome.
What a campaign knows is always read back from these files and from the labels, never from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from ase import Atoms

from tentpole.campaign.facts import VERSION, BatchFacts, RoundEnd, RoundOutcome
from tentpole.campaign.paths import BatchName, CampaignPaths
from tentpole.errors import InputError, LabelError, StateError
from tentpole.labeling.acceptance import Accept
from tentpole.records import Condition, FloatArray, Label, State, own_state, state_of, structure_hash
from tentpole.storage.atomic import read_as, write_json
from tentpole.storage.labels import is_name, read_label
from tentpole.storage.structures import atoms_from_json, atoms_to_json

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Method:
    """What all labels of a campaign share: the hash of the reference, the charge in e, the multiplicity 2S + 1.

    Charge and multiplicity are those of frames that carry none of their own.
    """

    reference: str
    charge: int | None = None
    multiplicity: int | None = None

    def state(self, atoms: Atoms) -> State:
        """Charge and multiplicity of a frame: its own, else those that all labels share."""
        return state_of(atoms, self.charge, self.multiplicity)

    def request(self, name: str, atoms: Atoms, condition: Condition | None = None, **facts: Any) -> Request:
        """A request for a label of `atoms` by this method; `name` is its id, `facts` are its other fields."""
        return Request(name, atoms, self.reference, *self.state(atoms), condition, **facts)


@dataclass(frozen=True, slots=True)
class Request:
    """One structure that wants a label. Make the answer with `label` or `failed`.

    Parameters
    ----------
    id : str
        Of the snapshot, as in r003-w02-000150, or of the initial structure.
    atoms : ase.Atoms
        What to label, as it is.
    reference : str
        The reference's hash.
    charge, multiplicity : int or None
        In e, and 2S + 1: the frame's own, else the campaign's; None where neither states it.
    condition : Condition or None
        Structure, temperature and pressure of its walker.
    audit : bool
        Whether it was drawn at random in time, for the tests of convergence.
    reason : str
        Why it was chosen, in words.
    scores : dict of str to float
        What it was chosen by.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from tentpole.campaign import Request
    >>> request = Request("initial-000", molecule("H2"), "0" * 16, charge=0, multiplicity=1)
    >>> label = request.label(-31.7, np.zeros((2, 3)), seconds=12.0)
    >>> label.name == request.name == request.failed("unconverged").name
    True
    """

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
        """The structure's hash."""
        return structure_hash(self.atoms, self.charge, self.multiplicity)

    @property
    def name(self) -> str:
        """The label's name: structure hash, reference hash."""
        return f"{self.structure}-{self.reference}"

    def label(self, energy: float, forces: FloatArray, stress: FloatArray | None = None, **details: Any) -> Label:
        """The answer: what the reference says.

        Parameters
        ----------
        energy : float
            eV.
        forces : (N, 3) array
            eV/Å.
        stress : (6,) array, optional
            eV/Å³, ASE's sign and order.
        **details
            How it was made, plain JSON: `seconds` and `core_s` count as its cost, and `magnetization`, a table of
            total_muB and absolute_muB (µB, of the whole cell), is held against the reference's bands.

        Returns
        -------
        Label
        """
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
        """The answer where there is no label.

        Parameters
        ----------
        reason : str
            A short code, such as "unconverged".
        message : str
            The rest in words.

        Returns
        -------
        Failure
        """
        return Failure(self.name, reason, message)


@dataclass(frozen=True, slots=True)
class Failure:
    """A structure that got no label.

    Parameters
    ----------
    name : str
        Of the request.
    reason : str
        A short code.
    message : str
        The rest in words.
    """

    name: str
    reason: str
    message: str = ""


@dataclass(frozen=True)
class Batch:
    """A decided batch: how it came about, and its requests, which are made from the file when first asked for."""

    facts: BatchFacts
    method: Method
    entries: Sequence[Mapping[str, Any]]

    @property
    def asked(self) -> int:
        """How many structures."""
        return len(self.entries)

    @cached_property
    def requests(self) -> tuple[Request, ...]:
        """In batch order."""
        return tuple(_request(entry, self.method) for entry in self.entries)

    @cached_property
    def by_name(self) -> dict[str, Request]:
        """The requests by the names of their labels; a structure that was asked for twice stands here once."""
        requests: dict[str, Request] = {}
        for request in self.requests:
            requests.setdefault(request.name, request)
        return requests


class AskedFrame(NamedTuple):
    """What a closed round has to tell of one structure that it asked for: all but the structure itself."""

    id: str
    name: str
    condition: Condition | None
    audit: bool

    @property
    def walker(self) -> str:
        """The walker of a snapshot's id, r003-w02-000150; the id itself where it is none."""
        parts = self.id.split("-")
        return parts[1] if len(parts) == 3 else self.id


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch without its structures, light enough to keep for every round."""

    facts: BatchFacts
    frames: tuple[AskedFrame, ...]

    @staticmethod
    def of(batch: Batch) -> BatchRecord:
        """The record of a batch."""
        frames = (AskedFrame(q.id, q.name, q.condition, q.audit) for q in batch.requests)
        return BatchRecord(batch.facts, tuple(frames))


def write_batch(paths: CampaignPaths, name: BatchName, requests: Iterable[Request], facts: BatchFacts) -> None:
    """Decide a batch, once."""
    entries = [
        {
            "id": request.id,
            "atoms": atoms_to_json(request.atoms),
            "condition": None if request.condition is None else request.condition.to_json(),
            "audit": request.audit,
            "reason": request.reason,
            "scores": request.scores,
        }
        for request in requests
    ]
    write_json(paths.batch(name), {"version": VERSION, "requests": entries, "facts": facts.to_json()})


def read_batch(paths: CampaignPaths, name: BatchName, method: Method) -> Batch:
    """The batch of a round. Raises StateError for a file that is damaged or of another version."""
    path = paths.batch(name)
    return _read(path, lambda content: Batch(BatchFacts.from_json(content["facts"]), method, content["requests"]))


def read_outcome(paths: CampaignPaths, name: BatchName) -> RoundOutcome:
    """What came of a closed batch. Raises StateError for a file that is damaged or of another version."""
    return _read(paths.outcome(name), _outcome)


def read_end(paths: CampaignPaths, number: int) -> RoundEnd:
    """What was judged when a round ended. Raises StateError for a file that is damaged or of another version."""
    return _read(paths.end(number), RoundEnd.from_json)


def failure_of(paths: CampaignPaths, name: str) -> Failure | None:
    """Why the structure with that label name has no label, if its labelling was given up."""
    path = paths.failure(name)
    if not path.exists():
        return None
    return read_as(path, lambda content: Failure(name, content["reason"], content["message"]))


def pending(paths: CampaignPaths, batch: Batch) -> list[Request]:
    """Those without an outcome, in batch order. A structure asked for twice is pending once."""
    return [
        request
        for name, request in batch.by_name.items()
        if not (paths.label(name).exists() or paths.failure(name).exists())
    ]


def outcome_names(paths: CampaignPaths, batch: Batch) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the accepted labels, each once in batch order, and of what has none."""
    names = [request.name for request in batch.requests]
    there = {name for name in batch.by_name if paths.label(name).exists()}
    accepted = tuple(dict.fromkeys(name for name in names if name in there))
    return accepted, tuple(name for name in names if name not in there)


def labels_of(paths: CampaignPaths, outcome: RoundOutcome) -> list[Label]:
    """The labels that a closed round brought, in batch order.

    Raises StateError for one that is damaged, or lost and not to be had anew.
    """
    return [_label(paths, name) for name in outcome.accepted]


def _label(paths: CampaignPaths, name: str) -> Label:
    path = paths.label(name)
    try:
        return read_label(path)
    except StateError:
        if path.exists() or (failure := failure_of(paths, name)) is None:
            raise
        raise StateError(
            f"{path}: this label was lost, and to have it labelled anew failed: {failure.reason}: {failure.message}. "
            f"Mend the cause; `tentpole retry {paths.root}` has it tried again."
        ) from None


def check_answer(answer: object, asked: Mapping[str, Request], method: Method, accept: Accept) -> Request:
    """The request that `answer` belongs to.

    Raises InputError for an answer that was not asked for or that no training could use: of another reference or
    structure, of the wrong shape, not finite, outside what the reference accepts, or with details that JSON cannot
    hold.
    """
    if not isinstance(answer, Label | Failure):
        raise InputError(
            f"an answer of type {type(answer).__name__}: legal are request.label(energy, forces) and "
            "request.failed(reason), one or several"
        )
    if isinstance(answer, Label) and answer.reference != method.reference:
        raise InputError(
            f"a label of reference {answer.reference}, where this campaign's is {method.reference}: make answers with "
            "request.label(energy, forces)"
        )
    if answer.name not in asked:
        raise InputError(f"{answer.name}: nobody asked for this label now. Answer what campaign.ask() returned")
    request = asked[answer.name]
    if isinstance(answer, Label):
        answer.check()
        answer.check_details()
        if own_state(answer.atoms) != own_state(request.atoms):
            raise InputError(f"{answer.name}: its atoms have lost their charge or multiplicity: label request.atoms")
        _check_accepted(answer, accept)
    elif not (isinstance(answer.reason, str) and answer.reason and isinstance(answer.message, str)):
        raise InputError(f"{answer.name}: a failure needs a reason in words, not {answer.reason!r}")
    return request


def _check_accepted(answer: Label, accept: Accept) -> None:
    """Raises InputError for a told label that the reference would not accept from its own program."""
    stress = None if answer.stress is None else np.asarray(answer.stress, dtype=float)
    moments = answer.details.get("magnetization", {})
    try:
        accept.structure(answer.atoms)
        accept.label(float(answer.energy), np.asarray(answer.forces, dtype=float), stress, answer.atoms)
        accept.magnetism(moments, len(answer.atoms))
    except (AttributeError, TypeError):
        raise InputError(f"{answer.name}: magnetization = {moments!r:.80}: {_MOMENTS}") from None
    except LabelError as error:
        remedy = "Answer with request.failed(reason), in a shell --failed NAME=REASON, instead."
        if error.reason == "magnetization" and not moments:
            remedy = f"Tell it with the label: {_MOMENTS}"
        raise InputError(f"{answer.name}: {error} {remedy}") from None


_MOMENTS = "legal is request.label(…, magnetization={'total_muB': 2.2, 'absolute_muB': 2.3}), of the whole cell in µB."


def same_answer(one: Label | Failure, other: Label | Failure) -> bool:
    """Whether two answers to one request say the same: numbers for a label, reason and message for a failure."""
    if isinstance(one, Failure) or isinstance(other, Failure):
        return one == other if type(one) is type(other) else False
    if float(one.energy) != float(other.energy) or not np.array_equal(one.forces, other.forces):
        return False
    if one.stress is None or other.stress is None:
        return one.stress is other.stress
    return np.array_equal(one.stress, other.stress)


def _outcome(content: Mapping[str, Any]) -> RoundOutcome:
    outcome = RoundOutcome.from_json(content)
    for name in (*outcome.accepted, *outcome.failed):
        if not is_name(name):
            raise InputError(f"{name!r:.80} is no name of a label")
    return outcome


def _read(path: Path, build: Callable[[dict[str, Any]], T]) -> T:
    def of_this_version(content: dict[str, Any]) -> T:
        if content.get("version") != VERSION:
            raise StateError(
                f"{path}: format version {content.get('version')}, this Tentpole reads {VERSION}. Use the version of "
                "Tentpole that wrote it."
            )
        return build(content)

    return read_as(path, of_this_version)


def _request(entry: Mapping[str, Any], method: Method) -> Request:
    condition = None if entry["condition"] is None else Condition(**entry["condition"])
    facts = {key: entry[key] for key in ("audit", "reason", "scores")}
    return method.request(entry["id"], atoms_from_json(entry["atoms"]), condition, **facts)
