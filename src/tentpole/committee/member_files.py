"""One member on disk: NAME.safetensors holds the weights, NAME.json says how to build the model around them.

Reading either executes nothing. The JSON carries

    format, version     "tentpole-member", 1
    model               class, by name from a closed table
    hyperparameters     plain values (blocks, readout and gate by name)
    dtype, r_max (Å), atomic_numbers, heads, voting (the heads that are members)
    E0s                 energies of the isolated atoms in eV, {head: {atomic number: energy}}, for the reader:
                        the model's own stand among the weights
    sha256              of NAME.safetensors
    training            provenance: whatever the trainer recorded
    baseline            what it learned the difference to: name, hash, charge, multiplicity; absent where whole energies
    linear              whole, step: of a member that is linear in its weights (committee/linear_voter.py), whose change
                        is among the weights as change.NAME; absent of others
    checksum            SHA-256 of the rest; older members have none

and is written last: a member whose JSON is there is whole.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tentpole.committee.linear_voter import LinearChange, LinearVoter
from tentpole.committee.mace_architecture import build, hyperparameters, in_precision
from tentpole.committee.mace_voter import MaceVoter
from tentpole.committee.one_model import one_model
from tentpole.errors import InputError, StateError, reading, unknown
from tentpole.storage.atomic import atomic_write

FORMAT = "tentpole-member"
VERSION = 1
_RESTORE = (
    "Restore it from a copy, or delete the member's two files, .json and .safetensors: `tentpole run` trains what is "
    "missing of a campaign anew, with the same result."
)
_CHANGE = "change."
MAX_CHANNELS = 512
"""Of one model of the mean of several."""
_NEEDED = ("model", "hyperparameters", "dtype", "heads", "voting", "sha256")
_PICKLES = (".model", ".pt", ".pth", ".pkl", ".pickle")


def weights_file(stem: Path) -> Path:
    """stem.safetensors, for a stem given with or without an ending."""
    return _stem(stem).with_name(_stem(stem).name + ".safetensors")


def description_file(stem: Path) -> Path:
    """stem.json, for a stem given with or without an ending."""
    return _stem(stem).with_name(_stem(stem).name + ".json")


def write_member(
    stem: Path,
    model: Any,
    *,
    training: Mapping[str, Any] | None = None,
    voting: Sequence[str] | None = None,
    baseline: Mapping[str, Any] | None = None,
    linear: LinearChange | None = None,
) -> Path:
    """Write a mace model as a member.

    Parameters
    ----------
    stem : Path
        The member's path without its ending.
    model : mace model
        Its weights are copied to the CPU.
    training : mapping, optional
        Provenance, kept as it is.
    voting : sequence of str, optional
        The heads that vote; all of them where None.
    baseline : mapping, optional
        Name, hash, charge and multiplicity of what it learned the difference to; None: it learned whole energies.
    linear : LinearChange, optional
        Of a member that is linear in its weights about those of `model`, in float64.

    Returns
    -------
    Path
        The JSON's. Once it is there, the member is whole.

    Raises
    ------
    InputError
        Where weights are not finite, or a head is unknown.
    """
    from safetensors.torch import save

    hyper = hyperparameters(model)
    heads = hyper["heads"]
    voting = list(heads if voting is None else voting)
    for head in voting:
        if head not in heads:
            raise unknown("head", head, heads)
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    if linear is not None:
        weights |= {_CHANGE + key: value.detach().cpu().contiguous().clone() for key, value in linear.change.items()}
    if bad := _not_finite(weights):
        raise InputError(
            f"{stem}: not written, its weights are not finite ({bad}). Lower the learning rate, or look for "
            "labels with absurd energies or forces."
        )
    blob = save(weights)
    energies = np.atleast_2d(model.atomic_energies_fn.atomic_energies.double().cpu().numpy())
    description = {
        "format": FORMAT,
        "version": VERSION,
        "model": type(model).__name__,
        "hyperparameters": hyper,
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "r_max": hyper["r_max"],
        "atomic_numbers": hyper["atomic_numbers"],
        "heads": heads,
        "voting": voting,
        "E0s": {
            head: {str(z): float(e) for z, e in zip(hyper["atomic_numbers"], row, strict=True)}
            for head, row in zip(heads, energies, strict=True)
        },
        "sha256": hashlib.sha256(blob).hexdigest(),
        "training": dict(training or {}),
        **({} if baseline is None else {"baseline": dict(baseline)}),
        **({} if linear is None else {"linear": {"whole": linear.whole, "step": linear.step}}),
    }
    atomic_write(weights_file(stem), blob)
    description["checksum"] = _checksum(json.loads(json.dumps(description)))
    atomic_write(description_file(stem), (json.dumps(description, indent=1, sort_keys=True) + "\n").encode())
    return description_file(stem)


def read_description(stem: Path) -> dict[str, Any]:
    """The JSON of a member. Raises InputError for what is none, StateError for another version."""
    refuse_pickle(stem)
    path = description_file(stem)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"no model at {path}: a member is NAME.safetensors and NAME.json") from None
    except (ValueError, RecursionError) as error:
        raise StateError(f"{path}: damaged ({error}). {_RESTORE}") from error
    checksum = content.pop("checksum", None) if isinstance(content, dict) else None
    damaged = checksum is not None and checksum != _checksum(content)
    if damaged and content.get("version") == VERSION:
        raise StateError(f"{path}: damaged, its checksum does not match. {_RESTORE}")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is no member of a committee: its format is not {FORMAT}")
    if content.get("version") != VERSION:
        raise StateError(
            f"{path} has version {content.get('version')}; this Tentpole reads {VERSION}. Use the version of Tentpole "
            f"that wrote it{', or: ' + _RESTORE if damaged else '.'}"
        )
    if absent := sorted(set(_NEEDED) - set(content)):
        raise StateError(f"{path}: damaged, it lacks {', '.join(absent)}. {_RESTORE}")
    return content


def _check_repeated(description: Mapping[str, Any]) -> None:
    """Raises InputError where what stands there for readers is not what the hyperparameters say, or is no number."""
    hyper = description["hyperparameters"]
    for key in ("r_max", "atomic_numbers", "heads"):
        if key in description and description[key] != hyper[key]:
            raise InputError(f"{key} = {description[key]!r:.80}, but {hyper[key]!r:.80} among the hyperparameters")
    for head, energies in description.get("E0s", {}).items():
        for number, energy in energies.items():
            if not math.isfinite(energy):
                raise InputError(f"E0s: {energy} of element {number} in head {head} is not finite")


def _checksum(description: Mapping[str, Any]) -> str:
    """SHA-256 of a description without its own checksum."""
    body = {key: value for key, value in description.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def read_member(stem: Path, *, dtype: str | None = None, optimized: bool = True) -> tuple[Any, dict[str, Any]]:
    """The mace model of a member and its description. Executes nothing.

    Of a member that is linear in its weights it is both of its networks as one (see one_model), in float64.

    Parameters
    ----------
    stem : Path
        With or without an ending.
    dtype : {"float32", "float64"}, optional
        The file's own where None; without effect on a member that is linear in its weights.
    optimized : bool
        False for weights that are trained on: the model is built in half the time, and slower.

    Returns
    -------
    model : mace model
        Its weights checked against their checksum.
    description : dict
        The JSON's content.

    Raises
    ------
    InputError
        For what is no member, or one that is linear in its weights whose networks have parts that cannot be made one.
    StateError
        For another version, or weights that are missing or damaged.
    """
    model, content, linear = read_any_member(stem, dtype=dtype, optimized=optimized)
    if linear is not None:
        voter = LinearVoter(model, linear, "cpu")
        model = one_model(voter.terms, voter.e0s[0])
    return model, content


def read_network(
    stem: Path, *, dtype: str | None = None, of_linear: str = "float32", optimized: bool = True
) -> tuple[Any, dict[str, Any]]:
    """The network whose weights another training goes on from, and the member's description.

    Of a member that is linear in its weights that is the one that it is about, without the change, in `dtype` or, where
    that is None, `of_linear`; else as `read_member`.
    """
    model, content, linear = read_any_member(stem, dtype=dtype, optimized=optimized)
    return (model if linear is None else in_precision(model, dtype or of_linear)), content


def read_mean(stems: Sequence[Path]) -> Any:
    """One mace model of the mean of members, E = Σ_m E_m / M, whose forces and stresses verdicts judge.

    Of members that learned the difference to a baseline it is the mean of the differences.

    Parameters
    ----------
    stems : sequence of Path
        Of the M members, with or without an ending.

    Returns
    -------
    mace model
        As wide as all members together, on the CPU; in float64 where a member is linear in its weights.

    Raises
    ------
    InputError
        Where they have parts that cannot be made one model (see one_model), heads of one model vote, or that one model
        had more than `MAX_CHANNELS`: what is block diagonal is multiplied as if it were full.
    StateError
        As `read_member`.
    """
    linear = any("linear" in read_description(stem) for stem in stems)
    voters = [read_voter(stem, device="cpu", dtype="float64" if linear else None) for stem in stems]
    if any(voter.votes > 1 for voter in voters):
        raise InputError("several heads of one model have no mean that is one model")
    terms = [(factor / len(voters), model) for voter in voters for factor, model in voter.terms]
    channels = sum(int(model.interactions[0].node_feats_irreps[0].mul) for _, model in terms)
    if channels > MAX_CHANNELS:
        raise InputError(f"{len(terms)} networks together have {channels} channels: at most {MAX_CHANNELS} are made")
    return one_model(terms, np.mean([voter.e0s[0] for voter in voters], axis=0))


def read_any_member(
    stem: Path, *, dtype: str | None = None, optimized: bool = True
) -> tuple[Any, dict[str, Any], LinearChange | None]:
    """As `read_member`, and the change of a member that is linear in its weights about the model's; else None.

    Its numbers are differences, in float64 whatever `dtype` says.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = read_description(stem)
    path = weights_file(stem)
    if not path.is_file():
        raise StateError(f"{path}: missing. {_RESTORE}")
    blob = path.read_bytes()
    if hashlib.sha256(blob).hexdigest() != content["sha256"]:
        raise StateError(f"{path}: damaged, its checksum does not match. {_RESTORE}")
    try:
        weights = load(blob)
    except SafetensorError as error:
        raise StateError(f"{path}: no safetensors file ({error}). {_RESTORE}") from error
    if bad := _not_finite(weights):
        raise StateError(f"{path}: its weights are not finite ({bad}). {_RESTORE}")
    change = {key.removeprefix(_CHANGE): weights.pop(key) for key in list(weights) if key.startswith(_CHANGE)}
    try:
        model = build(content["model"], content["hyperparameters"], weights, content["dtype"], optimized=optimized)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    with reading(description_file(stem), error=StateError, remedy=_RESTORE):
        _check_repeated(content)
        linear = _linear(content.get("linear"), change, model)
    if dtype is not None and linear is None and dtype != content["dtype"]:
        if dtype not in ("float32", "float64"):
            raise unknown("dtype", dtype, ("float32", "float64"))
        model = in_precision(model, dtype)
    return model, content, linear


