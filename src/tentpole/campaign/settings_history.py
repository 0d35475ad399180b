"""The settings of a campaign by round: what holds at once, and what from the first round that had not begun.

A round that is done stays what it was: what is missing of it is made anew with the settings that it had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from tentpole.campaign.paths import CampaignPaths
from tentpole.config.loading import as_first_meant
from tentpole.config.schema import CampaignConfig, ExploreSection, MACESection, SelectionSection
from tentpole.config.sections import read_as

AT_ONCE = ("stop", "target", "executor", "training_executor")
"""Tables of the campaign file that may change at any time."""

ARCHITECTURE = frozenset(
    {"kind", "size", "channels", "max_L", "max_ell", "correlation", "interactions", "radial_basis", "cutoff_basis"}
    | {"r_max", "loop", "frozen", "finetuning", "folds", "E0s", "dtype", "embed"}
)
"""Keys of [training] that members trained before do not share."""

FROM_NEXT_ROUND: dict[str, frozenset[str]] = {
    "explore": frozenset(ExploreSection.model_fields) - {"ahead"},
    "selection": frozenset(SelectionSection.model_fields) - {"evidence"},
    "training": frozenset(field.name for field in fields(MACESection)) - ARCHITECTURE,
}
"""Keys that may change, by table, and hold from the first round that has not begun. Structures may join then, too."""

WHAT_MAY_CHANGE = (
    "[stop], [target] and the executors may change at any time; from the next round on [explore] but for ahead, "
    "[selection] but for evidence, and of [training] what does not change the model; structures of the same elements "
    "may join behind those that are there"
)


def may_change(key: str) -> bool:
    """Whether a setting, by its dotted name, may differ when a campaign goes on."""
    table, _, rest = key.partition(".")
    if table == "structures" and key.endswith(".system"):
        return True
    return table in AT_ONCE or rest.partition(".")[0] in FROM_NEXT_ROUND.get(table, ())


def of_rounds(key: str) -> bool:
    """Whether a setting, by its dotted name, belongs to the rounds: one that changes it holds from the next on."""
    return key.partition(".")[0] in (*FROM_NEXT_ROUND, "structures") and not key.endswith(".system")


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """What changed of the settings that belong to rounds, and the first round that has it so.

    Parameters
    ----------
    from_round : int
        The round.
    changes : tuple of str
        As in "explore.steps: 100, now 200".
    """

    from_round: int
    changes: tuple[str, ...]

    @property
    def words(self) -> str:
        """In a sentence."""
        return f"From round {self.from_round} on: {'; '.join(self.changes)}"


@dataclass(frozen=True, slots=True)
class SettingsHistory:
    """The newest settings, and those of the rounds before: (first round, settings), in the order of rounds."""

    newest: CampaignConfig
    changes: tuple[tuple[int, CampaignConfig], ...] = ()

    @property
    def since(self) -> int:
        """The first round that has the newest settings of rounds."""
        return self.changes[-1][0] if self.changes else 0

    def at(self, number: int) -> CampaignConfig:
        """The settings of a round: its own tables of rounds, and the newest of all others."""
        held = [config for first, config in self.changes if first <= number]
        if not held:
            return self.newest
        config = held[-1]
        return self.newest.model_copy(
            update={
                "explore": config.explore,
                "selection": config.selection,
                "training": config.training,
                "structures": self.newest.structures[: len(config.structures)],
            }
        )

    def joined(self, number: int) -> tuple[str, ...]:
        """The structures that are explored from this round on and were not before, but for the first ones."""
        if number == 0:
            return ()
        before = len(self.at(number - 1).structures)
        return tuple(section.name for section in self.at(number).structures[before:])

    @staticmethod
    def of(
        newest: CampaignConfig, recorded: Sequence[tuple[int, Mapping[str, Any]]], paths: CampaignPaths
    ) -> SettingsHistory:
        """From what the journal keeps: the round from which each holds, and the settings."""
        if len(recorded) < 2:
            return SettingsHistory(newest)
        read = [(first, as_first_meant(read_as(CampaignConfig, kept, paths.journal))) for first, kept in recorded]
        return SettingsHistory(newest, tuple(read))
