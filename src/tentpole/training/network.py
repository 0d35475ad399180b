"""MACE's energies, forces and stresses for several members at once, each with weights and frames of its own.

The members' weights are stacked along a first axis M, under the names that they have in mace's model, and every product
of weights is one batched product over members. Geometry is no part of it: spherical harmonics and radial functions of
all pairs, and their derivatives, are made once per training. The radial networks T(r) and their derivatives dT/dr are
one forward pass (the derivative is carried along), so that a loss over forces differentiates them once, not twice:

    dE/dv = Σ dE/dY · dY/dv + (Σ dE/dT · dT/dr) v/r        for the vector v of each pair.

The same numbers as mace's own model: `check` compares.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from tentpole.errors import TentpoleError
from tentpole.training.convolution import Terms, convolve
from tentpole.training.stack import Part, Weights

if TYPE_CHECKING:
    from tentpole.training.graphs import GraphBatch

Tensor = torch.Tensor
FIRST, LATER = "RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock"
READOUTS = ("LinearReadoutBlock", "NonLinearReadoutBlock")


class UnsupportedModel(TentpoleError):
    """A model that this network cannot stand for: train it by mace's own command."""


@dataclass(frozen=True)
class StackedPrediction:
    """energies (M, B) in eV less those of the isolated atoms, forces (M, N, 3), stress (M, B, 3, 3) or None."""

    energies: Tensor
    forces: Tensor
    stress: Tensor | None


@dataclass(frozen=True)
class _Contraction:
    """One term of the symmetric contraction: name of its weights, U (q, components of l × features^ν)."""

    name: str
    l: int
    coupling: Tensor


@dataclass(frozen=True)
class _Layer:
    """One layer of messages.

    orders_in, orders_sum, orders_kept, orders_out : l of the features before, of the summed messages, of the part of
    the features that is kept, and of the features after. paths : of the messages, per order. radial : names and gates
    of the layers of the radial network.
    """

    name: str
    product: str
    residual: bool
    orders_in: tuple[int, ...]
    orders_sum: tuple[int, ...]
    orders_kept: tuple[int, ...]
    orders_out: tuple[int, ...]
    paths: tuple[int, ...]
    radial: tuple[tuple[str, float | None], ...]
    terms: Terms
    contractions: tuple[tuple[_Contraction, ...], ...]


@dataclass(frozen=True)
class _Readout:
    """Names of the weights of a readout; with `hidden`, by way of a gate."""

    linear: str
    hidden: str = ""
    gate: Any = None


