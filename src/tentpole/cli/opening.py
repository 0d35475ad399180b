"""The first line of `tentpole run`, there before anything heavy is imported: what will happen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tentpole.storage.toml_text import parse_toml

LARGEST_B = 1_000_000
"""A file beyond that is no campaign file, and is not read for its first line."""


def first_line(campaign: Path, place: Path | None) -> str:
    """What will happen, from the campaign file as it is; what is wrong with it is said by who checks it."""
    try:
        file = campaign / "campaign.toml" if campaign.is_dir() else campaign
        if not file.is_file() or file.stat().st_size > LARGEST_B:
            return f"{campaign}: reading it"
        content = parse_toml(file.read_text(encoding="utf-8"))
        folder = campaign if campaign.is_dir() else place or Path("runs") / str(content.get("name", file.stem))
        going_on = (folder / "rounds").is_dir()
    except (OSError, ValueError):
        return f"{campaign}: reading it"
    if going_on:
        return f"{folder}: going on"
    return f"{folder}: {_initial(content)}{_rounds(content)}, until there is a verdict"


def _initial(content: dict[str, Any]) -> str:
    initial = _table(content, "initial")
    if initial.get("kind") == "labelled":
        return "labels of your own to begin with"
    count = initial.get("count", initial.get("frames"))
    number = f"{count} initial labels" if isinstance(count, int) else "initial labels"
    return f"{number} by {content.get('reference', '?')}"


def _rounds(content: dict[str, Any]) -> str:
    rounds, batch = _table(content, "stop").get("rounds"), _table(content, "selection").get("batch")
    each = f" of at most {batch} labels" if isinstance(batch, int) else ""
    return f", then up to {rounds} rounds{each}" if isinstance(rounds, int) else f", then rounds{each}"


def _table(content: dict[str, Any], key: str) -> dict[str, Any]:
    table = content.get(key)
    return table if isinstance(table, dict) else {}
