"""What it costs and saves to leave the lowest stages as they are, on pictures that chose nothing.

Run: FINETUNE_SHARED=../shared python benchmarks/depth.py [--sets cifar10:250:500 ...] [--from none features.3 ...]

A set is NAME:TRAIN:HELD, as for `where_to_rest.py`, whose runs these are, at 224 pixels. Of each run the probe, its end
and the place half way to that answer the held-out pictures: errors (of isic_lesions 1 - AUROC), log loss, and the
processor seconds of the whole run.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch
from where_to_rest import error, logits_of, table

DEFAULT = ["cifar10:250:500", "isic_lesions:250:400"]
PLACES = {"probe": 0.0, "half way": 0.5, "end": 1.0}


def loss(logits: np.ndarray, target: np.ndarray) -> float:
    return float(torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(target)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=DEFAULT)
    parser.add_argument("--from", nargs="+", default=["none", "features.3", "features.5", "features.7"], dest="lowest")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lr", type=float, default=0.03)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    for seed in range(options.seeds):
        for one in options.sets:
            name, train, held = one.split(":")
            auc = name == "isic_lesions"
            rows = table(name, int(train), int(held), seed)
            for lowest in options.lowest:
                before = time.process_time()
                logits, target, *_ = logits_of(rows, options.lr, seed, freeze_to=lowest, input_size=224)
                spent = time.process_time() - before
                told = [
                    f"{place} {100 * error(logits[at], target, auc):.1f} % {loss(logits[at], target):.4f}"
                    for place, at in PLACES.items()
                ]
                print(f"{one}, seed {seed}, from {lowest}: {', '.join(told)}, {spent:.0f} s", flush=True)


if __name__ == "__main__":
    main()
