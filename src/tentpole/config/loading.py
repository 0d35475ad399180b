"""Campaign files: read, resolved against their folder, checked, written."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import tomli_w
from ase import Atoms
from pydantic import ValidationError

from tentpole.config.schema import (
    FORMAT_VERSION,
    CampaignConfig,
    FramesSection,
)
from tentpole.config.sections import explain_errors
from tentpole.errors import InputError, StateError
from tentpole.selection import before_gain_ranked
from tentpole.storage.structures import read_structures


def load(path: Path) -> CampaignConfig:
    """The campaign in `path`, its relative file names resolved against the file's folder, and checked.

    Raises InputError for anything that cannot be used: syntax, unknown keys, missing files, structures
    that are empty or not finite, a reference that is not there or requires what is not stated.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such campaign file. See examples/01_zundel/campaign.toml for one.")
    try:
        content = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from None
    if content.get("version", FORMAT_VERSION) != FORMAT_VERSION:
        raise StateError(
            f"{path}: format version {content['version']}, this Tentpole reads {FORMAT_VERSION}. "
            "Use the version of Tentpole that wrote it, or start another campaign."
        )
    return resolve(content, path)


def resolve(content: dict[str, Any], path: Path) -> CampaignConfig:
    """The checked configuration in `content`; `path` names it in errors and anchors relative file names."""
    try:
        config = CampaignConfig.model_validate(content)
    except ValidationError as error:
        raise explain_errors(error, CampaignConfig, path) from None
    anchor = path.resolve().parent
    structures = tuple(
        s.model_copy(update={"file": str(anchor / Path(s.file).expanduser())}) for s in config.structures
    )
    update: dict[str, Any] = {"structures": structures}
    frames = {name: getattr(config, name) for name in ("initial", "validation")}
    frames = {name: part for name, part in frames.items() if isinstance(part, FramesSection)}
    for name, part in frames.items():
        update[name] = part.model_copy(update={"file": str(anchor / Path(part.file).expanduser())})
    if config.reference.endswith(".toml"):
        update["reference"] = str(anchor / Path(config.reference).expanduser())
    for name in ("executor", "training_executor"):
        part = getattr(config, name)
        if part.kind == "parsl" and part.config.rpartition(":")[0].endswith(".py"):
            update[name] = part.model_copy(update={"config": str(anchor / Path(part.config).expanduser())})
    config = config.model_copy(update=update)
    starts = starting_structures(config, path)
    for name in frames:
        read_structures(Path(update[name].file), update[name].index, f"{path}: {name}.file")
    _check_reference(config, starts, path)
    return config


def as_first_meant(config: CampaignConfig) -> CampaignConfig:
    """Give what a file from before `random_numbers` was written leaves unsaid the values that held then."""
    if "random_numbers" in config.model_fields_set:
        return config
    explore, selection = config.explore, config.selection
    if "keep_last_sound" not in explore.model_fields_set:
        explore = explore.model_copy(update={"keep_last_sound": False})
    then: dict[str, Any] = {"settings": before_gain_ranked(selection.rule, selection.settings)}
    if "sigma" not in selection.model_fields_set:
        then["sigma"] = "mean"
    selection = selection.model_copy(update=then)
    return config.model_copy(update={"random_numbers": 1, "explore": explore, "selection": selection})


def starting_structures(config: CampaignConfig, path: Path) -> dict[str, Atoms]:
    """The starting structures by name, in the order of the file."""
    found = {}
    for number, structure in enumerate(config.structures):
        where = f"{path}: structures.{number}.file"
        found[structure.name] = read_structures(Path(structure.file), structure.index, where)[0]
    return found


def dump(config: CampaignConfig) -> str:
    """The configuration as TOML, defaults written out, absent values left out."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _check_reference(config: CampaignConfig, starts: dict[str, Atoms], path: Path) -> None:
    """The reference exists and has all that it requires, for every starting structure."""
    from tentpole.labeling import references

    reference = references.load(config.reference)
    if config.executor.persistent and not reference.code.socket_output:
        raise InputError(
            f'{path}: executor.persistent: the program of reference "{config.reference}" has no socket interface '
            "in ASE (Quantum ESPRESSO and FHI-aims have): leave it out"
        )
    for name, atoms in starts.items():
        try:
            reference.check(atoms, config.charge, config.multiplicity)
        except InputError as error:
            raise InputError(f'{path}: structure "{name}": {error}') from None
