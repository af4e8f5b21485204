"""A model as one graph, from pictures of 8 bits to what is told of them, written for other runtimes."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.export import Dim

from ..errors import ConfigError, FinetuneError
from ..models.network import Network
from .answers import Told
from .pictures import Seen

Format = Literal["onnx", "torch"]
FILES: dict[Format, str] = {"onnx": "model.onnx", "torch": "model.pt2"}

INPUT = "pictures"
SIZES = {0: Dim("N"), 1: Dim("H"), 2: Dim("W")}
"""The sides of the input that may be of any length."""

OPSET = 18
"""Of ONNX: what all runtimes of the last years read."""

ONE_FILE = 2_000_000_000
"""Bytes that one ONNX file can hold; weights beyond lie in a file beside it."""


@final
class Whole(nn.Module):
    """Pictures in, answers out.

    Args:
        seen: From pictures to what the network sees.
        network: The network.
        told: From its logits to what is told.
    """

    def __init__(self, seen: Seen, network: Network, told: Told) -> None:
        super().__init__()
        self.seen, self.network, self.told = seen, network, told

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """(N, H, W, C) uint8 -> each of `Told.outputs`."""
        found: dict[str, Tensor] = self.told(self.network(self.seen(pictures)))
        return found


def missing_package(format: Format) -> ConfigError | None:
    """What is to be installed for a format first."""
    needed = ("onnx", "onnxscript", "onnxruntime") if format == "onnx" else ()
    missing = [name for name in needed if find_spec(name) is None]
    if not missing:
        return None
    return ConfigError(f"Exports to ONNX need {', '.join(missing)}: pip install 'finetune[onnx]'")


def traced(network: Network, told: Told) -> torch.export.ExportedProgram:
    """The graph of a network for any number of pictures of any one size.

    Raises:
        FinetuneError: Its code cannot be made a graph.
    """
    whole = Whole(Seen(network.spec), network, told).eval()
    high, wide = (side + 37 for side in network.spec.size)  # sizes that are no one's, so that none becomes a rule
    pictures = torch.zeros((2, high, wide + 16, network.spec.in_chans), dtype=torch.uint8)
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(whole, (pictures,), dynamic_shapes=(SIZES,))
    # A network is anybody's code, and tracing runs it on what are no tensors: it may raise anything.
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FinetuneError(
            f"The code of {network.id} cannot be made a graph: {first}. Expected a network that torch.export takes."
        ) from error


def write_graph(program: torch.export.ExportedProgram, file: Path, told: Told, facts: Mapping[str, Any]) -> None:
    """Writes a graph to `model.onnx` or `model.pt2`; facts go with it as JSON, under "finetune"."""
    text = json.dumps(facts, ensure_ascii=False)
    if file.suffix == ".pt2":
        with _quiet():
            torch.export.save(program, file, extra_files={"finetune": text})
        return
    with torch.no_grad(), _quiet():
        written = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, input_names=[INPUT], output_names=list(told.outputs),
            dynamic_shapes=(SIZES,), verbose=False,
        )  # fmt: skip
    if written is None:  # only of the exporter that is not asked here
        raise FinetuneError("torch.onnx.export gave no graph.")
    written.model.metadata_props["finetune"] = text
    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    written.save(str(file), external_data=size > ONE_FILE)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say of themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
