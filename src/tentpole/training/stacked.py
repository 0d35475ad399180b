"""Members of a committee trained as one: each on its own frames in its own order, all by the same operations.

On the small graphs of a training batch most of the time goes into starting operations, not into arithmetic, and
starting them once for several members costs hardly more than for one. Model, loss and optimiser are MACE's. The results
are those of members trained one by one.

Energies are learned less those of the isolated atoms, which are computed in float64 and written back into the member.
A training that was killed goes on from its last checkpoint, and ends with the same bits as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from tentpole.committee.committee import choose_device
from tentpole.committee.electronic_state import specs_of
from tentpole.committee.graph import edges_within, graph_of
from tentpole.committee.mace_architecture import build_context, interpreted, mace
from tentpole.committee.mace_voter import tensors
from tentpole.committee.member_files import description_file, read_network, weights_file, write_member
from tentpole.errors import InputError
from tentpole.execution.provenance import provenance
from tentpole.storage.atomic import atomic_write
from tentpole.training.frames import frames_of
from tentpole.training.graphs import Graphs, LabelledBatch
from tentpole.training.jobs import TrainingError, TrainingJob
from tentpole.training.network import FIRST, LATER, Network, StackedPrediction
from tentpole.training.reports import Row, update_line
from tentpole.training.schedule import TrainingPlan, cycle_at, is_under_trained, learning_rate, most_updates, on_plateau
from tentpole.training.settings import MACESettings
from tentpole.training.settings import told as settings_told
from tentpole.training.stack import Stack, Weights

Tensor = torch.Tensor
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

EVALUATIONS = 16  # of held-out frames per training of the usual length
LOOKED_AT = 100  # most frames that the training error is taken from
AT_ONCE = 20  # frames per evaluation batch
ENOUGH = 20  # held-out frames: with fewer, those that did best on them midway did so by chance, and ends alone count
CHECKPOINT_S = 30.0
MANY = 1_000_000
TOLD_S = 0.5
"""Between two signs of progress."""
_ORDER = 0x0F8A  # purpose of the random numbers that batches are drawn with


def train_stacked(
    jobs: Sequence[TrainingJob],
    settings: MACESettings,
    energies: Mapping[int, float],
    *,
    finishing: bool = False,
    checkpoint_s: float = CHECKPOINT_S,
) -> None:
    """Train the members of `jobs` as one in this process, and write them and their logs.

    energies : eV, of the isolated atoms. finishing : until the errors no longer fall. checkpoint_s : seconds between
    checkpoints. Raises InputError, TrainingError.
    """
    torch.set_num_threads(settings.threads)
    with ExitStack() as stack:
        logs = [stack.enter_context(job.log.open("a", buffering=1, encoding="utf-8")) for job in jobs]

        def say(place: int, line: str) -> None:
            logs[place].write(line + "\n")

        Training(jobs, settings, energies, finishing=finishing, checkpoint_s=checkpoint_s).run(say)


@dataclass
class Course:
    """How far a training has come, apart from its weights."""

    curves: list[list[Row]] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    worse: int = 0
    stopped: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Errors:
    """Squared errors per member and frame (M, n): energies per atom, and means over force and stress components."""

    energies: FloatArray
    forces: FloatArray
    stress: FloatArray
    atoms: FloatArray
    stressed: FloatArray

    def of(self, member: int) -> Errors:
        """Those of one member."""
        parts = (self.energies, self.forces, self.stress, self.atoms, self.stressed)
        return Errors(*(part[member, None] for part in parts))

    def squares(self, member: int, places: slice) -> tuple[float, float, float]:
        """Mean squared errors of energies per atom, of force components, and of stress over all frames."""
        atoms = self.atoms[member, places]
        force = float((self.forces[member, places] * atoms).sum() / atoms.sum())
        stress = float((self.stress * self.stressed)[member, places].mean())
        return float(self.energies[member, places].mean()), force, stress

    def rmse(self, member: int, places: slice) -> tuple[float, float]:
        """Of energies in eV/atom and of force components in eV/Å."""
        energy, force, _ = self.squares(member, places)
        return math.sqrt(energy), math.sqrt(force)

    def loss(self, member: int, places: slice, settings: MACESettings) -> float:
        """MACE's loss of these frames, as if they were one batch."""
        energy, force, stress = self.squares(member, places)
        return settings.energy_weight * energy + settings.forces_weight * force + settings.stress_weight * stress