class Network:
    """What all members have in common: everything of mace's model but its weights. Raises UnsupportedModel."""

    def __init__(self, model: Any, device: str = "cpu") -> None:
        _refuse(model)
        weights = next(model.parameters())
        self.dtype, self.device = weights.dtype, torch.device(device)
        self.model = model
        self.numbers = tuple(int(z) for z in model.atomic_numbers)
        self.cutoff = float(model.r_max)
        self.channels = int(model.interactions[0].node_feats_irreps[0].mul)
        self.embeddings = _embeddings(model)
        self.degree = int(model.spherical_harmonics.irreps_out.lmax)
        self.radial_functions = int(model.radial_embedding.out_dim)
        self.parts: dict[str, tuple[Part, ...]] = {
            name: (Part(tuple(w.shape)),) for name, w in model.named_parameters()
        }
        self.parts["node_embedding.linear.weight"] = _parts(model.node_embedding.linear)
        self._layers = [self._layer(k) for k in range(len(model.interactions))]
        self._readouts = [self._readout(f"readouts.{k}", block) for k, block in enumerate(model.readouts)]

    # -- geometry: once per training -----------------------------------------------------------------------------

    @property
    def columns(self) -> list[int]:
        """Widths of the parts of `pair_features`: R, dR/dr, Y, dY/dv, v/r, v."""
        harmonics = (self.degree + 1) ** 2
        return [self.radial_functions, self.radial_functions, harmonics, 3 * harmonics, 3, 3]

    def pair_features(self, vectors: NDArray[np.float64]) -> Tensor:
        """(q + 1, sum of `columns`): all that is known of each pair of `vectors` (q, 3) in Å; a last row of zeros."""
        if len(vectors) == 0:
            return torch.zeros(1, sum(self.columns), dtype=self.dtype, device=self.device)
        radial = copy.deepcopy(self.model.radial_embedding).double()
        v = torch.tensor(vectors, dtype=torch.float64, requires_grad=True)
        r = v.detach().norm(dim=1, keepdim=True).requires_grad_()
        harmonics = self.model.spherical_harmonics(v)
        functions, _ = radial(r, None, None, None)
        slopes = [torch.autograd.grad(f.sum(), r, retain_graph=True)[0] for f in functions.unbind(1)]
        turns = [torch.autograd.grad(y.sum(), v, retain_graph=True)[0] for y in harmonics.unbind(1)]
        parts = [functions, torch.cat(slopes, 1), harmonics, torch.cat(turns, 1), v / r, v]
        rows = torch.cat([part.detach() for part in parts], 1)
        return torch.cat([rows, torch.zeros_like(rows[:1])]).to(self.dtype).to(self.device)

    # -- predictions ---------------------------------------------------------------------------------------------

    def predict(
        self, weights: Weights, batch: GraphBatch, *, training: bool, stress: bool = False
    ) -> StackedPrediction:
        """Energies, forces and, where asked, stresses of the batch; with `training` they can be differentiated."""
        if self.embeddings and batch.states is None:
            raise UnsupportedModel(f"a model that reads {' and '.join(self.embeddings)}, and frames without them")
        radial, slopes, harmonics, turns, unit, vectors = batch.features
        waves = harmonics.detach().requires_grad_()
        networks = self._radial_networks(weights, torch.cat([radial, slopes], 1))
        values, derivatives = zip(*(network.chunk(2, 1) for network in networks), strict=True)
        if not training:
            values = tuple(value.detach().requires_grad_() for value in values)
        energies = self._energies(weights, batch, waves, values, training)
        to_waves, *to_values = torch.autograd.grad(energies.sum(), [waves, *values], create_graph=training)
        along: Any = sum((g * d).sum(-1, keepdim=True) for g, d in zip(to_values, derivatives, strict=True))
        members, count = harmonics.shape[:2]
        pull = torch.matmul(to_waves[:, :, None], turns.view(members, count, -1, 3))[:, :, 0] + along * unit
        send, receive = batch.pairs.index
        flat = pull.reshape(-1, 3)
        forces = torch.zeros(members * batch.atoms, 3, dtype=self.dtype, device=self.device)
        forces = forces.index_add(0, torch.cat([send, receive]), torch.cat([flat, -flat]))
        return StackedPrediction(
            energies=energies,
            forces=forces.view(members, batch.atoms, 3),
            stress=self._stress(batch, pull, vectors) if stress else None,
        )

    def _stress(self, batch: GraphBatch, pull: Tensor, vectors: Tensor) -> Tensor:
        members, frames = batch.volumes.shape
        virial = (pull[..., :, None] * vectors[..., None, :]).reshape(-1, 9)
        empty = torch.zeros(members * frames + 1, 9, dtype=self.dtype, device=self.device)
        sums = empty.index_add(0, batch.frame_of_pair, virial)[:-1].view(members, frames, 3, 3)
        return 0.5 * (sums + sums.transpose(-1, -2)) / batch.volumes[..., None, None]

    def _radial_networks(self, weights: Weights, functions: Tensor) -> list[Tensor]:
        """T of every layer and, below it along the second axis, dT/dr."""
        networks = []
        for layer in self._layers:
            hidden = functions
            for name, gate in layer.radial:
                hidden = torch.bmm(hidden, weights[name][0])
                if gate is not None:
                    hidden = _Gate.apply(hidden, gate)  # type: ignore[no-untyped-call]
            networks.append(hidden)
        return networks

    def _energies(
        self, weights: Weights, batch: GraphBatch, waves: Tensor, radial: Sequence[Tensor], training: bool
    ) -> Tensor:
        members, atoms = batch.members, batch.atoms
        (kinds,) = weights["node_embedding.linear.weight"]
        features = kinds.index_select(1, batch.species)[:, :, None]  # (M, N, components, channels)
        if batch.states is not None:
            features = features + self._embedded(weights, batch, batch.states)[:, :, None]
        node: Any = 0.0
        for layer, readout, values in zip(self._layers, self._readouts, radial, strict=True):
            lifted = _by_order(weights[f"{layer.name}.linear_up.weight"], features, layer.orders_in)
            sums = convolve(
                waves.reshape(-1, waves.shape[2]),
                lifted.reshape(members * atoms, -1, self.channels),
                values.reshape(-1, sum(layer.paths), self.channels),
                batch.pairs,
                layer.terms,
            )
            features = self._update(layer, weights, batch, features, sums, training)
            node = node + _read(readout, weights, features[:, :, 0], training)
        node = node * batch.scale + batch.shift
        frames = batch.frames
        total = torch.zeros(members * frames + 1, dtype=self.dtype, device=self.device)
        return total.index_add(0, batch.frame_of_atom, node.reshape(-1))[:-1].view(members, frames)

    def _embedded(self, weights: Weights, batch: GraphBatch, states: Tensor) -> Tensor:
        """What charge and multiplicity add to the features of each atom, (M, N, channels); states (k, M, B): rows."""
        members, frames = batch.members, batch.frames
        tables = (weights[f"joint_embedding.embedders.{name}.weight"][0] for name in self.embeddings)
        place = torch.arange(members, device=self.device)[:, None]
        rows = torch.cat([table[place, row] for table, row in zip(tables, states, strict=True)], 2)
        (mix,) = weights["joint_embedding.project.0.weight"]
        mixed = torch.nn.functional.silu(torch.bmm(rows, mix.transpose(1, 2))).reshape(members * frames, -1)
        mixed = torch.cat([mixed, torch.zeros_like(mixed[:1])])  # what fills up belongs to no frame
        return mixed.index_select(0, batch.frame_of_atom).view(members, batch.atoms, -1)

    def _update(
        self, layer: _Layer, weights: Weights, batch: GraphBatch, features: Tensor, sums: Tensor, training: bool
    ) -> Tensor:
        """The features after one layer, from those before and the summed messages (M N, rows, channels)."""
        members, channels = batch.members, self.channels
        skip = weights[f"{layer.name}.skip_tp.weight"]
        linear = weights[f"{layer.name}.linear.weight"]
        widths = [(2 * l + 1) * n for l, n in zip(layer.orders_sum, layer.paths, strict=True)]
        mixed = []
        for k, (l, n, part) in enumerate(zip(layer.orders_sum, layer.paths, torch.split(sums, widths, 1), strict=True)):
            rows = part.reshape(members, batch.atoms, (2 * l + 1), n * channels)
            mix = linear[k]
            if layer.residual:
                mixed.append(torch.bmm(rows.flatten(1, 2), mix).view(members, batch.atoms, 2 * l + 1, channels))
            else:
                by_kind = torch.einsum("mac,mczd->mzad", mix, skip[k])
                mixed.append(_by_species(by_kind, rows, batch.caps))
        message = torch.cat(mixed, 2)
        contracted = self._contract(layer, weights, message.permute(0, 3, 2, 1).contiguous(), batch.caps, training)
        parts = torch.split(contracted, [2 * l + 1 for l in layer.orders_out], 2)
        out = []
        for mix, values in zip(weights[f"{layer.product}.linear.weight"], parts, strict=True):
            shape = (members, channels, values.shape[2], batch.atoms)
            out.append(torch.bmm(mix.transpose(1, 2), values.flatten(2)).view(shape))
        updated = torch.cat(out, 2).permute(0, 3, 2, 1)
        if not layer.residual:
            return updated
        before = torch.split(features, [2 * l + 1 for l in layer.orders_in], 2)
        kept = [
            _by_species(mix.permute(0, 2, 1, 3), before[layer.orders_in.index(l)], batch.caps)
            for l, mix in zip(layer.orders_kept, skip, strict=True)
        ]
        return updated + torch.cat(kept, 2)

    def _contract(
        self, layer: _Layer, weights: Weights, features: Tensor, caps: Sequence[int], training: bool
    ) -> Tensor:
        """The symmetric contraction, by Horner's rule, of features (M, channels, components, N)."""
        members, channels, components, _ = features.shape
        kinds = len(self.numbers)
        batches = members * channels
        by_degree = []
        for terms in layer.contractions:  # from the highest degree down
            parts = []
            for term in terms:
                flat = weights[term.name][0].permute(0, 1, 3, 2).reshape(-1, len(term.coupling))
                parts.append((flat @ term.coupling).view(members, kinds, channels, 2 * term.l + 1, -1))
            by_degree.append(torch.cat(parts, 3))
        out = by_degree[0].shape[3]
        sums = []
        for kind, (atoms, part) in enumerate(zip(caps, torch.split(features, list(caps), 3), strict=True)):
            own = part.reshape(batches, components, atoms)
            degree = len(by_degree)
            held = torch.bmm(by_degree[0][:, kind].reshape(batches, -1, components), own)
            for lower in by_degree[1:]:
                degree -= 1
                shape = (batches, out, components ** (degree - 1), components)
                held = held.view(*shape, atoms) + lower[:, kind].reshape(*shape, 1)
                held = (held * own[:, None, None]).sum(3) if training else _Dot.apply(held, own)  # type: ignore[no-untyped-call]
            sums.append(held.view(members, channels, out, atoms))
        return torch.cat(sums, 3)

    # -- what mace's model is made of ----------------------------------------------------------------------------

    def _layer(self, k: int) -> _Layer:
        interaction, product = self.model.interactions[k], self.model.products[k]
        name = f"interactions.{k}"
        sums = tuple(int(ir.ir.l) for ir in interaction.target_irreps)
        terms, paths = _terms(interaction, sums)
        neighbours = float(interaction.avg_num_neighbors)
        self.parts[f"{name}.linear_up.weight"] = _parts(interaction.linear_up)
        self.parts[f"{name}.linear.weight"] = _merged(_parts(interaction.linear), paths, 1.0 / neighbours)
        self.parts[f"{name}.skip_tp.weight"] = _parts(interaction.skip_tp)
        self.parts[f"products.{k}.linear.weight"] = _parts(product.linear)
        return _Layer(
            name=name,
            product=f"products.{k}",
            residual=type(interaction).__name__ == LATER,
            orders_in=tuple(int(ir.ir.l) for ir in interaction.node_feats_irreps),
            orders_sum=sums,
            orders_kept=tuple(
                int(interaction.skip_tp.irreps_in1[i.i_in1].ir.l) for i in interaction.skip_tp.instructions
            ),
            orders_out=tuple(int(ir.ir.l) for ir in product.linear.irreps_out),
            paths=paths,
            radial=self._radial(f"{name}.conv_tp_weights", interaction.conv_tp_weights),
            terms=terms,
            contractions=self._contractions(f"products.{k}.symmetric_contractions", product.symmetric_contractions),
        )

    def _radial(self, name: str, block: Any) -> tuple[tuple[str, float | None], ...]:
        layers = []
        for k, layer in enumerate(block):
            gate = None if layer.act is None else float(layer.act.cst)
            variance = layer.var_in / (layer.var_out if gate is None else 1.0)
            if gate is not None and layer.var_out != 1:
                raise UnsupportedModel("a radial network whose layers rescale their variance")
            weight = f"{name}.layer{k}.weight"
            self.parts[weight] = (Part((layer.h_in, layer.h_out), (layer.h_in * variance) ** -0.5),)
            layers.append((weight, gate))
        return tuple(layers)

    def _readout(self, name: str, block: Any) -> _Readout:
        if type(block).__name__ == "LinearReadoutBlock":
            self.parts[f"{name}.linear.weight"] = _parts(block.linear)
            return _Readout(f"{name}.linear.weight")
        self.parts |= {f"{name}.linear_{n}.weight": _parts(getattr(block, f"linear_{n}")) for n in (1, 2)}
        return _Readout(f"{name}.linear_2.weight", f"{name}.linear_1.weight", block.non_linearity.acts[0])

    def _contractions(self, name: str, block: Any) -> tuple[tuple[_Contraction, ...], ...]:
        orders = [int(ir.ir.l) for ir in block.irreps_out]
        highest = int(block.contractions[0].correlation)
        contractions = []
        for degree in range(highest, 0, -1):
            terms = []
            for a, (l, part) in enumerate(zip(orders, block.contractions, strict=True)):
                coupling = part.U_tensors(degree)
                q = coupling.shape[-1]
                which = "weights_max" if degree == highest else f"weights.{highest - 1 - degree}"
                flat = coupling.detach().reshape(-1, q).T.contiguous().to(self.dtype).to(self.device)
                terms.append(_Contraction(f"{name}.contractions.{a}.{which}", l, flat))
            contractions.append(tuple(terms))
        return tuple(contractions)


