"""Opening a campaign's folder: start it, or go on with it, or say why not."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tentpole.config.loading import as_first_meant, dump, load, starting_structures
from tentpole.config.schema import FORMAT_VERSION, CampaignConfig
from tentpole.errors import InputError, StateError
from tentpole.storage.atomic import atomic_write
from tentpole.storage.lock import LOCK_FILE
from tentpole.storage.structures import read_structures, write_frames

CAMPAIGN_FILE = "campaign.toml"

MAY_CHANGE = ("stop", "target", "executor", "training_executor")
"""Tables of the campaign file that may differ when a campaign goes on; anything else is another campaign."""


def locate(source: CampaignConfig | Path | str, folder: Path | str | None) -> tuple[CampaignConfig | None, Path]:
    """The configuration that was given (None: the folder's own) and the campaign's folder; writes nothing.

    Raises InputError and StateError for what can never be a campaign.
    """
    if not isinstance(source, CampaignConfig):
        source = Path(source)
        if source.is_dir():
            stored_config(source)
            return None, source
        source = open_config(source)
    root = Path(folder) if folder is not None else Path("runs") / source.name
    if not (root / CAMPAIGN_FILE).exists() and root.exists() and not _was_beginning(root):
        raise StateError(
            f"{root}: has files in it, but no {CAMPAIGN_FILE}: not a campaign folder. Choose another --dir."
        )
    return source, root


def open_folder(source: CampaignConfig | Path | str, folder: Path | str | None) -> tuple[CampaignConfig, Path]:
    """The configuration and the folder of a campaign, both ready to use: `locate`, then `settle`."""
    given, root = locate(source, folder)
    return settle(given, root), root


def settle(source: CampaignConfig | None, root: Path) -> CampaignConfig:
    """The configuration of the campaign in `root`, both ready to use, for the driver that holds its lock.

    A new folder gets the resolved configuration and copies of the structures, so that it depends on
    nothing outside. An old one must have been started with the same configuration, but for MAY_CHANGE.
    """
    if source is None:
        return stored_config(root)
    if (root / CAMPAIGN_FILE).exists():
        old = stored_config(root)
        if old.random_numbers == 1:
            source = as_first_meant(source)
        differing = _differing(old, source)
        if differing:
            raise InputError(
                f"{root}: was started with another campaign file; these differ: {', '.join(differing)}. "
                f"Choose another --dir or name, or undo the change. ({', '.join(MAY_CHANGE)} may change.)"
            )
        config = old.model_copy(update={name: getattr(source, name) for name in MAY_CHANGE})
    else:
        config = _with_copies(source, root)
    content = dump(_relative(config, root)).encode()
    if not (root / CAMPAIGN_FILE).exists() or (root / CAMPAIGN_FILE).read_bytes() != content:
        atomic_write(root / CAMPAIGN_FILE, content)
    return config


def _was_beginning(root: Path) -> bool:
    """Whether all that is in `root` is what a driver leaves that was stopped before the campaign file was there."""
    names = {p.name for p in root.iterdir() if not (p.name.startswith(".") and p.name.endswith(".part"))}
    if CAMPAIGN_FILE in names:
        return True  # there since a moment ago: another driver begins
    return names <= ({LOCK_FILE, "structures"} if LOCK_FILE in names else set())


def open_config(source: Path) -> CampaignConfig:
    """The configuration in a campaign file, or in a campaign folder."""
    return stored_config(source) if source.is_dir() else load(source)


def stored_config(root: Path) -> CampaignConfig:
    """The resolved configuration in a campaign folder. Raises StateError where there is none, or where it is
    of another version."""
    path = root / CAMPAIGN_FILE
    if not path.exists():
        raise StateError(f"{root}: not a campaign folder: it has no {CAMPAIGN_FILE}. Start one: tentpole run FILE")
    version = tomllib.loads(path.read_text()).get("version")
    if version != FORMAT_VERSION:
        raise StateError(
            f"{root}: a campaign folder of format version {version}; this Tentpole reads "
            f"{FORMAT_VERSION}. Use the version of Tentpole that made it, or start another."
        )
    return as_first_meant(load(path))


def _with_copies(config: CampaignConfig, root: Path) -> CampaignConfig:
    """The configuration with its structures copied to `root`/structures."""
    starts = starting_structures(config, root / CAMPAIGN_FILE)
    home = root.resolve() / "structures"
    structures = []
    for structure in config.structures:
        copy = home / f"{structure.name}.extxyz"
        write_frames(copy, starts[structure.name])
        structures.append(structure.model_copy(update={"file": str(copy), "index": -1}))
    update: dict[str, Any] = {"structures": tuple(structures)}
    for table in ("initial", "validation"):
        section = getattr(config, table)
        if section.kind == "frames":
            where = f"{table}.file"
            frames = read_structures(Path(section.file), section.index, where)
            copy = home / f"{table}-frames.extxyz"
            write_frames(copy, frames)
            update[table] = section.model_copy(update={"file": str(copy), "index": ":"})
    return config.model_copy(update=update)


def _relative(config: CampaignConfig, root: Path) -> CampaignConfig:
    """File names inside the folder relative to it: a campaign folder may be moved."""
    home = root.resolve()

    def relative(section: Any) -> Any:
        file = Path(section.file)
        inside = file.is_relative_to(home)
        return section.model_copy(update={"file": str(file.relative_to(home))}) if inside else section

    update: dict[str, Any] = {"structures": tuple(relative(s) for s in config.structures)}
    for table in ("initial", "validation"):
        if getattr(config, table).kind == "frames":
            update[table] = relative(getattr(config, table))
    return config.model_copy(update=update)


def _differing(old: CampaignConfig, new: CampaignConfig) -> list[str]:
    """Dotted names of what differs, files aside: those were copied when the campaign began."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    return [name for name in _paths(before, after) if not name.startswith(MAY_CHANGE)]


def _paths(a: Any, b: Any, at: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(set(a) | set(b))
        return [p for k in keys if k not in ("file", "index") for p in _paths(a.get(k), b.get(k), f"{at}.{k}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [p for i, (x, y) in enumerate(zip(a, b, strict=True)) for p in _paths(x, y, f"{at}.{i}")]
    return [] if a == b else [at.lstrip(".")]
