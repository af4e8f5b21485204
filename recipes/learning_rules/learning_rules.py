"""Rules of learning drawn: Hebb's, the delta rule, backpropagation, activations

Lecture:
    Hebb's rule, the delta rule, backpropagation
Run:
    finetune run learning_rules --out runs/rules
Data:
    None: truth tables, and numbers that are drawn (--seed).
    A Study that fits nothing: devices, resume, `predict` and `evaluate` have nothing to do here.
Expect:
    Generated data: AND is learned in 6 passes, OR in 4, XOR never; the delta rule comes within 1e-15 of least squares
    and diverges above 2 / largest curvature; backpropagation agrees with finite differences to 5e-11 at best (seed 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import finetune as ft

from .rules import ACTIVATIONS, INPUTS, LOGIC, TwoLayers, delta, hebb, steepest

DISTANCES = 10.0 ** -np.arange(1, 11)


def learning_rules(*, passes: int = 20, examples: int = 40, delta_steps: int = 60) -> ft.Study:
    """Lets each rule learn what it can, and shows what it cannot.

    Args:
        passes: Through a truth table at most.
        examples: For the delta rule, and for backpropagation.
        delta_steps: Steps of the delta rule that are drawn.
    """

    def compare(studied: ft.Studied) -> dict[str, Any]:
        chance = np.random.default_rng(studied.seed)
        metrics: dict[str, Any] = {}
        logic = {name: hebb(INPUTS, target, passes=passes)[1] for name, target in LOGIC.items()}
        metrics["hebb"] = {name: {"wrong at the end": wrong[-1], "passes": len(wrong)} for name, wrong in logic.items()}
        inputs = np.hstack([chance.normal(size=(examples, 3)), np.ones((examples, 1))])
        target = inputs @ (1.5, -2.0, 0.5, 1.0) + chance.normal(0, 0.5, examples)
        most = 2 / steepest(inputs)
        away = {f"{share:g} of 2 / largest curvature": delta(inputs, target, rate=share * most, steps=delta_steps)[1]
                for share in (0.1, 0.5, 0.98, 1.02)}  # fmt: skip
        learned = delta(inputs, target, rate=0.5 * most, steps=5000)[1][-1]
        metrics["delta"] = {"from least squares after 5000 steps": float(learned), "largest rate": most}
        net = TwoLayers(first=chance.normal(size=(4, 5)), second=chance.normal(size=(5, 2)))
        wanted = chance.normal(size=(examples, 2))
        exact = np.concatenate([part.ravel() for part in net.backpropagation(inputs, wanted)])
        errors = []
        for by in DISTANCES:
            tried = np.concatenate([part.ravel() for part in net.differences(inputs, wanted, by=float(by))])
            errors.append(float(np.abs(tried - exact).max() / np.abs(exact).max()))
        metrics["backpropagation"] = {
            "from finite differences": min(errors),
            "moved by": float(DISTANCES[np.argmin(errors)]),
        }
        total = np.linspace(-4, 4, 801)
        plots = [
            ft.Plot(title="Hebb's rule of the lecture: XOR is never learned", x="pass", y="wrong answers of 4",
                    curves={name: (range(1, len(wrong) + 1), wrong) for name, wrong in logic.items()}),
            ft.Plot(title="Delta rule: too large a rate diverges", x="step", y="distance from least squares", log="y",
                    curves={name: (range(len(apart)), apart) for name, apart in away.items()}),
            ft.Plot(title="Backpropagation against finite differences", x="weights moved by", y="largest error",
                    log="xy", curves={"central differences": (DISTANCES, errors)}),
            ft.Plot(title="Activations", x="sum of the inputs", y="output",
                    curves={name: (total, function(total)) for name, function in ACTIVATIONS.items()}),
        ]  # fmt: skip
        ft.draw_plots(studied.figures / "rules.png", plots, title="How weights learn")
        return metrics

    return ft.Study(compare=compare)
