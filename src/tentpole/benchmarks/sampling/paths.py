"""Where everything of a study lies in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tentpole.errors import StateError
from tentpole.storage.atomic import read_json


@dataclass(frozen=True, slots=True)
class StudyPaths:
    """A study's folder. labels/ holds the teacher's labels, as in a campaign's folder."""

    root: Path

    @property
    def settings(self) -> Path:
        """What study it is."""
        return self.root / "settings.json"

    def trajectory(self, drive: str, draw: int, walker: str) -> Path:
        """MD that policies share: one condition, one way of driving, one draw."""
        return self.root / "md" / f"{drive}-{draw}" / f"{walker}.h5"

    def test_trajectory(self, name: str, walker: str) -> Path:
        """MD that a test set is taken from."""
        return self.root / "sets" / name / f"{walker}.h5"

    def frames(self, name: str) -> Path:
        """The frames of a test set, or of the validation set."""
        return self.root / "sets" / name / "frames.json"

    @property
    def valid(self) -> Path:
        """The validation set with its labels."""
        return self.root / "sets" / "valid.xyz"

    @property
    def cheap(self) -> Path:
        """What members are pretrained on, with its labels."""
        return self.root / "sets" / "pretraining.xyz"

    def pretrained(self, draw: int) -> Path:
        """The folder of the members that a draw's trainings go on from."""
        return self.root / "pretraining" / str(draw)

    def run(self, policy: str, draw: int) -> RunPaths:
        """One policy under one draw."""
        return RunPaths(self.root / "runs" / f"{policy}-{draw}")


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The folder of one policy under one draw."""

    root: Path

    def size(self, n: int) -> SizePaths:
        """That of n training frames."""
        return SizePaths(self.root / f"size-{n:06d}")


@dataclass(frozen=True, slots=True)
class SizePaths:
    """The folder of one size: what was chosen, the models trained on all so far, their errors."""

    root: Path

    @property
    def chosen(self) -> Path:
        """Which frames joined, and why."""
        return self.root / "chosen.json"

    @property
    def train(self) -> Path:
        """All training frames."""
        return self.root / "train.xyz"

    @property
    def models(self) -> Path:
        """The trained members."""
        return self.root / "models"

    @property
    def done(self) -> Path:
        """That they are trained, and how long it took."""
        return self.root / "done.json"

    def trajectory(self, walker: str) -> Path:
        """MD that these models drive."""
        return self.root / "md" / f"{walker}.h5"

    def errors(self, name: str) -> Path:
        """Of these models on a test set."""
        return self.root / "errors" / f"{name}.json"


def read_versioned(path: Path, version: int) -> dict[str, Any]:
    """A file of a study. Raises StateError where it is damaged or of another version."""
    content = read_json(path)
    if content.get("version") != version:
        raise StateError(
            f"{path}: format version {content.get('version')}, this Tentpole reads {version}. Use the version of "
            "Tentpole that wrote it, or take another folder."
        )
    return content
