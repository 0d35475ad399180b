"""For tests of Tentpole and of what is built on it: small models made on the spot, and conformance classes.

`FingerprintConformance` and `SelectionRuleConformance` need pytest. Names load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tentpole.testing.conformance import FingerprintConformance, SelectionRuleConformance
    from tentpole.testing.models import tiny_committee

_HOME = {
    "FingerprintConformance": "conformance",
    "SelectionRuleConformance": "conformance",
    "tiny_committee": "models",
}

__all__ = ["FingerprintConformance", "SelectionRuleConformance", "tiny_committee"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
