"""Opening a campaign's folder: start it, or go on with it, or say why not."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ase import Atoms

from tentpole.campaign.paths import CAMPAIGN_FILE, PRETRAINING, CampaignPaths
from tentpole.campaign.settings_history import (
    AT_ONCE,
    FROM_NEXT_ROUND,
    WHAT_MAY_CHANGE,
    SettingsChange,
    may_change,
    of_rounds,
)
from tentpole.committee.member_files import description_file, weights_file
from tentpole.config.loading import FRAME_TABLES, as_first_meant, dump, load, own_frames, starting_structures
from tentpole.config.pretraining import committee_to_start_from
from tentpole.config.schema import (
    FORMAT_VERSION,
    CampaignConfig,
    CheapLabelsSection,
    CheapReferenceSection,
    EarlierCommitteeSection,
    FoundationSection,
    LabelledSection,
    StructureSection,
)
from tentpole.config.sections import read_as
from tentpole.errors import InputError, StateError
from tentpole.labeling.reference_files import copies
from tentpole.storage.atomic import atomic_write
from tentpole.storage.lock import LOCK_FILE
from tentpole.storage.structures import read_structures, write_frames
from tentpole.storage.toml_text import parse_toml


@dataclass(frozen=True, slots=True)
class FolderIdentity:
    """Which folder a driver was started on, whatever lies at its path today."""

    root: Path
    device: int
    inode: int

    @staticmethod
    def of(root: Path) -> FolderIdentity:
        """That of the folder at `root`."""
        status = root.stat()
        return FolderIdentity(root, status.st_dev, status.st_ino)

    def check(self) -> None:
        """Raises StateError where the folder was moved or removed: nothing is written in its old place."""
        try:
            status = self.root.stat()
        except FileNotFoundError:
            status = None
        if status is None or (status.st_dev, status.st_ino) != (self.device, self.inode):
            raise StateError(
                f"{self.root}: the campaign folder was moved or removed while a driver worked on it. Nothing more is "
                "written. Go on where it is now: tentpole run FOLDER"
            )


def locate(source: CampaignConfig | Path | str, folder: Path | str | None) -> tuple[CampaignConfig | None, Path]:
    """The configuration that was given (None: the folder's own) and the campaign's folder; writes nothing.

    Raises InputError and StateError for what can never be a campaign.
    """
    if isinstance(source, CampaignConfig):
        root = Path(folder) if folder is not None else Path("runs") / source.name
        _refuse_other_folder(root)
        return source, root
    source = Path(source)
    if source.is_dir():
        stored_config(source)
        return None, source
    config = load(source, written=_is_written(source))
    root = Path(folder) if folder is not None else Path("runs") / config.name
    paths = CampaignPaths(root)
    if paths.campaign_file.exists() and source.samefile(paths.campaign_file):
        if not paths.journal.exists():
            raise InputError(
                f"--dir {root}: {source} itself lies there and would be overwritten by the campaign's own copy. Choose "
                "another --dir, or leave it out."
            )
        return None, root
    _refuse_other_folder(root)
    return config, root


def settle(source: CampaignConfig | None, paths: CampaignPaths) -> CampaignConfig:
    """The configuration of the campaign in its folder, both ready to use, for the driver that holds the lock.

    A new folder gets the resolved configuration and copies of the structures, so that it depends on nothing outside; so
    do structures that join. An old one must have been started with the same configuration, but for what may change.
    """
    if source is None:
        return stored_config(paths.root)
    if paths.campaign_file.exists():
        old = stored_config(paths.root)
        if old.random_numbers == 1:
            source = as_first_meant(source)
        differing = _differing(old.model_dump(mode="json"), source.model_dump(mode="json"))
        if differing:
            remedy = f"Choose another --dir or name, or undo the change. {WHAT_MAY_CHANGE}"
            if not paths.batch(0).exists() and not paths.batch(PRETRAINING).exists():
                remedy = "No label has been asked for there yet: delete the folder, or choose another --dir or name"
            raise InputError(
                f"{paths.root}: was started with another campaign file; these differ: {', '.join(differing)}. {remedy}."
            )
        update = {name: getattr(source, name) for name in (*AT_ONCE, *FROM_NEXT_ROUND, "reference")}
        config = old.model_copy(update={**update, "structures": _joined(old, source, paths)})
    else:
        config = _with_copies(source, paths)
    write_config(config, paths)
    return config


def adopt_reference(config: CampaignConfig, paths: CampaignPaths) -> CampaignConfig:
    """The configuration with a reference file of one's own copied into the folder, and its calculator's own module.

    To be called once it is known that the file means the same physics as the labels that are there.
    """
    adopted, home = config, paths.references.resolve()
    if config.reference.endswith(".toml"):
        adopted = config.model_copy(update={"reference": str(_adopted(Path(config.reference), home))})
    cheap = config.pretraining
    if isinstance(cheap, CheapReferenceSection) and cheap.reference.endswith(".toml"):
        copy = _adopted(Path(cheap.reference), home / "pretraining")
        adopted = adopted.model_copy(update={"pretraining": cheap.model_copy(update={"reference": str(copy)})})
    if config.baseline is not None and config.baseline.reference.endswith(".toml"):
        copy = _adopted(Path(config.baseline.reference), home / "baseline")
        adopted = adopted.model_copy(update={"baseline": config.baseline.model_copy(update={"reference": str(copy)})})
    if adopted is not config:
        write_config(adopted, paths)
    return adopted


def _adopted(reference: Path, home: Path) -> Path:
    """A reference file of one's own copied into `home`, with its calculator's own module."""
    copy = home / reference.name
    if reference.resolve() != copy:
        for name, content in copies(reference).items():
            place = home / name
            if not place.exists() or place.read_bytes() != content:
                atomic_write(place, content)
    return copy


def write_config(config: CampaignConfig, paths: CampaignPaths) -> None:
    """Write campaign.toml where it is not that already."""
    content = dump(_relative(config, paths.root)).encode()
    if not paths.campaign_file.exists() or paths.campaign_file.read_bytes() != content:
        atomic_write(paths.campaign_file, content)


def open_config(source: Path) -> CampaignConfig:
    """The configuration in a campaign file, or in a campaign folder."""
    return stored_config(source) if source.is_dir() else load(source, written=_is_written(source))


def _is_written(source: Path) -> bool:
    """Whether a campaign file is the copy that a campaign folder keeps."""
    return source.name == CAMPAIGN_FILE and CampaignPaths(source.parent).journal.exists()


def stored_config(root: Path) -> CampaignConfig:
    """The configuration in a campaign folder, checked against what is installed here, for a driver.

    Raises StateError where there is none, or where it is damaged or of another version.
    """
    _content(CampaignPaths(root))
    return as_first_meant(load(CampaignPaths(root).campaign_file, written=True))


def stored_settings(root: Path) -> CampaignConfig:
    """The configuration in a campaign folder as it was written, for reading: nothing outside the folder is looked at.

    Raises StateError where there is none, or where it is damaged or of another version.
    """
    paths = CampaignPaths(root)
    content = _content(paths)
    committee = content.get("committee", {})
    plain = {key: value for key, value in committee.items() if key not in ("driver", "voters")}
    try:  # a foundation model that drove the walkers need not be installed to read what they found
        return as_first_meant(read_as(CampaignConfig, {**content, "committee": plain}, paths.campaign_file))
    except InputError as error:
        raise StateError(str(error)) from None


def baseline_of(config: CampaignConfig, root: Path) -> str | None:
    """By which word or file the baseline of a campaign's members is loaded; None without one."""
    if config.baseline is None:
        return None
    source = config.baseline.reference
    return str(root / source) if source.endswith(".toml") else source


def settings_to_record(config: CampaignConfig, root: Path) -> dict[str, Any]:
    """The configuration as the journal keeps it."""
    return _relative(config, root).model_dump(mode="json", exclude_none=True)


def settings_hash(settings: Mapping[str, Any]) -> str:
    """16 hex digits of all that may not change in a campaign."""
    fixed = {key: value for key, value in settings.items() if key not in AT_ONCE}
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:16]


