"""What training is asked and what it answers: one job per member."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tentpole.errors import TentpoleError


class TrainingError(TentpoleError):
    """A training that failed: the message holds the last lines of its log and where the whole log is."""


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One member to train.

    member : its number, for names and progress. seed : of initial weights and of the order of batches.
    train, valid : extended XYZ with REF_energy (eV), REF_forces (eV/Å) and, where known, REF_stress (eV/Å³). valid
    None: every tenth label of `train` is held out, other ones for each member, so that each label trains the others.
    folder : where the log stays and, while the training runs, its scratch. out : the finished member's stem;
    out.safetensors and then out.json appear whole or not at all. warm_start : stem of the member whose weights
    the training goes on from; None starts from random ones. heads : above 1, a shallow committee: one backbone with
    that many readout heads, each trained on its own bootstrap resample of the training set, all in one file.
    """

    member: int
    seed: int
    train: Path
    valid: Path | None
    folder: Path
    out: Path
    warm_start: Path | None = None
    heads: int = 1

    @property
    def log(self) -> Path:
        """What the training says, from its first update on."""
        return self.folder / f"member-{self.member}.log"

    @property
    def progress(self) -> Path:
        """A small text file, how far it has come: for the screen only, never read back as state."""
        return self.log.with_suffix(".progress")


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """How a training went. Errors are those of the weights that were kept, on frames that it was not trained on.

    energy_rmse in eV/atom, force_rmse (of held-out frames) and train_force_rmse (of at most 100 trained ones; None
    where mace's own command trained) in eV/Å; seconds of wall time, a share of them where members trained as one;
    curve: (update, or epoch by mace's command; energy_rmse, force_rmse) at each evaluation. under_trained: the errors
    on trained and on held-out frames are nearly alike, so that more updates would help. stopped: "limit", "plateau"
    or "validation", what ended the training. `skipped`: the member was there already and the figures are those of its
    own training.
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
