"""How good finetune is beside fastai, torchvision's loop, transformers' Trainer and scikit-learn, on real pictures.

Run: FINETUNE_SHARED=../shared python benchmarks/quality.py --out results.json [--sets hymenoptera cifar10:10 ...]
         [--methods default sklearn fastai torchvision hf] [--seeds 5] [--epochs 5] [--most 160] [--test-most 200]
     python benchmarks/quality.py --out results.json --report

Each run (a set, a seed, a method) has a process of its own; what it answered of the test part goes to --out at once.
A run that is there already is not done again, so an interrupted series goes on; the key of a run is all but the version
of finetune, which is noted beside it. Seeds are the outer loop. What methods do: quality_methods.py. fastai and
transformers are looked for in the folders of FINETUNE_PEERS too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from quality_report import report

HERE = Path(__file__).parent
SETS = ["hymenoptera", "cats_dogs", "isic_lesions", "chest_xray", "cifar10:10", "cifar10:50", "cifar10:300"]
METHODS = ["default", "sklearn", "fastai", "torchvision", "hf"]
KEY = ("set", "seed", "method", "epochs", "most", "test_most")


def version() -> str:
    """The commit of the code that runs, and whether files differ from it."""
    git = ["git", "-C", str(HERE.parent)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "finetune"], capture_output=True, text=True, check=False)
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def once(key: dict[str, Any], threads: int) -> dict[str, Any]:
    """One run in a process of its own: what it answered, or why it did not."""
    words = {name: value for name, value in key.items() if value is not None}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, str(HERE / "quality_methods.py"), "--answer", str(answer)]
        for name, value in words.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")])),
        }  # fmt: skip
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode or not answer.exists():
            return {"failed": (done.stderr.strip().splitlines() or ["no answer"])[-1]}
        found: dict[str, Any] = json.loads(answer.read_text())
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--most", type=int, help="training pictures of a set at most")
    parser.add_argument("--test-most", type=int, help="test pictures of a set at most")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", action="store_true", help="prints what is known, and runs nothing")
    options = parser.parse_args()
    runs: list[dict[str, Any]] = json.loads(options.out.read_text())["runs"] if options.out.exists() else []
    if options.report:
        print(report(runs, ours=options.methods[0]))
        return
    known = {tuple(run[name] for name in KEY) for run in runs if "probability" in run}
    missing: set[str] = set()
    for seed in range(options.seeds):
        for name in options.sets:
            for method in options.methods:
                values = (name, seed, method, options.epochs, options.most, options.test_most)
                key = dict(zip(KEY, values, strict=True))
                if values in known or method in missing:
                    continue
                found = once(key, options.threads)
                if "absent" in found:
                    missing.add(method)
                    print(f"{method} was left out: {found['absent']}", flush=True)
                    continue
                load = round(os.getloadavg()[0], 1)
                run = {**key, "threads": options.threads, "version": version(), "load": load, **found}
                told = found.get("failed") or f"{found['cpu']} s of processor time, {found['wall']} s"
                print(f"{name}, seed {seed}, {method}: {told}", flush=True)
                # A series may have been added to meanwhile; and it is whole at any moment.
                runs = json.loads(options.out.read_text())["runs"] if options.out.exists() else []
                runs = [old for old in runs if tuple(old[name] for name in KEY) != values] + [run]
                beside = options.out.with_name(options.out.name + ".part")
                beside.write_text(json.dumps({"runs": runs}))
                beside.replace(options.out)
    print(report(runs, ours=options.methods[0]))


if __name__ == "__main__":
    main()
