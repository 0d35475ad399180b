"""What computed a label or a model: versions and processor, on which the last bits of results depend."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("tentpole", "ase", "numpy", "scipy", "torch", "mace-torch", "matscipy", "numba")
_VECTORS = ("avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_tile", "asimd", "sve", "sve2")
"""Instructions by which numerical libraries choose among their routines."""


@functools.cache
def provenance() -> dict[str, str]:
    """Versions of the packages that results depend on, of Python, and the processor with its vector instructions.

    Examples
    --------
    >>> sorted(provenance())[:3]
    ['ase', 'cpu', 'mace-torch']
    """
    versions = {"python": platform.python_version(), "cpu": _processor()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def differences(before: dict[str, str], now: dict[str, str]) -> str:
    """What is another in `now`, in words; "" where nothing is.

    Examples
    --------
    >>> differences({"torch": "2.4.0", "ase": "3.29"}, {"torch": "2.5.1", "ase": "3.29"})
    'torch 2.5.1 (was 2.4.0)'
    """
    names = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {now.get(name, 'none')} (was {before.get(name, 'none')})" for name in names)


def _processor() -> str:
    """Model and vector instructions, as Linux tells them; the architecture elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.machine()
    facts = dict(reversed([(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]))
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    name = facts.get("model name") or platform.machine()
    return " ".join([name, *(flag for flag in _VECTORS if flag in flags)])
