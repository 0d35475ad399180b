"""Quantum ESPRESSO (pw.x) through ASE: the input file is ASE's; what it means is decided here."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from typing_extensions import override

from tentpole.errors import InputError, LabelError
from tentpole.labeling.codes.base import Code, Configuration, Setup, SinglePoint, Spin
from tentpole.labeling.codes.cells import NO_K_POINTS, check_cell, in_box, is_molecule, k_grid
from tentpole.labeling.codes.modules import checksum
from tentpole.labeling.codes.moments import check_spin, final, unpaired
from tentpole.labeling.codes.profiles import asked_version, section
from tentpole.records import FloatArray, moments_of

CONFIG = """[espresso]
command = mpirun -n 16 pw.x
pseudo_dir = /where/the/UPF/files/are"""
MOST_SPECIES = 10  # of one pw.x input (ntypx)


class Espresso(Code):
    """Parameters are ASE's Espresso keywords (input_data, pseudopotentials), k_spacing_per_A and box_A.

    charge → tot_charge. multiplicity m → nspin 1, or nspin 2 with tot_magnetization = m − 1. Starting moments →
    nspin 2 and starting_magnetization, a species for each moment of an element. Molecules stand in a cube of edge
    box_A, with Γ alone and pw.x's real wavefunctions there.
    """

    stateless = False
    spin: Spin = "solved"
    socket_output = "espresso.pwo"
    algorithmic = frozenset(
        f"input_data.{key}"
        for key in (
            *("electrons.electron_maxstep", "electrons.mixing_beta", "electrons.mixing_mode"),
            *("electrons.mixing_ndim", "electrons.diagonalization", "electrons.diago_david_ndim"),
            *("electrons.startingwfc", "electrons.startingpot", "control.disk_io", "control.verbosity"),
            *("control.outdir", "control.prefix", "control.max_seconds"),
        )
    )

    @override
    def setup(self, request: SinglePoint) -> Setup:
        keywords = copy.deepcopy(request.parameters)
        spacing, edge = keywords.pop("k_spacing_per_A", None), keywords.pop("box_A", None)
        data = keywords.setdefault("input_data", {})
        system = data.setdefault("system", {})
        asked = {"tprnfor": True, "tstress": "stress" in request.properties}  # ASE asks for neither
        data["control"] = data.get("control", {}) | asked
        if is_molecule(request.atoms):
            atoms = in_box(request.atoms, edge, request.reference)
            keywords["kpts"] = None
        else:
            check_cell(request.atoms, "Quantum ESPRESSO")
            atoms = request.atoms.copy()
            if spacing is not None:
                keywords["kpts"] = k_grid(request.atoms, spacing)
            elif "kpts" not in keywords:
                raise InputError(NO_K_POINTS.format(request.reference))
            atoms.pbc = True
        self._known(keywords.get("pseudopotentials", {}), tuple(set(atoms.get_chemical_symbols())))
        if request.charge is not None:
            system["tot_charge"] = float(request.charge)
        _spin(request, system, atoms, keywords.get("pseudopotentials", {}))
        return Setup(atoms, keywords)

    @staticmethod
    def _known(table: dict[str, str], elements: tuple[str, ...]) -> None:
        lacking = sorted(set(elements) - set(table))
        if lacking:
            raise InputError(
                f"Quantum ESPRESSO: no pseudopotential for {', '.join(lacking)}. In a reference file of yours, "
                f'under [parameters.pseudopotentials]: {lacking[0]} = "its file in pseudo_dir".'
            )

    @override
    def version(self, calculator: str) -> str:
        from ase.calculators.espresso import EspressoTemplate

        return asked_version(EspressoTemplate(), "Quantum ESPRESSO", CONFIG)

    @override
    def potentials(self, parameters: dict[str, Any], elements: tuple[str, ...]) -> dict[str, str] | None:
        table = parameters.get("pseudopotentials", {})
        self._known(table, elements)
        return {element: checksum(path) for element, path in _pseudopotentials(table, elements).items()}

    @override
    def verify(self, folder: Path) -> dict[str, Any]:
        path = folder / "espresso.pwo"
        text = path.read_text(errors="replace", encoding="utf-8") if path.exists() else ""
        steps = re.findall(r"^\s+iteration #\s*(\d+)", text, re.MULTILINE)
        if "JOB DONE." not in text and "convergence NOT achieved" not in text:
            raise LabelError("truncated", f"pw.x: its output ends early, after {len(steps)} SCF steps.")
        return self.judge(text)

    @override
    def judge(self, text: str) -> dict[str, Any]:
        steps = re.findall(r"^\s+iteration #\s*(\d+)", text, re.MULTILINE)
        count = int(steps[-1]) if steps else 0
        if "convergence NOT achieved" in text:
            raise LabelError("unconverged", f"pw.x: the SCF did not converge in {count} steps.")
        if "convergence has been achieved" not in text:
            raise LabelError("unconverged", "pw.x: its output does not say that the SCF converged.")
        version = re.search(r"Program PWSCF\s*v\.(\S+)", text)
        return {"version": version[1] if version else "", "scf_steps": count, **_final(text)}

    @override
    def concluded(self, text: str) -> bool:
        return "convergence has been achieved" in text or "convergence NOT achieved" in text

    @override
    def configuration(self, calculator: str) -> Configuration:
        return section("espresso", ("command", "pseudo_dir"), CONFIG)


def _spin(request: SinglePoint, system: dict[str, Any], atoms: Atoms, table: Mapping[str, str]) -> None:
    """Put spin into `system`, and what it starts from onto `atoms`, in fractions of each atom's valence electrons.

    ASE writes these as starting_magnetization; fractions are what every version of pw.x understands. With nspin = 2
    and zeros pw.x keeps equal densities up and down and converges without a word to the non-magnetic state (seen with
    6.7MaX: bcc Fe ends 0.7 eV per atom too high), so that this is refused here.
    """
    moments, alone, stated = moments_of(request.atoms), unpaired(request), system.get("nspin")
    check_spin(request, "nspin = 1", stated == 1)
    if moments is None and alone is None:
        if stated == 2:
            raise InputError(
                f"{request.reference}: nspin = 2 and no moments to start from: pw.x would stay non-magnetic. State "
                "them in the campaign, as in [magnetism] moments = {Fe = 2.5}, or leave nspin out."
            )
        return
    if moments is None and not alone and stated != 2:
        system["nspin"] = 1
        return
    system["nspin"] = 2
    if alone is not None:
        system["tot_magnetization"] = float(alone)
    starts = np.full(len(atoms), 0.5) if moments is None else _fractions(request, moments, table)
    atoms.set_initial_magnetic_moments(starts)


def _fractions(request: SinglePoint, moments: FloatArray, table: Mapping[str, str]) -> FloatArray:
    symbols = request.atoms.get_chemical_symbols()
    files = _pseudopotentials(table, sorted(set(symbols)))
    valence = {element: _valence(path) for element, path in files.items()}
    for symbol, moment in zip(symbols, moments, strict=True):
        if abs(moment) > valence[symbol]:
            electrons = f"{table[symbol]} has {valence[symbol]:g} electrons"
            raise InputError(f"{request.reference}: {symbol} starts with {moment} µB, but {electrons}.")
    kinds = len(set(zip(symbols, moments.tolist(), strict=True)))
    if kinds > MOST_SPECIES:
        raise InputError(
            f"{request.reference}: {kinds} species by element and starting moment; pw.x takes {MOST_SPECIES}. Round "
            "the moments of the structure: one up and one down per element will do."
        )
    return np.array([moment / valence[symbol] for symbol, moment in zip(symbols, moments, strict=True)])


def _valence(path: Path) -> float:
    """Valence electrons of a UPF file, of version 2 or 1."""
    match = re.search(
        r'z_valence\s*=\s*"\s*([^"\s]+)|^\s*(\S+)\s+Z valence',
        path.read_text(errors="replace", encoding="utf-8"),
        re.MULTILINE,
    )
    if not match:
        raise InputError(f"{path}: says no z_valence, which starting moments are divided by: not a UPF file?")
    return float((match[1] or match[2]).replace("D", "E").replace("d", "e"))


def _pseudopotentials(table: Mapping[str, str], elements: Sequence[str]) -> dict[str, Path]:
    """The files of `elements`. Raises InputError where one is missing, or ASE's config does not say where they are."""
    from ase.config import cfg

    if not cfg.parser.has_option("espresso", "pseudo_dir"):
        raise InputError(f"Quantum ESPRESSO is not configured. Add to ASE's config:\n{CONFIG}")
    folder = Path(cfg.parser.get("espresso", "pseudo_dir"))
    lacking = [table[element] for element in elements if not (folder / table[element]).is_file()]
    if lacking:
        raise InputError(f"Quantum ESPRESSO: {', '.join(lacking)} not in pseudo_dir = {folder}.")
    return {element: folder / table[element] for element in elements}


def _final(text: str) -> dict[str, Any]:
    """Moments at the end of the SCF. ASE 3.29 reads the column of constraints (all zero) for those of the sites."""
    number = r"(-?\d+\.\d+)"
    total, absolute = (
        re.findall(rf"^\s+{kind} magnetization\s*=\s*{number} Bohr", text, re.MULTILINE)
        for kind in ("total", "absolute")
    )
    blocks = text.split("Magnetic moment per site")[1:]
    sites = re.findall(rf"^\s+atom:?\s+\d+\s.*?magn\s*[:=]\s*{number}", blocks[-1], re.MULTILINE) if blocks else []
    return final(
        float(total[-1]) if total else None,
        float(absolute[-1]) if absolute else None,
        [float(moment) for moment in sites],
    )
