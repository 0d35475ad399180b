"""The steps of the loop on files, one by one, for scripts: score, select, label, train."""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from tentpole.campaign.training import member_seed
from tentpole.config.schema import FingerprintSection, checked_rule
from tentpole.config.sections import read_as
from tentpole.errors import InputError, unknown
from tentpole.progress import NoProgress, ProgressListener
from tentpole.records import (
    CHARGE,
    MULTIPLICITY,
    SIGMA_KINDS,
    FloatArray,
    State,
    bare,
    own_state,
    sigma_kind,
    state_of,
    structure_hash,
)
from tentpole.storage.atomic import read_json, write_json
from tentpole.storage.labels import label_path, read_label
from tentpole.storage.structures import labelled_atoms, read_structures, write_frames
from tentpole.storage.toml_text import parse_toml

if TYPE_CHECKING:
    from tentpole.committee import Committee
    from tentpole.entropy import Covariance, Fingerprint, FingerprintSettings
    from tentpole.labeling import Reference
    from tentpole.selection import Pick, SelectionRule
    from tentpole.training import TrainingReport

SCORED_AT_ONCE = 64
SCORES = ("energy_std", "energy_std_per_atom", "force_std", "p95_force_std", "max_force_std", "gain")
SIGMA = {"mean": "force_std", "max": "max_force_std", "p95": "p95_force_std"}
"""Under which name a frame carries each of its σ."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many frames were done, how many failed, and why."""

    done: int
    failed: int
    reasons: dict[str, int]


