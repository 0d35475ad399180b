"""One single point of a reference: set up, run, read, and only believed where the program says it converged."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import traceback
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from tentpole.errors import InputError, LabelError
from tentpole.labeling import socket_program as serving
from tentpole.labeling.codes.moments import final
from tentpole.labeling.references import Reference
from tentpole.records import FloatArray, moments_of

NOT_STARTED = "not_started"
"""The reason code of a label whose program could not be started: the machine's fault, never the structure's."""


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
    Raises LabelError with a reason code; convergence is read from the program's own output, and NOT_STARTED says
    that there was no program to run.
    """
    directory.mkdir(exist_ok=True)  # not its parents: a folder that was removed meanwhile does not come back
    if atoms.constraints:  # some programs give a force of zero for an atom that is held
        atoms = atoms.copy()
        atoms.set_constraint()
    setup = reference.setup(atoms, charge, multiplicity, directory)
    wanted = ["energy", "forces"] + (["stress"] if "stress" in reference.properties and atoms.pbc.all() else [])
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
        if why := _never_started(error):
            raise LabelError(NOT_STARTED, f"{reference.name}: {why}") from None
        said = " ".join(f"{type(error).__name__}: {error}".split())[:2000]
        try:
            reference.code.verify(directory)
        except LabelError as known:
            raise LabelError(known.reason, f"{known} ({said})") from None
        reason = "unconverged" if "converge" in said.lower() else "crashed"
        raise LabelError(reason, f"{reference.name}: {said}") from None
    if not persistent:
        facts = _moments(setup.atoms, results) | reference.code.verify(directory)
    _same_version(reference, facts.get("version", ""))
    missing = [name for name in wanted if results.get(name) is None]
    if missing:
        raise LabelError("incomplete", f"{reference.name}: the program gave no {', '.join(missing)}.")
    kind = "free_energy" if results.get("free_energy") is not None else "energy"
    stress = _voigt(results["stress"]) if "stress" in wanted else None
    return float(results[kind]), np.array(results["forces"], dtype=float), stress, {**facts, "energy": kind}


def _moments(atoms: Atoms, results: dict[str, Any]) -> dict[str, Any]:
    """Final moments as an ASE calculator gives them, for programs whose own output is not read for them."""
    if moments_of(atoms) is None or results.get("magmom") is None:
        return {}
    sites = results.get("magmoms")
    return final(float(results["magmom"]), sites=None if sites is None else np.asarray(sites, dtype=float).tolist())


def _never_started(error: BaseException) -> str:
    """Why the program did not even start, from the error that ASE raised; "" where it may have run."""
    cause: BaseException | None = error
    while cause is not None:
        status = getattr(cause, "returncode", None)
        match = _STATUS.search(str(cause))
        if status in (126, 127) or match:
            code = match[1] if match else status
            return f"its command could not be run (exit status {code}): {' '.join(str(error).split())}"
        if isinstance(cause, (FileNotFoundError, PermissionError)) and _in_subprocess(cause):
            return f"its command could not be run: {cause}"
        cause = cause.__cause__ or cause.__context__
    return ""


_STATUS = re.compile(r"(?:error code|exit status|returned an error:)\s*(12[67])\b")  # what a shell says of no command


def _in_subprocess(error: BaseException) -> bool:
    """Whether it was raised where programs are started: a missing output file is another matter."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).name == "subprocess.py"


def _voigt(stress: Any) -> FloatArray:
    """xx, yy, zz, yz, xz, xy: ASE allows a calculator to give the full tensor instead."""
    values = np.asarray(stress, dtype=float)
    return np.asarray(full_3x3_to_voigt_6_stress(values) if values.shape == (3, 3) else values, dtype=float)


def _same_version(reference: Reference, version: str) -> None:
    stated = str(reference.identity["version"])
    if version and version != stated and not version.startswith(stated + "."):
        raise LabelError(
            "wrong_version",
            f"{reference.name}: this label was made by version {version}, the reference is version {stated}. "
            "Run the same program everywhere, or start another reference with its own code_version.",
        )


@functools.lru_cache(maxsize=4)
def _shared(_reference: str, _keywords: str) -> dict[str, Any]:
    return {}  # one calculator per reference and keywords, in each worker


def _calculator(reference: Reference, keywords: dict[str, Any], directory: Path) -> Any:
    """A new calculator per label, or a shared one where the program keeps nothing from one to the next."""
    with contextlib.redirect_stdout(io.StringIO()):  # some announce their device in every worker
        if not reference.code.stateless:
            return reference.make(keywords, directory)
        kept = _shared(reference.hash, repr(sorted(keywords.items())))
        if "calculator" not in kept:
            kept["calculator"] = reference.make(keywords, None)
        return kept["calculator"]
