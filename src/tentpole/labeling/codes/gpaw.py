"""GPAW, in the worker's own process: convergence is GPAW's exception, and its text output says the rest."""

from __future__ import annotations

import importlib.metadata
import os
import re
from pathlib import Path
from typing import Any

from ase import Atoms
from typing_extensions import override

from tentpole.errors import InputError, LabelError
from tentpole.labeling.codes.base import AnyCalculator, Configuration, Setup, SinglePoint
from tentpole.labeling.codes.cells import NO_K_POINTS, check_cell, in_box, is_molecule, k_grid
from tentpole.labeling.codes.modules import checksum
from tentpole.labeling.codes.moments import check_spin, unpaired
from tentpole.records import moments_of

OUTPUT = "gpaw.txt"


class Gpaw(AnyCalculator):
    """Parameters are GPAW's keywords, k_spacing_per_A and box_A.

    charge → charge. multiplicity m → spin-paired, or spin-polarised with the total moment fixed at m − 1. Starting
    moments → spin-polarised, and on the atoms.
    """

    @override
    def setup(self, request: SinglePoint) -> Setup:
        keywords = dict(request.parameters) | {"txt": str(request.folder / OUTPUT)}
        spacing, edge = keywords.pop("k_spacing_per_A", None), keywords.pop("box_A", None)
        if is_molecule(request.atoms):
            atoms = in_box(request.atoms, edge, request.reference)
            keywords["kpts"] = {"size": (1, 1, 1), "gamma": True}
        else:
            check_cell(request.atoms, "GPAW")
            atoms = request.atoms.copy()
            if spacing is not None:
                keywords["kpts"] = {"size": k_grid(request.atoms, spacing), "gamma": True}
            elif "kpts" not in keywords:
                raise InputError(NO_K_POINTS.format(request.reference))
        if request.charge is not None:
            keywords["charge"] = float(request.charge)
        return Setup(atoms, keywords | _spin(request, atoms))

    @override
    def version(self, calculator: str) -> str:
        try:
            return importlib.metadata.version("gpaw")
        except importlib.metadata.PackageNotFoundError:
            raise InputError("GPAW is not installed here: pip install gpaw (it needs libxc and a BLAS).") from None

    @override
    def potentials(self, parameters: dict[str, Any], elements: tuple[str, ...]) -> dict[str, str] | None:
        """PAW setups of the elements for the functional, from the folders of GPAW_SETUP_PATH and GPAW's own."""
        functional = str(parameters.get("xc", "LDA"))
        setups = {}
        for element in elements:
            files = [p for folder in _setup_folders() for p in folder.glob(f"{element}.{functional}*")]
            if not files:
                raise InputError(
                    f"GPAW: no PAW setup {element}.{functional} in {', '.join(map(str, _setup_folders()))}. "
                    "Get them with: gpaw install-data FOLDER"
                )
            setups[element] = checksum(sorted(files)[0])
        return setups

    @override
    def verify(self, folder: Path) -> dict[str, Any]:
        path = folder / OUTPUT
        text = path.read_text(errors="replace", encoding="utf-8") if path.exists() else ""
        steps = re.findall(r"^iter:\s*(\d+)", text, re.MULTILINE)
        converged = re.search(r"Converged (?:after|in) (\d+) (?:iterations|steps)", text)
        if not converged:
            reason = "unconverged" if steps else "crashed"
            raise LabelError(reason, f"GPAW: {OUTPUT} has {len(steps)} SCF steps and no convergence.")
        return {"version": self.version(""), "scf_steps": int(converged[1])}

    @override
    def configuration(self, calculator: str) -> Configuration:
        known = super().configuration(calculator)
        if known.missing:
            return known
        folders = tuple(str(folder) for folder in _setup_folders())
        if not folders:
            return Configuration(known.found, ("PAW setups (GPAW_SETUP_PATH)",), "gpaw install-data FOLDER")
        return Configuration((*known.found, *folders))


def _spin(request: SinglePoint, atoms: Atoms) -> dict[str, Any]:
    """Keywords for spin; what it starts from is put onto `atoms`.

    spinpol = true and zeros is refused as for pw.x: GPAW 22.8 stays non-magnetic too (bcc Fe, seen at 250 eV and 3×3×3
    k-points: 0.60 eV per atom above the ferromagnet).
    """
    moments, alone = moments_of(request.atoms), unpaired(request)
    check_spin(request, "spinpol = false", moments is not None and request.parameters.get("spinpol") is False)
    if moments is None and alone is None:
        if request.parameters.get("spinpol") and not request.parameters.get("hund"):
            raise InputError(
                f"{request.reference}: spinpol = true and no moments to start from: GPAW would stay non-magnetic. "
                "State them in the campaign, as in [magnetism] moments = {Fe = 2.5}, or leave spinpol out."
            )
        return {}
    if moments is None and not alone:
        return {"spinpol": False}
    if moments is None:
        atoms.set_initial_magnetic_moments([(alone or 0) / len(atoms)] * len(atoms))
    if alone is None:
        return {"spinpol": True}
    return {"spinpol": True, "occupations": {**request.parameters.get("occupations", {}), "fixmagmom": True}}


def _setup_folders() -> list[Path]:
    stated = os.environ.get("GPAW_SETUP_PATH", "")
    try:
        from gpaw import setup_paths

        places = [*stated.split(os.pathsep), *setup_paths]
    except ImportError:
        places = stated.split(os.pathsep)
    unique = dict.fromkeys(str(place) for place in places if place)
    return [Path(place) for place in unique if Path(place).is_dir()]


GPAW = Gpaw(algorithmic=frozenset({"mixer", "maxiter", "eigensolver", "parallel", "random", "verbose"}), spin="solved")
