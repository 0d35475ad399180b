"""Campaign files: read, resolved against their folder, checked, written."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from tentpole.committee.foundation_models import check_import
from tentpole.committee.mace_voter import check_cuequivariance
from tentpole.config.baseline import unusable_baseline
from tentpole.config.checks import contradictions, standing_still
from tentpole.config.pretraining import unusable_pretraining
from tentpole.config.schema import (
    FORMAT_VERSION,
    USUAL_KINDS,
    CampaignConfig,
    CheapLabelsSection,
    LabelledSection,
    ParslTrainingSection,
    RattleSection,
)
from tentpole.config.sections import read_as
from tentpole.config.states import comparable, unreadable_states
from tentpole.errors import InputError, LabelError, StateError, import_object
from tentpole.exploration.modes import NormalModes
from tentpole.exploration.random_numbers import generator
from tentpole.exploration.variants import made
from tentpole.labeling.magnetism import check_magnetism, started
from tentpole.labeling.references import Reference
from tentpole.records import CHARGE, MULTIPLICITY, FloatArray, State, own_state, state_of, with_state
from tentpole.selection import before_gain_ranked
from tentpole.storage.labelled import read_labelled
from tentpole.storage.structures import read_structures
from tentpole.storage.toml_text import parse_toml
from tentpole.training.settings import as_trained_before

FRAME_TABLES = ("initial", "validation", "pretraining")
"""Tables of the campaign file that may name a file of frames."""

LARGEST_FILE = 1_000_000
"""Bytes of a campaign file beyond which it cannot be one."""


def load(path: Path, *, written: bool = False) -> CampaignConfig:
    """The campaign in `path`, its relative file names resolved against the file's folder, and checked.

    written : the file is a campaign folder's own, which states what holds where nothing was stated, too.

    Raises InputError for anything that cannot be used: syntax, unknown keys, missing files, structures
    that are empty or not finite, a reference that is not there or requires what is not stated.
    """
    content = read_toml(path)
    version = content.get("version", FORMAT_VERSION)
    if isinstance(version, int) and version != FORMAT_VERSION:
        raise StateError(
            f"{path}: format version {version}, this Tentpole reads {FORMAT_VERSION}. "
            "Use the version of Tentpole that wrote it, or start another campaign."
        )
    return resolve(content, path, written=written)


def read_toml(path: Path, example: str = "examples/01_zundel/campaign.toml") -> dict[str, Any]:
    """The content of a TOML file that a user wrote. Raises InputError for what is none."""
    if not path.is_file():
        raise InputError(f"{path}: no such file. See {example} for one, or write one with tentpole init.")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"{path}: of {path.stat().st_size} bytes; no file of settings is that large.")
    try:
        return parse_toml(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from None


def resolve(content: dict[str, Any], path: Path, *, written: bool = False) -> CampaignConfig:
    """The checked configuration in `content`; `path` names it in errors and anchors relative file names.

    written : see `load`.
    """
    config = _anchored(read_as(CampaignConfig, with_kinds(content), path), path)
    if config.explore.conditions and "temperatures_K" in config.explore.model_fields_set and not written:
        raise InputError(
            f"{path}: explore.temperatures_K = {list(config.explore.temperatures_K)} stands beside explore.conditions, "
            "which take its place: leave one of the two out."
        )
    starts = starting_structures(config, path)
    frames = given_frames(config, path)
    _check_reference(config, starts, frames, path)
    _check_modes(config, path)
    if wrong := list(unusable_pretraining(config, starts, frames)):
        raise InputError(f"{path}: pretraining: " + "\n".join(wrong))
    if wrong := list(unusable_baseline(config, starts)):
        raise InputError(f"{path}: baseline: " + "\n".join(wrong))
    for name in config.committee.foundations:
        try:
            check_import(name)
        except InputError as error:
            raise InputError(f"{path}: committee: {error}") from None
    if config.committee.evaluation == "cuequivariance":
        check_cuequivariance(f'{path}: committee.evaluation = "cuequivariance"')
    if config.explore.stacked is not None:
        named, where = config.explore.stacked.calculator, f"{path}: explore.stacked.calculator"
        if not callable(made := import_object(named, where=where)):
            raise InputError(
                f'{where}: "{named}" is of type {type(made).__name__}: a function is wanted, or a class, called '
                "with (driver, atoms, **parameters) and gives an ASE calculator"
            )
    if not written and standing_still(config, starts) == list(starts):
        raise InputError(
            f"{path}: structures: one atom alone does not move in MD, all snapshots would be alike. Repeat a crystal: "
            'make = [{ kind = "supercell", repeat = [2, 2, 2] }]'
        )
    if wrong := [*contradictions(config, starts, frames), *unreadable_states(config, starts, frames)]:
        raise InputError(f"{path}: cannot be used:\n" + "\n".join(f"  {line}" for line in wrong))
    return config


def with_kinds(content: dict[str, Any]) -> dict[str, Any]:
    """`content` with the kind of every table whose kind may be left out."""
    for path, kind in USUAL_KINDS.items():
        content = _with_kind(content, path.split("."), kind)
    return content


def _with_kind(table: Any, path: list[str], kind: str) -> Any:
    """`table` with the kind of the table at `path` in it, where there is one that does not say its kind."""
    if not isinstance(table, dict) or (path and path[0] not in table):
        return table
    return table | {path[0]: _with_kind(table[path[0]], path[1:], kind)} if path else {"kind": kind, **table}


def _anchored(config: CampaignConfig, path: Path) -> CampaignConfig:
    """The configuration with absolute file names."""

    def anchored(name: str) -> str:
        try:
            return str(path.resolve().parent / Path(name).expanduser())
        except (RuntimeError, ValueError) as error:  # a home folder of nobody, a NUL
            raise InputError(f"{path}: {name!r} cannot be a file's name: {error}") from None

    update: dict[str, Any] = {
        "structures": tuple(s.model_copy(update={"file": anchored(s.file)}) for s in config.structures)
    }
    for table in FRAME_TABLES:
        section = getattr(config, table)
        if getattr(section, "file", None) is not None:
            update[table] = section.model_copy(update={"file": anchored(section.file)})
        if isinstance(section, LabelledSection) and section.reference.endswith(".toml"):
            update[table] = update[table].model_copy(update={"reference": anchored(section.reference)})
    update |= _anchored_variants(config, anchored)
    if config.reference.endswith(".toml"):
        update["reference"] = anchored(config.reference)
    for table, key in (*(("pretraining", key) for key in ("folder", "model", "reference")), ("baseline", "reference")):
        section = update.get(table, getattr(config, table))
        named = getattr(section, key, None)
        if section is not None and named is not None and (key != "reference" or named.endswith(".toml")):
            update[table] = section.model_copy(update={key: anchored(named)})
    for table in ("executor", "training_executor"):
        section = getattr(config, table)
        if isinstance(section, ParslTrainingSection) and section.config.rpartition(":")[0].endswith(".py"):
            update[table] = dataclasses.replace(section, config=anchored(section.config))
            file = Path(update[table].config.rpartition(":")[0])
            if not file.is_file():
                raise InputError(f"{path}: {table}.config: no such file: {file}")
    return config.model_copy(update=update)


def _anchored_variants(config: CampaignConfig, anchored: Callable[[str], str]) -> dict[str, Any]:
    """[initial] with absolute names of the references that its variants are made by."""
    if not isinstance(config.initial, RattleSection):
        return {}
    variants = tuple(
        dataclasses.replace(one, reference=anchored(one.reference))
        if isinstance(one, NormalModes) and one.reference.endswith(".toml")
        else one
        for one in config.initial.variants
    )
    return {"initial": config.initial.model_copy(update={"variants": variants})}


def as_first_meant(config: CampaignConfig) -> CampaignConfig:
    """Give what a file from before `random_numbers` was written leaves unsaid the values that held then."""
    if "random_numbers" in config.model_fields_set:
        return config
    explore, selection = config.explore, config.selection
    if "keep_last_sound" not in explore.model_fields_set:
        explore = explore.model_copy(update={"keep_last_sound": False})
    training = as_trained_before(config.training)
    then: dict[str, Any] = {"settings": before_gain_ranked(selection.rule, selection.settings)}
    if "sigma" not in selection.model_fields_set:
        then["sigma"] = "mean"
    if "evidence" not in selection.model_fields_set:
        then["evidence"] = "labels"
    update: dict[str, Any] = {"random_numbers": 1, "explore": explore, "training": training}
    if "evaluation" not in config.committee.model_fields_set:
        update["committee"] = config.committee.model_copy(update={"evaluation": "mace"})
    update["selection"] = selection.model_copy(update=then)
    if isinstance(config.initial, RattleSection) and config.initial.strain is None:
        update["initial"] = config.initial.model_copy(update={"strain": 0.0})
    if "labels_needed" not in config.target.model_fields_set:
        update["target"] = config.target.model_copy(update={"labels_needed": 50})
    return config.model_copy(update=update)


def starting_structures(config: CampaignConfig, path: Path) -> dict[str, Atoms]:
    """The starting structures by name, in the order of the file, with the moments that the campaign states.

    Charge and multiplicity are theirs where any structure states its own. What the file of a structure says of them is
    held against that, and raises InputError where it is something else.
    """
    starts = {}
    for number, structure in enumerate(config.structures):
        where = f"{path}: structures.{number}.file"
        atoms = read_structures(Path(structure.file), structure.index, where)[0]
        if structure.make:
            rng = generator(config.seed, "variants", number, scheme=config.random_numbers)
            try:
                atoms = made(atoms, structure.make, rng)
            except InputError as error:
                raise InputError(f"{path}: structures.{number}.make: {error}") from None
        atoms = started(config.magnetism, atoms, where)
        stated = (
            config.charge if structure.charge is None else structure.charge,
            config.multiplicity if structure.multiplicity is None else structure.multiplicity,
        )
        _refuse_contradiction(own_state(atoms, where), stated, where)
        starts[structure.name] = with_state(atoms, stated if config.states_on_frames else (None, None))
    return starts


def _refuse_contradiction(own: State, stated: State, where: str) -> None:
    for word, there, told, usual in zip((CHARGE, MULTIPLICITY), own, stated, (0, 1), strict=True):
        if there is not None and there != (usual if told is None else told):
            raise InputError(
                f"{where}: the file says {word} = {there}, and the campaign "
                f"{f'states {told}' if told is not None else 'states none'}: write {word} = {there} under its "
                "[[structures]], or take it out of the file"
            )


def _frame_state(config: CampaignConfig, atoms: Atoms, where: str) -> Atoms:
    """The frame of a file, carrying its own charge and multiplicity where they are not simply the campaign's."""
    own, shared = own_state(atoms, where), (config.charge, config.multiplicity)
    state = state_of(atoms, *shared)
    same = comparable(state) == comparable(shared)
    return with_state(atoms, state if config.states_on_frames else (None, None) if same else own)