def _linear(told: Mapping[str, Any] | None, change: Mapping[str, Any], model: Any) -> LinearChange | None:
    """What `told` says of the change; None where a member is not linear. Raises InputError where they do not agree."""
    if told is None:
        if change:
            raise InputError("its weights hold a change, and nothing is said of how it enters")
        return None
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    if {name: tuple(weight.shape) for name, weight in change.items()} != shapes:
        raise InputError("the change of its weights is not one of all weights")
    step = float(told["step"])
    if not (math.isfinite(step) and step > 0):
        raise InputError(f"linear: step = {step} must be positive")
    return LinearChange(dict(change), bool(told["whole"]), step)


def _not_finite(weights: Mapping[str, Any]) -> str:
    """The first weight that is NaN or infinite, or nothing."""
    return next((name for name, value in weights.items() if not bool(value.isfinite().all())), "")


def read_voter(stem: Path, *, device: str, dtype: str | None = None) -> MaceVoter:
    """The member or members under `stem`, ready to vote on `device`."""
    model, content, linear = read_any_member(stem, dtype=dtype)
    if linear is not None:
        return LinearVoter(model, linear, device)
    heads, voting = content["heads"], content["voting"]
    for head in voting:
        if head not in heads:
            raise unknown("head", str(head), heads, where=str(description_file(stem)))
    return MaceVoter(model, [heads.index(head) for head in voting], device)


