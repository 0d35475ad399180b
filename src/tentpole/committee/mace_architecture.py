"""What a MACE model is made of, in plain values, and the model made from them.

A model is described by JSON-able hyperparameters and nothing else; its class, interaction blocks, readouts
and gate are looked up by name in closed tables, so that no file can make this module run code of its own.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import json
import os
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import parent_process
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tentpole.committee import mace_imports
from tentpole.committee.electronic_state import check_specs, described
from tentpole.committee.hyperparameter_limits import check_sizes
from tentpole.errors import InputError, unknown

FloatArray = NDArray[np.float64]

MODELS = ("ScaleShiftMACE",)
INTERACTIONS = (
    "RealAgnosticInteractionBlock",
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
    "RealAgnosticResidualNonLinearInteractionBlock",
)
READOUTS = ("NonLinearReadoutBlock", "NonLinearBiasReadoutBlock", "GeneralNonLinearBiasReadoutBlock")
GATES = ("silu", "tanh", "abs")
DISTANCES = ("None", "Agnesi", "Soft")
DTYPES = ("float32", "float64")

_WEIGHTS_ONLY = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_E0S = "atomic_energies_fn.atomic_energies"
_SCALES = ("scale_shift.scale", "scale_shift.shift")
_SWITCHES = {  # of the model, with what they were before mace had them
    "use_reduced_cg": False,
    "use_so3": False,
    "use_edge_irreps_first": False,
    "use_agnostic_product": False,
    "use_last_readout_only": False,
    "apply_cutoff": True,
}
_IRREPS = ("hidden_irreps", "edge_irreps", "MLP_irreps")
_KEYS = (
    "max_ell",
    "num_interactions",
    "use_reduced_cg",
    "use_so3",
    "use_edge_irreps_first",
    "use_agnostic_product",
    "use_last_readout_only",
    "correlation",
    "radial_type",
    "apply_cutoff",
    "pair_repulsion",
    "num_bessel",
    *_IRREPS,
    "r_max",
    "num_polynomial_cutoff",
    "avg_num_neighbors",
    "interaction_cls",
    "interaction_cls_first",
    "readout_cls",
    "gate",
    "radial_MLP",
    "distance_transform",
    "atomic_numbers",
    "heads",
)
_RADIAL = {"BesselBasis": "bessel", "GaussianBasis": "gaussian", "ChebychevBasis": "chebyshev"}


def mace(module: str) -> Any:
    """Import mace's module of that name without side effects on this process.

    mace switches torch.load back to unrestricted pickles for the whole process when it is imported
    (TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD), because e3nn 0.4.4 reads its own constants so; here the variable is
    put back to what it was once the import is done.
    """
    mace_imports.install()
    _keep_tqdm_in_this_process()
    before = os.environ.get(_WEIGHTS_ONLY)
    os.environ[_WEIGHTS_ONLY] = "1"  # mace does it on its first import alone, e3nn needs it on its own
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mace prints what accelerators it lacks, e3nn how it reads constants
            importlib.import_module("mace.modules.models")  # and with it e3nn, while it may read its constants
            _remember_moments()
            return importlib.import_module(f"mace.{module}")
    finally:
        if before is None:
            os.environ.pop(_WEIGHTS_ONLY, None)
        else:
            os.environ[_WEIGHTS_ONLY] = before


def _remember_moments() -> None:
    """Have e3nn draw the million numbers that it normalises an activation by, the same each time, once a process.

    A small model has several activations of one kind, and drawing them took a quarter of what building it takes.
    """
    activations: Any = importlib.import_module("e3nn.math._normalize_activation")
    if not hasattr(activations.moment, "cache_info"):
        activations.moment = functools.lru_cache(maxsize=16)(activations.moment)


def prepare_models() -> None:
    """Do what every model of a process needs once: whoever forks from this one need not."""
    import torch

    mace("modules")
    importlib.import_module("e3nn.math").normalize2mom(torch.nn.functional.silu)


def _keep_tqdm_in_this_process() -> None:
    """Give tqdm, by which torch.fx counts its steps, a lock of this process alone.

    That between processes, its default, is a semaphore of the system that a worker which is ended leaves behind.
    """
    if parent_process() is not None:
        importlib.import_module("tqdm").tqdm.set_lock(threading.RLock())


def hyperparameters(model: Any) -> dict[str, Any]:
    """What it takes to build `model` again, weights apart, as plain JSON values.

    Raises InputError for a model of another class or with parts that the tables here do not hold.
    """
    name = type(model).__name__
    if name not in MODELS:
        raise unknown("model class", name, MODELS)
    for part in ("cueq_config", "embedding_readout"):
        if getattr(model, part, None) is not None:
            raise InputError(f"this model uses {part}, which a Tentpole member file cannot describe")
    first, last, readout = model.interactions[0], model.interactions[-1], model.readouts[-1]
    radial, heads = model.radial_embedding, list(getattr(model, "heads", ["default"]))
    values = {
        **_symmetry(model, readout, len(heads)),
        **{key: bool(getattr(model, key, preset)) for key, preset in _SWITCHES.items()},
        "max_ell": int(model.spherical_harmonics._lmax),
        "num_interactions": int(model.num_interactions),
        "radial_type": _RADIAL.get(type(radial.bessel_fn).__name__, type(radial.bessel_fn).__name__),
        "pair_repulsion": hasattr(model, "pair_repulsion_fn"),
        "num_bessel": len(radial.bessel_fn.bessel_weights),
        "r_max": float(model.r_max),
        "num_polynomial_cutoff": float(radial.cutoff_fn.p),
        "avg_num_neighbors": float(first.avg_num_neighbors),
        "interaction_cls": _listed(last, "interaction block", INTERACTIONS),
        "interaction_cls_first": _listed(first, "interaction block", INTERACTIONS),
        "readout_cls": _listed(readout, "readout block", READOUTS),
        "gate": _gate(readout),
        "radial_MLP": _radial_widths(first.conv_tp_weights),
        "distance_transform": _distance_transform(radial),
        "atomic_numbers": [int(z) for z in model.atomic_numbers],
        "heads": heads,
    }
    specs = getattr(model, "embedding_specs", None)
    return {key: values[key] for key in _KEYS} | ({} if specs is None else {"embedding_specs": described(specs)})


def _symmetry(model: Any, readout: Any, heads: int) -> dict[str, Any]:
    """The order of the products and the irreducible representations between them."""
    from e3nn.o3 import Irreps

    product = model.products[0]
    contractions = product.symmetric_contractions
    inner = Irreps(str(getattr(readout, "hidden_irreps", "1x0e")))
    edge = getattr(model, "edge_irreps", None)
    return {
        "correlation": int(
            len(contractions.contractions[0].weights) + 1
            if hasattr(contractions, "contractions")
            else contractions.contraction_degree
        ),
        "hidden_irreps": str(product.linear.irreps_out),
        "edge_irreps": None if edge is None else str(edge),
        "MLP_irreps": str(Irreps(f"{max(1, inner.count('0e') // heads)}x0e")),
    }


def _gate(readout: Any) -> str | None:
    """The last readout's nonlinearity by name."""
    functions = list(getattr(getattr(readout, "non_linearity", None), "acts", None) or [])
    function = getattr(functions[0], "f", None) if functions else None
    gate = next((word for word, known in _gates().items() if known is function), None)
    if gate is None and function is not None:
        raise unknown("gate", str(function), GATES)
    return gate


