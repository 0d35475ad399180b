"""A committee in a folder: which member files belong to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tentpole.errors import InputError, StateError
from tentpole.storage.atomic import read_json, write_json

COMMITTEE_FILE = "committee.json"


def member_stems(path: str | Path | Sequence[str | Path]) -> list[Path]:
    """The member files that `path` stands for: a campaign folder, a models folder, or files named one by one.

    A round under models/ counts once its committee.json, written when all members are there, lists them; trained on
    until its errors no longer fall it is models/rNNN-finished.
    """
    from tentpole.committee.member_files import refuse_pickle

    if not isinstance(path, str | Path):
        stems = [stem for item in path for stem in member_stems(item)]
        if not stems:
            raise InputError("an empty list of models makes no committee")
        return stems
    place = Path(path)
    if not place.is_dir():
        refuse_pickle(place)
        return [place.with_suffix("") if place.suffix in (".json", ".safetensors") else place]
    rounds = [p for p in _models_folder(place).glob("r*") if re.fullmatch(r"r\d+(-finished)?", p.name)]
    for folder in sorted(rounds, key=_age, reverse=True):
        if (folder / COMMITTEE_FILE).is_file():
            return _members_in(folder)
    if members := _members_in(place):
        return members
    pickles = sorted(place.glob("*.model"))
    if pickles:
        refuse_pickle(pickles[0])
    raise InputError(
        f"no models in {place}: looked for NAME.json with NAME.safetensors there and in models/rNNN. "
        "Name a campaign folder that has trained once, a folder of members, or member files."
    )


def _age(folder: Path) -> tuple[int, bool]:
    """The round, and whether it is its finished committee."""
    number, _, finished = folder.name[1:].partition("-")
    return int(number), bool(finished)


def _models_folder(place: Path) -> Path:
    return place / "models" if (place / "models").is_dir() else place


def _members_in(folder: Path) -> list[Path]:
    """Stems of the members in `folder`: those its committee.json lists, else all it holds."""
    listed = folder / COMMITTEE_FILE
    if listed.is_file():
        return [folder / name for name in read_committee_file(listed)]
    stems = [p.with_suffix("") for p in folder.glob("*.json") if p.with_suffix(".safetensors").is_file()]
    return sorted(stems, key=lambda p: (len(p.name), p.name))


def write_committee_file(folder: Path, names: Sequence[str]) -> Path:
    """Say that the members `names` in `folder` are a whole committee."""
    content = {"format": "tentpole-committee", "version": 1, "members": list(names)}
    write_json(folder / COMMITTEE_FILE, content)
    return folder / COMMITTEE_FILE


def read_committee_file(path: Path) -> list[str]:
    """The members that a committee.json lists. Raises StateError for a damaged file or another version."""
    content = read_json(path)
    if content.get("format") != "tentpole-committee" or content.get("version") != 1:
        raise StateError(f"{path}: this Tentpole reads tentpole-committee version 1, not {content}")
    return [str(name) for name in content["members"]]


def is_whole(folder: Path) -> bool:
    """Whether `folder` has a committee.json and all the files of the members that it lists."""
    listed = folder / COMMITTEE_FILE
    stems = [folder / name for name in read_committee_file(listed)] if listed.is_file() else []
    return bool(stems) and all(s.with_suffix(e).is_file() for s in stems for e in (".safetensors", ".json"))