class _Gate(torch.autograd.Function):
    """SiLU of the first half of the rows; in the second half, their derivatives, carried along. Times a constant."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, constant: float) -> Tensor:
        value, slope = rows.chunk(2, 1)
        s = torch.sigmoid(value)
        d = torch.addcmul(s, value * s, 1 - s)
        ctx.save_for_backward(value, slope, s, d)
        ctx.constant = constant
        return torch.cat([value * s, slope * d], 1).mul_(constant)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        value, slope, s, d = ctx.saved_tensors
        to_value, to_slope = gradients[0].chunk(2, 1)
        bend = (s - s * s) * (2 + value - 2 * value * s)
        above = torch.addcmul(to_value * d, to_slope * slope, bend)
        return torch.cat([above, to_slope * d], 1).mul_(ctx.constant), None


class _Dot(torch.autograd.Function):
    """Σ_i h[b, o, r, i, a] x[b, i, a], added up in the order of i for every atom a.

    torch's own sum adds up the last few atoms of a batch in another order than the others.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(h, x)
        total = h[:, :, :, 0] * x[:, None, None, 0]
        for i in range(1, h.shape[3]):
            total += h[:, :, :, i] * x[:, None, None, i]
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        h, x = ctx.saved_tensors
        flat, g = h.flatten(1, 2), gradients[0].flatten(1, 2)
        to_x = flat[:, 0] * g[:, 0, None]
        for r in range(1, flat.shape[1]):
            to_x += flat[:, r] * g[:, r, None]
        return gradients[0].unsqueeze(3) * x[:, None, None], to_x


