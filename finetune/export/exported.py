"""A model for other runtimes: one file, a record of what it takes and tells, and the proof that both say the same."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ..data.examples import Examples
from ..errors import ConfigError, RunFolderError, nearest
from ..files import sha256, whole_folder
from ..folder import RECIPE, write_json
from ..models.network import Network
from ..run_examples import run_part
from ..tasks.base import Task
from ..tasks.decisions import Decisions
from .answers import Told
from .graph import FILES, INPUT, OPSET, Format, missing_package, traced, write_graph
from .parity import checked, compared, runner

RECORD = "export.json"

COMPARED = 32
"""Pictures of a run on which a graph is compared with its model."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Args:
        file: The graph.
        facts: All of export.json: what goes in, what comes out, the classes, how it was compared.
    """

    file: Path
    facts: Mapping[str, Any] = field(repr=False)


def check_asked(format: str, out: str | Path) -> Format:
    """The format, where it is one and can be written on this machine to a folder that is free.

    Raises:
        ConfigError: An unknown format, or a package that is missing.
        RunFolderError: The folder is in the way.
    """
    if format not in FILES:
        known = get_args(Format)
        raise ConfigError(
            f'There is no format "{format}" to export to. Expected one of {", ".join(known)}.{nearest(format, known)}'
        )
    if (missing := missing_package(format)) is not None:
        raise missing
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(f"{folder} exists already. Choose another --out; nothing in it was touched.")
    return format


def pictures_of(run: Path) -> Examples:
    """Pictures of a run to compare on: those held out, as far as there are any, spread evenly over the part.

    Raises:
        DataError: They are not there any more, or were in memory.
        RunFolderError: It is no run folder.
    """
    folder = run if (run / RECIPE).is_file() else run.parent
    examples, rows, _ = run_part(
        folder, ("test", "validation", "train"),
        instead="Name pictures to compare the exported graph with the model on: finetune export RUN FILES...",
    )  # fmt: skip
    return examples.take(rows[np.unique(np.linspace(0, len(rows) - 1, COMPARED).astype(int))])


def export_network(
    network: Network, task: Task, decisions: Decisions, examples: Examples, out: str | Path, *, format: Format = "onnx",
    prior: Mapping[str, float] | None = None,
) -> Exported:  # fmt: skip
    """Writes a graph and export.json into a new folder, once both say the same of real pictures.

    Args:
        network: In evaluation mode, on the CPU.
        task: What its outputs mean.
        decisions: What turns them into what is told; they go into the graph.
        examples: Real pictures.
        out: A new or empty folder.
        format: "onnx", or "torch" for a program of torch.export.
        prior: How frequent some classes are where the graph will be used; goes into the graph.

    Raises:
        ConfigError: A prior of no class, or one that cannot be.
        DataError: None of the pictures can be compared.
        FinetuneError: The network cannot be made a graph, or the graph does not say what the model says; then nothing
            is written.
    """
    told = Told(task, decisions, prior)
    program = traced(network, told)
    facts: dict[str, Any] = {
        "backbone": network.id,
        "input": {
            "name": INPUT,
            "shape": ["N", "H", "W", network.spec.in_chans],
            "dtype": "uint8",
            "is": "upright pictures of any one size as they are decoded, 0 to 255, RGB; resizing, cropping and "
            "normalising happen inside" if network.spec.in_chans == 3 else
            "upright pictures of any one size as they are decoded, 0 to 255; resizing, cropping and normalising happen "
            "inside",
        },
        "outputs": told.outputs,
        "classes": list(task.labels.names),
        **({"nodes": list(told.nodes)} if told.nodes else {}),
        "preprocessing": network.spec.to_dict(),
        "decisions": decisions.to_dict(),
        **({"prior": dict(prior)} if prior else {}),
    }  # fmt: skip
    with whole_folder(Path(out).absolute()) as folder:
        file = folder / FILES[format]
        write_graph(program, file, told, facts)
        found = checked(compared(runner(file, told.outputs), network, task, decisions, examples, prior=prior), network)
        packages = ("finetune", "torch", *(("onnx", "onnxscript", "onnxruntime") if format == "onnx" else ()))
        facts |= {
            "format": format,
            **({"opset": OPSET} if format == "onnx" else {}),
            "files": {one.name: {"bytes": one.stat().st_size, "sha256": sha256(one)}
                      for one in sorted(folder.iterdir())},
            "compared": found.to_dict(),
            "versions": {name: importlib.metadata.version(name) for name in packages},
        }  # fmt: skip
        write_json(folder / RECORD, facts)
    return Exported(file=Path(out) / FILES[format], facts=facts)
