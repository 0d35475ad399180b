"""Selection rules: which candidates are worth a label. One protocol (`base`), one file per rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tentpole.errors import InputError, unknown
from tentpole.selection.adaptive import Adaptive
from tentpole.selection.base import (
    Candidates,
    Funnel,
    KeyedRule,
    Keys,
    Labelled,
    Pick,
    SelectionRule,
    funnel_of,
)
from tentpole.selection.diversity import Diversity
from tentpole.selection.gradient import Gradient
from tentpole.selection.hybrid import Hybrid
from tentpole.selection.logdet import LogDet
from tentpole.selection.random import Random
from tentpole.selection.two_key import TwoKey
from tentpole.selection.uncertainty import Uncertainty

KINDS: dict[str, type[Any]] = {
    "adaptive": Adaptive,
    "random": Random,
    "uncertainty": Uncertainty,
    "diversity": Diversity,
    "hybrid": Hybrid,
    "logdet": LogDet,
    "two_key": TwoKey,
    "gradient": Gradient,
}
"""Every rule by the name a campaign file gives it."""

WITHOUT_SIGMA: tuple[type[Any], ...] = (Random, Diversity, LogDet, Gradient)
"""Rules whose choice does not depend on the disagreement: nobody need compute it for them."""


def make_rule(name: str, **settings: Any) -> SelectionRule:
    """Make the selection rule of that name.

    Parameters
    ----------
    name : str
        One of KINDS.
    **settings
        The rule's own settings, as its class documents them.

    Returns
    -------
    SelectionRule

    Raises
    ------
    InputError
        For an unknown name or setting, or a value that the rule cannot take.

    Examples
    --------
    >>> from tentpole.selection import make_rule
    >>> make_rule("two_key", sigma=0.05).shortlist is None
    True
    >>> make_rule("two_kye")
    Traceback (most recent call last):
    tentpole.errors.InputError: unknown selection rule "two_kye"; did you mean "two_key"? Legal: ...
    """
    if name not in KINDS:
        raise unknown("selection rule", name, KINDS)
    legal = [field.name for field in fields(KINDS[name])]
    for word in settings:
        if word not in legal:
            raise unknown(f"setting of the selection rule {name}", word, legal)
    try:
        made: SelectionRule = KINDS[name](**settings)
    except TypeError as error:
        raise InputError(f"selection rule {name}: a setting of the wrong kind in {settings}: {error}.") from error
    return made


def before_gain_ranked(rule: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings of a rule as they were meant before the gain only ranked.

    Then two_key had a floor of the gain of 0.01 where none was stated, and the `eps` of a rule was not used where a
    dataset had its own. For campaigns that were started so.

    Parameters
    ----------
    rule : str
        One of KINDS.
    settings : mapping
        As the campaign file gives them.

    Returns
    -------
    dict
        What `make_rule` is to be given.
    """
    meant = {name: value for name, value in settings.items() if name != "eps" or rule not in ("logdet", "two_key")}
    return {"gain": 0.01, **meant} if rule == "two_key" else meant


__all__ = [
    "KINDS",
    "WITHOUT_SIGMA",
    "Adaptive",
    "Candidates",
    "Diversity",
    "Funnel",
    "Gradient",
    "Hybrid",
    "KeyedRule",
    "Keys",
    "Labelled",
    "LogDet",
    "Pick",
    "Random",
    "SelectionRule",
    "TwoKey",
    "Uncertainty",
    "before_gain_ranked",
    "funnel_of",
    "make_rule",
]