def _by_order(mixes: Sequence[Tensor], features: Tensor, orders: Sequence[int]) -> Tensor:
    """Channels of every order mixed by its own weights (M, a, b): features (M, N, components, a)."""
    members, atoms = features.shape[:2]
    parts = torch.split(features, [2 * l + 1 for l in orders], 2) if len(orders) > 1 else (features,)
    mixed = [
        torch.bmm(part.flatten(1, 2), mix).view(members, atoms, part.shape[2], -1)
        for mix, part in zip(mixes, parts, strict=True)
    ]
    return torch.cat(mixed, 2) if len(mixed) > 1 else mixed[0]


def _by_species(by_kind: Tensor, rows: Tensor, caps: Sequence[int]) -> Tensor:
    """Rows (M, N, components, a) times the weights (M, kinds, a, b) of each atom's species."""
    members, _, components, _ = rows.shape
    mixed = [
        torch.bmm(part.reshape(members, part.shape[1] * components, part.shape[3]), by_kind[:, kind]).view(
            members, part.shape[1], components, by_kind.shape[3]
        )
        for kind, part in enumerate(torch.split(rows, list(caps), 1))
    ]
    return torch.cat(mixed, 1) if len(mixed) > 1 else mixed[0]


def _read(readout: _Readout, weights: Weights, scalars: Tensor, training: bool) -> Tensor:
    """Energies (M, N) from the scalar features (M, N, channels)."""
    if readout.hidden:
        scalars = readout.gate(torch.bmm(scalars, weights[readout.hidden][0]))
    mix = weights[readout.linear][0]
    if training:
        return torch.bmm(scalars, mix).squeeze(-1)
    return (scalars.contiguous() * mix.transpose(1, 2)).sum(-1)  # one column's product depends on their number


