"""What ASE's own configuration says of a program: Tentpole keeps no machine settings of its own."""

from __future__ import annotations

from typing import Any

from tentpole.errors import InputError
from tentpole.labeling.codes.base import Configuration


def section(name: str, keys: tuple[str, ...], lines: str) -> Configuration:
    """Which of `keys` ASE's config has in its section `name`; `lines` is what to add where one is missing."""
    from ase.config import cfg

    have = tuple(f"[{name}] {key}" for key in keys if cfg.parser.has_option(name, key))
    lack = tuple(f"[{name}] {key}" for key in keys if not cfg.parser.has_option(name, key))
    return Configuration(have, lack, lines if lack else "")


_asked: dict[tuple[str, str], str] = {}


def asked_version(template: Any, program: str, lines: str) -> str:
    """The version that the configured program prints. Raises InputError where there is none to ask."""
    from ase.config import cfg

    if not cfg.parser.has_option(template.name, "command"):
        place = "ASE's config (~/.config/ase/config.ini)"
        raise InputError(f"{program} is not configured. Add to {place}:\n{lines}")
    command = cfg.parser.get(template.name, "command")
    try:
        if (template.name, command) not in _asked:  # runs the program without input; it prints who it is
            _asked[template.name, command] = str(template.load_profile(cfg).version())
        return _asked[template.name, command]
    except Exception as error:  # whatever a missing launcher or another banner leads to
        raise InputError(
            f'{program}: "{command}" did not say its version ({type(error).__name__}: {error}). Mend the '
            'command in ASE\'s config, or state the version in the reference file: code_version = "…".'
        ) from None
