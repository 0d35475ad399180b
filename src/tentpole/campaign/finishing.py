"""One production model of a campaign: all labels, trained until its errors no longer fall, with a card.

The card says what it is made of, how far it is off, and where it must not be used.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from tentpole.campaign.baseline import with_baseline
from tentpole.campaign.export import export_member
from tentpole.campaign.folder import stored_config
from tentpole.campaign.paths import VALIDATION
from tentpole.campaign.pretraining import start_energies, start_folder
from tentpole.campaign.record import CampaignRecord, FrameRecord
from tentpole.config.baseline import whole_first
from tentpole.config.schema import LabelledSection
from tentpole.config.walkers import temperatures_K
from tentpole.errors import InputError, StateError
from tentpole.execution.local import local
from tentpole.labeling import references
from tentpole.progress import NoProgress, ProgressListener
from tentpole.records import Label, state_words
from tentpole.storage.atomic import atomic_write, read_json, write_json
from tentpole.storage.labels import read_label
from tentpole.storage.lock import Lock
from tentpole.storage.structures import labelled_atoms, write_frames
from tentpole.training.jobs import TrainingJob
from tentpole.training.settings import MACESettings
from tentpole.training.settings import told as settings_told
from tentpole.units import GPA

FEWEST_LABELS = 20
"""Fewer make no production model."""

HELD_BACK = 10
"""One label in so many says when to stop: the newest audit frames, where there are any."""

MODEL = "model"


@dataclass(frozen=True, slots=True)
class ErrorsOn:
    """Errors of the model on labels that it was not trained on.

    force_rmse of components and force_p95, the 95th percentile of |error| over atoms, in eV/Å; energy_rmse in eV/atom;
    stress_rmse of components in GPa, None where no label has a stress.
    """

    frames: int
    force_rmse: float
    force_p95: float
    energy_rmse: float
    stress_rmse: float | None = None

    @property
    def words(self) -> str:
        """In a sentence."""
        told = (
            f"{self.frames} frames: forces {1000 * self.force_rmse:.1f} meV/Å (95th percentile over atoms "
            f"{1000 * self.force_p95:.1f}), energies {1000 * self.energy_rmse:.2f} meV/atom"
        )
        return told if self.stress_rmse is None else f"{told}, stress {self.stress_rmse:.3f} GPa"


@dataclass(frozen=True, slots=True)
class ProductionCard:
    """What stands in card.json: data, physics, training, errors, and where the model must not be used.

    labels : all that the campaign has; trained, held_out : of those. physics : the reference's calculator and its
    parameters. states : charges and multiplicities of the labels, where they are not the campaign's alone. baseline :
    name and hash of what the model learned the difference to. errors : by set, "held out" (what told when to stop) and
    "validation" (never trained on, and no guide).
    """

    campaign: str
    reference: str
    reference_hash: str
    physics: dict[str, Any]
    charge: int | None
    multiplicity: int | None
    elements: tuple[str, ...]
    conditions: tuple[str, ...]
    labels: int
    trained: int
    held_out: int
    start: str
    model: dict[str, Any]
    updates: int
    stopped: str
    train_force_rmse: float | None
    errors: dict[str, ErrorsOn]
    verdict: str
    not_for: tuple[str, ...]
    states: tuple[str, ...] = ()
    baseline: str = ""

    def to_json(self) -> dict[str, Any]:
        """What card.json holds."""
        return {"version": 1, **asdict(self)}

    @property
    def text(self) -> str:
        """The card for a reader, as Markdown."""
        baseline = f" They were learned less {self.baseline}, which is to be added back." if self.baseline else ""
        physics = ", ".join(f"{key} = {value}" for key, value in sorted(self.physics.items()))
        state = "; ".join(self.states) or state_words((self.charge, self.multiplicity))
        errors = "\n".join(f"- on {name}, {errors_on.words}" for name, errors_on in sorted(self.errors.items()))
        model = ", ".join(f"{key} {value}" for key, value in sorted(self.model.items()))
        train = "" if self.train_force_rmse is None else f"; on trained frames {1000 * self.train_force_rmse:.1f} meV/Å"
        return "\n".join(
            [
                f"# {self.campaign}: a potential for {', '.join(self.elements)}",
                "",
                f"**Data.** {self.labels} labels of the campaign, {self.trained} trained on, {self.held_out} held out. "
                f"Conditions: {'; '.join(self.conditions) or 'none explored'}. Start: {self.start}.",
                "",
                f"**Physics.** {self.reference} ({self.reference_hash}): {physics}; {state}.{baseline}",
                "",
                f"**Model.** {model}. {self.updates} updates, ended by: {self.stopped}{train}.",
                "",
                f"**Errors**\n\n{errors}",
                "",
                f"**Verdict of the campaign.** {self.verdict}.",
                "",
                "**Not to be used for**\n",
                *(f"- {words}" for words in self.not_for),
                "",
            ]
        )


def finish_campaign(
    folder: Path, out: Path | None = None, *, size: str | None = None, progress: ProgressListener | None = None
) -> ProductionCard:
    """Train one model on all labels of a campaign to its plateau, and write it with its card to `out`.

    A model of the campaign's own size goes on from the weights of the first member of the newest committee, or, where
    members are solved for instead of updated, of the first pretrained one; one of another `size` begins with random
    weights. Where members are solved for, so is the model, if there is room for one of another `size`. A call that was
    stopped goes on; one that is done gives the card that is there.

    Raises
    ------
    StateError
        For what is no campaign folder, or has no committee yet.
    InputError
        Where there are too few labels, or `out` holds a model of other labels or settings.
    """
    record, progress = CampaignRecord.read(folder), progress or NoProgress()
    out = record.folder / "production" if out is None else out
    labels, held = _labels(record)
    settings = _settings(record, size)
    order = _order(labels, held, settings)
    with Lock(out):
        if (out / "order.json").exists() and read_json(out / "order.json").get("order") != order:
            raise InputError(f"{out}: holds a model of other labels or settings. Name another folder: --out")
        write_json(out / "order.json", {"order": order})
        if not (out / "card.json").exists():
            _train(record, out, labels, held, settings, size is not None, progress)
            card = _card(record, out, labels, held, size is not None)
            atomic_write(out / "card.md", card.text.encode())
            write_json(out / "card.json", card.to_json())
        return _read_card(out / "card.json")


def _start_words(record: CampaignRecord, *, random: bool) -> str:
    if random:
        return "random weights"
    linear = record.config.training.solve == "instead"
    return "the first pretrained member" if linear else "the first member of the campaign"


def _labels(record: CampaignRecord) -> tuple[list[Label], list[Label]]:
    """What is trained on, and what says when to stop: the newest audit frames, or every tenth label."""
    frames = [frame for frame in record.frames if frame.outcome == "accepted" and frame.round != VALIDATION]
    closed = {name for one in record.rounds if one.outcome for name in one.outcome.accepted}
    by_name = {frame.request.name: frame for frame in frames if frame.request.name in closed}
    if len(by_name) < FEWEST_LABELS:
        raise InputError(
            f"{record.folder}: has {len(by_name)} labels, and a production model wants {FEWEST_LABELS} at least: "
            f"two are held out to say when to stop. {'Raise [stop] and go' if record.verdict else 'Go'} on with: "
            f"tentpole run {record.folder}"
        )
    wanted = max(2, len(by_name) // HELD_BACK)
    audits = [name for name, frame in by_name.items() if frame.request.audit][-wanted:]
    held = set(audits if len(audits) == wanted else list(by_name)[HELD_BACK - 1 :: HELD_BACK])
    read = {name: _read(frame) for name, frame in by_name.items()}
    return [one for name, one in read.items() if name not in held], [one for name, one in read.items() if name in held]


def _read(frame: FrameRecord) -> Label:
    assert frame.label is not None
    return read_label(frame.label)


def _settings(record: CampaignRecord, size: str | None) -> MACESettings:
    """The campaign's own, or with the size's values in place of its own."""
    settings = record.config.training.build()
    settings = replace(settings, loop="stacked", finetuning="frozen" if settings.frozen else "naive")
    if size is None:
        return settings
    if settings.solve == "instead":  # of nothing
        settings = replace(settings, solve="after")
    own = dict.fromkeys(
        ("channels", "max_L", "max_ell", "correlation", "radial_basis", "lr", "lr_warm", "lr_end", "dtype")
    )
    return replace(settings, size=size, **own)  # type: ignore[arg-type]


def _order(labels: Sequence[Label], held: Sequence[Label], settings: MACESettings) -> str:
    """What a model in a folder must have been made from."""
    told = [[label.name for label in part] for part in (labels, held)]
    text = json.dumps([told, settings_told(settings)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _train(
    record: CampaignRecord,
    out: Path,
    labels: Sequence[Label],
    held: Sequence[Label],
    settings: MACESettings,
    anew: bool,
    progress: ProgressListener,
) -> None:
    from tentpole.training import train_committee

    baseline, config = None, record.config
    if config.baseline is not None:
        name = _own_file(record, config.baseline.reference)
        config = config.model_copy(update={"baseline": config.baseline.model_copy(update={"reference": name})})
    with local(1) as executor:
        for part, part_labels in (("train", labels), ("held-out", held)):
            known = [labelled_atoms(label) for label in part_labels]
            frames, baseline = with_baseline(config, known, out, lambda *job: executor.submit(*job).result())
            write_frames(out / f"{part}.extxyz", frames)
    start, energies = record.state.newest_models(record.state.current), None
    if settings.solve == "instead":  # whose members know no more
        own = stored_config(record.folder)
        start = start_folder(own, record.paths) or start
        energies = start_energies(own, settings, start, out / "train.extxyz")
    seed = int.from_bytes(hashlib.sha256(f"{record.config.seed}/production".encode()).digest()[:4])
    shallow = record.config.committee.kind == "shallow"
    job = TrainingJob(
        0,
        seed,
        out / "train.extxyz",
        out / "held-out.extxyz",
        out,
        out / MODEL,
        warm_start=None if anew or shallow else start / "member-0",
        baseline=baseline,
        whole=settings.solve != "instead" or not whole_first(own),
    )
    if settings.solve != "no" and anew and not _room_for(job, settings):
        settings = replace(settings, solve="no")

    def on_progress(_member: int, update: int, of: int) -> None:
        progress.progress("training to the plateau", update, of)

    train_committee([job], settings, 1, on_progress, energies=energies, finishing=True)


def _room_for(job: TrainingJob, settings: MACESettings) -> bool:
    """Whether a model of another size could be solved for."""
    from tentpole.training.frames import difference_energies, frames_of
    from tentpole.training.linear import ENERGY_AND_VIRIAL, room_for
    from tentpole.training.stacked import Training

    (model,) = Training([job], settings, difference_energies(settings, job.train)).models
    labels = len(frames_of([job], settings).train[0])
    return room_for(sum(weight.numel() for weight in model.parameters())) > ENERGY_AND_VIRIAL * labels


def _own_file(record: CampaignRecord, reference: str) -> str:
    """A reference's name, or the path of the file of one's own in the campaign's folder."""
    return str((record.folder / reference).resolve()) if reference.endswith(".toml") else reference