def _parts(block: Any) -> tuple[Part, ...]:
    """The weights of an e3nn linear map, or of a product with one-hot species, one part per order."""
    parts = []
    for instruction in block.instructions:
        factor = float(instruction.path_weight)
        if hasattr(instruction, "i_in1"):  # the coupling l × 0 → l
            factor /= math.sqrt(2 * block.irreps_in1[instruction.i_in1].ir.l + 1)
        parts.append(Part(tuple(int(n) for n in instruction.path_shape), factor))
    return tuple(parts)


def _merged(parts: Sequence[Part], paths: Sequence[int], factor: float) -> tuple[Part, ...]:
    """The parts of all paths of each order as one, acting on the paths' channels side by side; times `factor`."""
    merged, place = [], 0
    for n in paths:
        same = parts[place : place + n]
        if any(p.shape != same[0].shape or not math.isclose(p.factor, same[0].factor) for p in same):
            raise UnsupportedModel("the paths of a convolution are not in the order of their angular momenta")
        a, b = same[0].shape
        merged.append(Part((n * a, b), same[0].factor * factor))
        place += n
    return tuple(merged)


def _terms(interaction: Any, orders: Sequence[int]) -> tuple[Terms, tuple[int, ...]]:
    """The convolution's terms, its rows in the order (l, component, path), and the number of paths of each l."""
    from e3nn import o3

    product = interaction.conv_tp
    incoming = [int(ir.ir.l) for ir in product.irreps_in1]
    waves = [int(ir.ir.l) for ir in product.irreps_in2]
    from_in, from_waves = (np.cumsum([0, *(2 * l + 1 for l in ls)]) for ls in (incoming, waves))
    paths = [(i, int(product.irreps_out[i.i_out].ir.l)) for i in product.instructions]
    if [l for _, l in paths] != sorted(l for _, l in paths) or list(orders) != sorted(set(orders)):
        raise UnsupportedModel("the paths of a convolution are not in the order of their angular momenta")
    rows, radial, before = [], [], 0
    for l in orders:
        own = [i for i, order in paths if order == l]
        block = np.zeros((2 * l + 1, len(own), from_in[-1], from_waves[-1]))
        for p, i in enumerate(own):
            l1, l2 = incoming[i.i_in1], waves[i.i_in2]
            coupling = o3.wigner_3j(l1, l2, l, dtype=torch.float64).numpy() * i.path_weight
            where_in = slice(from_in[i.i_in1], from_in[i.i_in1 + 1])
            block[:, p, where_in, from_waves[i.i_in2] : from_waves[i.i_in2 + 1]] = coupling.transpose(2, 0, 1)
        rows.append(block.reshape(-1, from_in[-1], from_waves[-1]))
        radial += list(range(before, before + len(own))) * (2 * l + 1)
        before += len(own)
    signs = np.concatenate([np.full(2 * l + 1, (-1.0) ** l) for l in waves])
    counts = tuple(sum(order == l for _, order in paths) for l in orders)
    return Terms.of(np.concatenate(rows), np.array(radial), signs), counts


