"""One label, computed where the worker runs: found, or calculated, judged, and written by the process."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from tentpole import store
from tentpole.errors import InputError, LabelError, StateError
from tentpole.labeling import persistent as serving
from tentpole.labeling.references import Reference
from tentpole.labeling.worker import watched
from tentpole.state import FloatArray, Label, structure_hash

CLIMBED = ("unconverged", "crashed", "truncated")  # reasons for which the next rung of the ladder is tried
SILENT_S = 60.0  # a worker elsewhere whose folder shows no beat for this long is taken for dead
KEPT_BYTES = 1_000_000  # of each output file in quarantine: its end
SKIPPED_BYTES = 50_000_000  # larger files are densities and wavefunctions, not output


@dataclass(frozen=True, slots=True)
class Task:
    """One label to compute, all that a worker anywhere needs. Limits are per label; None is no limit.

    persistent: the program stays and serves the worker's next labels too, where ASE can talk to it (Quantum
    ESPRESSO, FHI-aims). `last` is False where a failure is to be tried again: it then stays in work/ instead
    of quarantine/.
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

    @property
    def structure(self) -> str:
        return structure_hash(self.atoms, self.charge, self.multiplicity)

    @property
    def name(self) -> str:
        """The label's name, as in Label.name."""
        return f"{self.structure}-{self.reference.hash}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one task ended. ok: the label is on disk under `name`. Else `reason` is a code; `message` says it.

    computed is False where the label was there before; seconds are those of this attempt.
    """

    name: str
    ok: bool
    reason: str = ""
    message: str = ""
    seconds: float = 0.0
    attempts: int = 1
    computed: bool = True


def compute(task: Task) -> Outcome:
    """Compute one label under task.root, or find it there. Never raises for a label that fails.

    Raises InputError for what makes every label fail (a calculator that cannot be imported), and StateError
    where the folder cannot be written: those stop a campaign, with everything so far on disk.
    """
    began = time.monotonic()
    found = _found_or_left_alone(task)
    if found is not None:
        return found
    folder = work_folder(task)
    try:
        folder.mkdir(parents=True)
        try:
            with watched(folder, task.time_limit_s, task.memory_limit_GB, beat=True):
                label = _label(task, folder)
            store.write_label(task.root, label)
        except LabelError as error:
            seconds = time.monotonic() - began
            fail(task, error.reason, str(error))
            return Outcome(task.name, False, error.reason, str(error), seconds)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise StateError(
            f"{task.root}: a label cannot be written ({error}). Make room or mend the permissions, then "
            "go on: what was written so far is whole."
        ) from None
    clear(task)
    if label.reference != task.reference.hash:
        return _other_physics(task, label.details["retry"], label.name, time.monotonic() - began)
    return Outcome(task.name, True, seconds=time.monotonic() - began)


def single_point(
    reference: Reference,
    atoms: Atoms,
    charge: int | None,
    multiplicity: int | None,
    directory: Path,
    persistent: bool = False,
) -> tuple[float, FloatArray, FloatArray | None, dict[str, Any]]:
    """Energy (eV), forces (N, 3) (eV/Å), stress (6,) (eV/Å³) or None, and facts about the calculation.

    The energy is the one that the forces are derivatives of: with smeared occupations the free energy.
    Raises LabelError with a reason code; convergence is read from the program's own output.
    """
    directory.mkdir(parents=True, exist_ok=True)
    setup = reference.setup(atoms, charge, multiplicity, directory)
    wanted = ["energy", "forces"] + (
        ["stress"] if "stress" in reference.properties and atoms.pbc.all() else []
    )
    try:
        if persistent:
            results, facts = serving.calculate(reference, setup, wanted, directory)
        else:
            calculator = _calculator(reference, setup.keywords, directory)
            calculator.calculate(setup.atoms, wanted, all_changes)
            results = calculator.results
    except (LabelError, InputError):
        raise
    except Exception as error:  # a program may fail in any way; its own output knows best which
        said = " ".join(f"{type(error).__name__}: {error}".split())[:2000]
        try:
            reference.code.verify(directory)
        except LabelError as known:
            raise LabelError(known.reason, f"{known} ({said})") from None
        reason = "unconverged" if "converge" in said.lower() else "crashed"
        raise LabelError(reason, f"{reference.name}: {said}") from None
    if not persistent:
        facts = reference.code.verify(directory)
    _same_version(reference, facts.get("version", ""))
    missing = [name for name in wanted if results.get(name) is None]
    if missing:
        raise LabelError("incomplete", f"{reference.name}: the program gave no {', '.join(missing)}.")
    kind = "free_energy" if results.get("free_energy") is not None else "energy"
    stress = _voigt(results["stress"]) if "stress" in wanted else None
    return float(results[kind]), np.asarray(results["forces"], dtype=float), stress, {**facts, "energy": kind}


def _voigt(stress: Any) -> FloatArray:
    """xx, yy, zz, yz, xz, xy: ASE allows a calculator to give the full tensor instead."""
    values = np.asarray(stress, dtype=float)
    return np.asarray(full_3x3_to_voigt_6_stress(values) if values.shape == (3, 3) else values, dtype=float)


def _label(task: Task, folder: Path) -> Label:
    """Climb the ladder: the reference as it is, then its retries one by one, until a label is accepted."""
    reference = task.reference
    reference.accept.structure(task.atoms)
    ladder = [("", reference), *((retry.name, reference.rung(retry)) for retry in reference.retries)]
    failures: list[str] = []
    for step, (name, rung) in enumerate(ladder):
        began = time.monotonic()
        try:
            energy, forces, stress, facts = single_point(
                rung, task.atoms, task.charge, task.multiplicity, folder / str(step), task.persistent
            )
            break
        except LabelError as error:
            failures.append(f"{name or 'as written'}: {error}")
            if error.reason not in CLIMBED or step + 1 == len(ladder):
                raise LabelError(error.reason, " Then ".join(failures)) from None
    reference.accept.label(energy, forces, stress, task.atoms)
    details = {"code": reference.name, "seconds": round(time.monotonic() - began, 6), "step": step, **facts}
    if name:
        retry = reference.retries[step - 1]
        details |= {"retry": name, "settings": retry.parameters, "physics": rung.hash, "failures": failures}
    joins = not name or reference.joins(reference.retries[step - 1])
    return Label(
        structure=task.structure,
        reference=reference.hash if joins else rung.hash,
        atoms=Atoms(task.atoms.numbers, task.atoms.positions, cell=task.atoms.cell, pbc=task.atoms.pbc),
        energy=energy,
        forces=forces,
        stress=stress,
        charge=task.charge,
        multiplicity=task.multiplicity,
        details=details,
    )


def _same_version(reference: Reference, found: str) -> None:
    stated = str(reference.identity["version"])
    if found and found != stated and not found.startswith(stated + "."):
        raise LabelError(
            "wrong_version",
            f"{reference.name}: this label was made by version {found}, the reference is version {stated}. "
            "Run the same program everywhere, or start another reference with its own code_version.",
        )


@functools.lru_cache(maxsize=4)
def _shared(reference: str, keywords: str) -> dict[str, Any]:
    return {}  # one calculator per reference and keywords, in each worker


def _calculator(reference: Reference, keywords: dict[str, Any], directory: Path) -> Any:
    """A new calculator per label, or a shared one where the program keeps nothing from one to the next."""
    with contextlib.redirect_stdout(io.StringIO()):  # some announce their device in every worker
        if not reference.code.stateless:
            return reference.make(keywords, directory)
        shelf = _shared(reference.hash, repr(sorted(keywords.items())))
        if "calculator" not in shelf:
            shelf["calculator"] = reference.make(keywords, None)
        return shelf["calculator"]


def _found(task: Task) -> Outcome | None:
    if store.find_label(task.root, task.structure, task.reference.hash):
        return Outcome(task.name, True, computed=False)
    for retry in task.reference.retries:
        if not task.reference.joins(retry):
            rung = task.reference.rung(retry).hash
            if store.find_label(task.root, task.structure, rung):
                return _other_physics(task, retry.name, f"{task.structure}-{rung}", 0.0, computed=False)
    return None


def _found_or_left_alone(task: Task) -> Outcome | None:
    """The outcome that is on disk, after any worker of an earlier driver that is at this label has ended.

    A job in a queue outlives its driver: what it is computing is waited for, not computed a second time.
    """
    found = _found(task)
    while found is None and any(map(lives, (task.root / "work").glob(f"tmp-{task.name}-*"))):
        time.sleep(0.1)
        found = _found(task)
    return found


def lives(folder: Path) -> bool:
    """Whether the process that made this folder in work/ is still at it: here by pid, elsewhere by its beat."""
    _, host, pid = folder.name.rsplit("-", 2)
    if host == _host():
        return _runs(int(pid))
    for sign in (folder / "alive", folder):
        with contextlib.suppress(OSError):
            return time.time() - sign.stat().st_mtime < SILENT_S
    return False


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    return socket.gethostname().replace("-", "_")


def _other_physics(task: Task, retry: str, label: str, seconds: float, computed: bool = True) -> Outcome:
    message = (
        f'retry "{retry}" gave a label, {label}, but of other physics than {task.reference.name}: it does '
        f'not join its data. To let it: allow = ["{retry}"] in the reference file (then another reference).'
    )
    return Outcome(task.name, False, "other_physics", message, seconds, computed=computed)


def work_folder(task: Task) -> Path:
    """Where this process computes this label: named by label, host and pid, so that leftovers can be told."""
    return task.root / "work" / f"tmp-{task.name}-{_host()}-{os.getpid()}"


def fail(task: Task, reason: str, message: str) -> None:
    """Put what is in work/ of this task, from any worker, where failures go."""
    folders = sorted((task.root / "work").glob(f"*-{task.name}-*"))
    if not task.last:
        for number, folder in enumerate(folders):
            if folder.name.startswith("tmp-"):
                folder.rename(folder.with_name(f"failed-{task.name}-{number}-{time.time_ns()}"))
        return
    output: dict[str, bytes] = {}
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            if path.stat().st_size <= SKIPPED_BYTES:
                unique = f"{len(output)}-{path.name}" if path.name in output else path.name
                output[unique] = path.read_bytes()[-KEPT_BYTES:]
    store.quarantine(task.root, task.name, reason, message, task.atoms, output)
    clear(task)


def clear(task: Task) -> None:
    """Remove what earlier attempts at this task left in work/."""
    for folder in (task.root / "work").glob(f"*-{task.name}-*"):
        shutil.rmtree(folder, ignore_errors=True)
