"""Potentials trained by others on much data, by name: as a driver, or as a frozen extra vote."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from tentpole.committee.ase_voter import AseVoter
from tentpole.committee.committee import Voter, choose_device
from tentpole.committee.mace_architecture import mace
from tentpole.committee.mace_voter import MaceVoter
from tentpole.committee.member_files import read_voter, refuse_pickle
from tentpole.errors import InputError, TentpoleError, import_object, optional_module, require_module, unknown


def foundation(name: str, *, device: str = "auto", dtype: str = "float32") -> Voter:
    """The voter of that name. Its weights come from where its own package keeps them.

    Parameters
    ----------
    name : str
        "chgnet": CHGNet with the weights of its package. "mace-mp:small", "mace-off:small": by mace's own loader
        (small,
        medium, medium-mpa-0, …). "mace-mp:FILE.json": a member made of any MACE model by `tentpole models import`; a
        pickle is refused. "nequip:FILE": a compiled NequIP or Allegro model, by nequip's ASE calculator.
        "package.module:name": any ASE calculator, called without arguments or taken as it is. Trusted input: imported.
    device : str
        "cpu", "cuda", or "auto" for a GPU where there is one.
    dtype : {"float32", "float64"}
        Of mace's models.

    Returns
    -------
    Voter

    Raises
    ------
    InputError
        With the command that helps, where a package or weights are missing.

    Examples
    --------
    >>> from tentpole.committee import foundation
    >>> foundation("ase.calculators.emt:EMT").votes
    1
    >>> foundation("chgent")
    Traceback (most recent call last):
        ...
    tentpole.errors.InputError: unknown foundation model "chgent"; did you mean "chgnet"? Legal: ...
    """
    kind, _, rest = name.partition(":")
    if kind in _KINDS:
        return _KINDS[kind](rest, choose_device(device), dtype)
    if rest:
        return AseVoter(_by_import_path(kind, rest))
    raise unknown("foundation model", name, [*_KINDS, "package.module:name"])


def check_name(name: str) -> None:
    """Raises InputError for what cannot be the name of a foundation model, or where its package is missing."""
    kind, _, rest = name.partition(":")
    path = all(word.isidentifier() for word in (*kind.split("."), *rest.split(".")))
    if not rest and Path(name).suffix in _FILES:
        raise InputError(
            f'"{name}": a model in a file is named with its kind, as in "mace-mp:FILE.json"; that file is made of a '
            ".model by: tentpole models import FILE --trust"
        )
    if kind not in _KINDS and not path:
        raise unknown("foundation model", name, [*_KINDS, "package.module:name"])
    if kind in _INSTALLED_BY:
        require_module(kind, command=_INSTALLED_BY[kind], needed_by=f'"{kind}"')
    if kind in _MACE and _names_a_file(rest):
        refuse_unsafe(rest)


def check_import(name: str) -> None:
    """Raise InputError where `name` is an import path and gives no calculator; other models are looked at later."""
    kind, _, rest = name.partition(":")
    if kind not in _KINDS:
        _by_import_path(kind, rest)


def check_species(name: str, numbers: Iterable[int]) -> None:
    """Load the model. Raises InputError where that fails or where it does not know one of the atomic numbers."""
    unknown_species = sorted(set(numbers) - set(foundation(name).numbers))
    if unknown_species:
        raise InputError(f'"{name}" does not know {", ".join(chemical_symbols[z] for z in unknown_species)}')


def _chgnet(_variant: str, device: str, _dtype: str) -> Voter:
    dynamics = optional_module("chgnet.model.dynamics", command=_INSTALLED_BY["chgnet"], needed_by='"chgnet"')
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its device
        calculator = dynamics.CHGNetCalculator(use_device=device, on_isolated_atoms="ignore")
    return AseVoter(calculator, numbers=range(1, 95))


def _mace(loader: str) -> Callable[[str, str, str], Voter]:
    def load(variant: str, device: str, dtype: str) -> Voter:
        if _names_a_file(variant):
            return _member_file(variant, device, dtype)
        module = mace("calculators.foundations_models")
        model = variant or "small"
        command = f"python -c \"from mace.calculators import {loader}; {loader}(model='{model}')\""
        before = os.environ.get(_FORCE)
        os.environ[_FORCE] = "1"  # mace's loader reads pickles of its own makers
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                model_of_loader = getattr(module, loader)(model=model, device=device, return_raw_model=True)
        except Exception as error:
            raise InputError(
                f"the weights of {loader} {model!r} cannot be had here ({error}). On a machine with access to "
                f"them run `{command}`, or copy the file, turn it into a member (tentpole models import FILE --trust) "
                f"and name that: {loader.replace('_', '-')}:FILE.json"
            ) from error
        finally:
            os.environ.pop(_FORCE, None) if before is None else os.environ.update({_FORCE: before})
        model_of_loader = model_of_loader.double() if dtype == "float64" else model_of_loader.float()
        return MaceVoter(model_of_loader.requires_grad_(False).eval(), [0], device)

    return load


def _names_a_file(variant: str) -> bool:
    """Whether what stands after mace-mp: is a file or an address rather than one of mace's own names."""
    path = Path(variant)
    return bool(variant) and ("/" in variant or (bool(path.suffix) and not path.suffix[1:].isdigit()) or path.is_file())


