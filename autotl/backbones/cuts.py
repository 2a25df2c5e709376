"""The upper part of a network alone, from a depth on: what is run when all below is stored.

timm's networks are classes with code of their own, not lists of layers, so that the upper part is
made by leaving out: a copy of the module tree, sharing every parameter and buffer, in which what
ran before the cut hands its input through. Where a network does more before the cut than call
modules (a transformer adds position embeddings), its first stage runs on one dummy picture instead
and the activation takes the place of what comes out. Either way the result is compared with the
whole network's before it is used.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor, nn

from autotl.backbones.stages import StagedNetwork

_RELATIVE_TOLERANCE = 1e-5
_NOT_ONE_TENSOR = (RuntimeError, TypeError, AttributeError, ValueError, IndexError)


def cut(network: StagedNetwork, depth: int, image_size: int) -> StagedNetwork | None:
    """The part of a network above a depth, as a network of its own that shares its parameters.

    Args:
        network: uncut, on the device and in the layout that it is to stay in.
        depth: where to cut, in ``1 ... network.num_stages``; what lies below must be frozen, or
            not be trained.
        image_size: side of the pictures, in pixels.

    Returns:
        A network whose input is ``network.activation(x, depth)``; None if this architecture can't
        be cut there, because more than one tensor passes.
    """
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            return _verified(network, depth, image_size)
    finally:
        network.train(was_training)


def deepest_cut(network: StagedNetwork, depth: int, image_size: int) -> StagedNetwork | None:
    """The network cut at a depth, or below it at the nearest depth where it can be cut."""
    tried = (cut(network, lower, image_size) for lower in range(depth, 0, -1))
    return next((upper for upper in tried if upper is not None), None)


def _verified(network: StagedNetwork, depth: int, image_size: int) -> StagedNetwork | None:
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((2, 3, image_size, image_size), generator=generator).to(device)
    expected = network(x)
    tolerance = _RELATIVE_TOLERANCE * float(expected.abs().max())
    for kind in (_Head,) if depth == network.num_stages else (_Bypassed, _Substituted):
        try:
            upper = kind(network, depth, x).eval()
            found = upper(network.activation(x, depth))
        except _NOT_ONE_TENSOR:
            continue
        if found.shape == expected.shape and float((found - expected).abs().max()) <= tolerance:
            return upper
    return None


class _Bypassed(StagedNetwork):
    """A network in which everything that ran before a depth hands its input through.

    Args:
        network: the whole network.
        depth: where to cut.
        x: normalised pictures ``(n, 3, h, w)``, to see what runs.
    """

    def __init__(self, network: StagedNetwork, depth: int, x: Tensor) -> None:
        nn.Module.__init__(self)
        self._entries = network._entries
        self.stage_names = network.stage_names
        self.num_stages = network.num_stages
        self.frozen_depth = network.frozen_depth
        self.frozen_from = network.frozen_from
        self.start = depth
        self.model = self._upper(network, x)

    def _upper(self, network: StagedNetwork, x: Tensor) -> nn.Module:
        upper = _with_skipped(network.model, _ran_before(network, self.start, x))
        depths = {name: network.depth_of(name) for name, _ in network.model.named_parameters()}
        left = {name for name, _ in upper.named_parameters()}
        if any((name in left) != (depth >= self.start) for name, depth in depths.items()):
            raise ValueError("a parameter is used on the other side of the cut than it belongs to")
        return upper


class _Head(_Bypassed):
    """What lies above the last stage: the classifier, or a head with more layers."""

    def _upper(self, network: StagedNetwork, x: Tensor) -> nn.Module:
        if not network.head_is_classifier:
            return super()._upper(network, x)
        if _head_drops(network, x):
            raise ValueError("the dropout before the classifier would be left out")
        return network.classifier

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, n_classes)`` of what :meth:`StagedNetwork.activation` gives at the end."""
        if not hasattr(self.model, "forward_head"):
            logits: Tensor = self.model(x)
            return logits
        return self.model.forward_head(x)  # type: ignore[no-any-return, operator]


