"""Committees: many potentials that vote, and what their disagreement says. Names load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tentpole.committee.ase_voter import AseVoter, aligned
    from tentpole.committee.baseline import Baseline
    from tentpole.committee.calculator import CommitteeCalculator
    from tentpole.committee.calibration import Calibration, atom_cases, calibrate, member_diversity, structure_cases
    from tentpole.committee.committee import Committee, Disagreement, Prediction
    from tentpole.committee.disagreement import (
        NonFinite,
        atom_force_std,
        energy_std,
        energy_std_per_atom,
        force_std,
        max_force_std,
        p95_force_std,
        relative_force_std,
        stress_std,
    )
    from tentpole.committee.foundation_models import foundation
    from tentpole.committee.member_files import import_model, read_mean, read_member, write_member

_HOME = {
    "AseVoter": "ase_voter",
    "aligned": "ase_voter",
    "Baseline": "baseline",
    "foundation": "foundation_models",
    "Calibration": "calibration",
    "atom_cases": "calibration",
    "calibrate": "calibration",
    "member_diversity": "calibration",
    "structure_cases": "calibration",
    "Committee": "committee",
    "CommitteeCalculator": "calculator",
    "Disagreement": "committee",
    "Prediction": "committee",
    "import_model": "member_files",
    "read_mean": "member_files",
    "read_member": "member_files",
    "write_member": "member_files",
    "NonFinite": "disagreement",
    "atom_force_std": "disagreement",
    "energy_std": "disagreement",
    "energy_std_per_atom": "disagreement",
    "force_std": "disagreement",
    "max_force_std": "disagreement",
    "p95_force_std": "disagreement",
    "relative_force_std": "disagreement",
    "stress_std": "disagreement",
}

__all__ = [
    "AseVoter",
    "Baseline",
    "Calibration",
    "Committee",
    "CommitteeCalculator",
    "Disagreement",
    "NonFinite",
    "Prediction",
    "aligned",
    "atom_cases",
    "atom_force_std",
    "calibrate",
    "energy_std",
    "energy_std_per_atom",
    "force_std",
    "foundation",
    "import_model",
    "max_force_std",
    "member_diversity",
    "p95_force_std",
    "read_mean",
    "read_member",
    "relative_force_std",
    "stress_std",
    "structure_cases",
    "write_member",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
