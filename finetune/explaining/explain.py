"""Why a model answers as it does: a map over each picture, by the method that was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from ..crew import Progress
from ..data.addresses import printable
from ..data.examples import Examples
from ..data.loaders import stream
from ..errors import ConfigError, nearest
from ..features import device_for, ready
from ..models.ensemble import Bodies
from ..models.network import Network
from ..report import attributed, deconvnet, gradcam, rollout
from ..report.explained import shown_picture
from ..report.places import layer_of
from ..tasks.base import Task
from ..tasks.decisions import Decisions
from .explanation import METHODS, OF_A_LAYER, Asking, Explanation


def explain_on(
    network: Network, task: Task, examples: Examples, asking: Asking, *, decisions: Decisions | None = None,
    target: str | None = None, accelerator: str = "auto", progress: Progress | None = None,
) -> list[Explanation]:  # fmt: skip
    """A map over each picture.

    Args:
        network: The model.
        task: What its outputs mean.
        examples: The pictures.
        asking: What is to be explained, and how.
        decisions: What turns the network's answers into those that are told.
        target: What a number is called.
        accelerator: "auto", "cpu", "gpu", ...
        progress: Is told of each batch.

    Returns:
        One a picture in the order of the table, also of those that could not be read.

    Raises:
        ConfigError: All that is wrong, or a method that does not suit this network; before any picture is read.
    """
    names = task.labels.names or (target or "number",)
    checked(network, names, asking)
    decisions = decisions or Decisions()
    paths = [printable(source) for source in examples.table["source"]]
    found: dict[int, Explanation] = {}
    # Inference mode, in which networks are ready, hands no gradient on.
    with ready(network, device_for(accelerator)) as device, torch.inference_mode(False), _still(network):
        layer = found_layer(network, asking)
        for rows, inputs, errors in stream(examples, network.spec, batch_size=asking.batch_size):
            found |= {row: Explanation(path=paths[row], method=asking.method, error=e) for row, e in errors.items()}
            if len(rows):
                pictures = [shown_picture(one) for one in inputs.numpy()]
                batch = _Batch(network, task, decisions, _floating(inputs.to(device)), asking, layer)
                for n, (row, one) in enumerate(zip(rows, batch.explained(names), strict=True)):
                    found[int(row)] = replace(one, path=paths[int(row)], picture=pictures[n])
            if progress is not None:
                progress(len(rows) + len(errors))
    return [found[row] for row in range(len(examples))]


class _Batch:
    """Some pictures, what is answered of them, and what is asked about."""

    def __init__(
        self, network: Network, task: Task, decisions: Decisions, inputs: torch.Tensor, asking: Asking,
        layer: str | None,
    ) -> None:  # fmt: skip
        self.network, self.task, self.decisions, self.inputs = network, task, decisions, inputs
        self.asking, self.layer = asking, layer
        with torch.no_grad():
            self.answer = decisions.calibrated(task, task.answer(network(inputs).float()))
        self.labels = decisions.name(task, self.answer)
        if task.labels.kind == "number":
            self.outputs = np.zeros(len(inputs), np.int64)
        elif asking.answer is not None:
            self.outputs = np.full(len(inputs), task.labels.names.index(asking.answer))
        elif task.labels.kind == "class":  # by the thresholds, where there are any
            self.outputs = np.array([task.labels.names.index(str(label)) for label in self.labels], np.int64)
        else:
            self.outputs = self.answer.argmax(axis=1)

    def explained(self, names: Sequence[str]) -> list[Explanation]:
        """Of each picture all but where it is from."""
        method = self.asking.method
        maps, gaps = self._maps()
        return [
            Explanation(
                path="", method=method, label=self.labels[n], value=float(self.answer[n, output]),
                answer=None if method == "roll-out" else names[output], map=maps[n], gap=gaps[n],
                layer=None if self.layer is None else self.layer.removeprefix("body."),
            )
            for n, output in enumerate(self.outputs.tolist())
        ]  # fmt: skip

    def _maps(self) -> tuple[np.ndarray, list[float | None]]:
        network, inputs = self.network, self.inputs
        asked = torch.from_numpy(self.outputs).to(inputs.device)
        none: list[float | None] = [None] * len(inputs)
        if self.asking.method == "grad-cam":
            return gradcam.grad_cam(network, inputs, asked, layer=self.layer), none
        if self.asking.method == "grad-cam++":
            return gradcam.grad_cam_plus_plus(network, inputs, asked, layer=self.layer), none
        if self.asking.method == "roll-out":
            return rollout.roll_out(network, inputs), none
        if self.asking.method == "deconvnet":
            return deconvnet.deconvolved(network, inputs, asked).float().cpu().numpy(), none
        if self.asking.method == "occlusion":
            window, stride = self.asking.square(min(inputs.shape[2:]))
            return attributed.occlusion(self._answers, inputs, window=window, stride=stride, fill=network.mean), none
        found = attributed.integrated_gradients(network, inputs, asked, baseline=network.mean, steps=self.asking.steps)
        # Of a number in its own unit, of which the network's is so many.
        unit = self.task.labels.scale if self.task.labels.kind == "number" else 1.0
        return found.maps * np.float32(unit), [float(gap) * unit for gap in found.gap]

    def _answers(self, pictures: torch.Tensor) -> torch.Tensor:
        """What is told of versions of the batch's pictures, (versions * N,): a probability or a number."""
        answer = self.decisions.calibrated(self.task, self.task.answer(self.network(pictures).float()))
        outputs = np.tile(self.outputs, len(pictures) // len(self.outputs))
        return torch.from_numpy(answer[np.arange(len(answer)), outputs]).to(pictures)


def checked(network: Network, names: Sequence[str], asking: Asking) -> None:
    """Refuses what cannot be asked of this network.

    Args:
        network: The model.
        names: What can be asked about.
        asking: What is asked.

    Raises:
        ConfigError: All that is wrong.
    """
    wrong = asking.faults()
    if asking.answer is not None and asking.answer not in names:
        known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        wrong.append(f'There is no answer "{asking.answer}". Expected one of {known}.{nearest(asking.answer, names)}')
    if wrong:
        raise ConfigError("\n".join(wrong))
    if asking.method == "occlusion":
        attributed.check_window(*asking.square(min(network.spec.size)), min(network.spec.size))
    if asking.method in attributed.METHODS:
        attributed.captum()
    reason = unfit(network, asking.method)
    if reason:
        suited = [method for method in METHODS if method != asking.method and not unfit(network, method)]
        raise ConfigError(
            f"{asking.method} does not suit {network.id}: {reason}. For this network there are {', '.join(suited)}."
        )


def unfit(network: Network, method: str) -> str:
    """Why a method does not suit a network; empty where it does. It is tried on noise, so that no picture is read."""
    if method in attributed.METHODS:
        return ""
    if isinstance(network.body, Bodies) and method != "deconvnet":
        return "it averages several networks, of which each has layers of its own; explain one, RUN/fold-1 say"
    was_training = network.training
    network.eval()
    try:
        with _still(network):
            tried = _noise(network)
            if method in OF_A_LAYER:
                gradcam.look(network, tried, torch.zeros(1, dtype=torch.int64))
            elif method == "deconvnet":
                deconvnet.deconvolved(network, tried, torch.zeros(1, dtype=torch.int64))
            else:
                rollout.roll_out(network, tried)
    except (ValueError, ConfigError) as error:
        return str(error).rstrip(".")
    finally:
        network.train(was_training)
    return ""


def found_layer(network: Network, asking: Asking) -> str | None:
    """The layer of grad-cam and grad-cam++ by its name in the network: one for all pictures.

    Raises:
        ConfigError: There is no layer of the name that was asked for, or it has no places.
    """
    if asking.method not in OF_A_LAYER:
        return None
    tried, answers = _noise(network), torch.zeros(1, dtype=torch.int64)
    if asking.layer is None:
        return gradcam.look(network, tried, answers).layer
    layer_of(network.body, asking.layer)
    try:
        return gradcam.look(network, tried, answers, layer=f"body.{asking.layer}").layer
    except ValueError:
        found = gradcam.look(network, tried, answers).layer.removeprefix("body.")
        raise ConfigError(
            f'The layer "{asking.layer}" has no output with places that the answer depends on. Expected one that has, '
            f'as "{found}", which is taken by itself.'
        ) from None


def _noise(network: Network) -> torch.Tensor:
    size = (1, network.spec.in_chans, *network.spec.size)
    return torch.rand(size, generator=torch.Generator().manual_seed(0)).to(network.mean.device)


def _floating(inputs: torch.Tensor) -> torch.Tensor:
    return inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs


@contextmanager
def _still(network: Network) -> Iterator[None]:
    """A network whose parameters ask for no gradient, and afterwards as it was: gradients of pixels cost less so."""
    asked = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, learns in zip(network.parameters(), asked, strict=True):
            parameter.requires_grad_(learns)