class _Substituted(_Bypassed):
    """A network whose first stage sees a dummy picture, whose output the activation replaces."""

    def _upper(self, network: StagedNetwork, x: Tensor) -> nn.Module:
        self.register_buffer("dummy", torch.zeros_like(x[:1]), persistent=False)
        self._given: Tensor | None = None
        between = network.stage_names[1 : self.start]
        entry = network.stage_names[self.start]
        model = _with_skipped(network.model, between, renewed=[entry])
        model.get_submodule(entry).register_forward_pre_hook(self._substitute)
        return model

    def _substitute(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[object, ...]:
        return (self._given, *inputs[1:])

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, n_classes)`` of activations ``(n, ...)`` at the cut."""
        with self._giving(x) as dummy:
            return super().forward(dummy)

    def activation(self, x: Tensor, depth: int) -> Tensor:
        """The activation at a depth from the one at the cut, see :class:`StagedNetwork`."""
        if depth == self.start:
            return x
        with self._giving(x) as dummy:
            return super().activation(dummy, depth)

    @contextmanager
    def _giving(self, x: Tensor) -> Iterator[Tensor]:
        """Within it, the activation takes the place of what the yielded picture leads to."""
        self._given = x
        try:
            yield self.get_buffer("dummy")
        finally:
            self._given = None

    def train(self, mode: bool = True) -> Self:
        """Train mode, the dummy's stage excepted: its statistics must not move."""
        super().train(mode)
        if mode:
            for module in self.model.children():
                parameters = list(module.parameters())
                if parameters and not any(p.requires_grad for p in parameters):
                    module.eval()
        return self


class _Skip(nn.Module):
    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        return x


def _head_drops(network: StagedNetwork, x: Tensor) -> bool:
    """Whether the head of a network in eval mode would be random in train mode."""
    end = network.model.forward_features(x)  # type: ignore[operator]
    network.model.train()
    try:
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            first, second = (network.model.forward_head(end) for _ in range(2))  # type: ignore[operator]
    finally:
        network.eval()
    return not torch.equal(first, second)


def _ran_before(network: StagedNetwork, depth: int, x: Tensor) -> list[str]:
    """Paths of the modules whose call ended before a depth was reached, their parents excepted."""
    ended: list[str] = []

    def note(path: str) -> Callable[..., None]:
        return lambda *_: ended.append(path)

    handles = [
        module.register_forward_hook(note(path))
        for path, module in network.model.named_modules()
        if path
    ]
    try:
        if depth == network.num_stages:
            network.model.forward_features(x)  # type: ignore[operator]
        else:
            network.activation(x, depth)
    finally:
        for handle in handles:
            handle.remove()
    paths = set(ended)
    return [path for path in paths if not any(up in paths for up in _ancestors(path))]


def _with_skipped(
    model: nn.Module, skipped: Iterable[str], renewed: Iterable[str] = ()
) -> nn.Module:
    """A copy of the module tree without some modules; all that isn't on the way to one is shared.

    Args:
        model: stays as it is.
        skipped: paths of modules to replace by one that hands its input through.
        renewed: paths of modules to copy, so that they can get hooks of their own.
    """
    root = _shallow(model)
    for path, replacement in [*((p, _Skip()) for p in skipped), *((p, None) for p in renewed)]:
        *parents, last = path.split(".")
        node = root
        for name in parents:
            child = _shallow(node.get_submodule(name))
            node._modules[name] = child
            node = child
        node._modules[last] = replacement or _shallow(node.get_submodule(last))
    return root


def _shallow(module: nn.Module) -> nn.Module:
    copy = module.__class__.__new__(module.__class__)
    copy.__dict__ = dict(module.__dict__)
    for registry in ("_modules", "_parameters", "_buffers"):
        copy.__dict__[registry] = dict(module.__dict__[registry])
    copy.__dict__["_forward_pre_hooks"] = OrderedDict(module._forward_pre_hooks)
    return copy


def _ancestors(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]
