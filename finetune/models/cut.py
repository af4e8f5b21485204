"""A network divided where its frozen lower part ends: what lies below need not be computed in every epoch."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..types import Stage
from .network import Network
from .upper import Upper

TRIES = 32
"""How many layers are tried as the last one below; where a network has no place to cut, the answer comes soon."""


@final
@dataclass(frozen=True, kw_only=True)
class Cut:
    """A place to divide a network.

    Args:
        network: The whole network.
        at: The name in `network.named_modules()` of the last layer below.
        shape: Of its output for one picture.
        channels_last: Whether its output lies channels last in memory where the pictures do.
        upper: From that output to the features.
        called: The names of the layers that run below, and of those that the run is inside of at the cut.
    """

    network: Network
    at: str
    shape: tuple[int, ...]
    channels_last: bool
    upper: Upper
    called: tuple[frozenset[str], frozenset[str]] = field(repr=False)

    def lower(self, inputs: Tensor) -> Tensor:
        """What crosses the cut.

        The lower part is frozen, so it computes as in evaluation: batch statistics and dropout are off in it, whatever
        mode the network is in. Nothing above is computed.

        Args:
            inputs: Pictures as for `Network.features`.

        Returns:
            (N, *shape), without a gradient.
        """

        def stop(module: nn.Module, arguments: Any, output: Tensor) -> None:
            raise _Reached(output)

        handle = self.network.get_submodule(self.at).register_forward_hook(stop)
        try:
            with _evaluating(self.network), torch.no_grad():
                self.network.features(inputs)
        except _Reached as reached:
            return reached.output
        finally:
            handle.remove()
        raise RuntimeError(f"{self.at} of {self.network.id} did not run")  # it ran when the cut was made

    def state(self) -> dict[str, Tensor]:
        """All parameters and buffers on which `lower` depends, by their names in the network."""
        below, around = self.called
        tensors = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}

        def counts(name: str) -> bool:
            owner = name.rpartition(".")[0]
            return owner in around or any(path in below for path in _with_ancestors(owner))

        # A learning parameter here can only be one that the run has not come to: `lower` depends on none.
        return {name: tensor for name, tensor in tensors.items() if counts(name)}


def cut(network: Network, learning: Sequence[Stage], pictures: Tensor) -> Cut | None:
    """Finds the last layer whose output depends on frozen parameters only and through which all goes that is above.

    The network runs once with gradients on: a layer's output that requires none depends on nothing that learns. From
    the last such layer down each is tried, and the first is taken from which features and gradients on the
    given pictures are those of the whole network, with nothing else known of what is below.

    Args:
        network: Any; its parameters' `requires_grad` and its mode are left as they are.
        learning: The stages that a phase moves, the head among them or not.
        pictures: Two or more, (N, C, H, W), as for `Network.features`, on the network's device.

    Returns:
        Where to cut; None where nothing below is frozen or no single tensor crosses: then the whole network has to run.
    """
    learns = {name for stage in learning for name in stage.parameters}
    with _evaluating(network), _moving(network, learns), torch.enable_grad():
        try:
            calls = _calls(network, pictures)
            expected = network.features(pictures)
        except RuntimeError:  # a picture size that the network cannot take is said where it is trained
            return None
        for index in _places(calls)[:TRIES]:
            found = _cut_at(network, calls, index, pictures)
            if _same(found, pictures, expected):
                return found
    return None


def made_up(network: Network) -> Tensor:
    """Two pictures of noise to cut a network by, (2, C, H, W) on its device: what they show does not matter."""
    shape = (2, network.spec.in_chans, *network.spec.size)
    noise = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return noise.to(network.mean.device)


class _Call(NamedTuple):
    """A layer that has returned.

    frozen: Whether with a tensor of the batch in which nothing that learns had a part.
    drops: Whether it is one that drops something by chance.
    output: What it returned, where that is a tensor.
    version: How often that had been written into by then.
    """

    name: str
    frozen: bool
    drops: bool
    output: Tensor | None
    version: int


def _calls(network: Network, pictures: Tensor) -> list[_Call]:
    """The layers of a body in the order in which they return."""
    calls: list[_Call] = []

    def noting(name: str) -> Callable[..., None]:
        def note(module: nn.Module, arguments: Any, output: Any) -> None:
            one = isinstance(output, Tensor) and output.dim() > 0
            frozen = one and output.is_floating_point() and not output.requires_grad and len(output) == len(pictures)
            drops = any(word in type(module).__name__ for word in ("Drop", "StochasticDepth"))
            calls.append(_Call(name, frozen, drops, output if one else None, output._version if one else 0))

        return note

    named = [(name, module) for name, module in network.named_modules() if _with_ancestors(name)[-1] == "body"]
    handles = [module.register_forward_hook(noting(name)) for name, module in named]
    try:
        network.features(pictures)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _places(calls: Sequence[_Call]) -> list[int]:
    """The calls after which a network may be cut, the last one first.

    What a frozen layer gives and dropout then thins out is cut before the dropout: it is there for the layer above.
    In evaluation mode dropout returns the very tensor that it was given.
    """
    often = Counter(call.name for call in calls)
    thinned: set[tuple[int, int]] = set()
    places = []
    for index, call in enumerate(calls):
        if call.drops:
            thinned.add((id(call.output), call.version))
        if call.frozen and often[call.name] == 1 and (id(call.output), call.version) not in thinned:
            places.append(index)
    return places[::-1]


def _cut_at(network: Network, calls: Sequence[_Call], index: int, pictures: Tensor) -> Cut:
    at, n = calls[index].name, len(pictures)
    often = Counter(call.name for call in calls)
    before = {call.name: tuple(call.output.shape) if call.output is not None else None for call in calls[:index]}
    # A layer that runs several times gives several shapes, perhaps some of them above.
    known = {
        name: (shape[0] // n, *shape[1:])
        for name, shape in before.items()
        if shape is not None and often[name] == 1 and shape[0] % n == 0 and at not in _with_ancestors(name)
    }
    skipped = {name: shape for name, shape in known.items() if not any(a in known for a in _with_ancestors(name)[1:])}
    output = calls[index].output
    assert output is not None  # noqa: S101  # it is frozen, and so a tensor
    made = Cut(
        network=network,
        at=at,
        shape=tuple(output.shape[1:]),
        channels_last=False,
        upper=Upper(network, at=at, inputs=tuple(pictures.shape[1:]), skipped=skipped),
        called=(frozenset({*before, at}), frozenset(_with_ancestors(at)[1:])),
    )
    output = made.lower(pictures.contiguous(memory_format=torch.channels_last))
    last = output.dim() == 4 and output.is_contiguous(memory_format=torch.channels_last)
    return Cut(**{**vars(made), "channels_last": last})


def _same(found: Cut, pictures: Tensor, expected: Tensor) -> bool:
    """Whether features and gradients from the cut on are the whole network's, for one picture alone too."""
    network, upper = found.network, found.upper
    parameters = [p for p in network.body.parameters() if p.requires_grad]
    try:
        lower = found.lower(pictures)
        features = upper(lower)
        if not _close(features, expected) or not _close(upper(lower[:1]), expected[:1]):
            return False
        if parameters:
            here, there = (
                torch.autograd.grad(out.square().sum(), parameters, retain_graph=True, allow_unused=True)
                for out in (features, expected)
            )
            if not all(_close(a, b) for a, b in zip(here, there, strict=True)):
                return False
        devices: list[int] | None = [] if lower.device.type == "cpu" else None
        with torch.random.fork_rng(devices), torch.no_grad(), _training(network):
            return _close(upper(lower), upper(lower), values=False)
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        # Something above asks for what has no values: this is no place to cut.
        return False


