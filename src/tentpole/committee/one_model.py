"""Several MACE networks as one: a weighted sum of networks is itself a MACE model, block by block.

    E(x) = Σ_k c_k E_k(x),        k = 1 … K

Networks of one architecture differ in their weights alone. Side by side their channels are those of one network K times
as wide, whose linear maps are block diagonal, so that no block hears of another before the readouts, where each enters
with c_k times its own scale. Shifts are summed alike. e3nn divides a linear map by the root of the channels that it
adds up, K times as many here: so blocks are multiplied by √K.

So the mean of a committee, and a member that is linear in its weights (committee/linear_voter.py: a difference of two
networks), are files for every program that reads MACE models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tentpole.committee.mace_architecture import build, hyperparameters, in_precision
from tentpole.errors import InputError

FloatArray = NDArray[np.float64]
_BLOCKS = ("RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock")
_PLAIN = {
    "readout_cls": "NonLinearReadoutBlock",
    "edge_irreps": None,
    "pair_repulsion": False,
    "use_so3": False,
    "use_edge_irreps_first": False,
    "use_agnostic_product": False,
    "use_last_readout_only": False,
    "apply_cutoff": True,
}
"""Hyperparameters of networks that can stand side by side."""


def one_model(terms: Sequence[tuple[float, Any]], e0s: FloatArray) -> Any:
    """The mace model whose interaction energy is Σ factor × that of the terms' models.

    Parameters
    ----------
    terms : sequence of (factor, mace model)
        Of one architecture and precision, one head each.
    e0s : (elements,) array
        Energies of the isolated atoms in eV, in the order of the models' elements.

    Returns
    -------
    mace model
        On the CPU, in the precision of the terms. The same energies, forces and stresses as the sum, but for rounding.

    Raises
    ------
    InputError
        For models whose architectures differ, or have parts that cannot stand side by side.
    """
    import torch

    factors, models = [factor for factor, _ in terms], [model.to("cpu") for _, model in terms]
    hyper = _common(models)
    wide = _widened(hyper, len(models))
    side = _SideBySide(factors, models, len(hyper["atomic_numbers"]))
    with torch.no_grad():
        weights = {name: side.merged(name) for name, _ in models[0].named_parameters()}
        shift = math.fsum(float(model.scale_shift.shift) * factor for factor, model in terms)
    weights |= {name: value for name, value in models[0].named_buffers() if not name.endswith(".output_mask")}
    weights |= {
        "scale_shift.scale": torch.tensor(1.0),
        "scale_shift.shift": torch.tensor(shift),
        "atomic_energies_fn.atomic_energies": torch.as_tensor(e0s, dtype=torch.float64),
    }
    dtype = str(next(models[0].parameters()).dtype).removeprefix("torch.")
    made = build(type(models[0]).__name__, wide, weights, dtype, buffers=False)
    return in_precision(made, dtype)


def _common(models: Sequence[Any]) -> dict[str, Any]:
    """The hyperparameters of all of them; the number of neighbours, which only divides, is the first one's."""
    hyper = hyperparameters(models[0])
    for model in models:
        for key, value in hyperparameters(model).items():
            if key != "avg_num_neighbors" and value != hyper[key]:
                raise InputError(f"models of which one has {key} = {value} and another {hyper[key]} are not one model")
            if key in _PLAIN and value != _PLAIN[key]:
                raise InputError(f"models with {key} = {value} cannot stand side by side in one model")
            if key in ("interaction_cls", "interaction_cls_first") and value not in _BLOCKS:
                raise InputError(f"models with interaction blocks {value} cannot stand side by side in one model")
        fixed = dict(model.named_buffers())
        for name, value in models[0].named_buffers():
            if name.startswith("radial_embedding.") and not bool((fixed[name] == value).all()):
                raise InputError(f"models whose {name} differ are not one model")
    if len(hyper["heads"]) > 1:
        raise InputError("models with several heads cannot stand side by side in one model")
    if any(name.startswith("radial_embedding.") for name, _ in models[0].named_parameters()):
        raise InputError("models with radial functions that are trained cannot stand side by side in one model")
    return hyper


def _widened(hyper: Mapping[str, Any], times: int) -> dict[str, Any]:
    """The hyperparameters of a network that many times as wide."""
    from e3nn.o3 import Irreps

    wide = dict(hyper)
    for key in ("hidden_irreps", "MLP_irreps"):
        wide[key] = str(Irreps([(times * mul, ir) for mul, ir in Irreps(hyper[key])]))
    wide["radial_MLP"] = [times * width for width in hyper["radial_MLP"]]
    if "embedding_specs" in hyper:
        wide["embedding_specs"] = [{**spec, "emb_dim": times * spec["emb_dim"]} for spec in hyper["embedding_specs"]]
    return wide


