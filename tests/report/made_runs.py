"""The facts of a run that was never made, with any of them left out or changed."""

from finetune.report.page import Shown
from finetune.report.run_facts import Mistake, RunFacts

ODD = "<b>&\"'"


def figure(value, low=None, high=None, n=200):
    return {"value": value, "low": low if low is not None else value - 0.02,
            "high": high if high is not None else value + 0.02, "n": n}  # fmt: skip


def metrics(**more):
    classes = {"ants": {k: figure(0.9) for k in ("precision", "recall", "f1", "auroc", "auprc")} | {"support": 100}}
    return {
        "test": {"accuracy": figure(0.9), "log_loss": figure(0.3)},
        "validation": {"accuracy": figure(0.92)},
        "classes": {"test": classes | {ODD: classes["ants"]}},
        "confusion": {"test": {"labels": ["ants", ODD], "counts": [[90, 10], [10, 90]]}},
        "baselines": {"test": {"majority": {"accuracy": figure(0.5)}}},
        "over_baselines": {"test": {"majority": {"accuracy": figure(0.4)}}},
        "calibration": {"test": {"ece_before": figure(0.09), "ece_after": figure(0.02), "temperature": 1.3,
                                 "ece_if_calibrated": figure(0.01),
                                 "bins": [{"confidence": 0.8, "accuracy": 0.8, "count": 200}]}},
        "slices": {"test": [{"by": "site", "value": ODD, "n": 20, "metrics": {"accuracy": figure(0.7)}}]},
        "worst_slice": {"part": "test", "by": "site", "value": ODD, "n": 20, "metric": "accuracy",
                        "figure": figure(0.7)},
        "gain": {"on": "test", "figures": {"accuracy": figure(0.05)}},
    } | more  # fmt: skip


def facts(**more):
    split = [{"source": f"{i}", "target": "ants" if i % 2 else ODD, "group": "", "split": part}
             for part, n in (("train", 400), ("validation", 200), ("test", 200)) for i in range(n)]  # fmt: skip
    epochs = [
        {
            "phase": "probe",
            "epoch": "0",
            "train_loss": "0.3",
            "validation_accuracy": "0.88",
            "validation_log_loss": ".35",
        },
        {
            "phase": "tune",
            "epoch": "1",
            "train_loss": "0.25",
            "validation_accuracy": "0.9",
            "validation_log_loss": ".31",
        },
        {
            "phase": "tune",
            "epoch": "2",
            "train_loss": "0.2",
            "validation_accuracy": "0.92",
            "validation_log_loss": ".28",
        },
    ]
    story = {"title": f"net on {ODD}", "primary": "accuracy", "chosen": "Epoch 2 was kept.", "leaks": None,
             "stopped": False, "measured": True, "notes": [ODD], "repeat": ["finetune", "fit"],
             "plan": [{"phase": "tune", "rate": "sgd", "augment": "light", "mixing": "mixup 0.4"}]}  # fmt: skip
    model = {"labels": {"kind": "class", "names": ["ants", ODD]}, "backbone": {"name": "timm/net"},
             "task": {"kind": "classify"},
             "preprocessing": {"size": [224, 224], "mean": [0.5], "std": [0.5]}, "versions": {"python": "3"},
             "chosen": {"phase": "tune", "epoch": 2, "share": 1.0, "score": 0.92}}  # fmt: skip
    mistake = Mistake(shown=Shown(name=f"{ODD}.png", lines=(ODD,), jpeg=b"\xff\xd8 picture"), map=b"\xff\xd8 map")
    words = {"story": story, "metrics": metrics(), "epochs": epochs, "split": split, "recipe": {}, "model": model,
             "mistakes": [mistake]}  # fmt: skip
    return RunFacts(**(words | more))
