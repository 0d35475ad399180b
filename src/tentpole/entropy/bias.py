"""Entropy-biased dynamics: an ASE calculator around any ASE calculator.

E = E₀ − k S, F = F₀ + k ∂S/∂r, σ = σ₀ − k ∂S/∂ε / V. The walker sees a landscape on which configurations
of diverse environments lie lower, and collects them. Karabin and Perez, J. Chem. Phys. 153, 094110 (2020).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from tentpole.committee.calculator import changes_between
from tentpole.entropy import entropies
from tentpole.entropy.covariance import Covariance
from tentpole.entropy.fingerprint import Fingerprint
from tentpole.entropy.gom.fingerprint import GOM
from tentpole.entropy.species import SpeciesCovariance, in_blocks
from tentpole.errors import InputError, unknown
from tentpole.records import FloatArray

Kind = Literal["logdet", "nearest", "dataset"]

_KINDS = ("logdet", "nearest", "dataset")
_BIASED = ("energy", "free_energy", "forces", "stress")
_OWN = ("energy_unbiased", "forces_unbiased", "entropy", "bias_strength_eV", "bias_clipped")
_NO_BIAS_KNOWN = ("energies", "stresses")
_STILL = 1e-10
"""RMS of ∂S/∂r, 1/Å, below which symmetry alone holds the bias force at zero: no ratio is taken from it."""


class EntropyBias(Calculator):  # type: ignore[misc]  # ASE carries no types
    """ASE calculator of the biased energy, forces and stress.

    `results` hold energy, forces (and free_energy, stress where the calculator within has them) as biased,
    and energy_unbiased, forces_unbiased, entropy, bias_strength_eV (k), bias_clipped (atoms clipped). What
    else is asked for, a committee's forces_std for one, the inner calculator answers, asked only then.

    Parameters
    ----------
    calculator : ase.calculators.calculator.Calculator
        The unbiased potential.
    cutoff : float
        Å, of the fingerprint where none is given.
    ratio : float, optional
        Target of RMS bias force / RMS physical force, 0.3 where no strength is given. k then runs slowly
        after it: an exponential mean over about `memory` evaluations of ratio · RMS(F₀)/RMS(∂S/∂r). Energy
        and forces of one evaluation share one k; as k moves between them, total energy is not conserved.
    k_eV : float, optional
        A fixed strength instead.
    entropy : {"logdet", "nearest", "dataset"}
        ½ ln det of this configuration's own rows; nearest-neighbour distances; or the gain over `covariance`, the
        dataset's weight capped (`cap`, see entropies.dataset).
    clip : float or None
        Bias force per atom at most this, eV/Å; the rest of what is cut is shared out so that no net force
        remains. While atoms are clipped, forces are not the energy's gradient: `bias_clipped` tells.
    eps : float
        ε of the entropy of this configuration's own rows.
    cap, memory : float
        See entropy and ratio.
    fingerprint : Fingerprint, optional
        GOM(cutoff) where None.
    covariance : Covariance or SpeciesCovariance, optional
        The dataset of entropy "dataset".
    per_species : bool
        Each species' rows on their own, S = Σ_s (N_s/N) S_s; a SpeciesCovariance does so anyway.

    Raises
    ------
    InputError
        For an unknown entropy, a strength given twice or not finite, a dataset form without its dataset.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from ase.calculators.emt import EMT
    >>> from tentpole.entropy import EntropyBias
    >>> water = molecule("H2O")
    >>> water.rattle(0.1, seed=1)
    >>> water.calc = EntropyBias(EMT(), ratio=0.3)
    >>> forces = water.get_forces()
    >>> extra = forces - water.calc.results["forces_unbiased"]
    >>> round(float((extra**2).mean() ** 0.5 / (water.calc.results["forces_unbiased"] ** 2).mean() ** 0.5), 6)
    0.3
    """

    def __init__(
        self,
        calculator: Any,
        *,
        cutoff: float = 5.0,
        ratio: float | None = None,
        k_eV: float | None = None,
        entropy: Kind = "logdet",
        clip: float | None = 5.0,
        eps: float = 1e-3,
        cap: float = 1.0,
        memory: float = 100.0,
        fingerprint: Fingerprint | None = None,
        covariance: Covariance | SpeciesCovariance | None = None,
        per_species: bool = False,
    ) -> None:
        super().__init__()
        if entropy not in _KINDS:
            raise unknown("entropy", str(entropy), _KINDS)
        if entropy == "dataset" and covariance is None:
            raise InputError('entropy="dataset" needs the dataset: give covariance=Covariance(...).')
        if per_species and isinstance(covariance, Covariance):
            raise InputError("per_species needs a dataset in blocks: give covariance=SpeciesCovariance(...).")
        if ratio is not None and k_eV is not None:
            raise InputError(f"give the strength as ratio ({ratio}) or as k_eV ({k_eV}), not both.")
        for name, value in (("ratio", ratio), ("k_eV", k_eV), ("clip", clip)):
            if value is not None and not (np.isfinite(value) and value >= 0):
                raise InputError(f"{name} must be a finite number of at least 0, got {value}.")
        if not memory >= 1:
            raise InputError(f"memory must be at least 1 evaluation, got {memory}.")
        self.calculator = calculator
        self.fingerprint: Fingerprint = GOM(cutoff) if fingerprint is None else fingerprint
        self.entropy: Kind = entropy
        self.covariance = covariance
        self.ratio = 0.3 if ratio is None and k_eV is None else ratio
        self.clip = clip
        self.eps = eps
        self.cap = cap
        self.memory = memory
        self.per_species = per_species
        self.results: dict[str, Any] = {}
        self._k_eV = k_eV
        self._strength = k_eV
        self._held = k_eV is not None
        self._strain = np.zeros((3, 3))
        inner = list(calculator.implemented_properties)
        self.implemented_properties = [*(name for name in inner if name not in _NO_BIAS_KNOWN), *_OWN]

    @property
    def bias_strength(self) -> float | None:
        """Strength k in eV as last used; None before the first evaluation with a ratio.

        Set it to resume a walker: the next evaluation uses exactly this k, and the running mean goes on from
        it. A checkpoint that stores k after a step therefore continues bit for bit. None begins anew, with k_eV where
        that was given.
        """
        return self._strength

    @bias_strength.setter
    def bias_strength(self, value: float | None) -> None:
        self._strength = self._k_eV if value is None else float(value)
        self._held = value is not None

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """As ASE's; what the bias does not touch comes from the calculator within, when asked for.

        Parameters
        ----------
        name : str
            ASE's name.
        atoms : Atoms, optional
        allow_calculation : bool
            Whether it may be calculated.

        Returns
        -------
        float or array
            In ASE's units; None where it is not known and may not be calculated.
        """
        if name in _NO_BIAS_KNOWN:
            raise PropertyNotImplementedError(f"{name} is not known per atom for a biased energy")
        if name in _BIASED or name in _OWN:
            return super().get_property(name, atoms, allow_calculation)
        return self.calculator.get_property(name, self.atoms if atoms is None else atoms, allow_calculation)

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:  # noqa: ARG002 - ASE's own signature
        """What of the atoms differs from those evaluated last, to the last bit.

        Parameters
        ----------
        atoms : Atoms
        tol : float
            Not used.

        Returns
        -------
        list of str
            ASE's names of what has changed.
        """
        return changes_between(self.atoms, atoms)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """ASE's entry point. A second property of an unchanged structure does not move the strength again.

        Parameters
        ----------
        atoms : Atoms, optional
            None: those of the last calculation.
        properties : list of str
            Of `implemented_properties`.
        system_changes : list of str
            ASE's names of what has changed.
        """
        super().calculate(atoms, properties, system_changes)
        if system_changes or "forces" not in self.results:
            self._evaluate()
        self._optional(properties or [])

    def _evaluate(self) -> None:
        energy = float(self.calculator.get_property("energy", self.atoms))
        forces = np.array(self.calculator.get_property("forces", self.atoms), dtype=float)
        rows, pullback = self.fingerprint.value_and_pullback(self.atoms)
        value, weights = self._entropy(rows)
        gradient, self._strain = pullback(weights)
        k = self._next_strength(forces, gradient)
        bias, clipped = clipped_forces(k * gradient, self.clip)
        self.results = {
            "energy": energy - k * value,
            "forces": forces + bias,
            "energy_unbiased": energy,
            "forces_unbiased": forces,
            "entropy": value,
            "bias_strength_eV": k,
            "bias_clipped": clipped,
        }

    def _optional(self, properties: list[str]) -> None:
        """Stress and free energy: where asked for, or where the calculator within has them at hand."""
        k = float(self.results["bias_strength_eV"])
        at_hand = getattr(self.calculator, "results", {})
        for name in ("free_energy", "stress"):
            if name not in self.implemented_properties or name in self.results:
                continue
            if name not in properties and name not in at_hand:
                continue
            inner: Any = self.calculator.get_property(name, self.atoms)
            if name == "free_energy":
                self.results[name] = float(inner) - k * self.results["entropy"]
            else:
                volume = self.atoms.get_volume()
                if np.shape(inner) == (3, 3):  # ASE's convention is six numbers; CHGNet for one gives nine
                    inner = full_3x3_to_voigt_6_stress(inner)
                self.results[name] = inner - k * full_3x3_to_voigt_6_stress(self._strain / volume)

    def _entropy(self, rows: FloatArray) -> tuple[float, FloatArray]:
        if self.entropy == "dataset" and isinstance(self.covariance, Covariance):
            return entropies.dataset(rows, self.covariance, self.cap)
        if isinstance(self.covariance, SpeciesCovariance) and self.entropy == "dataset":
            return self.covariance.entropy(rows, self.atoms.numbers, self.cap)
        form = partial(entropies.logdet, eps=self.eps) if self.entropy == "logdet" else entropies.nearest
        return in_blocks(form, rows, self.atoms.numbers) if self.per_species else form(rows)

    def _next_strength(self, forces: FloatArray, gradient: FloatArray) -> float:
        """The k of this evaluation; the running mean takes one step unless k is held or no ratio exists."""
        if self.ratio is None or self._held:
            self._held = self.ratio is None
            return float(self._strength or 0.0)
        physical, entropic = _rms(forces), _rms(gradient)
        target = self.ratio * physical / entropic if entropic > _STILL else np.nan
        if np.isfinite(target):
            if self._strength is None:
                self._strength = target
            else:
                self._strength += (target - self._strength) / self.memory
        return float(self._strength or 0.0)


def clipped_forces(bias: FloatArray, clip: float | None) -> tuple[FloatArray, int]:
    """Bias forces (N, 3) with each atom's norm at most `clip`, less their mean; and how many were clipped."""
    if clip is None:
        return bias, 0
    norm = np.sqrt((bias**2).sum(axis=1))
    over = norm > clip
    if not over.any():
        return bias, 0
    cut = bias * np.where(over, clip / np.maximum(norm, 1e-300), 1.0)[:, None]
    return cut - cut.mean(axis=0), int(over.sum())


def _rms(vectors: FloatArray) -> float:
    return float(np.sqrt((vectors**2).sum(axis=1).mean()))