class _SideBySide:
    """The weights of the wide network, by name."""

    def __init__(self, factors: Sequence[float], models: Sequence[Any], elements: int) -> None:
        self.factors, self.models, self.elements = factors, models, elements
        self.root = math.sqrt(len(models))
        self.parameters = [dict(model.named_parameters()) for model in models]
        self.channels = int(models[0].interactions[0].node_feats_irreps[0].mul)

    def merged(self, name: str) -> Any:
        """That weight of all models as one."""
        import torch

        owner, _, _ = name.rpartition(".")
        values = [own[name] for own in self.parameters]
        if name.endswith(".bias") or not values[0].numel():
            return torch.zeros_like(values[0]).new_zeros(values[0].numel() * len(values))
        if name == "node_embedding.linear.weight":
            return self._linear(owner, values, shared_in=True)
        if owner.startswith("readouts.") and owner.endswith(("linear", "linear_2")):
            scaled = [
                value * (factor * float(model.scale_shift.scale))
                for factor, model, value in zip(self.factors, self.models, values, strict=True)
            ]
            return self._linear(owner, scaled, summed_out=True)
        if owner.startswith("interactions.") and owner.endswith(".linear"):
            return self._linear(owner, self._per_neighbour(owner, values), base=self.channels)
        if owner.endswith((".linear_up", ".linear", ".linear_1", ".skip_tp")):
            return self._linear(owner, values)
        if ".conv_tp_weights.layer" in name:
            return self._radial(owner, values)
        if ".symmetric_contractions." in name or ".embedders." in name:
            return torch.cat(values, -1)
        if name == "joint_embedding.project.0.weight":
            return self._embedded(values)
        raise InputError(f"models with the weight {name} cannot stand side by side in one model")

    def _per_neighbour(self, owner: str, values: Sequence[Any]) -> list[Any]:
        """Every model divides its messages by its own number of neighbours, and the wide one all by the first's."""
        block = owner.removesuffix(".linear")
        numbers = [float(model.get_submodule(block).avg_num_neighbors) for model in self.models]
        return [value * (numbers[0] / number) for value, number in zip(values, numbers, strict=True)]

    def _linear(
        self,
        owner: str,
        values: Sequence[Any],
        *,
        shared_in: bool = False,
        summed_out: bool = False,
        base: int | None = None,
    ) -> Any:
        """Of an e3nn linear map, or product with one-hot species: a matrix for every instruction, one after another.

        base : channels of a network in inputs that hold several paths one after another.
        """
        import torch

        parts, place = [], 0
        for instruction in self.models[0].get_submodule(owner).instructions:
            shape = tuple(int(n) for n in instruction.path_shape)
            size = math.prod(shape)
            blocks = [value[place : place + size].reshape(shape) for value in values]
            place += size
            one = base if base is not None else shape[0]
            parts.append(self._diagonal(blocks, one, shared_in=shared_in, summed_out=summed_out).flatten())
        return torch.cat(parts) * (1.0 if shared_in else self.root)

    def _diagonal(self, blocks: Sequence[Any], base: int, *, shared_in: bool = False, summed_out: bool = False) -> Any:
        """Blocks (in, …, out) on the diagonal. shared_in: one above the other's columns; summed_out: below."""
        import torch

        if shared_in:
            return torch.cat(list(blocks), -1)
        if summed_out:
            return torch.cat(list(blocks), 0)
        many, first = len(blocks), blocks[0]
        width, middle, out = first.shape[0], first.shape[1:-1], first.shape[-1]
        full = first.new_zeros(width // base, many, base, *middle, many, out)
        for k, block in enumerate(blocks):
            full[:, k, ..., k, :] = block.reshape(width // base, base, *middle, out)
        return full.reshape(many * width, *middle, many * out)

    def _radial(self, owner: str, values: Sequence[Any]) -> Any:
        """A layer of the network from distances to weights: the last one's columns are those of each path in turn."""
        import torch

        network, _, layer = owner.rpartition(".")
        block = network.removesuffix(".conv_tp_weights")
        number, last = int(layer.removeprefix("layer")), len(self.models[0].get_submodule(network)) - 1
        if number < last:
            return self._diagonal(values, values[0].shape[0], shared_in=number == 0) * (self.root if number else 1.0)
        paths = self.models[0].get_submodule(block).conv_tp.instructions
        widths = [math.prod(int(n) for n in path.path_shape) for path in paths]
        columns = [torch.split(value, widths, 1) for value in values]
        parts = [self._diagonal(own, own[0].shape[0], shared_in=last == 0) for own in zip(*columns, strict=True)]
        return torch.cat(parts, 1) * (self.root if last else 1.0)

    def _embedded(self, values: Sequence[Any]) -> Any:
        """The map (out, in) from rows of the embedding tables: of each table the rows of all models in turn."""
        import torch

        widths = [spec["emb_dim"] for spec in self.models[0].embedding_specs.values()]
        columns = [torch.split(value, widths, 1) for value in values]
        parts: list[Any] = [torch.block_diag(*own) for own in zip(*columns, strict=True)]  # type: ignore[no-untyped-call]
        return torch.cat(parts, 1)
