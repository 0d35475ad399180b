"""The programs Tentpole knows, by the ASE calculator that runs them; any other is an `AnyCalculator`."""

from __future__ import annotations

from tentpole.labeling.codes.base import AnyCalculator, Code, Configuration, Setup, SinglePoint

__all__ = ["AnyCalculator", "Code", "Configuration", "Setup", "SinglePoint", "code_of"]

_POTENTIALS = ("ase.calculators.emt", "ase.calculators.lj", "chgnet.model.dynamics")


def code_of(calculator: str, home: str = "") -> Code:
    """The code behind an import path such as "ase.calculators.vasp:Vasp"; a module of one's own may be in `home`."""
    module = calculator.partition(":")[0]
    if module.startswith("ase.calculators.vasp"):
        from tentpole.labeling.codes.vasp import Vasp

        return Vasp()
    if module == "ase.calculators.aims":
        from tentpole.labeling.codes.aims import Aims

        return Aims()
    if module == "ase.calculators.espresso":
        from tentpole.labeling.codes.espresso import Espresso

        return Espresso()
    if module.partition(".")[0] == "gpaw":
        from tentpole.labeling.codes.gpaw import GPAW

        return GPAW
    if module == "tblite.ase":
        from tentpole.labeling.codes.tblite import TBLITE

        return TBLITE
    if module == "tentpole.labeling.mock":
        from tentpole.labeling.mock import MOCK

        return MOCK
    if module in ("dftd3.ase", "dftd4.ase"):
        from tentpole.labeling.codes import dispersion

        return dispersion.DFTD3 if module == "dftd3.ase" else dispersion.DFTD4
    if module == "tentpole.labeling.zbl":
        from tentpole.labeling.zbl import ZBL_CODE

        return ZBL_CODE
    if module in _POTENTIALS:
        return AnyCalculator(stateless=True, spin="none")
    return AnyCalculator(home=home)
