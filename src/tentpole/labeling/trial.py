"""Prove that a reference can label here: what is configured, then one single point, timed and weighed."""

from __future__ import annotations

import resource
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from ase import Atoms

from tentpole.errors import MachineError
from tentpole.execution.local import local
from tentpole.labeling.codes import Configuration
from tentpole.labeling.consistency import Finding, findings
from tentpole.labeling.many_labels import label_all
from tentpole.labeling.one_label import compute
from tentpole.labeling.references import Reference
from tentpole.labeling.tasks import Task
from tentpole.records import Label
from tentpole.storage.labels import label_files, label_path, read_label

BRIEF_S = 120.0  # below this, a second label tells the price of one from that of starting up


@dataclass(frozen=True)
class Trial:
    """One single point as a campaign would compute it, in a worker of its own.

    Parameters
    ----------
    reference : str
        Its name.
    configuration : Configuration
        What this machine has of the program.
    ok : bool
        Whether there is a label.
    reason, message : str
        Why there is none.
    seconds : float
        The price of one label once a worker runs.
    start_s : float
        What a worker's first label costs on top, s.
    peak_memory_GB : float
        The worker's, with the largest program it ran.
    energy_eV, max_force_eV_per_A : float
        Of the label.
    findings : tuple of Finding
        What was seen of forces and stress against the energy.
    label : Label, optional
        The label itself.

    Examples
    --------
    >>> from tentpole.labeling import Trial
    >>> from tentpole.labeling.codes import Configuration
    >>> Trial("pbe", Configuration(), ok=True, seconds=360.0).projected_hours(labels=100, workers=4)
    2.5
    """

    reference: str
    configuration: Configuration
    ok: bool
    reason: str = ""
    message: str = ""
    seconds: float = 0.0
    start_s: float = 0.0
    peak_memory_GB: float = 0.0
    energy_eV: float = 0.0
    max_force_eV_per_A: float = 0.0
    findings: tuple[Finding, ...] = ()
    label: Label | None = None

    def projected_hours(self, labels: int, workers: int) -> float:
        """Wall time of labels like this one.

        Parameters
        ----------
        labels : int
            How many.
        workers : int
            At a time.

        Returns
        -------
        float
            h.
        """
        return (self.start_s + self.seconds * labels / workers) / 3600


def trial(
    reference: Reference,
    atoms: Atoms,
    charge: int | None = None,
    multiplicity: int | None = None,
    *,
    time_limit_s: float | None = None,
    prove: bool = False,
) -> Trial:
    """Label `atoms` once in a fresh worker and in a folder that is removed afterwards.

    With `prove` up to four more labels say whether energy, forces and stress belong together.

    Raises InputError for what can never run: unknown elements, a missing charge, a program that is not there.
    """
    configuration = reference.code.configuration(reference.import_path)
    if configuration.missing:
        message = f"missing here: {', '.join(configuration.missing)}"
        return Trial(reference.name, configuration, False, "not_configured", message)
    with tempfile.TemporaryDirectory(prefix="tentpole-trial-") as name:
        root = Path(name)
        task = Task(root, reference, atoms, charge, multiplicity)
        with local(1, time_limit_s=time_limit_s) as executor:
            try:
                (outcome,) = label_all([task], executor, attempts=1)
            except MachineError as error:
                return Trial(reference.name, configuration, False, "machine", str(error))
            if not outcome.ok:
                reason, message = outcome.reason, outcome.message
                return Trial(reference.name, configuration, False, reason, message, outcome.seconds)
            first = seconds = outcome.seconds
            if first < BRIEF_S:
                seconds = executor.submit(compute, _elsewhere(task)).result().seconds
            memory = executor.submit(peak_memory_GB).result()
            label = read_label(next(label_files(root)))
            again = next(map(read_label, label_files(root / "again")), None)

            def elsewhere(moved: Atoms) -> Label | None:
                done = executor.submit(compute, replace(task, atoms=moved)).result()
                return read_label(label_path(root, *done.name.split("-"))) if done.ok else None

            findings_there = tuple(findings(label, again, elsewhere)) if prove else ()
    return Trial(
        reference.name,
        configuration,
        True,
        seconds=seconds,
        start_s=max(0.0, first - seconds),
        peak_memory_GB=memory,
        energy_eV=label.energy,
        max_force_eV_per_A=float((label.forces**2).sum(axis=1).max() ** 0.5),
        findings=findings_there,
        label=label,
    )


def _elsewhere(task: Task) -> Task:
    """The same task in a folder where its label is not known yet."""
    return replace(task, root=task.root / "again")


def peak_memory_GB() -> float:
    """Largest resident set that this process and the largest program it waited for have had, together."""
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts in bytes there, in KiB elsewhere
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(who).ru_maxrss for who in whose) * unit / 1e9