def _radial_widths(network: Any) -> list[int]:
    """The hidden layers of the network from distances to weights."""
    if hasattr(network, "hs"):
        return [int(width) for width in network.hs[1:-1]]
    return [int(layer.normalized_shape[0]) for layer in network.net if hasattr(layer, "normalized_shape")]


def _distance_transform(radial: Any) -> str:
    name = type(getattr(radial, "distance_transform", None)).__name__
    return {"NoneType": "None"}.get(name, name.removesuffix("Transform"))


def build(
    model: str,
    hyper: Mapping[str, Any],
    weights: Mapping[str, Any],
    dtype: str,
    *,
    optimized: bool = True,
    buffers: bool = True,
) -> Any:
    """The model of those hyperparameters and weights (as `state_dict` names them), ready to evaluate.

    optimized : see `build_context`. buffers : whether `weights` hold what is no parameter too; false: what the
    hyperparameters say.

    Raises InputError for a name outside the tables or weights that do not fit.
    """
    if model not in MODELS:
        raise unknown("model class", model, MODELS)
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)

    missing = {_E0S, *_SCALES} - set(weights)
    if missing:
        raise InputError(f"the weights lack {', '.join(sorted(missing))}: this is no whole member")
    if not isinstance(hyper, Mapping):
        raise InputError(f"hyperparameters = {hyper!r:.80}: a table is wanted")
    shapes = tuple(tuple(weights[key].shape) for key in (_E0S, *_SCALES))
    _check_shapes(hyper, shapes)
    try:
        built = copied(_template(model, json.dumps(dict(hyper), sort_keys=True), dtype, shapes, optimized))
        built.load_state_dict({**({} if buffers else dict(built.named_buffers())), **weights}, strict=True)
    except InputError:
        raise
    except (RuntimeError, AssertionError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        reduced = hyper.get("use_reduced_cg") is True  # mace takes that for: where cuequivariance is installed
        if reduced and importlib.util.find_spec("cuequivariance_torch") is not None:
            # it was not where they were made
            return build(model, {**hyper, "use_reduced_cg": False}, weights, dtype, optimized=optimized)
        words = f"these weights do not fit these hyperparameters: {type(error).__name__}: {error}"
        remedy = ". Weights made where cuequivariance was installed need it: pip install cuequivariance-torch"
        raise InputError(words + remedy * reduced) from error
    return in_precision(built, dtype, weights[_E0S]).eval()


def _check_shapes(hyper: Mapping[str, Any], shapes: Sequence[tuple[int, ...]]) -> None:
    """Raises InputError where the energies of the isolated atoms, or the scales, are not those of these heads."""
    try:
        heads, elements = len(hyper["heads"]), len(hyper["atomic_numbers"])
    except (KeyError, TypeError):
        return  # said when the model is built
    legal = (((elements,), (1, elements), (heads, elements)), ((), (1,), (heads,)), ((), (1,), (heads,)))
    for key, shape, wanted in zip((_E0S, *_SCALES), shapes, legal, strict=True):
        if shape not in wanted:
            raise InputError(f"{key} has shape {shape}: {wanted[-1]} is wanted for {heads} heads, {elements} elements")


def in_precision(model: Any, dtype: str, energies: Any = None) -> Any:
    """The model in `dtype`, the energies of its isolated atoms in float64.

    energies : of the isolated atoms, eV; None: those it has. For heavy atoms float32 is too coarse by hundredths of
    an eV.
    """
    import torch

    kept = (model.atomic_energies_fn.atomic_energies if energies is None else energies).double()
    model = model.to(getattr(torch, dtype))
    model.atomic_energies_fn.atomic_energies = kept.clone()
    return model


@functools.lru_cache(maxsize=4)
def _template(model: str, hyper: str, dtype: str, shapes: tuple[tuple[int, ...], ...], optimized: bool) -> Any:
    """A model without weights worth keeping: built once, however many members share its architecture."""
    energies, scale, shift = (np.zeros(shape) for shape in shapes)
    modules = mace("modules")
    arguments = _arguments(json.loads(hyper))
    with build_context(dtype, optimized=optimized):
        built = getattr(modules, model)(
            **arguments,
            atomic_energies=energies,
            atomic_inter_scale=scale.tolist(),
            atomic_inter_shift=shift.tolist(),
        )
    return built.requires_grad_(False)


def copied(module: Any) -> Any:
    """Copy a module: tensors of its own, the same code. copy.deepcopy would turn it to TorchScript."""
    twin = object.__new__(type(module))
    twin.__dict__.update(module.__dict__)
    twin.__dict__["_parameters"] = {name: _own(tensor) for name, tensor in module._parameters.items()}
    twin.__dict__["_buffers"] = {name: _own(tensor) for name, tensor in module._buffers.items()}
    twin.__dict__["_modules"] = {
        name: None if child is None else copied(child) for name, child in module._modules.items()
    }
    return twin


def _own(tensor: Any) -> Any:
    import torch

    if tensor is None:
        return None
    copy = tensor.detach().clone()
    return torch.nn.Parameter(copy, requires_grad=False) if isinstance(tensor, torch.nn.Parameter) else copy


def _arguments(hyper: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments from the file's plain values, names resolved in the closed tables."""
    blocks = mace("modules.blocks")
    o3 = importlib.import_module("e3nn.o3")
    for key in hyper:
        if key not in _KEYS and key != "embedding_specs":
            raise unknown("hyperparameter", key, _KEYS)
    if absent := set(_KEYS) - set(hyper):
        raise InputError(f"hyperparameters are missing: {', '.join(sorted(absent))}")
    for key, legal in (
        ("interaction_cls", INTERACTIONS),
        ("interaction_cls_first", INTERACTIONS),
        ("readout_cls", READOUTS),
        ("gate", (*GATES, None)),
        ("distance_transform", DISTANCES),
    ):
        if hyper[key] not in legal:
            raise unknown(key, str(hyper[key]), [str(word) for word in legal])
    check_sizes(hyper)
    arguments = dict(hyper)
    if "embedding_specs" in hyper:
        check_specs(hyper["embedding_specs"])
        arguments["embedding_specs"] = {
            spec["name"]: {key: value for key, value in spec.items() if key != "name"}
            for spec in hyper["embedding_specs"]
        }
    for key in ("interaction_cls", "interaction_cls_first", "readout_cls"):
        arguments[key] = getattr(blocks, hyper[key])
    for key in _IRREPS:
        arguments[key] = None if hyper[key] is None else o3.Irreps(hyper[key])
    arguments["gate"] = None if hyper["gate"] is None else _gates()[hyper["gate"]]
    arguments["num_elements"] = len(hyper["atomic_numbers"])
    return arguments


@contextlib.contextmanager
def build_context(dtype: str, *, optimized: bool = True) -> Iterator[None]:
    """Build in `dtype` without TorchScript, and leave torch's and e3nn's global settings as they were.

    Plain modules start at full speed and give the same bits at every call; TorchScript profiles and
    recompiles during the first calls, and its first answers differ from the later ones in the last digits.

    optimized : whether e3nn looks for the best order of its products, which takes as long as all the rest: not for a
    model of which the weights alone are wanted. Another order rounds differently.
    """
    import torch

    mace("modules")
    e3nn = importlib.import_module("e3nn")
    default, before = torch.get_default_dtype(), e3nn.get_optimization_defaults()
    torch.set_default_dtype(getattr(torch, dtype))
    e3nn.set_optimization_defaults(jit_script_fx=False, optimize_einsums=optimized)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_default_dtype(default)
        e3nn.set_optimization_defaults(**before)


@contextlib.contextmanager
def interpreted() -> Iterator[None]:
    """Run what e3nn has in TorchScript as it stands: optimising it takes half a second of a process's first call.

    For what is looked at once. Optimised code rounds differently.
    """
    import torch

    with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
        yield


def _gates() -> dict[str, Any]:
    import torch

    return {"silu": torch.nn.functional.silu, "tanh": torch.tanh, "abs": torch.abs}


def _listed(block: Any, what: str, legal: Sequence[str]) -> str:
    if type(block).__name__ not in legal:
        raise unknown(what, type(block).__name__, legal)
    return type(block).__name__