def _card(
    record: CampaignRecord, out: Path, labels: Sequence[Label], held: Sequence[Label], anew: bool
) -> ProductionCard:
    from tentpole.committee.member_files import read_description

    description, config = read_description(out / MODEL), record.config
    training, hyper = description["training"], description["hyperparameters"]
    errors = {"held-out frames, which told when to stop": _errors(out / MODEL, held)}
    fixed = [_read(frame) for frame in record.frames if frame.round == VALIDATION and frame.outcome == "accepted"]
    if fixed:
        errors["the validation set, which trained nothing"] = _errors(out / MODEL, fixed)
    export_member(out / MODEL, out)
    frames = [label.atoms for label in [*labels, *held]]
    conditions = sorted({frame.condition for frame in record.frames if frame.condition})
    reference = references.load(_own_file(record, config.reference))
    return ProductionCard(
        campaign=config.name,
        reference=Path(config.reference).stem,
        reference_hash=record.reference_hash,
        physics={"calculator": reference.import_path, **reference.parameters},
        charge=config.charge,
        multiplicity=config.multiplicity,
        elements=tuple(sorted({symbol for atoms in frames for symbol in atoms.get_chemical_symbols()})),
        conditions=tuple(conditions),
        labels=len(labels) + len(held),
        trained=len(labels),
        held_out=len(held),
        start=_start_words(record, random=anew or training["warm_start"] is None),
        model={
            "cutoff in Å": hyper["r_max"],
            "irreps": str(hyper["hidden_irreps"]),
            "interactions": hyper["num_interactions"],
            "dtype": description["dtype"],
        },
        updates=int(training["updates"]),
        stopped=str(training.get("stopped", "")),
        train_force_rmse=training.get("train_force_rmse"),
        errors=errors,
        verdict="none yet" if record.verdict is None else f"{record.verdict.kind}: {record.verdict.reason}",
        not_for=tuple(_not_for(record, [*labels, *held])),
        states=_states(record, [*labels, *held]),
        baseline=_baseline_words(out / MODEL),
    )


