"""Machine settings for tests: an ASE config of our own, with stand-in programs and made-up potential files."""

from __future__ import annotations

import configparser
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import ase.config
import pytest
from ase.data import atomic_numbers

PROGRAMS = Path(__file__).parent / "programs"
VALENCE = {"H": 1, "C": 4, "O": 6, "Si": 4, "Na": 1, "Cl": 7, "Cr": 6, "Fe": 8}


class Machine:
    """A config file, its programs' behaviour, and what they saw of their input."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._patch = monkeypatch
        self.config = folder / "ase.ini"
        self._seen = folder / "seen.json"
        monkeypatch.setenv("STANDIN_SEEN", str(self._seen))
        monkeypatch.setenv("ASE_CONFIG_PATH", str(self.config))  # for worker processes
        for name in ("VASP_COMMAND", "ASE_VASP_COMMAND", "VASP_SCRIPT", "VASP_PP_PATH", "AIMS_SPECIES_DIR"):
            monkeypatch.delenv(name, raising=False)
        self.configure("")

    def configure(self, text: str) -> None:
        self.config.write_text(text)
        parser = configparser.ConfigParser(interpolation=configparser.ExtendedInterpolation())
        parser.read_string(text)
        self._patch.setattr(ase.config.cfg, "parser", parser)

    def ends(self, how: str) -> None:
        self._patch.setenv("STANDIN", how)

    @property
    def seen(self) -> dict[str, Any]:
        return dict(json.loads(self._seen.read_text()))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """An ASE config with nothing in it."""
    folder = tmp_path / "machine"
    folder.mkdir()
    return Machine(folder, monkeypatch)


@pytest.fixture
def vasp(machine: Machine) -> Machine:
    """A machine with VASP: the stand-in program and potential files with TITEL and ZVAL."""
    for symbol, valence in VALENCE.items():
        suffix = {"Na": "_pv", "Cr": "_pv"}.get(symbol, "")  # ASE's "recommended" choice, where it is not the plain one
        valence += 6 if suffix else 0
        potential = machine.folder / "potpaw_PBE" / f"{symbol}{suffix}" / "POTCAR"
        potential.parent.mkdir(parents=True)
        potential.write_text(
            f"  PAW_PBE {symbol}{suffix} 01Jan2001\n  {valence}.0\n parameters from PSCTR are:\n"
            f"   VRHFIN ={symbol}: made up\n   LEXCH  = PE\n   TITEL  = PAW_PBE {symbol}{suffix} 01Jan2001\n"
            "   LULTRA =        F    use ultrasoft PP ?\n   IUNSCR =        1\n   RPACOR =    0.000\n"
            f"   POMASS =    1.000; ZVAL   =    {valence}.000    mass and valenz\n  End of Dataset\n"
        )
    command = shlex.join([sys.executable, str(PROGRAMS / "vasp.py")])
    machine.configure(f"[environment]\nVASP_COMMAND = {command}\nVASP_PP_PATH = {machine.folder}\n")
    return machine


@pytest.fixture
def aims(machine: Machine) -> Machine:
    """A machine with FHI-aims: the stand-in program and species defaults at two levels."""
    defaults = machine.folder / "species_defaults" / "defaults_2020"
    for level in ("light", "intermediate"):
        (defaults / level).mkdir(parents=True)
        for symbol in VALENCE:
            number = atomic_numbers[symbol]
            text = f"  species        {symbol}\n    nucleus             {number}\n#   {level}\n"
            (defaults / level / f"{number:02}_{symbol}_default").write_text(text)
    command = shlex.join([sys.executable, str(PROGRAMS / "aims.py")])
    machine.configure(f"[aims]\ncommand = {command}\ndefault_species_directory = {defaults / 'light'}\n")
    return machine