def _embeddings(model: Any) -> Mapping[str, Mapping[str, Any]]:
    """Embeddings of total charge and spin, by mace's names, in the order of their weights."""
    return getattr(model, "embedding_specs", None) or {}


def _refuse(model: Any) -> None:
    """Raises UnsupportedModel where the model has parts that this network does not know."""
    blocks = [type(block).__name__ for block in model.interactions]
    legal = [FIRST, LATER], [LATER]
    readouts = [type(block).__name__ for block in model.readouts]
    radial = model.radial_embedding
    reasons = {
        "its class": type(model).__name__ != "ScaleShiftMACE",
        "its interaction blocks": blocks[0] not in legal[0] or any(block not in legal[1] for block in blocks[1:]),
        "its readouts": any(block not in READOUTS for block in readouts) or len(readouts) != len(blocks),
        "several heads": len(getattr(model, "heads", ["Default"])) > 1,
        "pair repulsion": hasattr(model, "pair_repulsion"),
        "embeddings that are no tables": any(spec["type"] != "categorical" for spec in _embeddings(model).values()),
        "an energy of its own for charge or spin": hasattr(model, "embedding_readout"),
        "a transformed distance": hasattr(radial, "distance_transform"),
        "a trained radial basis": any(parameter.requires_grad for parameter in radial.parameters()),
        "a cutoff outside the radial functions": not getattr(radial, "apply_cutoff", True),
        "products that ignore species": any(product.use_agnostic_product for product in model.products),
        "accelerated kernels": any(getattr(block, "cueq_config", None) is not None for block in model.interactions),
    }
    if reasons_met := [what for what, there in reasons.items() if there]:
        raise UnsupportedModel(f"a model with {', '.join(reasons_met)} is trained by mace's own command")
