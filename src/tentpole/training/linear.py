"""What labels teach a trained member where its energy is taken as linear in its weights: a solution, not updates.

The weights w of a trained network know in which directions the energy of such atoms can change. Taken as linear in
them,

    E(x) = b E(x; w) + ∂E(x; w)/∂w · d

the change d is the smallest one that fits the labels: with the rows J of derivatives of every labelled number by the
weights, and what is left of the labels y when the network's own prediction is taken off (b = 1) or not (b = 0, where
the labels are a difference that it knows nothing of),

    d = Jᵀ (J Jᵀ + λ)⁻¹ (y − b f(w)),        λ = ridge × mean of the diagonal of J Jᵀ

kernel regression in the network's tangent kernel (arXiv:1806.07572). Labelled numbers are energies, force components
and virials V σ, those of one kind divided by the root of their own RMS in y: between the units' own measure, by which
virials of large cells drown all else, and one by which the three kinds are as large. The weights are those that updates
have just ended at, solve = "after", or those of a start that knows another method, solve = "instead": the same in every
round then, whatever was solved for before.

Small ridges serve labels that are smooth, as converged ones are; those of a learned teacher may ripple by more than is
left to learn. So of several ridges that one counts which errs least on frames held out, but for chance. Those a member
holds out are few where labels are. Weights that have met no label, solve = "instead", are as good a judge of any other
fold, and what the solution without its rows h leaves of them takes no further solution: with M = (J Jᵀ + λ)⁻¹,

    y_h − f_h = (M_hh)⁻¹ (M y)_h

Where no ridge errs less than no change at all, forces being most of that, one that costs forces next to nothing may
still serve energies and stress, or else nothing changes. The change is that of all labels; the errors that are told are
of the solution without the member's own fold, on it. Frames of a validation file are never solved for, and where there
are any the ridge is that which they choose.

With more numbers than `ROWS`, or than fit `MEMORY_B`, all energies and virials stay, and as many force components as
there is room for, drawn at random.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from tentpole.committee.committee import choose_device
from tentpole.committee.linear_voter import LENGTH, LinearChange
from tentpole.committee.mace_architecture import copied, in_precision
from tentpole.committee.member_files import (
    description_file,
    read_any_member,
    read_description,
    weights_file,
    write_member,
)
from tentpole.errors import InputError
from tentpole.execution.provenance import provenance
from tentpole.training.frames import frames_of
from tentpole.training.graphs import Graphs, LabelledBatch
from tentpole.training.jobs import TrainingError, TrainingJob
from tentpole.training.network import Network, StackedPrediction
from tentpole.training.reports import Row, update_line
from tentpole.training.schedule import FALL, hold_out
from tentpole.training.settings import MACESettings
from tentpole.training.settings import told as settings_told
from tentpole.training.stack import GROUPS, Stack
from tentpole.training.stacked import LOOKED_AT, Errors, all_energies, scale_and_shift, set_energies, train_stacked

Tensor = torch.Tensor
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ROWS = 5000
"""Most labelled numbers that are solved for."""
MEMORY_B = 2_000_000_000
"""Of their derivatives."""
PAIRS = 4000
"""About so many pairs of atoms are differentiated at once."""
_ROWS_DRAWN = 0x11EA  # purpose of the random numbers that force components are drawn with
HELD_OUT = 20
"""Frames that choose the ridge, at least, where there are so many that may."""
NEAR = 0.5
"""Of weights that have met no label, ridges whose loss is above the least by less than such a share are as good.

What smaller ones err more is in part what the members' mean averages out, and folds, which lack a tenth of the labels,
favour larger ones.
"""
RIDGES = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Tried where none is stated. The largest move little but the energies of all frames alike, and stress."""
ALL = slice(None)
ENERGY_AND_VIRIAL = 7
VIRIAL = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def train_and_solve(
    jobs: Sequence[TrainingJob], settings: MACESettings, energies: Mapping[int, float], *, finishing: bool = False
) -> None:
    """Train the members of `jobs` in this process, and write them and their logs. Raises as train_stacked does.

    energies : eV, of the isolated atoms. finishing : updates, where there are any, until the errors no longer fall.
    """
    missing = [job for job in jobs if not description_file(job.out).is_file()]
    if settings.solve == "instead":
        for job in missing:
            _solve(job, settings, energies, {})
        return
    updated = [replace(job, out=job.folder / UPDATED / job.out.name) for job in jobs]
    if missing and not all(description_file(job.out).is_file() for job in updated):
        train_stacked(updated, settings, energies, finishing=finishing)
    for job, start in zip(jobs, updated, strict=True):
        if job in missing:
            told = read_description(start.out)["training"]
            _solve(replace(job, warm_start=start.out, whole=True), settings, energies, told)
    for start in updated:
        for file in (weights_file(start.out), description_file(start.out)):
            file.unlink(missing_ok=True)
    with suppress(OSError):  # members of another process are there still
        (jobs[0].folder / UPDATED).rmdir()


