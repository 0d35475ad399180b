"""VASP through ASE: INCAR, KPOINTS, POTCAR and POSCAR are ASE's; what they mean is decided here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ase import Atoms
from typing_extensions import override

from tentpole.errors import InputError, LabelError
from tentpole.labeling.codes.base import Code, Configuration, Setup, SinglePoint, Spin
from tentpole.labeling.codes.cells import NO_K_POINTS, check_cell, in_box, is_molecule, k_grid
from tentpole.labeling.codes.modules import checksum
from tentpole.labeling.codes.moments import check_spin, final, unpaired
from tentpole.records import moments_of

COMMANDS = ("ASE_VASP_COMMAND", "VASP_COMMAND", "VASP_SCRIPT")
EXAMPLE = {"VASP_COMMAND": "mpirun -n 16 vasp_std", "VASP_PP_PATH": "/where/potpaw_PBE/is/in"}
END = "General timing and accounting"  # the last block of a run that ended by itself


class Vasp(Code):
    """Parameters are ASE's Vasp keywords, and two of ours: k_spacing_per_A (Γ-centred grid) and box_A.

    charge → NELECT = Σ ZVAL − charge, written by ASE from the POTCARs. multiplicity m → ISPIN and NUPDOWN =
    m − 1. Starting moments → ISPIN and MAGMOM. Without either, spin is as the parameters say. Molecules stand in a
    cube of edge box_A, with Γ alone.
    """

    stateless = False
    spin: Spin = "solved"
    socket_output = ""
    # the way to the SCF solution, parallel layout and what is left on disk: the converged result is the same
    algorithmic = frozenset(
        [
            *("algo", "nelm", "nelmin", "nelmdl", "amix", "bmix", "amix_mag", "bmix_mag", "amin", "maxmix"),
            *("imix", "time", "isearch", "istart", "icharg", "lwave", "lcharg", "lorbit", "nwrite"),
            *("ncore", "npar", "kpar", "nsim", "lplane", "lscalapack"),
        ]
    )

    @override
    def setup(self, request: SinglePoint) -> Setup:
        keywords = dict(request.parameters)
        spacing, edge = keywords.pop("k_spacing_per_A", None), keywords.pop("box_A", None)
        if is_molecule(request.atoms):
            atoms = in_box(request.atoms, edge, request.reference)
            keywords.update(kpts=(1, 1, 1), gamma=True)
        else:
            check_cell(request.atoms, "VASP")
            atoms = request.atoms.copy()
            if spacing is not None:
                keywords.update(kpts=k_grid(request.atoms, spacing), gamma=True)
            elif "kpts" not in keywords:
                raise InputError(NO_K_POINTS.format(request.reference))
            atoms.pbc = True
        if request.charge is not None:
            keywords["charge"] = request.charge
        keywords |= _spin(request)
        return Setup(atoms, keywords)

    @override
    def version(self, calculator: str) -> str:
        raise InputError(
            "VASP cannot be asked for its version without a calculation. State it in the reference file: "
            'code_version = "6.4.2" (or "6"); every OUTCAR is then held against it.'
        )

    @override
    def potentials(self, parameters: dict[str, Any], elements: tuple[str, ...]) -> dict[str, str] | None:
        from ase.calculators.vasp import Vasp as AseVasp

        known = {k: v for k, v in parameters.items() if k in ("xc", "pp", "gga", "setups", "pp_version")}
        identities = {}
        for element in elements:
            calculator = AseVasp(**known)
            try:
                calculator.initialize(Atoms(element))
            except RuntimeError as error:
                raise InputError(f"VASP: no POTCAR for {element}: {' '.join(str(error).split())}") from None
            path = Path(calculator.ppp_list[0])
            identities[element] = f"{path.parent.parent.name}/{path.parent.name} {checksum(path)}"
        return identities

    @override
    def verify(self, folder: Path) -> dict[str, Any]:
        """Read OUTCAR and vasprun.xml, as `Code.verify` has it.

        Converged is what OUTCAR calls so and what took fewer than NELM steps: VASP 5 says EDIFF is reached also where
        it ran out of them.
        """
        outcar, xml = _text(folder / "OUTCAR"), _text(folder / "vasprun.xml")
        steps = re.findall(r"Iteration\s+\d+\(\s*(\d+)\)", outcar)
        limit = re.search(r"\bNELM\s*=\s*(\d+)", outcar)
        if "EDIFF was not reached" in outcar or (limit and steps and int(steps[-1]) >= int(limit[1])):
            count = steps[-1] if steps else "?"
            raise LabelError("unconverged", f"VASP: the SCF did not converge in {count} steps (NELM).")
        if END not in outcar or not xml.rstrip().endswith("</modeling>"):
            raise LabelError("truncated", f"VASP: OUTCAR or vasprun.xml ends early, after {len(steps)} steps.")
        if "aborting loop because EDIFF is reached" not in outcar:
            raise LabelError("unconverged", "VASP: OUTCAR does not say that EDIFF was reached.")
        version = re.search(r"^\s*vasp\.(\S+)", outcar, re.MULTILINE)
        count = int(steps[-1]) if steps else None
        return {"version": version[1] if version else "", "scf_steps": count, **_final(outcar, folder)}

    @override
    def judge(self, text: str) -> dict[str, Any]:
        raise InputError("VASP has no socket interface in ASE: leave persistent out.")

    @override
    def concluded(self, text: str) -> bool:
        return True

    @override
    def configuration(self, calculator: str) -> Configuration:
        from ase.config import cfg

        command = next((name for name in COMMANDS if name in cfg), None)
        have = {command or COMMANDS[1]: command is not None, "VASP_PP_PATH": "VASP_PP_PATH" in cfg}
        missing = tuple(name for name, there in have.items() if not there)
        lines = ["[environment]", *(f"{name} = {EXAMPLE[name]}" for name in missing)] if missing else []
        return Configuration(tuple(n for n, there in have.items() if there), missing, "\n".join(lines))


def _spin(request: SinglePoint) -> dict[str, Any]:
    moments, alone, stated = moments_of(request.atoms), unpaired(request), request.parameters.get("ispin")
    check_spin(request, "ispin = 1", stated == 1)
    if moments is None and alone is None:
        return {}
    if moments is None and not alone and stated != 2:
        return {"ispin": 1}
    if moments is not None and "magmom" in request.parameters:
        raise InputError(
            f"{request.reference}: magmom in the reference and [magnetism] in the campaign: leave one out."
        )
    words: dict[str, Any] = {"ispin": 2}
    if alone is not None:
        words["nupdown"] = float(alone)
    if moments is None:
        return words | {"magmom": [(alone or 0) / len(request.atoms)] * len(request.atoms)}
    return {**words, "magmom": moments.tolist(), "lorbit": request.parameters.get("lorbit", 11)}  # 11: moments of sites


def _final(outcar: str, folder: Path) -> dict[str, Any]:
    """Moments at the end of the SCF; those of the sites, where OUTCAR has them, in the order of our atoms."""
    total = re.findall(r"number of electron\s+\S+\s+magnetization\s+(-?\d+\.\d+)", outcar)
    _, heading, table = outcar.rpartition("magnetization (x)")
    rows = re.findall(r"^ +\d+(?: +-?\d+\.\d+)* +(-?\d+\.\d+) *$", table if heading else "", re.MULTILINE)
    order = [int(line.split()[1]) for line in _text(folder / "ase-sort.dat").splitlines()]
    sites = [float(rows[place]) for place in order] if len(rows) >= len(order) else None
    return final(float(total[-1]) if total else None, sites=sites)


def _text(path: Path) -> str:
    return path.read_text(errors="replace", encoding="utf-8") if path.exists() else ""
