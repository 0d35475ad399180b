"""Langevin dynamics at constant pressure: ASE's LangevinBAOAB as an ensemble of walkers.

Positions follow Langevin, the cell Langevin-Hoover dynamics (Quigley and Probert, J. Chem. Phys. 120, 11432 (2004)), in
BAOAB order (Leimkuhler and Matthews, J. Chem. Phys. 138, 174102 (2013)). The barostat's momentum and the force on it
are part of a walker's state, so that 50 + 50 steps are 100 steps bit for bit.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms, units
from ase.md.langevinbaoab import LangevinBAOAB

from tentpole.committee.neighbourhood import UnusableGeometry, check_finite
from tentpole.errors import InputError, unknown
from tentpole.exploration.walker import Integrator
from tentpole.records import Condition, FloatArray
from tentpole.units import FS


@dataclass(frozen=True, slots=True)
class NPT:
    """Langevin dynamics at constant pressure (NPT); the pressure is the walker's condition's.

    Parameters
    ----------
    timestep_fs : float
        fs.
    friction_per_fs : float
        1/fs; 0.01 damps the atoms in 100 fs.
    barostat_time_fs : float
        fs: period of the cell's oscillation, and damping time of the cell.
    cell : {"isotropic", "full"}
        The volume alone moves, or all lengths and angles.

    Raises
    ------
    InputError
        For another `cell`, or from `integrator` for a structure that is not periodic in all three directions or a
        condition without a pressure.

    Examples
    --------
    >>> import numpy as np
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from tentpole.exploration import NPT, advance, init_walker
    >>> from tentpole.records import Condition
    >>> copper = Condition("copper", 300.0, pressure_GPa=0.0)
    >>> walker = init_walker("w00", copper, bulk("Cu", cubic=True), np.random.default_rng(0))
    >>> moved = advance(walker, EMT(), 5, NPT())
    >>> bool(moved.atoms.get_volume() != walker.atoms.get_volume()), len(moved.barostat)
    (True, 2)
    """

    timestep_fs: float = 1.0
    friction_per_fs: float = 0.01
    barostat_time_fs: float = 1000.0
    cell: Literal["isotropic", "full"] = "isotropic"

    def __post_init__(self) -> None:
        if self.cell not in ("isotropic", "full"):
            raise unknown("cell of the ensemble npt", str(self.cell), ["isotropic", "full"])
        for name in ("timestep_fs", "friction_per_fs", "barostat_time_fs"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"{name} of the ensemble npt must be above 0, got {getattr(self, name)}.")

    @property
    def barostatted(self) -> bool:
        """The cell moves."""
        return True

    def integrator(
        self, atoms: Atoms, condition: Condition, rng: np.random.Generator, barostat: tuple[float, ...] = ()
    ) -> Integrator:
        """ASE's integrator for `atoms`, going on from `barostat`."""
        if not atoms.pbc.all():
            raise InputError(
                f'the ensemble npt moves the cell: structure "{condition.structure}" must be periodic in all three '
                f'directions, its pbc is {atoms.pbc.tolist()}. Use kind = "langevin" for it.'
            )
        if condition.pressure_GPa is None:
            raise InputError("the ensemble npt needs a pressure: give explore.pressures_GPa, [0.0] for none.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of defaults it chooses, and of constraints: FixCom keeps momentum zero
            dynamics = LangevinBAOAB(
                atoms,
                timestep=self.timestep_fs * FS,
                temperature_K=condition.temperature_K,
                externalstress=-condition.pressure_GPa * units.GPa,
                hydrostatic=self.cell == "isotropic",
                T_tau=FS / self.friction_per_fs,
                P_tau=self.barostat_time_fs * FS,
                rng=rng,
            )
        return _Barostatted(dynamics, barostat)

    def retarget(self, integrator: Integrator, condition: Condition) -> None:
        """Set temperature and pressure."""
        assert isinstance(integrator, _Barostatted)
        assert condition.pressure_GPa is not None
        integrator.retarget(condition.temperature_K, -condition.pressure_GPa * units.GPa)

    def barostat_of(self, integrator: Integrator) -> tuple[float, ...]:
        """The momentum of the cell and the force on it."""
        assert isinstance(integrator, _Barostatted)
        return integrator.state


class _Barostatted:
    """LangevinBAOAB with a step that takes and gives forces, and a state to go on from."""

    def __init__(self, dynamics: Any, state: tuple[float, ...]) -> None:
        self._dynamics = dynamics
        if not dynamics.hydrostatic:
            dynamics._barostat_BAOAB_OU_gamma_mod = self._drag  # ASE 3.29 adds the trace to every element
        if state:
            # ASE's own start takes the force from the momenta after a step, its steps from those within one
            momentum, force = np.split(np.array(state), 2)
            self._dynamics.p_eps, self._dynamics.force_eps = self._shaped(momentum), self._shaped(force)

    def step(self, forces: FloatArray) -> FloatArray:
        """One step; the integrator keeps the forces it begins with itself."""
        if not np.isfinite(forces).all():
            raise UnusableGeometry("forces are not finite: MD has blown up.")
        atoms = self._dynamics.atoms
        with np.errstate(over="ignore", invalid="ignore"):
            self._dynamics.step()
        check_finite(atoms.positions, atoms.cell.array)
        return np.asarray(atoms.get_forces(md=True), dtype=float)

    def retarget(self, temperature_K: float, stress: float) -> None:
        """Another temperature and external stress (eV/Å³)."""
        self._dynamics.set_temperature(temperature_K)
        self._dynamics._set_externalstress_hydrostatic(stress, self._dynamics.hydrostatic)

    @property
    def state(self) -> tuple[float, ...]:
        parts = [np.broadcast_to(x, self._shape).ravel() for x in (self._dynamics.p_eps, self._dynamics.force_eps)]
        return tuple(np.concatenate(parts).tolist())

    def _drag(self) -> FloatArray:
        """What the moving cell adds to the atoms' friction: [p + (Tr p / N_f) 1] / W (Quigley and Probert, eq. 5b)."""
        p = np.broadcast_to(np.asarray(self._dynamics.p_eps), (3, 3))
        trace = float(np.trace(p)) / self._dynamics.Ndof
        return np.asarray((p + trace * np.identity(3)) / self._dynamics.barostat_mass)

    @property
    def _shape(self) -> tuple[int, ...]:
        return () if self._dynamics.hydrostatic else (3, 3)

    def _shaped(self, values: FloatArray) -> Any:
        return float(values[0]) if self._dynamics.hydrostatic else values.reshape(3, 3)