def refuse_edits(paths: CampaignPaths, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises StateError, naming the keys, where campaign.toml in the folder was edited in what may not change.

    `recorded` is what the journal keeps; keys that it does not know yet count with their defaults.
    """
    if differing := _differing(*_comparable(recorded, now, paths)):
        raise StateError(
            f"{paths.campaign_file}: was edited since this campaign began: {', '.join(differing)}. Undo that, or start "
            f"another campaign with another --dir. {WHAT_MAY_CHANGE}."
        )


def changes_of_rounds(paths: CampaignPaths, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What changed of the settings that belong to rounds, as in "explore.steps: 100, now 200"."""
    one, other = _comparable(recorded, now, paths)
    return [f"{key}: {_at(one, key)}, now {_at(other, key)}" for key in _keys(one, other) if of_rounds(key)]


def setting_changes(
    paths: CampaignPaths, recorded: Sequence[tuple[int, Mapping[str, Any]]]
) -> tuple[SettingsChange, ...]:
    """What changed of the settings of rounds, in the order of rounds, from what the journal keeps of them."""
    both = ((first, changes_of_rounds(paths, old, new)) for (_, old), (first, new) in pairwise(recorded))
    return tuple(SettingsChange(first, tuple(changes)) for first, changes in both if changes)


def _comparable(
    recorded: Mapping[str, Any], now: Mapping[str, Any], paths: CampaignPaths
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Both with the same keys: what was recorded with the defaults of those that it does not know."""
    try:
        known = as_first_meant(read_as(CampaignConfig, recorded, paths.journal))
        return known.model_dump(mode="json", exclude_none=True), now
    except InputError:  # of another version of the keys: what both know is compared
        return recorded, {key: now[key] for key in recorded if key in now}


def _at(settings: Mapping[str, Any], key: str) -> str:
    value: Any = settings
    for name in key.split("."):
        value = value[int(name)] if isinstance(value, list) else (value or {}).get(name)
    if key == "structures":
        return ", ".join(one["name"] for one in value)
    return "left out" if value is None else json.dumps(value)


def _joined(old: CampaignConfig, source: CampaignConfig, paths: CampaignPaths) -> tuple[StructureSection, ...]:
    """The structures that are there, and copies of those that join behind them."""
    new = source.structures[len(old.structures) :]
    return (
        (*old.structures, *_copied(new, starting_structures(source, paths.campaign_file), paths))
        if new
        else old.structures
    )


def _copied(
    sections: Sequence[StructureSection], starts: Mapping[str, Atoms], paths: CampaignPaths
) -> list[StructureSection]:
    """The starting structures by their copies in the folder, which are written here."""
    home, copied = paths.structures.resolve(), []
    for section in sections:
        copy = home / f"{section.name}.extxyz"
        write_frames(copy, starts[section.name])
        copied.append(section.model_copy(update={"file": str(copy), "index": -1, "make": ()}))
    return copied


def structure_files(config: CampaignConfig) -> dict[str, str]:
    """16 hex digits of each file of structures that the configuration names, by its name in the folder."""
    named = [section.file for section in config.structures]
    named += [file for table in FRAME_TABLES if (file := getattr(getattr(config, table), "file", None)) is not None]
    return {Path(file).name: hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] for file in named}


def refuse_edited_structures(paths: CampaignPaths, recorded: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raises StateError, naming the files, where one is not what it was when the last driver began."""
    if edited := [name for name in now if recorded.get(name, now[name]) != now[name]]:
        raise StateError(
            f"{paths.structures}: {', '.join(edited)} was edited since this campaign began. Restore it from a copy; "
            "for other structures, start another campaign with another --dir."
        )


def _content(paths: CampaignPaths) -> dict[str, Any]:
    """What campaign.toml holds, of the version that this Tentpole reads."""
    path = paths.campaign_file
    if not path.exists():
        raise StateError(
            f"{paths.root}: not a campaign folder: it has no {CAMPAIGN_FILE}. Start one: tentpole run FILE"
        )
    try:
        content = parse_toml(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StateError(f"{path}: damaged, not a TOML file: {error}. Restore it from a copy.") from None
    version = content.get("version")
    if version != FORMAT_VERSION:
        raise StateError(
            f"{paths.root}: a campaign folder of format version {version}; this Tentpole reads "
            f"{FORMAT_VERSION}. Use the version of Tentpole that made it, or start another."
        )
    return content


def _refuse_other_folder(root: Path) -> None:
    """Raises StateError where `root` holds something else than a campaign."""
    if root.exists() and not root.is_dir():
        raise StateError(f"{root}: is a file, not a folder. Choose another --dir.")
    if root.exists() and not CampaignPaths(root).campaign_file.exists() and not _was_beginning(root):
        raise StateError(
            f"{root}: has files in it, but no {CAMPAIGN_FILE}: not a campaign folder. Choose another --dir."
        )


def _was_beginning(root: Path) -> bool:
    """Whether all that is in `root` is what a driver leaves that was stopped before the campaign file was there."""
    names = {p.name for p in root.iterdir() if not (p.name.startswith(".") and p.name.endswith(".part"))}
    if CAMPAIGN_FILE in names:
        return True  # there since a moment ago: another driver begins
    return names <= {LOCK_FILE, "structures"}


def _with_copies(config: CampaignConfig, paths: CampaignPaths) -> CampaignConfig:
    """The configuration with its structures copied into the folder."""
    home = paths.structures.resolve()
    structures = _copied(config.structures, starting_structures(config, paths.campaign_file), paths)
    update: dict[str, Any] = {"structures": tuple(structures)}
    for table in FRAME_TABLES:
        section = getattr(config, table)
        if getattr(section, "file", None) is not None:
            where = f"{table}.file"
            if isinstance(section, LabelledSection | CheapLabelsSection):
                frames = own_frames(section, where)
            else:
                frames = read_structures(Path(section.file), section.index, where)
            copy = home / f"{table}-frames.extxyz"
            write_frames(copy, frames)
            update[table] = section.model_copy(update={"file": str(copy), "index": ":"})
    if isinstance(config.pretraining, EarlierCommitteeSection):
        copied = _copied_members(committee_to_start_from(Path(config.pretraining.folder)), home / "pretraining")
        update["pretraining"] = config.pretraining.model_copy(update={"folder": str(copied)})
    elif isinstance(config.pretraining, FoundationSection):
        copied = _copied_members([Path(config.pretraining.model)], home / "pretraining")
        section = update.get("pretraining", config.pretraining)
        update["pretraining"] = section.model_copy(update={"model": str(copied / "member-0.json")})
    return config.model_copy(update=update)


def _copied_members(stems: Sequence[Path], home: Path) -> Path:
    """The members that a campaign starts from, in its own folder and by the names of its own."""
    for number, stem in enumerate(stems):
        for file in (weights_file, description_file):
            atomic_write(file(home / f"member-{number}"), file(stem).read_bytes())
    return home


def _relative(config: CampaignConfig, root: Path) -> CampaignConfig:
    """File names inside the folder relative to it: a campaign folder may be moved."""
    home = root.resolve()

    def inside(file: str) -> str:
        return str(Path(file).relative_to(home)) if Path(file).is_relative_to(home) else file

    def relative(section: Any) -> Any:
        return section.model_copy(update={"file": inside(section.file)})

    update: dict[str, Any] = {"structures": tuple(relative(s) for s in config.structures)}
    update["reference"] = inside(config.reference)
    for table in FRAME_TABLES:
        if getattr(getattr(config, table), "file", None) is not None:
            update[table] = relative(getattr(config, table))
    if config.baseline is not None:
        name = inside(config.baseline.reference)
        update["baseline"] = config.baseline.model_copy(update={"reference": name})
    for key in ("reference", "folder", "model"):
        section = update.get("pretraining", config.pretraining)
        if section is not None and hasattr(section, key):
            update["pretraining"] = section.model_copy(update={key: inside(getattr(section, key))})
    return config.model_copy(update=update)


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Dotted names of what differs.

    Files were copied when the campaign began: their place is of no account, and what a reference file of one's own says
    is compared by its physics.
    """
    one, other = (_named(part) for part in (before, after))
    other["structures"] = other["structures"][: len(one["structures"])]  # others may join behind them
    return [name for name in _keys(one, other) if not may_change(name)]


def _named(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with reference files by their names alone."""
    cheap = settings.get("pretraining")
    named = {**settings, "reference": _reference_name(settings["reference"])}
    if cheap and "reference" in cheap:
        named["pretraining"] = {**cheap, "reference": _reference_name(cheap["reference"])}
    if base := settings.get("baseline"):
        named["baseline"] = {**base, "reference": _reference_name(base["reference"])}
    return named


def _reference_name(reference: str) -> str:
    return Path(reference).name if reference.endswith(".toml") else reference


def _keys(a: Any, b: Any, at: str = "") -> list[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = sorted(set(a) | set(b))
        return [
            p
            for k in keys
            if k not in ("file", "index", "make", "folder", "model")
            for p in _keys(a.get(k), b.get(k), f"{at}.{k}")
        ]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [p for i, (x, y) in enumerate(zip(a, b, strict=True)) for p in _keys(x, y, f"{at}.{i}")]
    return [] if a == b else [at.lstrip(".")]
