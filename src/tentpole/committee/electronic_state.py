"""Total charge and spin multiplicity as MACE models read them: which a model reads, and which values it can.

In mace a graph's total charge Q and multiplicity 2S + 1 ("total_charge", "total_spin") choose rows of embedding tables,
whose rows together, mixed linearly and passed through SiLU, are added to the features of every atom before the first
layer (GenericJointEmbedding of mace-torch).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tentpole.errors import InputError
from tentpole.records import CHARGE, MULTIPLICITY

FloatArray = NDArray[np.float64]

KEYS = {CHARGE: "total_charge", MULTIPLICITY: "total_spin"}
"""Mace's name of each."""
_WORDS = {name: word for word, name in KEYS.items()}

WIDTH = 16
"""Numbers by which each is embedded."""

SPECS: Mapping[str, Mapping[str, Any]] = {
    "total_charge": {"type": "categorical", "per": "graph", "num_classes": 21, "offset": 10, "emb_dim": WIDTH},
    "total_spin": {"type": "categorical", "per": "graph", "num_classes": 12, "offset": 0, "emb_dim": WIDTH},
}
"""Of members that are built here: charges from -10 to 10 e, multiplicities up to 11."""

_KEYS = {"name", "type", "per", "num_classes", "offset", "emb_dim", "in_dim", "use_bias"}
_LIMITS = {"num_classes": (1, 1001), "offset": (-500, 500), "emb_dim": (1, 1024), "in_dim": (1, 1)}


def specs_of(words: Sequence[str]) -> dict[str, dict[str, Any]] | None:
    """The embeddings of a new member that reads "charge", "multiplicity" or both; None where it reads neither."""
    return {KEYS[word]: dict(SPECS[KEYS[word]]) for word in KEYS if word in words} or None


def embedded(hyperparameters: Mapping[str, Any]) -> tuple[str, ...]:
    """What a member reads of a frame, of "charge" and "multiplicity"."""
    there = {spec["name"] for spec in hyperparameters.get("embedding_specs", ())}
    return tuple(word for word, key in KEYS.items() if key in there)


def unreadable(key: str, value: float, spec: Mapping[str, Any] | None = None) -> str:
    """Why a model whose embedding is `spec` (None: one built here) cannot read `value`; "" where it can."""
    spec = SPECS[key] if spec is None else spec
    if spec["type"] != "categorical":
        return ""
    offset = int(spec.get("offset", 0))
    low, high = -offset, int(spec["num_classes"]) - 1 - offset
    if key == "total_spin":
        low = max(low, 1)
    if low <= value <= high:
        return ""
    return f"{_WORDS[key]} = {value:g}: these members read {low} to {high}"


def check_readable(specs: Mapping[str, Mapping[str, Any]], key: str, values: FloatArray) -> None:
    """Raises InputError where a frame does not state what is read, or states a value that a model was not built for."""
    word = _WORDS[key]
    if np.isnan(values).any():
        raise InputError(
            f'this model reads the {word} of a structure, and one has none: set atoms.info["{word}"] = '
            f"{0 if word == CHARGE else 1}, or what it is"
        )
    for value in np.unique(values):
        if why := unreadable(key, float(value), specs[key]):
            raise InputError(why)


def described(specs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The embeddings of a model as a member's file keeps them: a list, for their order is that of the weights.

    Raises InputError for others than of total charge and spin.
    """
    embeddings = [{"name": name, **spec} for name, spec in specs.items()]
    check_specs(embeddings)
    return embeddings


def check_specs(specs: Any) -> None:
    """Raises InputError for embeddings in a file that are none, or of another kind or size than is read."""
    if not isinstance(specs, list) or not 1 <= len(specs) <= len(KEYS):
        raise InputError(f"embedding_specs = {specs!r:.80}: a list of one or two embeddings is read.")
    for spec in specs:
        if not isinstance(spec, Mapping) or set(spec) - _KEYS or spec.get("name") not in KEYS.values():
            raise InputError(f"embedding_specs: {spec!r:.120}: embeddings of {' and '.join(KEYS.values())} are read.")
        if spec.get("per") != "graph" or spec.get("type") not in ("categorical", "continuous"):
            raise InputError(f"embedding_specs: {spec!r:.120}: categorical or continuous ones per graph are read.")
        sizes = ("num_classes", "emb_dim") if spec["type"] == "categorical" else ("in_dim", "emb_dim")
        for key in (*sizes, *(("offset",) if "offset" in spec else ())):
            low, high = _LIMITS[key]
            value = spec.get(key)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise InputError(
                    f"embedding_specs: {key} = {value!r:.40}: a whole number from {low} to {high} is read."
                )
        if not isinstance(spec.get("use_bias", True), bool):
            raise InputError(f"embedding_specs: use_bias = {spec['use_bias']!r:.40}: true or false is read.")
    if len({spec["name"] for spec in specs}) < len(specs):
        raise InputError("embedding_specs: one name stands there twice.")