def given_frames(config: CampaignConfig, path: Path) -> dict[str, list[Atoms]]:
    """The frames that [initial], [validation] and [pretraining] take from files, by table, with their moments."""
    by_file = {}
    for table in FRAME_TABLES:
        section = getattr(config, table)
        if getattr(section, "file", None) is not None:
            where = f"{path}: {table}.file"
            if isinstance(section, LabelledSection | CheapLabelsSection):
                frames = own_frames(section, where)
            else:
                frames = read_structures(Path(section.file), section.index, where)
            moments = config.magnetism
            names = [f"{where}: frame {k}" for k in range(len(frames))]
            begun = [started(moments, atoms, name) for atoms, name in zip(frames, names, strict=True)]
            by_file[table] = [_frame_state(config, atoms, name) for atoms, name in zip(begun, names, strict=True)]
    return by_file


def own_frames(section: LabelledSection | CheapLabelsSection, where: str) -> list[Atoms]:
    """The user's own labelled frames, with REF_energy, REF_forces and, where they have one, REF_stress."""
    read_structures(Path(section.file), section.index, where)  # is there, and finite
    try:
        return read_labelled(Path(section.file), index=section.index).frames
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def dump(config: CampaignConfig) -> str:
    """The configuration as TOML, defaults written out, absent values and what has no effect left out."""
    content = config.model_dump(mode="json", exclude_none=True)
    if config.explore.conditions:
        del content["explore"]["temperatures_K"]
    return tomli_w.dumps(content)