def _errors(stem: Path, labels: Sequence[Label]) -> ErrorsOn:
    from tentpole.committee import Committee
    from tentpole.committee.baseline import baseline_beside

    stressed = any(label.stress is not None for label in labels)
    committee = Committee.load([stem], baseline=baseline_beside(stem.parent))
    prediction = committee.evaluate([label.atoms for label in labels], stress=stressed)
    off = np.concatenate([f[0] - label.forces for f, label in zip(prediction.forces, labels, strict=True)])
    energies = [(e - label.energy) / len(label.atoms) for e, label in zip(prediction.energies[0], labels, strict=True)]
    stress = None
    if stressed and prediction.stresses is not None:
        pairs = [
            (s, label.stress)
            for s, label in zip(prediction.stresses[0], labels, strict=True)
            if label.stress is not None
        ]
        stress = _rms(np.array([s - known for s, known in pairs])) / GPA
    return ErrorsOn(
        frames=len(labels),
        force_rmse=_rms(off),
        force_p95=float(np.percentile(np.linalg.norm(off, axis=1), 95)),
        energy_rmse=_rms(np.array(energies)),
        stress_rmse=stress,
    )


def _rms(values: np.ndarray) -> float:
    return math.sqrt(float((values**2).mean()))


def _not_for(record: CampaignRecord, labels: Sequence[Label]) -> list[str]:
    """Where nothing in the data supports the model, a sentence each."""
    config, frames = record.config, [label.atoms for label in labels]
    elements = sorted({symbol for atoms in frames for symbol in atoms.get_chemical_symbols()})
    words = [f"elements other than {', '.join(elements)}"]
    words.append(f"temperatures above {max(temperatures_K(config)):g} K, at which nothing was explored")
    words.append(f"atoms nearer to each other than {_nearest(frames):.2f} Å, the nearest in the data")
    largest = max(float(np.linalg.norm(label.forces, axis=1).max()) for label in labels)
    words.append(f"states with forces above {largest:.1f} eV/Å, the largest in the data: impacts, collisions")
    if states := _states(record, labels):
        words.append(f"states other than {'; '.join(states)}")
    elif config.charge is not None:
        words.append(f"charges other than {config.charge}: the model knows none, and takes every state for this one")
    words += _of_cells(frames, any(label.stress is not None for label in labels))
    if len({atoms.get_chemical_formula() for atoms in frames}) < len(elements) and isinstance(config.training.E0s, str):
        words.append(
            "energies between other compositions, or of atoms pulled out: those of isolated atoms are fitted to "
            "fewer compositions than there are elements"
        )
    if isinstance(config.initial, LabelledSection):
        words.append(
            "anything that rests on the initial labels being of the stated reference: that is their giver's word"
        )
    if record.verdict is None or record.verdict.kind != "CONVERGED":
        words.append("work that needs the target error proved: the campaign did not end with CONVERGED")
    return words


