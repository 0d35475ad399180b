"""What a campaign is made of: frozen data, no behaviour beyond derived values.

Units: eV, Å, eV/Å, eV/Å³ as in ASE; names carry a unit where it is not ASE's own.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from tentpole.errors import InputError

FloatArray = NDArray[np.float64]


MOMENTS = "initial_magmoms"  # ASE's array of starting moments, one per atom in µB


def moments_of(atoms: Atoms) -> FloatArray | None:
    """The collinear starting moments (N,) of `atoms` in µB; None where it has none or all are zero."""
    moments = atoms.arrays.get(MOMENTS)
    if moments is None or moments.ndim != 1 or not np.any(moments):
        return None
    return np.asarray(moments, dtype=np.float64)


CHARGE, MULTIPLICITY = "charge", "multiplicity"
"""Keys of atoms.info under which a frame carries its own electronic state: the charge in e, and 2S + 1."""

State = tuple[int | None, int | None]
"""Charge in e and multiplicity 2S + 1; None where nobody states it."""


def own_state(atoms: Atoms, where: str = "") -> State:
    """The charge and the multiplicity that `atoms` itself carries, None where it carries none.

    Raises InputError, naming the structure as `where`, for what is no whole number, or a multiplicity below 1.

    >>> own_state(Atoms("OH", info={"charge": -1}))
    (-1, None)
    """
    charge, multiplicity = (_whole(atoms.info.get(key), key, where) for key in (CHARGE, MULTIPLICITY))
    if multiplicity is not None and multiplicity < 1:
        raise InputError(f"{where or atoms.get_chemical_formula()}: multiplicity = {multiplicity}: 1 or more is legal")
    return charge, multiplicity


def state_of(atoms: Atoms, charge: int | None = None, multiplicity: int | None = None) -> State:
    """The state of a frame: what it carries itself, else the `charge` and `multiplicity` of its campaign.

    >>> state_of(Atoms("OH", info={"charge": -1}), charge=0, multiplicity=1)
    (-1, 1)
    """
    own = own_state(atoms)
    return (charge if own[0] is None else own[0]), (multiplicity if own[1] is None else own[1])


def readable_state(atoms: Atoms) -> State:
    """As `own_state`, but what is no whole number counts as not stated: for readers to whom it need not matter."""
    charge, multiplicity = (atoms.info.get(key) for key in (CHARGE, MULTIPLICITY))
    return (int(charge) if _is_whole(charge) else None), (int(multiplicity) if _is_whole(multiplicity) else None)


def with_state(atoms: Atoms, state: State) -> Atoms:
    """`atoms` itself, carrying the charge and the multiplicity in `state`, and none where that is None."""
    for key, value in zip((CHARGE, MULTIPLICITY), state, strict=True):
        atoms.info.pop(key, None)
        if value is not None:
            atoms.info[key] = value
    return atoms


def state_words(state: State) -> str:
    """The state for a reader.

    >>> state_words((1, None)), state_words((None, None))
    ('charge 1', 'charge not stated')
    """
    charge, multiplicity = state
    words = f"charge {'not stated' if charge is None else charge}"
    return words if multiplicity is None else f"{words}, multiplicity {multiplicity}"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and float(value).is_integer()


def _whole(value: Any, key: str, where: str) -> int | None:
    if value is None:
        return None
    if not _is_whole(value):
        raise InputError(f"{where or 'a frame'}: {key} = {value!r:.40}: a whole number is legal")
    return int(value)


def structure_hash(atoms: Atoms, charge: int | None = None, multiplicity: int | None = None) -> str:
    """32 hex digits that name a structure, charge and spin, bit for bit.

    Parameters
    ----------
    atoms : ase.Atoms
        Species, positions, cell, pbc and starting moments count; nothing else that it carries.
    charge : int, optional
        e.
    multiplicity : int, optional
        2S + 1.

    Returns
    -------
    str
        Two structures of one hash get the same label from the same reference. A rotated copy has another hash.

    Examples
    --------
    >>> from ase.build import molecule
    >>> water = molecule("H2O")
    >>> structure_hash(water) == structure_hash(water.copy()), structure_hash(water, charge=1) == structure_hash(water)
    (True, False)
    """
    digest = hashlib.sha256()
    digest.update(np.asarray(atoms.numbers, dtype="<i8").tobytes())
    for array in (atoms.positions, atoms.cell.array):
        digest.update((np.asarray(array, dtype="<f8") + 0.0).tobytes())  # + 0.0 turns -0.0 into 0.0
    digest.update(np.asarray(atoms.pbc, dtype="<i8").tobytes())
    digest.update(f"{charge}/{multiplicity}".encode())
    moments = moments_of(atoms)
    if moments is not None:
        digest.update(b"/moments" + (np.asarray(moments, dtype="<f8") + 0.0).tobytes())
    return digest.hexdigest()[:32]


def bare(atoms: Atoms) -> Atoms:
    """A copy of `atoms` that holds what a label depends on.

    Species, positions, cell, pbc, starting moments, and charge and multiplicity where it carries them itself; no
    momenta, constraints, calculator or other info.
    """
    copy = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    moments = moments_of(atoms)
    if moments is not None:
        copy.set_initial_magnetic_moments(moments)
    return with_state(copy, readable_state(atoms))


@dataclass(frozen=True, slots=True)
class Condition:
    """Where a frame comes from: what quotas and convergence are judged by.

    `ramp` names the schedule of a walker whose temperature, pressure or cell changes as it goes, "" for none: all its
    frames are of one condition, and `temperature_K` and `pressure_GPa` are those it begins with.
    """

    structure: str
    temperature_K: float
    pressure_GPa: float | None = None
    ramp: str = ""

    def to_json(self) -> dict[str, Any]:
        """Its fields by name, as `Condition(**fields)` takes them; without a ramp that there is not."""
        fields = {
            "structure": self.structure,
            "temperature_K": self.temperature_K,
            "pressure_GPa": self.pressure_GPa,
        }
        return fields | ({"ramp": self.ramp} if self.ramp else {})

    def __str__(self) -> str:
        if self.ramp:
            return f"{self.structure}, {self.ramp}"
        pressure = "" if self.pressure_GPa is None else f", {self.pressure_GPa:g} GPa"
        return f"{self.structure}, {self.temperature_K:g} K{pressure}"


@dataclass(frozen=True, slots=True)
class Walker:
    """One MD trajectory, whole: what is here is all that the next step depends on.

    `atoms` carries positions, momenta, cell and starting moments, and no calculator. `rng` is the bit generator's
    state as NumPy gives it. `ring` holds the last healthy states, the newest last: (step, atoms, rng). `barostat` is
    what a barostat goes on from, its momenta and the forces on them; () where there is none yet. `memory` is what a
    stacked calculator goes on from, plain JSON.
    """

    id: str
    condition: Condition
    atoms: Atoms
    step: int
    rng: dict[str, Any]
    ring: tuple[tuple[int, Atoms, dict[str, Any]], ...] = ()
    bias_strength: float | None = None
    barostat: tuple[float, ...] = ()
    memory: Any = None


def snapshot_id(number: int, walker: str, step: int) -> str:
    """The id of the frame that a walker had at a step of a round.

    >>> snapshot_id(3, "w02", 150)
    'r003-w02-000150'
    """
    return f"r{number:03d}-{walker}-{step:06d}"


def first_label_id(number: int, place: int) -> str:
    """The id of a structure that is labelled for no walker's sake, in round 0 or where a structure joins.

    >>> first_label_id(0, 12)
    'r000-0012'
    """
    return f"r{number:03d}-{place:04d}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stored frame. `id` reads round-walker-step, as in r003-w02-000150.

    `before_mishap`: the last sound frame before the walker was sent back. It is no frame drawn regularly in time: a
    candidate like others, but never an audit frame.
    """

    id: str
    atoms: Atoms
    condition: Condition
    walker: str
    round: int
    step: int
    before_mishap: bool = False


