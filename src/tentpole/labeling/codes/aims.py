"""FHI-aims through ASE: control.in and geometry.in are ASE's; what they mean is decided here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers
from typing_extensions import override

from tentpole.errors import InputError, LabelError
from tentpole.labeling.codes.base import Code, Configuration, Setup, SinglePoint, Spin
from tentpole.labeling.codes.cells import NO_K_POINTS, check_cell, is_molecule, k_grid
from tentpole.labeling.codes.modules import checksum
from tentpole.labeling.codes.moments import check_spin, final, unpaired
from tentpole.labeling.codes.profiles import asked_version, section
from tentpole.records import moments_of

FAILED = ("SELF-CONSISTENCY CYCLE DID NOT CONVERGE", "SCF cycle not converged")
CONFIG = """[aims]
command = mpirun -n 16 aims.x
default_species_directory = /where/FHIaims/species_defaults/defaults_2020/light"""


class Aims(Code):
    """Parameters are words of control.in, and two of ours: k_spacing_per_A and species_defaults.

    species_defaults names the level, as in "defaults_2020/intermediate"; where that folder lies is ASE's
    config. charge → `charge`; multiplicity m → `spin none`, or `spin collinear` with fixed_spin_moment m − 1.
    Starting moments → `spin collinear` and initial_moment in geometry.in. Molecules need no box here.
    """

    stateless = False
    spin: Spin = "solved"
    socket_output = "aims.out"
    algorithmic = frozenset(
        [
            *("sc_iter_limit", "sc_init_iter", "charge_mix_param", "spin_mix_param", "n_max_pulay", "mixer"),
            *("ini_linear_mixing", "ini_linear_mix_param", "preconditioner", "KS_method"),
            *("load_balancing", "use_local_index", "output_level"),
        ]
    )

    @override
    def setup(self, request: SinglePoint) -> Setup:
        keywords = dict(request.parameters)
        spacing, level = keywords.pop("k_spacing_per_A", None), keywords.pop("species_defaults", None)
        if level is not None:
            keywords["species_dir"] = str(species_folder(level))
        if not is_molecule(request.atoms):
            check_cell(request.atoms, "FHI-aims")
            if spacing is not None:
                keywords["k_grid"] = list(k_grid(request.atoms, spacing))
            elif "k_grid" not in keywords:
                raise InputError(NO_K_POINTS.format(request.reference))
        if request.charge is not None:
            keywords["charge"] = float(request.charge)
        return Setup(request.atoms, keywords | _spin(request))

    @override
    def version(self, calculator: str) -> str:
        from ase.calculators.aims import AimsTemplate

        return asked_version(AimsTemplate(), "FHI-aims", CONFIG)

    @override
    def potentials(self, parameters: dict[str, Any], elements: tuple[str, ...]) -> dict[str, str] | None:
        folder = species_folder(parameters.get("species_defaults"))
        species = {}
        for element in elements:
            path = folder / f"{atomic_numbers[element]:02}_{element}_default"
            if not path.exists():
                raise InputError(f"FHI-aims: no species default {path}. Take a level that has {element}.")
            species[element] = checksum(path)
        return species

    @override
    def verify(self, folder: Path) -> dict[str, Any]:
        path = folder / "aims.out"
        text = path.read_text(errors="replace", encoding="utf-8") if path.exists() else ""
        steps = len(re.findall(r"Begin self-consistency iteration #", text))
        if "Have a nice day." not in text and not any(words in text for words in FAILED):
            raise LabelError("truncated", f"FHI-aims: aims.out ends early, after {steps} SCF steps.")
        return self.judge(text)

    @override
    def judge(self, text: str) -> dict[str, Any]:
        steps = len(re.findall(r"Begin self-consistency iteration #", text))
        if any(words in text for words in FAILED):
            raise LabelError("unconverged", f"FHI-aims: the SCF did not converge in {steps} steps.")
        if "Self-consistency cycle converged." not in text:
            raise LabelError("unconverged", "FHI-aims: aims.out does not say that the SCF converged.")
        version = re.search(r"FHI-aims version\s*:\s*(\S+)", text)
        moments = re.findall(r"\| N = N_up - N_down[^:]*:\s*(\S+)", text)
        total = final(float(moments[-1]) if moments else None)
        return {"version": version[1] if version else "", "scf_steps": steps, **total}

    @override
    def concluded(self, text: str) -> bool:
        return "Self-consistency cycle converged." in text or any(words in text for words in FAILED)

    @override
    def configuration(self, calculator: str) -> Configuration:
        return section("aims", ("command", "default_species_directory"), CONFIG)


def _spin(request: SinglePoint) -> dict[str, Any]:
    moments, alone = moments_of(request.atoms), unpaired(request)
    check_spin(request, 'spin = "none"', moments is not None and request.parameters.get("spin") == "none")
    if moments is None and alone is None:
        return {}
    if moments is None and not alone:
        return {"spin": "none"}
    words: dict[str, Any] = {"spin": "collinear"}
    if alone is not None:
        words["fixed_spin_moment"] = float(alone)
    return words if moments is not None else words | {"default_initial_moment": (alone or 0) / len(request.atoms)}


def species_folder(level: str | None) -> Path:
    """The folder of species defaults of `level` on this machine: beside or below what ASE's config names."""
    from ase.config import cfg

    stated = cfg.parser.get("aims", "default_species_directory", fallback=None)
    if stated is None:
        raise InputError(f"FHI-aims: ASE's config does not say where the species are. Add:\n{CONFIG}")
    start = Path(stated)
    if level is None:
        return start
    for base in (start, *start.parents[:3]):
        if (base / level).is_dir():
            return base / level
    raise InputError(
        f'FHI-aims: no species defaults "{level}" at or above {start} (default_species_directory in ASE\'s '
        'config). Take a level that is there, as in species_defaults = "defaults_2020/light".'
    )