def refuse_copies(stems: Sequence[Path]) -> None:
    """Raise InputError where two members hold the same weights: they agree on everything, and σ says nothing."""
    first: dict[str, Path] = {}
    for stem in stems:
        digest = str(read_description(stem)["sha256"])
        if digest in first:
            raise InputError(
                f"{weights_file(stem)} holds the same weights as {weights_file(first[digest])}: members that are "
                "copies agree on everything, and their disagreement says nothing of the error. Leave one of them out, "
                "or restore the one that was overwritten."
            )
        first[digest] = stem


def import_model(file: Path, out: Path | None = None, *, trust: bool = False, head: str | None = None) -> Path:
    """Turn a pickled MACE model into a member with the same predictions.

    A pickle runs code of whoever wrote it when it is read: nothing is read without `trust`.

    Parameters
    ----------
    file : Path
        The pickle.
    out : Path, optional
        The member's path without its ending; by default the file's own.
    trust : bool
        That whoever made the file may run code here.
    head : str, optional
        One of several heads; all vote where None.

    Returns
    -------
    Path
        The member's JSON.

    Raises
    ------
    InputError
        For a file that is not there, not trusted or no MACE model, or an unknown head.
    """
    import torch

    file = Path(file)
    if not file.is_file():
        raise InputError(f"no file {file}")
    if not trust:
        raise InputError(_refusal(file))
    from tentpole.committee.mace_architecture import mace

    mace("modules")
    try:
        model = torch.load(file, map_location="cpu", weights_only=False)
    except Exception as error:
        raise InputError(f"{file} cannot be read as a MACE model: {error}") from error
    heads = getattr(model, "heads", None)
    if head is not None and head not in (heads or []):
        raise unknown("head", head, heads or [], where=str(file))
    provenance = {"imported": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    return write_member(
        file.with_suffix("") if out is None else out,
        model,
        training=provenance,
        voting=None if head is None else [head],
    )


def refuse_pickle(path: Path) -> None:
    """Raises InputError, with the command that helps, for a file that is a pickle by name or by content."""
    path = Path(path)
    if path.suffix in _PICKLES or (path.is_file() and path.suffix != ".json" and _looks_pickled(path)):
        raise InputError(_refusal(path))


def _refusal(path: Path) -> str:
    return (
        f"{path} is a pickle: reading it runs whatever code is in it. If you trust who made it, turn it into "
        f"a safe file first: tentpole models import {path} --trust"
    )


def _looks_pickled(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4)
    return head[:2] == b"PK" or (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05")


def _stem(path: Path) -> Path:
    path = Path(path)
    return path.with_suffix("") if path.suffix in (".json", ".safetensors") else path