SIGMA_KINDS = ("auto", "mean", "max", "p95")
"""What a frame's σ can be of its atoms' σ; "auto": the 95th percentile above LARGE_CELL atoms, else the mean."""

LARGE_CELL = 50
"""Atoms above which a mean over atoms hides what a few of them do."""


def sigma_kind(kind: str, atoms: int) -> str:
    """What "auto" is for a frame of so many atoms: "p95" above 50, else "mean"; any other kind is itself."""
    if kind != "auto":
        return kind
    return "p95" if atoms > LARGE_CELL else "mean"


@dataclass(frozen=True, slots=True)
class Scores:
    """What the committee and the dataset say of one snapshot.

    Parameters
    ----------
    energy_std, energy_std_per_atom : float
        Spread of the members' energies, in eV and eV/atom.
    force_std, max_force_std : float
        Mean and maximum over atoms of the spread of the members' force vectors, eV/Å.
    gain : float
        Log-det gain of the dataset, were the frame to join it.
    failed : str
        Why the frame could not be scored; "" where it could.
    p95_force_std : float, optional
        95th percentile over atoms of the spread of the force vectors, eV/Å; None for scores from before it was kept.
    """

    energy_std: float
    energy_std_per_atom: float
    force_std: float
    max_force_std: float
    gain: float
    failed: str = ""
    p95_force_std: float | None = None

    @property
    def finite(self) -> bool:
        """Whether every score is a finite number."""
        values = (self.energy_std, self.energy_std_per_atom, self.force_std, self.max_force_std, self.gain)
        return all(math.isfinite(value) for value in (*values, self.p95_force_std or 0.0))

    def sigma(self, kind: str, atoms: int) -> float:
        """The frame's σ in eV/Å.

        Parameters
        ----------
        kind : {"auto", "mean", "max", "p95"}
            Over the atoms; "auto" is p95 above 50 atoms, else the mean.
        atoms : int
            How many the frame has.

        Raises
        ------
        ValueError
            For another kind, or where these scores are from before the percentile was kept.

        Examples
        --------
        >>> from tentpole.records import Scores
        >>> scores = Scores(0.1, 0.001, 0.012, 1.0, 0.02, p95_force_std=0.3)
        >>> scores.sigma("auto", 500), scores.sigma("auto", 7), scores.sigma("max", 7)
        (0.3, 0.012, 1.0)
        """
        if kind not in SIGMA_KINDS:
            raise ValueError(f'unknown σ of a frame "{kind}". Legal: {", ".join(SIGMA_KINDS)}.')
        kind = sigma_kind(kind, atoms)
        value = {"mean": self.force_std, "max": self.max_force_std, "p95": self.p95_force_std}[kind]
        if value is None:
            raise ValueError("these scores are from before the percentile was kept: take the mean or the maximum")
        return value


