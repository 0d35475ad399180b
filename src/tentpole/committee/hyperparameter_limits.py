"""How large a model a file may ask for: checked before anything of it is built.

Hyperparameters come from a file that anybody may have written. A correlation of 12 or a hundred million channels would
take minutes and gigabytes before the first weight is looked at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from tentpole.errors import InputError

COUNTS: Mapping[str, tuple[int, int]] = {
    "max_ell": (0, 6),
    "num_interactions": (1, 8),
    "correlation": (1, 5),
    "num_bessel": (1, 256),
}
"""Whole numbers: lowest and highest. Published models have max_ell 3, two interactions, correlation 3, 8 to 10."""

LENGTHS: Mapping[str, tuple[float, float]] = {
    "r_max": (0.1, 50.0),
    "num_polynomial_cutoff": (1.0, 100.0),
    "avg_num_neighbors": (1e-3, 1e6),
}
"""Real numbers: lowest and highest; r_max in Å."""

MAX_WIDTH = 8_192
"""Numbers per atom in one layer of features: 128 channels up to l = 2 have 1152."""
MAX_L = 6
MAX_LAYERS = 8
MAX_HEADS = 1_000
_TERM = re.compile(r"^\s*(?:(\d{1,9})\s*x\s*)?(\d{1,3})([eo])\s*$")


def check_sizes(hyper: Mapping[str, Any]) -> None:
    """Check hyperparameters that a file states.

    Parameters
    ----------
    hyper : mapping
        As mace_architecture.hyperparameters gives them, all keys there.

    Raises
    ------
    InputError
        Naming the key, its value, and what is legal.

    Examples
    --------
    >>> from tentpole.committee.hyperparameter_limits import irreps_width
    >>> irreps_width("hidden_irreps", "16x0e + 16x1o")
    64
    >>> irreps_width("hidden_irreps", "100000000x0e")
    Traceback (most recent call last):
    tentpole.errors.InputError: hidden_irreps = "100000000x0e" has 100000000 numbers per atom: at most 8192 are read.
    """
    for key, (low, high) in COUNTS.items():
        for value in hyper[key] if key == "correlation" and isinstance(hyper[key], list) else [hyper[key]]:
            if not _whole(value) or not low <= value <= high:
                raise InputError(f"{key} = {value!r}: a whole number from {low} to {high} is read.")
    for key, (least, most) in LENGTHS.items():
        value = hyper[key]
        if not _real(value) or not least <= value <= most:
            raise InputError(f"{key} = {value!r}: a number from {least:g} to {most:g} is read.")
    for key in ("hidden_irreps", "edge_irreps", "MLP_irreps"):
        if hyper[key] is not None:
            irreps_width(key, hyper[key])
    _check_lists(hyper)


def irreps_width(key: str, irreps: Any) -> int:
    """Numbers per atom that e.g. "16x0e + 16x1o" stands for. Raises InputError for what is none, or too wide."""
    terms = [_TERM.match(term) for term in str(irreps).split("+")]
    width = 0
    for term in terms:
        if term is None or int(term[2]) > MAX_L:
            raise InputError(f'{key} = "{irreps}": terms such as 16x0e or 16x1o, l up to {MAX_L}, are read.')
        width += int(term[1] or 1) * (2 * int(term[2]) + 1)
    if width > MAX_WIDTH:
        raise InputError(f'{key} = "{irreps}" has {width} numbers per atom: at most {MAX_WIDTH} are read.')
    return width


def _check_lists(hyper: Mapping[str, Any]) -> None:
    widths, numbers, heads = hyper["radial_MLP"], hyper["atomic_numbers"], hyper["heads"]
    if not _listed(widths, MAX_LAYERS) or not all(_whole(w) and 1 <= w <= MAX_WIDTH for w in widths):
        raise InputError(f"radial_MLP = {widths!r:.80}: up to {MAX_LAYERS} widths from 1 to {MAX_WIDTH} are read.")
    if not _listed(numbers, 118) or not all(_whole(z) and 1 <= z <= 118 for z in numbers):
        raise InputError(f"atomic_numbers = {numbers!r:.80}: numbers from 1 to 118 are read.")
    if sorted(set(numbers)) != numbers:
        raise InputError(f"atomic_numbers = {numbers!r:.80}: they must rise, each once.")
    if not _listed(heads, MAX_HEADS) or len(set(map(str, heads))) < len(heads):
        raise InputError(f"heads = {heads!r:.80}: 1 to {MAX_HEADS} names, each once, are read.")


def _listed(value: Any, most: int) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= most


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
