"""What a step with LoRA costs beside a full one: forward and backward pass on random pictures.

Run: python benchmarks/lora_cost.py [BACKBONE ...] [--batch 4] [--rounds 3] [--rank 8] [--threads 1]

All are timed in turn in one process, and the ratios of the medians are printed. "full" lets all weights learn, "lora"
the adapters and the head; "sums" is the same where no layer computes its small products apart. Weights are random.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from clock import processor_seconds

import finetune as ft
from finetune.models import adapters
from finetune.models.network import Network


def made(backbone: str, way: str, rank: int, apart: int) -> Network:
    """The network, in evaluation mode: normalisation stays as it is while adapters learn."""
    network = ft.Backbone(backbone, weights="none").build(2).eval()
    if way != "full":
        adapters._APART = 10**9 if way == "sums" else apart
        adapters.add_lora(network, rank=rank)
    return network.to(memory_format=torch.channels_last)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("backbones", nargs="*", default=["timm/resnet50", "timm/vit_small_patch16_224"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    apart = adapters._APART

    for backbone in options.backbones:
        networks = {way: made(backbone, way, options.rank, apart) for way in ("full", "lora", "sums")}
        spec = networks["full"].spec
        pictures = torch.randint(0, 256, (options.batch, spec.in_chans, *spec.size), dtype=torch.uint8)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        seconds: dict[str, list[float]] = {way: [] for way in networks}
        for number in range(options.rounds + 1):
            for way, network in networks.items():
                start = processor_seconds()
                network(pictures).square().mean().backward()
                network.zero_grad()
                if number:  # the first round warms up
                    seconds[way].append(processor_seconds() - start)
        medians = {way: statistics.median(values) for way, values in seconds.items()}
        ratios = ", ".join(
            f"{way} {median:.3f} s ({median / medians['full']:.2f} x full)" for way, median in medians.items()
        )
        print(f"{backbone}, {options.batch} pictures, {options.threads} threads, processor time: {ratios}", flush=True)


if __name__ == "__main__":
    main()
