"""Which walkers run in a round: those whose turn it is, and in a final look all that may judge."""

from __future__ import annotations

from tentpole.campaign.judging import final_look
from tentpole.campaign.state import RoundState
from tentpole.config.schema import CampaignConfig
from tentpole.config.walkers import PlannedWalker, judged_walkers, walkers_in_turn, walkers_of


def walkers_in(state: RoundState, config: CampaignConfig, number: int) -> list[PlannedWalker]:
    """The walkers of round `number`, whose settings are `config`.

    A final look wants frames of every condition: its round has all walkers that may judge, beside those whose turn it
    is. Whether a round that has not begun will be one is not known yet; it has those of its turn.
    """
    turn, all_walkers = walkers_in_turn(config, number), walkers_of(config)
    if len(turn) == len(all_walkers) or not _is_final_look(state, config, number):
        return turn
    wanted = {walker.id for walker in (*turn, *judged_walkers(config))}
    return [walker for walker in all_walkers if walker.id in wanted]


def _is_final_look(state: RoundState, config: CampaignConfig, number: int) -> bool:
    if state.is_decided(number):
        return state.record(number).facts.final_look > 0
    return number == state.current and final_look(state, config) is not None