def _solve(job: TrainingJob, settings: MACESettings, energies: Mapping[int, float], updated: Mapping[str, Any]) -> None:
    """Solve for one member, and write it. updated : what the training of its weights has told."""
    torch.set_num_threads(settings.threads)
    began = time.monotonic()
    fit = LinearFit(job, settings, energies, int(updated.get("updates", 0)))
    change, held = fit.solve()
    trained = fit.errors(change, fit.train[:: -(-len(fit.train) // LOOKED_AT)])
    energy, force = held.rmse(0, ALL)
    row: Row = (fit.steps, held.loss(0, ALL, settings), energy, force)
    with job.log.open("a", encoding="utf-8") as log:
        log.write(f"{fit.words}\n{update_line(row, fit.steps, 0.0)}\n")
    training = {
        "member": job.member,
        "seed": job.seed,
        "loop": "stacked",
        "settings": settings_told(settings),
        "finishing": False,
        "warm_start": None if job.warm_start is None else job.warm_start.name,
        "stopped": "solved",
        **{key: updated[key] for key in ("finishing", "warm_start") if key in updated},
        "seconds": round(float(updated.get("seconds", 0.0)) + time.monotonic() - began, 3),
        "updates": fit.steps,
        "frames": {"trained": len(fit.train), "held_out": len(fit.valid), "solved": fit.frames_solved},
        "ridge": fit.ridge if fit.ridge < math.inf else None,
        "rows": {"of": fit.rows_of, "solved": fit.rows_solved},
        "energy_rmse": energy,
        "force_rmse": force,
        "train_force_rmse": trained.rmse(0, ALL)[1],
        "under_trained": False,
        "curve": [*updated.get("curve", ()), row],
        "made_by": provenance(),
    }
    write_member(job.out, fit.model, training=training, baseline=job.baseline, linear=fit.linear(change))
    job.progress.unlink(missing_ok=True)


UPDATED = "updated"
"""Folder of members between their updates and the solution."""


class LinearFit:
    """The labelled numbers of one member, their derivatives, and the change that fits them."""

    def __init__(
        self, job: TrainingJob, settings: MACESettings, energies: Mapping[int, float], updates: int = 0
    ) -> None:
        if job.warm_start is None:
            raise InputError(f"{job.out.name} has no start: a change of weights is a change of something")
        self.job, self.settings = job, settings
        inputs = frames_of([job], settings)
        self.train, self.valid = inputs.train[0], inputs.valid[0]
        own = job.valid is None  # held out of its own labels
        self.solved = np.concatenate([self.train, np.setdiff1d(self.valid, self.train)]) if own else self.train
        model, _, start = read_any_member(job.warm_start, dtype="float64", optimized=False)
        set_energies(model, energies)
        device = choose_device(settings.device)
        device = "cpu" if device == "mps" else device  # which has no float64
        quick = in_precision(copied(model), "float32").requires_grad_(True)
        self.model = in_precision(model, "float64").requires_grad_(True)
        self.exact = _Precision(self.model, inputs.frames, energies, device)
        self.quick = _Precision(quick, inputs.frames, energies, device)
        self.graphs, self.weights = self.exact.graphs, self.exact.weights
        self.before = self._flat(start) if start is not None and job.whole else torch.zeros_like(self.weights)
        self.whole = job.whole and (start is None or start.whole)
        self.updates, self.ridge = updates, math.inf
        self.rows_of = self.rows_solved = self.frames_solved = 0

    # -- the solution --------------------------------------------------------------------------------------------

    def solve(self) -> tuple[Tensor, Errors]:
        """The change of the weights (1, weights), and the errors on held-out frames of the one without them.

        Of several ridges the smallest counts whose loss on the m frames that choose is less than without a change, and
        above the least by no more than the least's own chance, a share 1/√m, or `NEAR`. Where there is none, see
        `_serves_all`.
        """
        chosen = self._chosen()
        rows, left = self._rows(chosen)
        share = balance(rows, left, self._kinds(chosen))
        kernel, folds = _products(rows), self._folds()
        scale, given = float(kernel.diagonal().mean()), self.settings.ridge
        ridges = RIDGES if isinstance(given, str) else (given,)
        place = torch.as_tensor(np.repeat(np.arange(len(chosen)), [len(numbers) for numbers in chosen]))
        held = [torch.isin(place, torch.as_tensor(fold)).nonzero()[:, 0] for fold in folds]
        solutions = [_solution(kernel, ridge * scale, left, held) for ridge in ridges]
        if isinstance(given, str):
            nothing = torch.cat([left[:0], *(left[rows_held] for rows_held in held)])
            ridges, solutions = (math.inf, *ridges), [(torch.zeros_like(left), nothing), *solutions]
        duals = torch.stack([dual for dual, _ in solutions], 1)
        if folds:
            wrong = torch.stack([part for _, part in solutions]) / share[torch.cat(held)]
            errors = self._left_out(np.concatenate(folds), chosen, wrong)
        else:
            errors = self.errors(self.before + _transposed(rows, duals).to(self.before), self.valid)
        best = self._best(ridges, errors)
        self.ridge = ridges[best]
        self.frames_solved = len(self.solved) if self.ridge < math.inf else 0
        if not folds:
            return self.before + _transposed(rows, duals[:, best, None]).to(self.before), errors.of(best)
        n = len(left) - len(held[0])  # the member's own fold is the last
        without = torch.zeros_like(left)
        if self.ridge < math.inf:
            without[:n] = _solution(kernel[:n, :n], self.ridge * scale, left[:n])[0]
        changes = self.before + _transposed(rows, torch.stack([duals[:, best], without], 1)).to(self.before)
        return changes[:1], self.errors(changes[1:], self.valid)

    def _best(self, ridges: Sequence[float], errors: Errors) -> int:
        """The place of the ridge that counts. Raises TrainingError where no change is finite."""
        losses = [errors.loss(place, ALL, self.settings) for place in range(len(ridges))]
        least = min((loss for loss in losses if math.isfinite(loss)), default=math.inf)
        if not least < math.inf:
            raise TrainingError(
                f"{self.job.out.name}: no change that fits the labels is finite. Raise [training] ridge, or look for "
                "labels with absurd energies or forces."
            )
        share = 1 / math.sqrt(errors.energies.shape[1])
        near = least * (1 + (max(share, NEAR) if self.settings.solve == "instead" else share))
        if ridges[0] == math.inf:
            near = min(near, losses[0])
        ridge, best = min((ridges[k], k) for k, loss in enumerate(losses) if loss <= near)
        return best if ridge < math.inf else _serves_all(errors, losses)

    def _folds(self) -> list[IntArray]:
        """Places in `solved` of the frames that choose the ridge, by which are held out together.

        The member's own fold is the first. None where other frames than those solved for judge.
        """
        if len(self.solved) == len(self.train):
            return []
        own = np.arange(len(self.train), len(self.solved))
        if self.settings.solve != "instead" or not isinstance(self.settings.ridge, str):
            return [own]
        order, folds = np.argsort(self.solved), [own]
        for k in range(1, min(self.settings.folds, len(order))):
            if sum(map(len, folds)) >= HELD_OUT:
                break
            folds.append(order[hold_out(len(order), self.job.member + k, self.settings.folds)])
        return folds

    def _left_out(self, places: IntArray, chosen: list[IntArray], wrong: Tensor) -> Errors:
        """Errors (k, n) of frames in these places, of what is wrong (k, numbers) with the chosen numbers of each."""
        columns, weights = [], torch.tensor([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], dtype=wrong.dtype) / 9
        for place, part in zip(places, torch.split(wrong, [len(chosen[k]) for k in places], 1), strict=True):
            frame, forces = self.solved[place], int((chosen[place] <= 3 * self.graphs.sizes[self.solved[place]]).sum())
            stress = (part[:, forces:] / self.graphs.volumes[frame]).square() @ weights[: part.shape[1] - forces]
            energies = (part[:, 0] / int(self.graphs.sizes[frame])).square()
            means = part[:, 1:forces].square().sum(1) / max(1, forces - 1)
            known = (torch.full_like(energies, value) for value in ((forces - 1) / 3, self.graphs.stressed[frame]))
            columns.append(torch.stack([energies, means, stress, *known], 1))
        return Errors(*torch.stack(columns, 1).permute(2, 0, 1).numpy())

    @property
    def steps(self) -> int:
        """The updates before it, and a step for every frame."""
        return self.updates + len(self.solved)

    @property
    def words(self) -> str:
        """How many numbers it was solved for."""
        how = f"ridge {self.ridge:g}" if self.ridge < math.inf else "no change errs less on held-out frames"
        return f"solved: {self.rows_solved} of {self.rows_of} labelled numbers of {len(self.solved)} frames, {how}"

    def linear(self, change: Tensor) -> LinearChange:
        """A change (1, weights) as a member has it."""
        named = self.exact.stack.named(0, self.exact.groups(change))
        return LinearChange(named, self.whole, float(_steps(change)))

    def _chosen(self) -> list[IntArray]:
        """Which numbers of each frame are solved for: 0 its energy, then its force components, its virial."""
        sizes = self.graphs.sizes[self.solved]
        always = [
            np.array([0, *(range(1 + 3 * n, 7 + 3 * n) if s else ())])
            for n, s in zip(sizes, self.graphs.stressed[self.solved], strict=True)
        ]
        forces = int(3 * sizes.sum())
        self.rows_of = sum(map(len, always)) + forces
        room = room_for(len(self.weights)) - sum(map(len, always))
        if room <= 0:
            raise InputError(
                f"{len(self.solved)} labels and {len(self.weights)} weights are too many to be solved for at once: set "
                '[training] solve = "no", or take a smaller size'
            )
        taken = np.ones(forces, dtype=bool)
        if forces > room:
            seed = np.random.SeedSequence(self.job.seed, spawn_key=(_ROWS_DRAWN,))
            taken[np.random.default_rng(seed).permutation(forces)[room:]] = False
        own = np.split(taken, np.cumsum(3 * sizes)[:-1])
        chosen = [
            np.sort(np.concatenate([one, 1 + np.flatnonzero(part)])) for one, part in zip(always, own, strict=True)
        ]
        self.rows_solved = sum(map(len, chosen))
        return chosen

    def _kinds(self, chosen: list[IntArray]) -> IntArray:
        """0 for an energy, 1 for a force component, 2 for a virial's."""
        sizes = self.graphs.sizes[self.solved]
        return np.concatenate([np.digitize(numbers, [1, 1 + 3 * n]) for numbers, n in zip(chosen, sizes, strict=True)])

    def _rows(self, chosen: list[IntArray]) -> tuple[Tensor, Tensor]:
        """Derivatives (n, weights) of the chosen numbers, in float32, and what is left of the labels (n,)."""
        rows = torch.empty(self.rows_solved, len(self.weights), dtype=torch.float32)
        left = torch.empty(self.rows_solved, dtype=torch.float64)
        place = 0
        for done, (frame, numbers) in enumerate(zip(self.solved, chosen, strict=True)):
            left[place : place + len(numbers)] = self._left(int(frame))[torch.as_tensor(numbers)]
            for some in np.array_split(numbers, -(-len(numbers) // self._copies(int(frame)))):
                rows[place : place + len(some)] = self._derivatives(int(frame), some)
                place += len(some)
            with suppress(OSError):
                self.job.progress.write_text(f"{self.updates + done} {self.steps}", encoding="utf-8")
        if bool(self.before.any()):
            left -= _times(rows, self.before.cpu())
        return rows, left

    def _copies(self, frame: int) -> int:
        return max(1, PAIRS // max(1, int(self.graphs.pair_counts[frame])))

    def _left(self, frame: int) -> Tensor:
        """A frame's labels, less the start's own prediction where it counts."""
        batch, found = self.exact.predict(self.exact.groups(self.weights), frame, 1)
        labels = self._numbers(batch, batch, frame)[0]
        return (labels - self._numbers(found, batch, frame)[0] if self.whole else labels).detach().cpu()

    def _derivatives(self, frame: int, numbers: IntArray) -> Tensor:
        """Of these numbers of a frame by the weights (n, weights).

        The frame is there once for each number, each time with weights of its own: one backward pass is all rows.
        """
        copies, quick = len(numbers), self.quick
        flats = {g: part.expand(copies, -1).clone().requires_grad_() for g, part in quick.groups(quick.weights).items()}
        batch, found = quick.predict(flats, frame, copies, training=True)
        values = self._numbers(found, batch, frame)
        at, wanted = torch.arange(copies, device=values.device), torch.as_tensor(numbers, device=values.device)
        gradients = torch.autograd.grad(values[at, wanted].sum(), [flats[group] for group in GROUPS])
        return torch.cat(gradients, 1).cpu()

    def _numbers(self, of: LabelledBatch | StackedPrediction, batch: LabelledBatch, frame: int) -> Tensor:
        """Energy, force components and virial (copies, n) of a frame, as labelled or as predicted."""
        real, (a, b) = batch.mask[0, :, 0].bool(), zip(*VIRIAL, strict=True)
        parts = [of.energies, of.forces[:, real].reshape(len(of.energies), -1)]
        if self.graphs.stressed[frame] and of.stress is not None:
            parts.append(of.stress[:, 0, list(a), list(b)] * batch.volumes)
        return torch.cat(parts, 1)

    # -- errors --------------------------------------------------------------------------------------------------

    def errors(self, changes: Tensor, frames: IntArray) -> Errors:
        """Of these frames (k, n), of the member with each of the changes (k, weights)."""
        columns = []
        for frame in map(int, frames):
            some = torch.split(changes, max(1, self._copies(frame) // 2))
            columns.append(torch.cat([self._errors(part, frame) for part in some]))
        return Errors(*torch.stack(columns, 1).permute(2, 0, 1).numpy())

    def _errors(self, changes: Tensor, frame: int) -> Tensor:
        """The numbers (k, 5) of Errors, of one frame."""
        steps, stressed = _steps(changes), bool(self.graphs.stressed[frame])
        sides = torch.cat([self.weights + steps * changes, self.weights - steps * changes])
        batch, found = self.exact.predict(self.exact.groups(sides), frame, len(sides))
        own, half = 0.5 if self.whole else 0.0, 0.5 / steps

        def off(predicted: Tensor, labelled: Tensor) -> Tensor:
            plus, minus = predicted.detach().flatten(1).chunk(2)
            return (own + half) * plus + (own - half) * minus - labelled[0].reshape(-1)

        sizes = batch.sizes[: len(steps)]
        energies = (off(found.energies, batch.energies) / sizes).square()
        forces = (off(found.forces, batch.forces) * batch.mask[0].expand(-1, 3).reshape(-1)).square().sum(1, True)
        stress = torch.zeros_like(sizes)
        if found.stress is not None:
            stress = off(found.stress, batch.stress).square().mean(1, True)
        numbers = [energies, forces / (3 * sizes), stress, sizes, torch.full_like(sizes, float(stressed))]
        return torch.cat(numbers, 1).cpu()

    # -- weights -------------------------------------------------------------------------------------------------

    def _flat(self, linear: LinearChange) -> Tensor:
        parts = [linear.change[name].reshape(-1) for group in GROUPS for name in self.exact.stack.names[group]]
        return torch.cat(parts).to(self.weights)


class _Precision:
    """The network in one precision: in float64 it evaluates, and in float32 it is differentiated in half the time."""

    def __init__(self, model: Any, frames: Sequence[Atoms], energies: Mapping[int, float], device: str) -> None:
        self.network = Network(model, device)
        self.graphs = Graphs(frames, self.network, all_energies(model, energies))
        self.stack = Stack([model], self.network.parts, 0.0, str(self.network.device))
        like = {"dtype": self.network.dtype, "device": self.network.device}
        self.scale, self.shift = (torch.tensor([part], **like) for part in scale_and_shift(model))
        self.weights = torch.cat([self.stack.flat[group][0].detach() for group in GROUPS])

    def groups(self, flat: Tensor) -> dict[str, Tensor]:
        """(…, weights) as the stack has them, (…, weights of the group)."""
        flat = flat if flat.dim() > 1 else flat[None]
        return dict(
            zip(GROUPS, torch.split(flat, [self.stack.flat[group].shape[1] for group in GROUPS], 1), strict=True)
        )

    def predict(
        self, flats: Mapping[str, Tensor], frame: int, copies: int, *, training: bool = False
    ) -> tuple[LabelledBatch, StackedPrediction]:
        """So many copies of a frame, each with weights of its own (copies, …), and what they predict."""
        batch = self.graphs.batch(np.full((copies, 1), frame), self.scale.expand(copies), self.shift.expand(copies))
        stress = bool(self.graphs.stressed[frame])
        return batch, self.network.predict(self.stack.parted(flats), batch, training=training, stress=stress)


def room_for(weights: int) -> int:
    """How many labelled numbers are solved for at most, of members with so many weights."""
    return min(ROWS, MEMORY_B // (4 * weights))


def tried(job: TrainingJob, settings: MACESettings, energies: Mapping[int, float]) -> tuple[float, int]:
    """Wall time of one frame of a solution, by one that is thrown away, and the weights of a member.

    0 seconds where there is no room for it.
    """
    torch.set_num_threads(settings.threads)
    fit = LinearFit(job, settings, energies)
    if room_for(len(fit.weights)) <= ENERGY_AND_VIRIAL * len(fit.solved):
        return 0.0, len(fit.weights)
    began = time.monotonic()
    fit.solve()
    return (time.monotonic() - began) / len(fit.solved), len(fit.weights)


def unchanged(model: Any) -> tuple[Any, LinearChange]:
    """A model in float64 and a change of nothing, which costs what any change does."""
    none = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in model.named_parameters()}
    return in_precision(model, "float64"), LinearChange(none, whole=True, step=1.0)


BLOCK = 4096
"""Columns that are in float64 at a time."""
TILE = 512
"""Rows whose inner products are computed at once."""


def balance(rows: Tensor, left: Tensor, kinds: IntArray) -> Tensor:
    """Divide, in place, numbers of each kind and their derivatives by the root of the RMS of what is left of them.

    Returns what they were multiplied by (n,).
    """
    share = torch.ones_like(left)
    for kind in np.unique(kinds):
        own = torch.as_tensor(kinds == kind)
        if (spread := float(left[own].square().mean().sqrt())) > 0:
            share[own] = 1 / math.sqrt(spread)
    left *= share
    rows *= share[:, None].to(rows)
    return share


def _serves_all(errors: Errors, losses: Sequence[float]) -> int:
    """The change, the first being none, of the least sum of mean squared errors, each kind's over none's.

    Only those count whose loss is that of none but for what is no progress of forces either, `FALL`.
    """
    none = errors.squares(0, ALL)
    kinds = [kind for kind, square in enumerate(none) if square > 0]
    able = [k for k, loss in enumerate(losses) if loss <= (1 + FALL) ** 2 * losses[0]]
    return min(able, key=lambda k: sum(errors.squares(k, ALL)[kind] / none[kind] for kind in kinds))


def _steps(changes: Tensor) -> Tensor:
    """Along each change (k, 1): of the length `LENGTH`, or 1 where there is no change."""
    lengths = changes.norm(dim=1, keepdim=True)
    return torch.where(lengths > 0, LENGTH / lengths, torch.ones_like(lengths))


def _solution(kernel: Tensor, ridge: float, left: Tensor, held: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
    """(kernel + ridge)⁻¹ left, and what the solution without each of the sets of rows leaves of these, one by one.

    NaN where that is not positive to the digits of float64.
    """
    factor, failed = torch.linalg.cholesky_ex(kernel + ridge * torch.eye(len(kernel), dtype=kernel.dtype))
    if bool(failed):
        return torch.full_like(left, math.nan), torch.full((sum(map(len, held)),), math.nan, dtype=left.dtype)
    dual = torch.cholesky_solve(left[:, None], factor)
    wrong = [torch.zeros(0, dtype=left.dtype)]
    for rows in held:
        first = int(rows[0])  # all before it stays 0
        unit = torch.zeros(len(left) - first, len(rows), dtype=left.dtype)
        unit[rows - first, torch.arange(len(rows))] = 1.0
        half = torch.linalg.solve_triangular(factor[first:, first:], unit, upper=False)
        wrong.append(torch.linalg.solve_ex(half.T @ half, dual[rows])[0][:, 0])
    return dual[:, 0], torch.cat(wrong)


def _products(rows: Tensor) -> Tensor:
    """Inner products of all rows (n, n), summed in float64; those below the diagonal are those above it."""
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for part in torch.split(rows, BLOCK, 1):
        wide = part.double()
        for place in range(0, len(rows), TILE):
            total[place : place + TILE, place:].addmm_(wide[place : place + TILE], wide[place:].T)
    return total.triu() + total.triu(1).T


def _times(rows: Tensor, vector: Tensor) -> Tensor:
    return torch.stack([row.double() @ vector for row in rows])


def _transposed(rows: Tensor, duals: Tensor) -> Tensor:
    """(rowsᵀ · duals)ᵀ (k, weights), in float64, of duals (n, k)."""
    return torch.cat([part.double().T @ duals for part in torch.split(rows, BLOCK, 1)]).T