def _baseline_words(stem: Path) -> str:
    from tentpole.committee.baseline import needed

    facts = needed(stem)
    return "" if facts is None else f"{facts.name} ({facts.hash})"


def _states(record: CampaignRecord, labels: Sequence[Label]) -> tuple[str, ...]:
    """Composition, charge and multiplicity of the labels, where frames carry their own."""
    if not record.config.states_on_frames:
        return ()
    states = {(label.atoms.get_chemical_formula(), label.charge, label.multiplicity) for label in labels}
    return tuple(f"{formula}: {state_words((charge, spin))}" for formula, charge, spin in sorted(states, key=str))


def _of_cells(frames: Sequence[Atoms], stressed: bool) -> list[str]:
    periodic = [atoms for atoms in frames if atoms.pbc.all()]
    if not periodic:
        large = f"systems much larger than {max(map(len, frames))} atoms"
        if any(atoms.pbc.any() for atoms in frames):
            return [f"bulk crystals and liquids, or {large}: no frame is periodic in all three directions"]
        return [f"crystals, liquids or {large}: the data are not periodic"]
    volumes = [atoms.get_volume() / len(atoms) for atoms in periodic]
    words = [f"densities outside {min(volumes):.2f} to {max(volumes):.2f} Å³ an atom"]
    if not stressed:
        words.append("stress, pressure and cells that move: no label has a stress")
    return words


def _nearest(frames: Sequence[Atoms]) -> float:
    """The nearest distance of two atoms in the frames, Å; NaN for atoms alone."""
    distances = [float(d.min()) for atoms in frames if len(d := neighbor_list("d", atoms, 4.0))]
    return min(distances, default=math.nan)


def _read_card(path: Path) -> ProductionCard:
    content = {key: value for key, value in read_json(path).items() if key not in ("version", "checksum")}
    try:
        errors = {name: ErrorsOn(**values) for name, values in content["errors"].items()}
        lists = {key: tuple(content[key]) for key in ("elements", "conditions", "not_for")}
        return ProductionCard(**{**content, **lists, "errors": errors})
    except (KeyError, TypeError, AttributeError) as error:
        raise StateError(f"{path}: damaged ({error}). Remove it, then the same command writes it again.") from None
