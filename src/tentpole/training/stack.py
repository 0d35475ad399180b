"""The weights of several members side by side, and how an update changes them: Adam and a running mean.

As in mace's own training: Adam with amsgrad, weight decay on the linear maps of interactions and on products alone,
gradients clipped to a norm of 10 for each member by itself, and an exponential mean of the weights that is what is
evaluated and kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.optim.adam import adam

Tensor = torch.Tensor
Weights = Mapping[str, tuple[Tensor, ...]]

WEIGHT_DECAY = 5e-7
CLIP = 10.0
BETAS = (0.9, 0.999)
GROUPS = ("decayed", "plain")


@dataclass(frozen=True)
class Part:
    """A part of a flat weight: its shape, and a constant that it is always multiplied by."""

    shape: tuple[int, ...]
    factor: float = 1.0


def _no_moments(weights: Tensor) -> dict[str, Tensor]:
    """What Adam remembers of these weights before the first update."""
    names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    step = torch.zeros((), dtype=torch.float32, device=weights.device)
    return {"step": step, **{name: torch.zeros_like(weights, requires_grad=False) for name in names}}


class Stack:
    """M sets of weights. Each group is one tensor (M, all weights of the group), and so are its moments.

    parts : how each weight falls into parts, by name. trained : prefixes of the names of weights that change; () means
    all do.
    """

    def __init__(
        self,
        models: Sequence[Any],
        parts: Mapping[str, Sequence[Part]],
        ema_decay: float,
        device: str = "cpu",
        trained: tuple[str, ...] = (),
    ) -> None:
        named = [dict(model.named_parameters()) for model in models]
        shapes = [{name: tuple(weight.shape) for name, weight in weights.items()} for weights in named]
        if any(weights != shapes[0] for weights in shapes):
            raise ValueError("models of different shapes cannot be stacked")
        self.shapes, self.parts = shapes[0], dict(parts)
        self.names = {group: [name for name in self.shapes if _group(name) == group] for group in GROUPS}
        self.flat: dict[str, Tensor] = {}
        self._factors: dict[str, Tensor] = {}
        for group, names in self.names.items():
            rows = [torch.cat([weights[name].detach().reshape(-1) for name in names]) for weights in named]
            self.flat[group] = torch.stack(rows).to(device).requires_grad_()
            factors = [np.full(math.prod(p.shape), p.factor) for name in names for p in self.parts[name]]
            self._factors[group] = torch.tensor(np.concatenate(factors)).to(self.flat[group])
        self._moving = {group: self._mask(group, trained) for group in GROUPS} if trained else None
        self.mean = {group: flat.detach().clone() for group, flat in self.flat.items()}
        self.ema_decay = ema_decay
        self.updates = 0
        self._moments = {group: _no_moments(flat) for group, flat in self.flat.items()}

    def _mask(self, group: str, trained: tuple[str, ...]) -> Tensor:
        """Which weights of a group change."""
        told = [np.full(math.prod(self.shapes[name]), name.startswith(trained)) for name in self.names[group]]
        return torch.tensor(np.concatenate(told), device=self.flat[group].device)

    def weights(self) -> Weights:
        """The weights as they are trained."""
        return self.parted(self.flat)

    def averaged(self) -> Weights:
        """Their running means."""
        return self.parted(self.mean)

    def step(self, losses: Tensor, lr: float) -> None:
        """One update of all members, each by its own loss (M,)."""
        flats = [self.flat[group] for group in GROUPS]
        gradients = torch.autograd.grad(losses.sum(), flats)
        before = None
        if self._moving is not None:
            gradients = tuple(g * self._moving[group] for g, group in zip(gradients, GROUPS, strict=True))
            before = [flat.detach().clone() for flat in flats]
        norms = torch.sqrt(sum((g.square().sum(1) for g in gradients), torch.zeros_like(losses)))
        factors = torch.clamp(CLIP / (norms + 1e-6), max=1.0)[:, None]
        for group, gradient in zip(GROUPS, gradients, strict=True):
            self._adam(group, gradient * factors, lr)
        if self._moving is not None and before is not None:  # weight decay moves what has no gradient too
            with torch.no_grad():
                for flat, old, group in zip(flats, before, GROUPS, strict=True):
                    flat.copy_(torch.where(self._moving[group], flat, old))
        self.updates += 1
        keep = min(self.ema_decay, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for group in GROUPS:
                self.mean[group].lerp_(self.flat[group], 1.0 - keep)

    @torch.no_grad()
    def _adam(self, group: str, gradient: Tensor, lr: float) -> None:
        """Torch's own Adam as a function: its class imports torch's compiler, which takes seconds."""
        moments = self._moments[group]
        adam(
            [self.flat[group]],
            [gradient],
            [moments["exp_avg"]],
            [moments["exp_avg_sq"]],
            [moments["max_exp_avg_sq"]],
            [moments["step"]],
            fused=True,
            amsgrad=True,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=lr,
            weight_decay=WEIGHT_DECAY if group == "decayed" else 0.0,
            eps=1e-8,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        """All that the next update depends on, but for `updates`."""
        tensors = {}
        for group in GROUPS:
            tensors[f"{group}.weights"] = self.flat[group].detach()
            tensors[f"{group}.mean"] = self.mean[group]
            for name, value in self._moments[group].items():
                tensors[f"{group}.{name}"] = value
        return tensors

    def restore(self, state: Mapping[str, Tensor], updates: int) -> None:
        """Go back to where `state` was taken."""
        self.updates = updates
        with torch.no_grad():
            for group in GROUPS:
                flat = self.flat[group]
                flat.copy_(state[f"{group}.weights"])
                self.mean[group].copy_(state[f"{group}.mean"])
                for name, value in _no_moments(flat).items():
                    self._moments[group][name] = state.get(f"{group}.{name}", value).clone().to(flat.device)

    def load_into(self, model: Any, member: int, flats: Mapping[str, Tensor]) -> Any:
        """`model` with the weights of one member, from such flat tensors."""
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, weight in self.named(member, flats).items():
                parameters[name].copy_(weight)
        return model

    def named(self, member: int, flats: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of one member by name, from such flat tensors."""
        found = {}
        for group, names in self.names.items():
            sizes = [math.prod(self.shapes[name]) for name in names]
            for name, part in zip(names, torch.split(flats[group][member], sizes), strict=True):
                found[name] = part.view(self.shapes[name])
        return found

    def parted(self, flats: Mapping[str, Tensor]) -> Weights:
        """The parts (M, …) of each weight, times their factors, from such flat tensors, by name."""
        weights: dict[str, tuple[Tensor, ...]] = {}
        for group, names in self.names.items():
            sizes = [math.prod(part.shape) for name in names for part in self.parts[name]]
            pieces = iter(torch.split(flats[group] * self._factors[group], sizes, 1))
            for name in names:
                weights[name] = tuple(next(pieces).view(-1, *part.shape) for part in self.parts[name])
        return weights


def _group(name: str) -> str:
    """Which weights decay: mace's own choice."""
    linear = name.startswith("interactions.") and ("linear.weight" in name or "skip_tp_full.weight" in name)
    return "decayed" if linear or name.startswith("products.") else "plain"
