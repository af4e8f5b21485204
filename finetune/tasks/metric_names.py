"""The names of metrics in metrics.json, and which way is up."""

from __future__ import annotations

HIGHER_IS_BETTER = {
    "accuracy": True,
    "balanced_accuracy": True,
    "auroc": True,
    "f1": True,
    "log_loss": False,
    "rmse": False,
    "mae": False,
    "r2": True,
    "map_at_r": True,
    "recall_at_1": True,
    "recall_at_10": True,
}
"""Every metric that can choose among epochs."""

FURTHER = {"auprc": True, "brier": False, "kappa": True, "top_5": True}
"""The metrics that are measured once, of a whole part."""
