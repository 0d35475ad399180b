"""How members are built and trained: sizes of models, rates that belong to them, and all that may be set."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from tentpole.errors import InputError, unknown
from tentpole.training.schedule import automatic_updates

LOOPS = ("stacked", "mace", "mace-total")
EMBEDDABLE = ("charge", "multiplicity")
FINETUNING = ("naive", "frozen", "lora", "replay")
BY_MACE = ("lora", "replay")
"""Ways to fine-tune that mace's own command has and our loop has not."""
SOLVE = ("no", "after", "instead")


@dataclass(frozen=True, slots=True)
class Size:
    """The part of a member that says how much it can learn and what it costs, with the rate that belongs to it."""

    channels: int
    max_L: int
    max_ell: int
    correlation: int
    radial_basis: int
    lr: float
    dtype: str


SIZES = {
    "small": Size(16, 1, 2, 2, 5, 0.04, "float32"),
    "medium": Size(64, 1, 3, 3, 8, 0.02, "float32"),
    "mace": Size(128, 1, 3, 3, 8, 0.01, "float64"),
}
"""small: for one or two elements on a laptop. medium: a few hours of one. mace: the size of MACE's own examples."""


@dataclass(frozen=True, slots=True)
class MACESettings:
    """How members are built and trained.

    size : "small", "medium" or "mace": channels, max_L, max_ell, correlation, radial_basis, lr and dtype, each of which
    may be given by itself instead. channels, max_L, max_ell, correlation, radial_basis : instead of the size's own.
    interactions, cutoff_basis, r_max : the rest of the model, r_max in Å.
    updates : gradient steps, or "auto": a hundred epochs, at least 2000, at most max_updates. updates_warm : those of
    a training that goes on from the last round's weights where updates is "auto". epochs : instead of updates.
    max_updates : the most that "auto" and a finishing training may take.
    batch_size : configurations per step. lr, lr_warm : learning rate at the start from random weights and from the
    last round's, which the higher one would undo (None: the size's own, falling with the root of the channels; a
    quarter of it). lr_end : the rate it falls to, update by update (None: a fortieth of lr). ema_decay : of the running
    mean of the weights that is kept.
    energy_weight, forces_weight, stress_weight : of MACE's loss, for eV/atom, eV/Å and eV/Å³; stress counts where
    REF_stress is given. 1 GPa is 0.006 eV/Å³: its weight has to be large for volumes to be learned with the forces.
    patience : evaluations (16 in a training of the usual length) in a row without a better one after which it stops,
    where there are 20 held-out frames to say so.
    E0s : energies of the isolated atoms in eV by symbol or number, or "average": those of single atoms among the
    training frames, and for the rest the least-squares fit to the others, which with fewer compositions than species
    is no more than a guess for other compositions. All members share them, so that they never pass for uncertainty; a
    warm start keeps those of the first round.
    folds : where no validation file is given, member m holds out the labels m, m + folds, m + 2 folds, …
    loop : "stacked", all members as one, several times as fast, or "mace", one by one by mace's own command, which
    shallow committees and models made elsewhere are trained by in any case; "mace-total" is that with energies as they
    are labelled, not less those of isolated atoms: how campaigns of earlier versions go on. together : how many small
    members train as one in a process; more cost less of the processor, fewer keep more cores busy. Large ones train by
    themselves.
    finetuning : what a training changes of the members that it goes on from. "naive": all weights. "frozen": the
    readouts alone; the body stays. "lora": all linear layers, by changes of low rank. "replay": all weights, while a
    second head goes on learning what was known before; it is taken off at the end. The last two need loop = "mace".
    solve : whether energies are taken as linear in the weights at last, and the change that fits the labels is solved
    for (tentpole.training.linear). "no". "after": the updates, which so leave no error on what they were trained on.
    "instead": of them, from the weights of members that know another method; every training begins there.
    ridge : of that solution, in parts of its kernel's mean diagonal: more for labels that are not smooth. "auto": which
    of several, or no change at all, errs least on frames held out, with "instead" some twenty in turn; all are solved
    for at last.
    lora_rank : of the changes. replay_frames : as many are replayed; labels are repeated until they are as many.
    frozen : true is finetuning = "frozen".
    embed : "charge", "multiplicity" or both: embeddings of a frame's total charge and spin, added to the features of
    its atoms before the first layer.
    dtype : "float32" or "float64". device : "auto", "cpu", "cuda". threads : per process.
    """

    E0S: ClassVar[tuple[str, ...]] = ("average",)
    """Words that `E0s` may be."""

    size: str = "small"
    channels: int | None = None
    max_L: int | None = None
    max_ell: int | None = None
    correlation: int | None = None
    interactions: int = 2
    radial_basis: int | None = None
    cutoff_basis: int = 3
    r_max: float = 5.0
    updates: int | str = "auto"
    updates_warm: int = 800
    epochs: int | None = None
    max_updates: int = 200_000
    batch_size: int = 5
    lr: float | None = None
    lr_warm: float | None = None
    lr_end: float | None = None
    ema_decay: float = 0.99
    energy_weight: float = 10.0
    forces_weight: float = 100.0
    stress_weight: float = 1000.0
    patience: int = 8
    E0s: Mapping[str, float] | str = "average"
    folds: int = 10
    loop: str = "stacked"
    together: int = 2
    frozen: bool = False
    finetuning: str = "naive"
    solve: str = "no"
    ridge: float | str = "auto"
    lora_rank: int = 4
    replay_frames: int = 200
    embed: tuple[str, ...] = ()
    dtype: str | None = None
    device: str = "auto"
    threads: int = 1

    def __post_init__(self) -> None:
        words = (("size", SIZES), ("loop", LOOPS), ("finetuning", FINETUNING), ("solve", SOLVE))
        for name, legal in words:
            if getattr(self, name) not in legal:
                raise unknown(name, getattr(self, name), legal)
        if self.dtype not in (None, "float32", "float64"):
            raise unknown("dtype", str(self.dtype), ("float32", "float64"))
        if isinstance(self.E0s, str) and self.E0s not in self.E0S:
            raise unknown("E0s", self.E0s, (*self.E0S, "a table of energies by element"))
        if isinstance(self.updates, str) and self.updates != "auto":
            raise unknown("updates", self.updates, ("auto", "a number of gradient steps"))
        self._check_finetuning()
        self._check_embed()
        for name in ("channels", "interactions", "updates", "updates_warm", "max_updates", "batch_size", "threads"):
            self._at_least(name, 1)
        more = {"correlation": 1, "folds": 2, "patience": 1, "together": 1, "lora_rank": 1, "replay_frames": 10}
        for name, least in more.items():
            self._at_least(name, least)
        if isinstance(self.ridge, str) and self.ridge != "auto":
            raise unknown("ridge", self.ridge, ("auto", "a number"))
        for name in ("r_max", "lr", "lr_warm", "lr_end", "ridge"):
            given = getattr(self, name)
            if given not in (None, "auto") and not given > 0:
                raise InputError(f"{name} = {given} must be positive")

    def _check_finetuning(self) -> None:
        if self.frozen and self.finetuning not in ("naive", "frozen"):
            raise InputError(
                f'frozen = true is finetuning = "frozen", and finetuning = "{self.finetuning}": leave one out'
            )
        way = "frozen" if self.frozen else self.finetuning
        object.__setattr__(self, "finetuning", way)
        object.__setattr__(self, "frozen", way == "frozen")
        if self.frozen and self.loop != "stacked":
            raise InputError(f'finetuning = "frozen" needs loop = "stacked", not "{self.loop}"')
        if self.solve != "no" and self.loop != "stacked":
            raise InputError(f'solve = "{self.solve}" needs loop = "stacked", not "{self.loop}"')
        if self.solve != "no" and way != "naive":
            raise InputError(f'solve = "{self.solve}" changes all weights, and finetuning = "{way}" not: leave one out')
        if way in BY_MACE and self.loop != "mace":
            raise InputError(f'finetuning = "{way}" needs loop = "mace", not "{self.loop}"')

    def _check_embed(self) -> None:
        object.__setattr__(self, "embed", tuple(self.embed))
        for word in self.embed:
            if word not in EMBEDDABLE:
                raise unknown("embed", str(word), EMBEDDABLE)
        if self.embed and self.loop != "stacked":
            raise InputError(f'embed = {list(self.embed)} needs loop = "stacked", not "{self.loop}"')

    def _at_least(self, name: str, least: int) -> None:
        given = getattr(self, name)
        if given not in (None, "auto") and given < least:
            raise InputError(f"{name} = {given} must be at least {least}")

    @property
    def model(self) -> Size:
        """The size with what was given instead. A rate that was not given goes with the channels."""
        usual = SIZES[self.size]
        names = ("channels", "max_L", "max_ell", "correlation", "radial_basis", "lr", "dtype")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if "lr" not in given and given.get("channels", usual.channels) != usual.channels:
            given["lr"] = SIZES["small"].lr * math.sqrt(min(1.0, SIZES["small"].channels / given["channels"]))
        return replace(usual, **given)

    def rates(self, *, warm: bool) -> tuple[float, float]:
        """The learning rate at the start and at the end.

        Parameters
        ----------
        warm : bool
            Whether the training goes on from earlier weights.

        Returns
        -------
        tuple of float
            Start and end.
        """
        lr = self.model.lr
        start = lr if not warm else lr / 4 if self.lr_warm is None else self.lr_warm
        return start, min(start, lr / 40 if self.lr_end is None else self.lr_end)

    def updates_of(self, frames: int, *, warm: bool) -> int:
        """Gradient steps for a training set of that size; where there are none, its configurations, each seen once.

        Parameters
        ----------
        frames : int
            Configurations in the training set.
        warm : bool
            Whether the training goes on from earlier weights.

        Returns
        -------
        int
        """
        if self.solve == "instead":
            return frames
        batch = min(self.batch_size, frames)
        if self.epochs is not None:
            return max(1, self.epochs * (frames // batch))
        if isinstance(self.updates, int):
            return self.updates
        return self.updates_warm if warm else automatic_updates(frames, batch, self.max_updates)


def told(settings: MACESettings) -> dict[str, Any]:
    """The settings as data, without those that came later and are not made use of: what was made before fits them."""
    values = asdict(settings)
    if not settings.embed:
        del values["embed"]
    used = {"lora": ("finetuning", "lora_rank"), "replay": ("finetuning", "replay_frames")}.get(settings.finetuning, ())
    solved = () if settings.solve == "no" else ("solve", "ridge")
    for name in {"finetuning", "lora_rank", "replay_frames", "solve", "ridge"} - {*used, *solved}:
        del values[name]
    return values


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as data that an earlier version has written, with the usual value of every key that came later."""
    usual: dict[str, Any] = json.loads(json.dumps(asdict(MACESettings())))
    return {**usual, **values}


def as_trained_before(settings: MACESettings) -> MACESettings:
    """What a campaign file from before `loop` leaves unsaid, with the values that held then."""
    unsaid: dict[str, object] = {
        "channels": 16, "max_L": 1, "max_ell": 2, "correlation": 2, "radial_basis": 5,
        "lr": 0.04, "lr_warm": 0.01, "lr_end": 0.001, "dtype": "float32",
    }  # fmt: skip
    then = {name: value for name, value in unsaid.items() if getattr(settings, name) is None}
    usual = MACESettings()
    changed: dict[str, object] = {"updates": 600, "patience": 16, "stress_weight": 10.0}
    then |= {name: value for name, value in changed.items() if getattr(settings, name) == getattr(usual, name)}
    return replace(settings, loop="mace-total", **then)  # type: ignore[arg-type]