class Training:
    """One training of several members: `run` takes it to its end."""

    def __init__(
        self,
        jobs: Sequence[TrainingJob],
        settings: MACESettings,
        energies: Mapping[int, float],
        *,
        finishing: bool = False,
        checkpoint_s: float = CHECKPOINT_S,
    ) -> None:
        self.jobs, self.settings, self.energies = list(jobs), settings, dict(energies)
        self.checkpoint_s = checkpoint_s
        self.finishing = finishing
        self.device = choose_device(settings.device)
        inputs = frames_of(self.jobs, settings)
        frames, self.train, self.valid = inputs.frames, inputs.train, inputs.valid
        self.models = _models(self.jobs, settings, frames, self.energies)
        self.network = Network(self.models[0], self.device)
        self.graphs = Graphs(frames, self.network, all_energies(self.models[0], self.energies))
        self.stress = self.graphs.has_stress
        values = [scale_and_shift(model) for model in self.models]
        like = {"dtype": self.network.dtype, "device": self.device}
        self.scale, self.shift = (torch.tensor(column, **like) for column in zip(*values, strict=True))
        trained = ("readouts.",) if settings.frozen else ()
        self.stack = Stack(self.models, self.network.parts, settings.ema_decay, self.device, trained)
        self.plan = _plan(self.jobs, settings, min(map(len, self.train)), finishing)
        self.course = Course(curves=[[] for _ in jobs], best=[math.inf] * len(jobs))
        self.kept = {group: mean.clone() for group, mean in self.stack.mean.items()}
        self._orders: dict[tuple[int, int], IntArray] = {}

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self, say: Callable[[int, str], None] = lambda _member, _line: None) -> None:
        """Train to the end and write the members. say(place of the job, line) is told of every evaluation.

        Raises TrainingError where weights or losses cease to be finite.
        """
        self._resume()
        self._compare_with_mace()
        for m, curve in enumerate(self.course.curves):
            for row in curve:  # of the training that this one goes on with
                say(m, update_line(row, self._end(), learning_rate(self.plan, row[0] - 1)))
        stop = _asked_to_stop()
        began = saved = time.monotonic()
        told = 0.0
        before = self.course.seconds
        every = max(1, self.plan.cycle // EVALUATIONS)
        if self.finishing and self.stack.updates == 0 and self.jobs[0].warm_start is not None:
            self._note_errors()
        while not self.course.stopped:
            self._update()
            self.course.seconds = before + time.monotonic() - began
            if self.stack.updates % every == 0 or self.stack.updates == self._end():
                self._evaluate(say)
            if not self.course.stopped and time.monotonic() - saved > self.checkpoint_s:
                self._save()
                saved = time.monotonic()
            if stop.is_set() and not self.course.stopped:
                self._save()
                raise SystemExit(128 + signal.SIGTERM)
            if time.monotonic() - told > TOLD_S:
                self._tell_screen()
                told = time.monotonic()
        self._write()
        self.checkpoint.unlink(missing_ok=True)
        for job in self.jobs:
            job.progress.unlink(missing_ok=True)

    def _tell_screen(self) -> None:
        """Write down how far it is, for whoever watches."""
        with suppress(OSError):
            for job in self.jobs:
                job.progress.write_text(f"{self.stack.updates} {self._end()}", encoding="utf-8")

    def _end(self) -> int:
        """The last update of the cycle that the last update was part of."""
        return cycle_at(self.plan, max(0, self.stack.updates - 1))[1]

    def _update(self) -> None:
        update = self.stack.updates
        lr = learning_rate(self.plan, update)
        rows = np.array([self._rows(m, update) for m in range(len(self.jobs))])
        batch = self.graphs.batch(rows, self.scale, self.shift)
        prediction = self.network.predict(self.stack.weights(), batch, training=True, stress=self.stress)
        losses = self._losses(prediction, batch)
        self.stack.step(losses, lr)
        if update % 10 == 0:
            self._insist_finite(losses.detach(), lr)

    def _rows(self, member: int, update: int) -> IntArray:
        """The frames of a member's update: its own frames, shuffled anew each time they have all been seen."""
        own = self.train[member]
        places = np.arange(update * self.plan.batch, (update + 1) * self.plan.batch)
        return np.array([own[self._order(member, int(p) // len(own))[int(p) % len(own)]] for p in places])

    def _order(self, member: int, epoch: int) -> IntArray:
        if (member, epoch) not in self._orders:
            self._orders = {
                key: order for key, order in self._orders.items() if key[0] != member or key[1] >= epoch - 1
            }
            seed = np.random.SeedSequence(self.jobs[member].seed, spawn_key=(_ORDER, epoch))
            self._orders[member, epoch] = np.random.default_rng(seed).permutation(len(self.train[member]))
        return self._orders[member, epoch]

    def _losses(self, prediction: StackedPrediction, batch: LabelledBatch) -> Tensor:
        """MACE's weighted loss (M,): means over frames, force components and stress components of a member's batch."""
        settings = self.settings
        energy = ((prediction.energies - batch.energies) / batch.sizes).square().mean(1)
        missed = ((prediction.forces - batch.forces) * batch.mask).square().sum((1, 2)) / (3 * batch.sizes.sum(1))
        losses = settings.energy_weight * energy + settings.forces_weight * missed
        if prediction.stress is not None:
            off = (prediction.stress - batch.stress) * batch.stressed[..., None, None]
            losses = losses + settings.stress_weight * off.square().mean((1, 2, 3))
        return losses

    def _insist_finite(self, losses: Tensor, lr: float) -> None:
        weights = torch.stack([flat.detach().sum(1) for flat in self.stack.flat.values()]).sum(0)
        bad = ~(torch.isfinite(losses) & torch.isfinite(weights))
        if bool(bad.any()):
            names = ", ".join(str(self.jobs[int(m)].member) for m in torch.nonzero(bad).flatten())
            raise TrainingError(
                f"the weights of member {names} are not finite after {self.stack.updates} updates at a learning rate "
                f"of {lr:.3g}. Lower [training] lr (and lr_warm), or look for labels with absurd energies or forces."
            )

    # -- evaluation ----------------------------------------------------------------------------------------------

    def _evaluate(self, say: Callable[[int, str], None]) -> None:
        """Look at held-out frames: keep the best weights, and end what has come to its end."""
        course, done = self.course, self.stack.updates
        end = self._end()
        lr = learning_rate(self.plan, done - 1)
        self._insist_finite(torch.zeros(len(self.jobs), device=self.device), lr)
        held = self._errors(self.stack.averaged(), self.valid)
        better = False
        for m, own in enumerate(self.valid):
            places = slice(0, len(own))
            row = (done, held.loss(m, places, self.settings), *held.rmse(m, places))
            course.curves[m].append(row)
            say(m, update_line(row, end, lr))
            if (done == end or len(own) >= ENOUGH) and row[1] < course.best[m]:
                course.best[m], better = row[1], True
                for group, mean in self.stack.mean.items():
                    self.kept[group][m] = mean[m]
        course.worse = 0 if better or max(map(len, self.valid)) < ENOUGH else course.worse + 1
        if done == end:
            self._end_cycle()
        elif course.worse >= self.settings.patience and not self.finishing:
            course.stopped = "validation"

    def _end_cycle(self) -> None:
        self._note_errors()
        if self.stack.updates >= self.plan.limit:
            self.course.stopped = "limit"
        elif on_plateau(self.course.training, self.course.validation):
            self.course.stopped = "plateau"

    def _note_errors(self) -> None:
        """Force errors on trained and on held-out frames, of all members together, where a cycle begins or ends."""
        weights = self.stack.averaged()
        held = self._errors(weights, self.valid)
        errors = [held.rmse(m, slice(0, len(own)))[1] for m, own in enumerate(self.valid)]
        self.course.training.append(float(np.mean(self._trained_rmse(weights))))
        self.course.validation.append(float(np.mean(errors)))

    def _trained_rmse(self, weights: Weights) -> list[float]:
        chosen = [own[:: -(-len(own) // LOOKED_AT)] for own in self.train]
        errors = self._errors(weights, chosen)
        return [errors.rmse(m, slice(0, len(own)))[1] for m, own in enumerate(chosen)]

    def _errors(self, weights: Weights, chosen: Sequence[IntArray]) -> Errors:
        """Errors of each member on frames of its own; shorter rows are filled up with their last frame."""
        longest = max(map(len, chosen))
        rows = np.array([np.concatenate([own, np.full(longest - len(own), own[-1])]) for own in chosen])
        parts = [self._errors_of(weights, rows[:, k : k + AT_ONCE]) for k in range(0, longest, AT_ONCE)]
        return Errors(*(np.concatenate(part, axis=1) for part in zip(*parts, strict=True)))

    def _errors_of(self, weights: Weights, rows: IntArray) -> tuple[FloatArray, ...]:
        batch = self.graphs.batch(rows, self.scale, self.shift)
        prediction = self.network.predict(weights, batch, training=False, stress=self.stress)
        squares = ((prediction.forces - batch.forces) * batch.mask).square().sum(2).reshape(-1).detach()
        sums = torch.zeros(rows.size + 1, dtype=squares.dtype, device=squares.device)
        forces = sums.index_add(0, batch.frame_of_atom, squares)[:-1].view(rows.shape) / (3 * batch.sizes)
        energies = ((prediction.energies - batch.energies) / batch.sizes).square()
        stress = torch.zeros_like(energies)
        if prediction.stress is not None:
            stress = (prediction.stress - batch.stress).square().mean((2, 3))
        all_of_it = (energies, forces, stress, batch.sizes, batch.stressed)
        return tuple(part.detach().double().cpu().numpy() for part in all_of_it)

    def _compare_with_mace(self) -> None:
        """Raises TrainingError where mace's own model gives other energies and forces: its version is another one."""
        rows = np.array([own[:1] for own in self.train])
        batch = self.graphs.batch(rows, self.scale, self.shift)
        flat = {group: value.detach() for group, value in self.stack.flat.items()}
        prediction = self.network.predict(self.stack.parted(flat), batch, training=False)
        atoms = self.graphs.frames[int(rows[0, 0])]
        inputs = tensors(
            graph_of(atoms, edges_within(atoms, self.network.cutoff)),
            self.network.numbers,
            [0],
            self.network.dtype,
            self.device,
            self.network.embeddings,
        )
        model = self.stack.load_into(self.models[0].to(self.device), 0, flat)
        with interpreted():
            out = model(inputs, training=False, compute_force=True)
        energy, size = out["interaction_energy"].detach(), prediction.forces[0].norm()
        far = (energy - prediction.energies[0]).abs() > 1e-3 * (1.0 + energy.abs())
        if bool(far.any()) or abs(float(out["forces"].norm() - size)) > 1e-3 * (1.0 + float(size)):
            raise TrainingError(
                'the installed mace-torch computes other energies than this training does: set [training] loop = "mace"'
            )

    # -- files ---------------------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        """The file that a stopped training goes on from."""
        first, last = self.jobs[0].member, self.jobs[-1].member
        return self.jobs[0].folder / f"training-{first}-{last}.safetensors"

    def _identity(self) -> str:
        """What a checkpoint must have been made for."""
        digest = hashlib.sha256()
        for path in sorted({p for job in self.jobs for p in (job.train, job.valid) if p is not None}):
            digest.update(path.read_bytes())
        for job in self.jobs:
            start = b"" if job.warm_start is None else weights_file(job.warm_start).read_bytes()
            digest.update(f"{job.member} {job.seed} {hashlib.sha256(start).hexdigest()}".encode())
        told = {"settings": settings_told(self.settings), "energies": self.energies, "finishing": self.finishing}
        digest.update(json.dumps(told, sort_keys=True, default=str).encode())
        return digest.hexdigest()

    def _save(self) -> None:
        from safetensors.torch import save

        course = {"identity": self._identity(), "updates": self.stack.updates, "course": asdict(self.course)}
        state = self.stack.state() | {f"kept.{group}": kept for group, kept in self.kept.items()}
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        atomic_write(self.checkpoint, save(tensors, metadata={"training": json.dumps(course)}))

    def _resume(self) -> None:
        from safetensors import SafetensorError, safe_open

        if not self.checkpoint.is_file():
            return
        try:
            with safe_open(self.checkpoint, framework="pt") as file:
                told = json.loads(file.metadata()["training"])
                state = {name: file.get_tensor(name).to(self.device) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError):
            return  # not whole, or none of ours: begin anew
        if told.get("identity") != self._identity():
            return
        self.stack.restore(state, int(told["updates"]))
        self.kept = {group: state[f"kept.{group}"].clone() for group in self.kept}
        course = told["course"]
        course["curves"] = [[tuple(row) for row in curve] for curve in course["curves"]]
        self.course = Course(**course)

    def _write(self) -> None:
        """The members that are not there yet, with the weights that were kept."""
        weights = self.stack.parted(self.kept)
        held, trained = self._errors(weights, self.valid), self._trained_rmse(weights)
        for m, (job, model) in enumerate(zip(self.jobs, self.models, strict=True)):
            if description_file(job.out).is_file():
                continue
            energy, force = held.rmse(m, slice(0, len(self.valid[m])))
            training = {
                "member": job.member,
                "seed": job.seed,
                "loop": "stacked",
                "settings": settings_told(self.settings),
                "finishing": self.finishing,
                "warm_start": None if job.warm_start is None else job.warm_start.name,
                "seconds": round(self.course.seconds / len(self.jobs), 3),
                "updates": self.stack.updates,
                "stopped": self.course.stopped,
                "frames": {"trained": len(self.train[m]), "held_out": len(self.valid[m])},
                "energy_rmse": energy,
                "force_rmse": force,
                "train_force_rmse": trained[m],
                "under_trained": is_under_trained(trained[m], force),
                "curve": self.course.curves[m],
                "made_by": provenance(),
            }
            write_member(
                job.out, self.stack.load_into(model.cpu(), m, self.kept), training=training, baseline=job.baseline
            )


def seconds_per_update(
    jobs: Sequence[TrainingJob], settings: MACESettings, energies: Mapping[int, float], seconds: float = 2.0
) -> float:
    """Wall time of one update of all `jobs` together, by some updates that are thrown away; about `seconds` long."""
    torch.set_num_threads(settings.threads)
    training = Training(jobs, replace(settings, updates=MANY, epochs=None), energies)  # the rate has no end here
    for _ in range(2):  # compiles and caches
        training._update()
    began, done = time.monotonic(), 0
    while time.monotonic() - began < seconds or done < 3:
        training._update()
        done += 1
    return (time.monotonic() - began) / done


def _asked_to_stop() -> threading.Event:
    """Is set once this process is asked to stop (SIGTERM), where it has a say in that: in its main thread."""
    asked = threading.Event()
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda *_: asked.set())
    return asked


def _plan(jobs: Sequence[TrainingJob], settings: MACESettings, frames: int, finishing: bool) -> TrainingPlan:
    warm = jobs[0].warm_start is not None
    usual = settings.updates_of(frames, warm=warm and not finishing)
    lr, lr_end = settings.rates(warm=warm)
    return TrainingPlan(
        batch=min(settings.batch_size, frames),
        cycle=usual,
        limit=most_updates(usual, settings.max_updates) if finishing else usual,
        lr=lr,
        lr_again=settings.rates(warm=True)[0],
        lr_end=lr_end,
    )


def all_energies(model: Any, energies: Mapping[int, float]) -> dict[int, float]:
    """Those of every species that the model knows."""
    table = model.atomic_energies_fn.atomic_energies.reshape(-1).tolist()
    return {int(z): energies.get(int(z), e) for z, e in zip(model.atomic_numbers, table, strict=True)}


def scale_and_shift(model: Any) -> tuple[float, float]:
    """Scale and shift of its energies."""
    return float(model.scale_shift.scale.reshape(-1)[0]), float(model.scale_shift.shift.reshape(-1)[0])


def _mean_neighbours(frames: Sequence[Atoms], cutoff: float) -> float:
    """Of the atoms that have any."""
    counts = np.concatenate([np.bincount(edges_within(atoms, cutoff).i, minlength=len(atoms)) for atoms in frames])
    return float(counts[counts > 0].mean()) if counts.any() else 1.0


def _models(
    jobs: Sequence[TrainingJob], settings: MACESettings, frames: Sequence[Atoms], energies: Mapping[int, float]
) -> list[Any]:
    """Mace's models to begin with: the last round's, with the energies given, or new ones."""
    if all(job.warm_start is not None for job in jobs):
        starts = [job.warm_start for job in jobs if job.warm_start is not None]
        own, usual = settings.dtype, settings.model.dtype
        models = [read_network(start, dtype=own, of_linear=usual, optimized=False)[0] for start in starts]
    elif any(job.warm_start is not None for job in jobs):
        raise InputError("some members start warm and some from scratch: they cannot be trained as one")
    else:
        models = [_new_model(settings, frames, energies, job.seed) for job in jobs]
    for model in models:
        set_energies(model, energies)
        model.requires_grad_(True)
    return models


def set_energies(model: Any, energies: Mapping[int, float]) -> None:
    """Give a model these energies of isolated atoms, eV, in float64: float32 has too few digits for heavy atoms."""
    table = model.atomic_energies_fn.atomic_energies.double()
    for place, z in enumerate(int(z) for z in model.atomic_numbers):
        table[..., place] = energies.get(z, float(table.reshape(-1)[place]))
    model.atomic_energies_fn.atomic_energies = table


def _new_model(settings: MACESettings, frames: Sequence[Atoms], energies: Mapping[int, float], seed: int) -> Any:
    """A model with random weights, as mace's own command builds it for these frames."""
    modules = mace("modules")
    from e3nn import o3

    size = settings.model
    forces = np.concatenate([atoms.arrays["REF_forces"] for atoms in frames])
    numbers = sorted(energies)
    with build_context(size.dtype, optimized=False):
        torch.manual_seed(seed)
        return modules.ScaleShiftMACE(
            r_max=settings.r_max,
            num_bessel=size.radial_basis,
            num_polynomial_cutoff=settings.cutoff_basis,
            max_ell=size.max_ell,
            interaction_cls_first=modules.interaction_classes[FIRST],
            interaction_cls=modules.interaction_classes[LATER],
            num_interactions=settings.interactions,
            num_elements=len(numbers),
            hidden_irreps=o3.Irreps("+".join(f"{size.channels}x{l}{'eo'[l % 2]}" for l in range(size.max_L + 1))),
            MLP_irreps=o3.Irreps("16x0e"),
            atomic_energies=np.array([energies[z] for z in numbers]),
            avg_num_neighbors=_mean_neighbours(frames, settings.r_max),
            atomic_numbers=numbers,
            correlation=size.correlation,
            gate=torch.nn.functional.silu,
            atomic_inter_scale=float(np.sqrt((forces**2).mean())) or 1.0,
            atomic_inter_shift=0.0,
            embedding_specs=specs_of(settings.embed),
            use_reduced_cg=False,  # else the weights would have other shapes wherever cuequivariance is installed
        )
