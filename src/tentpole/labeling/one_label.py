"""One label, computed where the worker runs: found, or calculated, judged, and written by the process."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

from tentpole.errors import InputError, LabelError, StateError
from tentpole.execution.ownership import is_in_use
from tentpole.execution.provenance import provenance
from tentpole.execution.worker import core_seconds, cores, cpu_seconds, watched
from tentpole.labeling.single_point import NOT_STARTED, single_point
from tentpole.labeling.tasks import AGAIN, Outcome, Task
from tentpole.labeling.work_folders import begin, clear, fail, refuse_removed
from tentpole.records import Label
from tentpole.storage.labels import find_label, write_label

RETRIED = ("unconverged", "crashed", "truncated")  # reasons for which the next retry is made


def compute(task: Task) -> Outcome:
    """Compute one label under task.root, or find it there. Never raises for a label that fails.

    Parameters
    ----------
    task : Task
        What to label, by what, where.

    Returns
    -------
    Outcome

    Raises
    ------
    InputError
        For what makes every label fail, such as a calculator that cannot be imported.
    StateError
        Where the folder cannot be written. Either stops a campaign, with everything so far on disk.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from tentpole.labeling import Task, compute, load
    >>> task = Task(Path("labels"), load("emt"), bulk("Cu"))
    >>> compute(task).ok, compute(task).computed
    (True, False)
    """
    outcome = _found_or_left_alone(task)
    if outcome is not None:
        return outcome
    began, cpu = time.monotonic(), cpu_seconds()
    try:
        folder = begin(task)
        try:
            with watched(folder, task.time_limit_s, task.memory_limit_GB, beat=True):
                label = _label(task, folder)
            refuse_removed(task, folder)
            used = core_seconds(began, cpu)
            label = replace(label, details=label.details | {"cores": cores(), "core_s": used, "made_by": provenance()})
            write_label(task.root, label)
        except LabelError as error:
            refuse_removed(task, folder)
            seconds = time.monotonic() - began
            if error.reason != NOT_STARTED:
                fail(replace(task, last=task.last or error.reason not in AGAIN), error.reason, str(error))
            return Outcome(task.name, False, error.reason, str(error), seconds, core_seconds(began, cpu))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise StateError(
            f"{task.root}: a label cannot be written ({error}). Make room or mend the permissions, then "
            "go on: what was written so far is whole."
        ) from None
    clear(task)
    if label.reference != task.reference.hash:
        return _other_physics(task, label.details["retry"], label.name, time.monotonic() - began, used)
    return Outcome(task.name, True, seconds=time.monotonic() - began, core_seconds=used)


def _label(task: Task, folder: Path) -> Label:
    """The reference as it is, then its retries one by one, until a label is accepted."""
    reference = task.reference
    reference.accept.structure(task.atoms)
    attempts = [("", reference), *((retry.name, reference.with_retry(retry)) for retry in reference.retries)]
    failures: list[str] = []
    for step, (name, tried) in enumerate(attempts):
        began = time.monotonic()
        try:
            energy, forces, stress, facts = single_point(
                tried, task.atoms, task.charge, task.multiplicity, folder / str(step), task.persistent
            )
            break
        except LabelError as error:
            failures.append(f"{name or 'as written'}: {error}")
            if error.reason not in RETRIED or step + 1 == len(attempts):
                raise LabelError(error.reason, " Then ".join(failures)) from None
    reference.accept.label(energy, forces, stress, task.atoms)
    reference.accept.magnetism(facts.get("magnetization", {}), len(task.atoms))
    details = {"code": reference.name, "seconds": round(time.monotonic() - began, 6), "step": step, **facts}
    if name:
        retry = reference.retries[step - 1]
        details |= {"retry": name, "settings": retry.parameters, "physics": tried.hash, "failures": failures}
    joins = not name or reference.joins(reference.retries[step - 1])
    label = Label(
        structure=task.structure,
        reference=reference.hash if joins else tried.hash,
        atoms=reference.bare(task.atoms),
        energy=energy,
        forces=forces,
        stress=stress,
        charge=task.charge,
        multiplicity=task.multiplicity,
        details=details,
    )
    try:
        label.check()
        label.check_details()
    except InputError as error:  # the program gave what cannot be kept: this label fails, no other
        raise LabelError("incomplete", str(error)) from None
    return label


def _found(task: Task) -> Outcome | None:
    if find_label(task.root, task.structure, task.reference.hash):
        return Outcome(task.name, True, computed=False)
    for retry in task.reference.retries:
        if not task.reference.joins(retry):
            tried = task.reference.with_retry(retry).hash
            if find_label(task.root, task.structure, tried):
                return _other_physics(task, retry.name, f"{task.structure}-{tried}", computed=False)
    return None


def _found_or_left_alone(task: Task) -> Outcome | None:
    """The outcome that is on disk, after any worker of an earlier driver that is at this label has ended.

    A job in a queue outlives its driver: what it is computing is waited for, not computed a second time.
    """
    outcome = _found(task)
    while outcome is None and any(map(is_in_use, (task.root / "work").glob(f"tmp-{task.name}-*"))):
        time.sleep(0.1)
        outcome = _found(task)
    return outcome


def _other_physics(
    task: Task, retry: str, label: str, seconds: float = 0.0, core_seconds: float = 0.0, computed: bool = True
) -> Outcome:
    message = (
        f'retry "{retry}" gave a label, {label}, but of other physics than {task.reference.name}: it does '
        f'not join its data. To let it: allow = ["{retry}"] in the reference file (then another reference).'
    )
    return Outcome(task.name, False, "other_physics", message, seconds, core_seconds, computed=computed)
