"""Quantum ESPRESSO (pw.x) through ASE: the input file is ASE's; what it means is decided here."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

from tentpole.errors import InputError, LabelError
from tentpole.labeling.codes.base import Configuration, Request, Setup, checksum
from tentpole.labeling.codes.cells import NO_K_POINTS, check_cell, in_box, is_molecule, k_grid
from tentpole.labeling.codes.profiles import asked_version, section

CONFIG = """[espresso]
command = mpirun -n 16 pw.x
pseudo_dir = /where/the/UPF/files/are"""


class Espresso:
    """Parameters are ASE's Espresso keywords (input_data, pseudopotentials), k_spacing_per_A and box_A.

    charge → tot_charge. multiplicity m → nspin 1, or nspin 2 with tot_magnetization = m − 1. Molecules stand
    in a cube of edge box_A, with Γ alone and pw.x's real wavefunctions there.
    """

    stateless = False
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

    def setup(self, request: Request) -> Setup:
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
        if request.multiplicity is not None:
            unpaired = request.multiplicity - 1
            if unpaired and system.get("nspin") == 1:
                raise InputError(f"{request.reference}: nspin = 1 and multiplicity {unpaired + 1} contradict.")
            if unpaired or system.get("nspin") == 2:
                system |= {"nspin": 2, "tot_magnetization": float(unpaired)}
                atoms.set_initial_magnetic_moments([0.5] * len(atoms))  # of each valence: breaks the symmetry
            else:
                system["nspin"] = 1
        return Setup(atoms, keywords)

    @staticmethod
    def _known(table: dict[str, str], elements: tuple[str, ...]) -> None:
        lacking = sorted(set(elements) - set(table))
        if lacking:
            raise InputError(
                f"Quantum ESPRESSO: no pseudopotential for {', '.join(lacking)}. In a reference file of yours, "
                f'under [parameters.pseudopotentials]: {lacking[0]} = "its file in pseudo_dir".'
            )

    def version(self, calculator: str) -> str:
        from ase.calculators.espresso import EspressoTemplate

        return asked_version(EspressoTemplate(), "Quantum ESPRESSO", CONFIG)

    def potentials(self, parameters: dict[str, Any], elements: tuple[str, ...]) -> dict[str, str] | None:
        from ase.config import cfg

        table = parameters.get("pseudopotentials", {})
        self._known(table, elements)
        if not cfg.parser.has_option("espresso", "pseudo_dir"):
            raise InputError(f"Quantum ESPRESSO is not configured. Add to ASE's config:\n{CONFIG}")
        folder = Path(cfg.parser.get("espresso", "pseudo_dir"))
        lacking = [table[element] for element in elements if not (folder / table[element]).is_file()]
        if lacking:
            raise InputError(f"Quantum ESPRESSO: {', '.join(lacking)} not in pseudo_dir = {folder}.")
        return {element: checksum(folder / table[element]) for element in elements}

    def verify(self, folder: Path) -> dict[str, Any]:
        path = folder / "espresso.pwo"
        text = path.read_text(errors="replace") if path.exists() else ""
        steps = re.findall(r"^\s+iteration #\s*(\d+)", text, re.MULTILINE)
        if "JOB DONE." not in text and "convergence NOT achieved" not in text:
            raise LabelError("truncated", f"pw.x: its output ends early, after {len(steps)} SCF steps.")
        return self.judge(text)

    def judge(self, text: str) -> dict[str, Any]:
        steps = re.findall(r"^\s+iteration #\s*(\d+)", text, re.MULTILINE)
        count = int(steps[-1]) if steps else 0
        if "convergence NOT achieved" in text:
            raise LabelError("unconverged", f"pw.x: the SCF did not converge in {count} steps.")
        if "convergence has been achieved" not in text:
            raise LabelError("unconverged", "pw.x: its output does not say that the SCF converged.")
        version = re.search(r"Program PWSCF\s*v\.(\S+)", text)
        return {"version": version[1] if version else "", "scf_steps": count}

    def concluded(self, text: str) -> bool:
        return "convergence has been achieved" in text or "convergence NOT achieved" in text

    def configuration(self, calculator: str) -> Configuration:
        return section("espresso", ("command", "pseudo_dir"), CONFIG)