def _close(a: Tensor | None, b: Tensor | None, *, values: bool = True) -> bool:
    if a is None or b is None:
        return a is b
    if a.is_meta or b.is_meta or a.shape != b.shape:
        return False
    scale = float(b.detach().abs().max()) if b.numel() else 0.0
    return not values or torch.allclose(a, b, rtol=1e-4, atol=1e-5 * scale)


class _Reached(Exception):
    """Leaves a forward pass with what a layer gave."""

    def __init__(self, output: Tensor) -> None:
        self.output = output


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards each layer's own again."""
    before = [(layer, layer.training) for layer in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for layer, flag in before:
            layer.training = flag


@contextlib.contextmanager
def _training(network: nn.Module) -> Iterator[None]:
    """Training mode inside `_evaluating`, but for layers with running statistics, which would move."""
    for layer in network.modules():
        layer.training = not isinstance(layer, _NormBase)
    try:
        yield
    finally:
        network.eval()


@contextlib.contextmanager
def _moving(network: nn.Module, learns: set[str]) -> Iterator[None]:
    """Only these parameters require a gradient, for a while."""
    before = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in learns)
    try:
        yield
    finally:
        for parameter, flag in before:
            parameter.requires_grad_(flag)


def _with_ancestors(name: str) -> list[str]:
    """The name of a layer and of all that it lies in, the outermost last."""
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(len(parts), 0, -1)]