@dataclass(frozen=True, slots=True)
class Candidate:
    """A snapshot with its scores and the fingerprint rows (N, d) that the gain was computed from."""

    snapshot: Snapshot
    scores: Scores
    fingerprints: FloatArray


@dataclass(frozen=True, slots=True)
class Label:
    """What the reference says of one structure: energy in eV, forces (N, 3) in eV/Å, stress (6,) in eV/Å³.

    `structure` is `structure_hash`, `reference` the hash of the method: labels of different reference
    hashes never mix in one training set. `details` records how it was made (code and version, seconds,
    attempt, settings finally used).
    """

    structure: str
    reference: str
    atoms: Atoms
    energy: float
    forces: FloatArray
    stress: FloatArray | None = None
    charge: int | None = None
    multiplicity: int | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The label's name, and its file's: structure hash, then reference hash."""
        return f"{self.structure}-{self.reference}"

    def check(self) -> None:
        """See that this is the label of the structure that it names.

        Raises
        ------
        InputError
            Where atoms are not those of `structure`, or a number is missing, not finite or of another shape.
        """
        if not isinstance(self.atoms, Atoms):
            raise InputError(f"{self.name}: atoms must be ase.Atoms, not {type(self.atoms).__name__}")
        _numbers(self.name, "energy", self.energy, ())
        _numbers(self.name, "forces", self.forces, (len(self.atoms), 3))
        if self.stress is not None:
            _numbers(self.name, "stress", self.stress, (6,))
        own = own_state(self.atoms, self.name)
        if state_of(self.atoms, self.charge, self.multiplicity) != (self.charge, self.multiplicity):
            raise InputError(
                f"{self.name}: is of {state_words((self.charge, self.multiplicity))}, and its atoms carry "
                f"{state_words(own)}: label request.atoms as they are"
            )
        digest = structure_hash(self.atoms, self.charge, self.multiplicity)
        if digest != self.structure:
            raise InputError(
                f"{self.name}: its atoms, charge, spin or moments are not those that were asked for, but of structure "
                f"{digest}: label request.atoms as they are"
            )

    def check_details(self) -> None:
        """See that `details` can be kept.

        Raises
        ------
        InputError
            Where they are not plain JSON with finite numbers, or their times are none.
        """
        if not isinstance(self.details, dict):
            raise InputError(f"{self.name}: details must be a table, not {type(self.details).__name__}")
        try:
            json.dumps(self.details, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{self.name}: details must be plain JSON with finite numbers: {error}") from None
        for key in ("seconds", "core_s"):
            value = self.details.get(key, 0.0)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise InputError(f"{self.name}: details {key} = {value!r}: legal is a time in seconds, 0 or more")


def _numbers(name: str, what: str, value: object, shape: tuple[int, ...]) -> None:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"{name}: {what} must be numbers, not {value!r}") from None
    if array.shape != shape:
        legal = f"shape {shape}" if shape else "a single number"
        raise InputError(f"{name}: {what} has shape {array.shape}, legal is {legal}")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: {what} is not finite: answer with request.failed(reason) instead")
