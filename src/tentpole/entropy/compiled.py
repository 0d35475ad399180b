"""`compiled`: numba's compiler as Tentpole uses it, once, for every kernel.

Machine code is kept on disk (beside the module, or in the user's cache folder where the installation is
read-only), so that it is made once per machine; where no folder can be written it is made once per process.
Kernels release the GIL: they are spread over cores by threads of our own, which neither fork nor nesting
upsets, rather than by numba's parallel layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])

_FASTMATH = {"reassoc", "contract", "nsz"}
"""Sums may be reordered and fused, which lets loops use vector units. NaN and infinity stay what they are."""


def compiled(function: F) -> F:
    """`function` as machine code."""
    return _machine_code(function, _FASTMATH)


def ordered(function: F) -> F:
    """`function` as machine code whose sums run in the order they are written.

    A loop that the compiler gives vector units only where arrays do not overlap in memory, which it looks up
    at run time, adds in another order where it cannot tell: the last bit then depends on where arrays lie.
    """
    return _machine_code(function, set())


def _machine_code(function: F, fastmath: set[str]) -> F:
    # One kernel within another becomes part of it: left to itself, the process that compiles would call the inner
    # one's own machine code, and those that load from disk a copy made for the outer one, with other last bits.
    options = {"nogil": True, "fastmath": fastmath, "forceinline": True}
    try:
        kernel = njit(cache=True, **options)(function)
    except RuntimeError:  # numba: "no locator available", nowhere to keep the machine code
        kernel = njit(**options)(function)
    return cast(F, kernel)