def refuse_unsafe(variant: str) -> None:
    """Raise InputError for a file that runs code when it is read, or one that is fetched from an address."""
    if "://" in variant:
        raise InputError(
            f"{variant} is an address, and what lies there runs whatever code is in it. Fetch it, and if you trust who "
            "made it: tentpole models import FILE --trust, then name the FILE.json that this makes."
        )
    if not Path(variant).is_file() and Path(variant).suffix not in ("", ".json", ".safetensors"):
        raise InputError(f"no file {variant}")
    refuse_pickle(Path(variant))


def _member_file(variant: str, device: str, dtype: str) -> Voter:
    refuse_unsafe(variant)
    return read_voter(Path(variant), device=device, dtype=dtype)


def _nequip(file: str, device: str, _dtype: str) -> Voter:
    require_module("nequip", command=_INSTALLED_BY["nequip"], needed_by='"nequip"')
    command = f"nequip-compile MODEL {file} --mode aotinductor --device {device} --target ase"
    if not Path(file).is_file():
        raise InputError(f"no compiled model {file!r}: make it with `{command}`")
    mace("modules")  # brings in e3nn as an old one needs it
    try:
        module = importlib.import_module("nequip.integrations.ase")
    except ModuleNotFoundError:  # before 0.17
        module = importlib.import_module("nequip.ase")
    try:
        calculator = module.NequIPCalculator.from_compiled_model(file, device=device)
    except Exception as error:
        raise InputError(
            f"nequip cannot read {file!r} ({error}). It needs the e3nn that nequip asks for (0.6 for nequip 0.19), and "
            f"the version of torch and the device that the model was compiled with: `{command}`"
        ) from error
    tables = [t.lookup_table for t in calculator.transforms if hasattr(t, "lookup_table")]
    known = (tables[0] >= 0).nonzero().flatten().tolist() if tables else None
    return AseVoter(calculator, numbers=known)


def _by_import_path(module: str, name: str) -> Any:
    path = f"{module}:{name}"
    calculator = import_object(path)
    if hasattr(calculator, "get_property") and not isinstance(calculator, type):
        return calculator
    try:
        made = calculator()
    except TentpoleError:
        raise
    except Exception as error:  # whatever that code raises
        raise InputError(
            f'"{path}" gives no ASE calculator when it is called without arguments: {type(error).__name__}: {error}'
        ) from error
    if not hasattr(made, "get_property"):
        raise InputError(f'"{path}" gives no ASE calculator when it is called, but {made!r:.80}')
    return made


_NEQUIP = (
    "pip install nequip, in an environment of its own: it replaces mace's e3nn 0.4.4 by 0.6, with which members train "
    "and predict, but cannot be exported as .model files"
)
_INSTALLED_BY = {"chgnet": 'pip install "tentpole[chgnet]"', "nequip": _NEQUIP}
_FORCE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_MACE = ("mace-mp", "mace-off")
_FILES = (".json", ".model", ".pt", ".pth", ".safetensors")
_KINDS: dict[str, Callable[[str, str, str], Voter]] = {
    "chgnet": _chgnet,
    "mace-mp": _mace("mace_mp"),
    "mace-off": _mace("mace_off"),
    "nequip": _nequip,
}