def _check_reference(
    config: CampaignConfig, starts: dict[str, Atoms], frames: dict[str, list[Atoms]], path: Path
) -> None:
    """Try the reference on every starting structure and on the labels of the user's own; raises InputError."""
    from tentpole.labeling import references

    try:
        reference = references.load(config.reference)
    except InputError as error:
        raise InputError(f"{path}: reference: {error}") from None
    if config.executor.persistent and not reference.code.socket_output:
        raise InputError(
            f'{path}: executor.persistent: the program of reference "{config.reference}" has no socket interface '
            "in ASE (Quantum ESPRESSO and FHI-aims have): leave it out"
        )
    for name, atoms in starts.items():
        try:
            reference.check(atoms, *state_of(atoms, config.charge, config.multiplicity))
        except InputError as error:
            raise InputError(f'{path}: structure "{name}": {error}') from None
    _check_states(config, reference, frames, path)
    try:
        check_magnetism(config.magnetism, reference, list(starts.values()))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    for table in ("initial", "validation"):
        if isinstance(getattr(config, table), LabelledSection):
            for number, atoms in enumerate(frames[table]):
                try:
                    reference.accept.label(*label_of(atoms), atoms)
                except LabelError as error:
                    raise InputError(f"{path}: {table}.file: frame {number}: {error}") from None


def _check_modes(config: CampaignConfig, path: Path) -> None:
    """Read the references of variants along modes; raises InputError."""
    from tentpole.labeling import references

    variants = config.initial.variants if isinstance(config.initial, RattleSection) else ()
    for number, variant in enumerate(variants):
        if isinstance(variant, NormalModes):
            try:
                references.load(variant.reference)
            except InputError as error:
                raise InputError(f"{path}: initial.variants.{number}.reference: {error}") from None


def _check_states(config: CampaignConfig, reference: Reference, frames: dict[str, list[Atoms]], path: Path) -> None:
    """Try the reference on the frames that carry a charge or multiplicity of their own; raises InputError."""
    for table in ("initial", "validation"):
        for number, atoms in enumerate(frames.get(table, ())):
            if own_state(atoms) != (None, None):
                try:
                    reference.check(atoms, *state_of(atoms, config.charge, config.multiplicity))
                except InputError as error:
                    raise InputError(f"{path}: {table}.file: frame {number}: {error}") from None


def label_of(atoms: Atoms) -> tuple[float, FloatArray, FloatArray | None]:
    """Energy (eV), forces (eV/Å) and, where there is one, stress (six numbers, eV/Å³) of a labelled frame."""
    stress = atoms.info.get("REF_stress")
    if stress is not None and np.size(stress) == 9:
        stress = full_3x3_to_voigt_6_stress(np.reshape(stress, (3, 3)))
    return float(atoms.info["REF_energy"]), np.asarray(atoms.arrays["REF_forces"]), stress
