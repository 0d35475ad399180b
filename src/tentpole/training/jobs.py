"""What training is asked and what it answers: one job per member."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tentpole.errors import TentpoleError


class TrainingError(TentpoleError):
    """A training that failed: the message holds the last lines of its log and where the whole log is."""


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One member to train.

    Parameters
    ----------
    member : int
        Its number, for names and progress.
    seed : int
        Of initial weights and of the order of batches.
    train, valid : Path, Path or None
        Extended XYZ with REF_energy (eV), REF_forces (eV/Å) and, where known, REF_stress (eV/Å³). valid None: every
        tenth
        label of `train` is held out, other ones for each member, so that each label trains the others.
    folder : Path
        Where the log stays and, while the training runs, its scratch.
    out : Path
        The finished member's path without its ending; out.safetensors and then out.json appear whole or not at all.
    warm_start : Path, optional
        The member whose weights the training goes on from; None starts from random ones.
    replay : Path, optional
        Frames of what the warm start knows, energies less those of isolated atoms: for finetuning = "replay".
    heads : int
        Above 1, a shallow committee: one backbone with that many readout heads, each trained on its own bootstrap
        resample
        of the training set, all in one file.
    whole : bool
        For solve = "instead": the member's energy is that of its start and the change to it; false: the change
        alone, where the start knows whole energies and the labels are a difference.
    baseline : dict, optional
        Name, hash, charge and multiplicity of what the frames carry as baseline_energy and baseline_forces: the member
        learns the difference, and its description says so.

    Examples
    --------
    >>> from tentpole.training import TrainingJob
    >>> job = TrainingJob(0, 1, Path("train.xyz"), None, Path("logs"), Path("models/member-0"))
    >>> job.log.name
    'member-0.log'
    """

    member: int
    seed: int
    train: Path
    valid: Path | None
    folder: Path
    out: Path
    warm_start: Path | None = None
    heads: int = 1
    baseline: dict[str, Any] | None = None
    replay: Path | None = None
    whole: bool = True

    @property
    def log(self) -> Path:
        """The training's log file."""
        return self.folder / f"member-{self.member}.log"

    @property
    def progress(self) -> Path:
        """A small text file, how far it has come: for the screen only, never read back as state."""
        return self.log.with_suffix(".progress")


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """How a training went. Errors are those of the weights that were kept, on frames that it was not trained on.

    Parameters
    ----------
    member : int
        Its number.
    out : Path
        The member's path without its ending.
    seconds : float
        Wall time, a share of it where members trained as one.
    updates : int
        Gradient steps.
    energy_rmse, force_rmse : float
        Of held-out frames, eV/atom and eV/Å.
    curve : tuple of (int, float, float)
        Update (or epoch by mace's command), energy_rmse and force_rmse at each evaluation.
    skipped : bool
        The member was there already, and the figures are those of its own training.
    warm_start : bool
        Whether it went on from a member's weights.
    train_force_rmse : float or None
        Of at most 100 trained frames, eV/Å; None where mace's own command trained.
    under_trained : bool
        The errors on trained and on held-out frames are nearly alike: more updates would help.
    stopped : str
        "limit", "plateau" or "validation", what ended the training.
    """

    member: int
    out: Path
    seconds: float
    updates: int
    energy_rmse: float
    force_rmse: float
    curve: tuple[tuple[int, float, float], ...] = field(default=(), repr=False)
    warm_start: bool = False
    skipped: bool = False
    train_force_rmse: float | None = None
    under_trained: bool = False
    stopped: str = ""