def settings_of(words: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """`key=value` words as settings; values as in TOML, and a bare word is text. Raises InputError."""
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.strip():
            raise InputError(f'{option} {word}: write key=value, as in --set updates=600 or --set method="exact"')
        try:
            settings[key.strip()] = parse_toml(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key.strip()] = value
    return settings


def fingerprint_of(settings: dict[str, Any] | None) -> FingerprintSettings:
    """The settings of a fingerprint, as a campaign file's [fingerprint] has them. Raises InputError."""
    return read_as(FingerprintSection, settings or {}, "--fingerprint").build()


def check_out(out: Path, *inputs: Path | None) -> None:
    """Raises InputError for a file to write that would not be what its name says, or that is read from."""
    if out.suffix in (".gz", ".bz2", ".xz", ".zip"):
        raise InputError(f"--out {out}: extended XYZ is written as plain text: leave {out.suffix} out of the name")
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder: name a file")
    for file in inputs:
        if file is not None and file.resolve() == out.resolve():
            raise InputError(f"--out {out}: is read from: name another file")


def write_or_remove(out: Path, frames: Sequence[Atoms]) -> None:
    """Write `frames`; where there are none, leave no file of an earlier command that would pass for this one's."""
    if frames:
        write_frames(out, frames)
    else:
        out.unlink(missing_ok=True)


def score_file(
    structures: Path,
    models: Sequence[Path],
    dataset: Path | None,
    out: Path,
    fingerprint: dict[str, Any] | None = None,
    progress: ProgressListener | None = None,
    baseline: str | None = None,
    dtype: str | None = None,
) -> Counts:
    """Write `structures` to `out` as extended XYZ with their scores.

    `fingerprint` are settings as in a campaign file's [fingerprint]; `baseline` is what the members learned the
    difference to, where they did; `dtype`, "float32" or "float64", that of their predictions, their files' own where
    None.

    Each frame's info has energy_std (eV), energy_std_per_atom (eV/atom), force_std, p95_force_std and max_force_std
    (eV/Å; mean, 95th percentile and maximum over atoms) and gain; a frame that cannot be scored has failed = reason.
    Non-finite coordinates cannot be written as numbers that others read: such a frame keeps them.
    """
    from tentpole.committee import Committee
    from tentpole.committee.mace_architecture import DTYPES
    from tentpole.exploration.scoring import score
    from tentpole.training.network_voter import faster

    if dtype not in (None, *DTYPES):
        raise unknown("--dtype", str(dtype), DTYPES)
    settings = fingerprint_of(fingerprint)
    check_out(out, structures, dataset)
    frames = read_structures(structures, ":", "STRUCTURES", finite=False)
    known = read_structures(dataset, ":", "--dataset") if dataset is not None else []
    committee = Committee.load([str(path) for path in models], dtype=dtype, baseline=baseline)
    if sum(voter.votes for voter in committee.voters) < 2:
        raise InputError("--models: one member has nobody to disagree with: name the members of a committee")
    compared, covariance, _ = _compared(settings, frames, known, committee)
    committee = faster(committee)
    results, progress = [], progress or NoProgress()
    for k in range(0, len(frames), SCORED_AT_ONCE):
        progress.progress("scoring", k, len(frames))
        results += score(frames[k : k + SCORED_AT_ONCE], committee, compared, covariance)
    written = []
    for atoms, scores in zip(frames, results, strict=True):
        plain = bare(atoms)
        if scores.failed:
            plain.info["failed"] = scores.failed
        else:
            plain.info |= {name: getattr(scores, name) for name in SCORES}
        written.append(plain)
    write_frames(out, written)
    return _counts(len(frames), [scores.failed for scores in results if scores.failed])


def _compared(
    settings: FingerprintSettings, frames: Sequence[Atoms], known: Sequence[Atoms], committee: Committee | None
) -> tuple[Fingerprint, Covariance, list[FloatArray]]:
    """The fingerprint, the covariance of a dataset, and the rows of each of its frames."""
    from tentpole.entropy import make_covariance, make_fingerprint

    if settings.kind == "mace" and committee is None:
        raise InputError("--fingerprint kind=mace: the features are a committee's: name it with --models")
    species = sorted({int(z) for atoms in (*frames, *known) for z in atoms.numbers})
    fingerprint = make_fingerprint(settings, species, committee)
    blocks = [fingerprint.fingerprints(atoms) for atoms in known]
    return fingerprint, make_covariance(settings, blocks), blocks


def select_file(
    structures: Path,
    dataset: Path | None,
    out: Path,
    *,
    rule: str = "two_key",
    count: int = 20,
    settings: dict[str, Any] | None = None,
    seed: int = 0,
    sigma: str = "auto",
    fingerprint: dict[str, Any] | None = None,
    models: Sequence[Path] = (),
    progress: ProgressListener | None = None,
) -> Counts:
    """Write the frames of `structures` that are worth a label to `out`, in the order they were picked.

    Each has its `frame` (its number in the file), scores and `reason`; where there is none, no file is left. `sigma` is
    which of a frame's σ, as `score_file` writes them, the rule looks at: "mean", "max", "p95", or "auto", p95 above 50
    atoms, else the mean; frames with `failed` are left out and counted. The gain is that over `dataset`, by
    `fingerprint`, settings as in a campaign file's [fingerprint], of which kind = "mace" needs `models`. Raises
    InputError where the rule needs a σ that a frame does not have.
    """
    from tentpole.committee import Committee
    from tentpole.selection import Candidates, Labelled

    chooser = checked_rule(rule, settings or {}, "--set")
    check_out(out, structures, dataset)
    if count < 1:
        raise InputError(f"--count {count}: 1 or more")
    frames = read_structures(structures, ":", "STRUCTURES", finite=False)
    failed = [str(atoms.info["failed"]) for atoms in frames if "failed" in atoms.info]
    numbers = [k for k, atoms in enumerate(frames) if "failed" not in atoms.info]
    if not numbers:
        raise InputError(f"{structures}: all {len(frames)} frames have failed to be scored, none can be selected")
    if sigma not in SIGMA_KINDS:
        raise unknown("--sigma", sigma, SIGMA_KINDS)
    keys = {k: SIGMA[sigma_kind(sigma, len(frames[k]))] for k in numbers}
    for k in numbers:
        _check_scored(frames[k], f"{structures}: frame {k}", rule, chooser, keys[k])
    asked = fingerprint_of(fingerprint)
    known = read_structures(dataset, ":", "--dataset") if dataset is not None else []
    (progress or NoProgress()).progress(f"fingerprints and choice among {len(numbers)} frames", 0, 0)
    committee = Committee.load([str(path) for path in models]) if models else None
    compared, covariance, blocks = _compared(asked, [frames[k] for k in numbers], known, committee)
    rows = [compared.fingerprints(frames[k]) for k in numbers]
    values = [float(frames[k].info.get(keys[k], 0.0)) for k in numbers]
    condition = structures.stem
    candidates = Candidates.of_rows([str(k) for k in numbers], values, rows, [condition] * len(numbers))
    labelled = Labelled.of_rows(blocks, [condition] * len(known), covariance, d=rows[0].shape[1])
    picks = chooser.select(candidates, labelled, min(count, len(candidates)), np.random.default_rng(seed))
    write_or_remove(out, [_picked(frames[int(pick.id)], pick) for pick in picks])
    return Counts(len(picks), len(failed), dict(Counter(failed).most_common()))


def _check_scored(atoms: Atoms, where: str, rule: str, chooser: SelectionRule, key: str) -> None:
    """Raises InputError for a frame that cannot be selected from, or that lacks the σ that the rule looks at."""
    from tentpole.selection import KINDS, WITHOUT_SIGMA

    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise InputError(f"{where}: positions or cell are not finite: score the file first")
    sigma = atoms.info.get(key)
    if not isinstance(chooser, WITHOUT_SIGMA) and not (isinstance(sigma, float | int) and np.isfinite(sigma)):
        raise InputError(
            f'{where} has no finite {key}, which the rule "{rule}" looks at. Score the file first: tentpole score '
            "STRUCTURES --models … --out scored.extxyz; or choose with one of "
            f"{', '.join(sorted(name for name, kind in KINDS.items() if kind in WITHOUT_SIGMA))}"
        )


def _picked(frame: Atoms, pick: Pick) -> Atoms:
    """A frame that was picked, with its number in the file, its scores and the reason."""
    atoms = bare(frame)
    kept = {name: frame.info[name] for name in SCORES if name in frame.info}
    atoms.info |= {"frame": int(pick.id), **kept, **pick.scores, "reason": pick.reason}
    return atoms


def label_file(
    structures: Path,
    reference: str,
    out: Path,
    *,
    folder: Path,
    charge: int | None = None,
    multiplicity: int | None = None,
    moments: str | None = None,
    workers: int | None = None,
    progress: ProgressListener | None = None,
) -> Counts:
    """Label `structures` on this machine and write those that have a label to `out`, in their order.

    They carry REF_energy (eV), REF_forces (eV/Å) and, where the reference gives it, REF_stress (eV/Å³). A frame's own
    charge and multiplicity (info) are its label's; `charge` and `multiplicity` those of frames without. `moments`, as
    in "Fe=2.5" (µB) or "from structure", are those that the SCF starts from; without them the frames' own are left out.
    Labels are kept in `folder` as they come: after an interruption the same call goes on. Raises as `label_all`.
    """
    from tentpole.execution.local import local
    from tentpole.labeling import Task, label_all, load
    from tentpole.labeling.magnetism import check_magnetism, read_moments, started
    from tentpole.storage.lock import Lock

    check_out(out, structures)
    given = read_structures(structures, ":", "STRUCTURES")
    magnetism = None if moments is None else read_moments(moments)
    frames = [bare(started(magnetism, atoms, f"{structures}: frame {k}")) for k, atoms in enumerate(given)]
    elements = sorted({symbol for atoms in frames for symbol in atoms.get_chemical_symbols()})
    method, progress = load(reference, elements), progress or NoProgress()
    check_magnetism(magnetism, method, frames)
    for k, atoms in enumerate(given):
        _refuse_other_state(atoms, f"{structures}: frame {k}", {"charge": charge, "multiplicity": multiplicity})
    states = [state_of(atoms, charge, multiplicity) for atoms in frames]
    _ask_physics(method, frames, states)
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [Task(folder, method, atoms, *state) for atoms, state in zip(frames, states, strict=True)]
    failed: dict[str, str] = {}
    with Lock(folder), local(workers) as executor:
        for done, outcome in enumerate(label_all(tasks, executor), 1):
            progress.progress("labels", done, len({task.name for task in tasks}))
            if not outcome.ok:
                failed[outcome.name] = outcome.message
    labels = [read_label(label_path(folder, task.structure, method.hash)) for task in tasks if task.name not in failed]
    write_or_remove(out, [labelled_atoms(label) for label in labels])
    return _counts(len(tasks), [failed[task.name] for task in tasks if task.name in failed])


def _refuse_other_state(atoms: Atoms, where: str, stated: dict[str, int | None]) -> None:
    """Raises InputError for a frame whose own charge or multiplicity is not the one that was stated for all."""
    for (word, told), own in zip(stated.items(), own_state(atoms, where), strict=True):
        if told is not None and own is not None and own != told:
            raise InputError(
                f"{where} has {word} = {own}, and --{word} says {told}: leave --{word} out, each frame then has its "
                "own, or take it out of the file"
            )


def _ask_physics(method: Reference, frames: Sequence[Atoms], states: Sequence[State]) -> None:
    """Raises InputError, naming the option, where the method needs a charge or multiplicity that was not stated."""
    for atoms, state in zip(frames, states, strict=True):
        stated = dict(zip((CHARGE, MULTIPLICITY), state, strict=True))
        needed = method.requires + (() if atoms.pbc.any() else method.requires_for_molecules)
        for word in needed:
            if stated.get(word, 0) is None:
                usual = {"charge": "0 for a neutral structure", "multiplicity": "1 for a closed shell"}[word]
                raise InputError(
                    f'reference "{method.name}" needs the {word} of {atoms.get_chemical_formula()}, which has no '
                    f"default: say --{word}, {usual}"
                )


def train_files(
    frames: Path,
    out: Path,
    *,
    valid: Path | None = None,
    members: int = 4,
    shallow: bool = False,
    warm_start: Path | None = None,
    settings: dict[str, Any] | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: ProgressListener | None = None,
) -> list[TrainingReport]:
    """Train a committee on labelled `frames` into the folder `out`, from scratch or from the weights in `warm_start`.

    Energies and forces are found under any of the usual keys. valid None: every tenth frame is held back to stop
    the trainings in time. A member that is there already is kept: after an interruption the same call goes on.
    Raises InputError before anything is trained where files, settings or the content of `out` do not fit.
    """
    from tentpole.committee.committee_files import member_stems
    from tentpole.storage.labelled import read_labelled
    from tentpole.storage.lock import Lock
    from tentpole.training import MACESettings, TrainingJob, train_committee
    from tentpole.training.settings import told as settings_told

    method = read_as(MACESettings, settings or {}, "--set")
    if members < 2:
        raise InputError(f"--members {members}: 2 or more; one model has nothing to disagree with")
    known = read_labelled(frames).frames
    parts = {"train": known}
    if valid is not None:
        parts["valid"] = read_labelled(valid).frames
    elif len(known) < 2:
        raise InputError(f"{frames}: one frame is not enough: some are trained on, others stop the training in time")
    stems = None if warm_start is None else member_stems(warm_start)
    names = [f"member-{m}" for m in range(1 if shallow else members)]
    if stems is not None and len(stems) != len(names):
        raise InputError(f"--from {warm_start}: holds {len(stems)} members, {len(names)} are to be trained")
    out.mkdir(parents=True, exist_ok=True)
    frozen = {part: _checksum(some, with_states=bool(method.embed)) for part, some in parts.items()}
    start = None if warm_start is None else str(warm_start.resolve())
    made_of = {"members": members, "shallow": shallow, "from": start, "settings": settings_told(method), "seed": seed}
    _keep_order(out, {**frozen, **made_of})
    for part, some in parts.items():
        write_frames(out / f"{part}.extxyz", some)
    jobs = [
        TrainingJob(
            member=m,
            seed=member_seed(seed, m),
            train=out / "train.extxyz",
            valid=None if valid is None else out / "valid.extxyz",
            folder=out,
            out=out / name,
            warm_start=None if stems is None else stems[m],
            heads=members if shallow else 1,
        )
        for m, name in enumerate(names)
    ]
    share: dict[int, float] = {}

    def on_progress(member: int, epoch: int, of: int) -> None:
        share[member] = min(1.0, epoch / max(of, 1))
        (progress or NoProgress()).progress("training", sum(share.values()), len(jobs))

    with Lock(out):
        return train_committee(jobs, method, workers, on_progress)


def _keep_order(out: Path, order: dict[str, Any]) -> None:
    """Note what this folder's committee is trained from; members of another order would be taken for finished."""
    path = out / "order.json"
    if not path.exists():
        write_json(path, order)
        return
    before = read_json(path)
    if changed := [key for key in order if before.get(key) != order[key]]:
        raise InputError(
            f"{out}: holds a committee that was begun otherwise; these differ: {', '.join(changed)}. Name another "
            "folder with --out, or repeat the first command to go on with it"
        )


def _checksum(frames: Sequence[Atoms], *, with_states: bool) -> str:
    digest = hashlib.sha256()
    for atoms in frames:
        digest.update(structure_hash(atoms, *(own_state(atoms) if with_states else (None, None))).encode())
        digest.update(np.float64(atoms.info["REF_energy"]).tobytes() + atoms.arrays["REF_forces"].tobytes())
    return digest.hexdigest()


def _counts(total: int, reasons: Sequence[str]) -> Counts:
    return Counts(total - len(reasons), len(reasons), dict(Counter(reasons).most_common()))
