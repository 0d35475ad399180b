"""Selection rules: which candidates are worth a label. One protocol (`base`), one file per rule."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tentpole.errors import InputError, unknown
from tentpole.selection.adaptive import Adaptive
from tentpole.selection.base import Candidates, Labelled, Pick, SelectionRule
from tentpole.selection.diversity import Diversity
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
}
"""Every rule by the name a campaign file gives it."""

WITHOUT_SIGMA: tuple[type[Any], ...] = (Random, Diversity, LogDet)
"""Rules whose choice does not depend on the disagreement: nobody need compute it for them."""


def rule(name: str, **settings: Any) -> SelectionRule:
    """The rule of that name with its settings. Raises InputError for an unknown name or setting."""
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


__all__ = [
    "KINDS",
    "WITHOUT_SIGMA",
    "Adaptive",
    "Candidates",
    "Diversity",
    "Hybrid",
    "Labelled",
    "LogDet",
    "Pick",
    "Random",
    "SelectionRule",
    "TwoKey",
    "Uncertainty",
    "rule",
]
