"""The card of a model, model/README.md, in the conventions of model hubs: facts first for machines, then for people."""

from __future__ import annotations

import json
from typing import Any

from .levels import levels_markdown
from .points import between
from .run_facts import RunFacts
from .verdict import verdict

TASKS = {"class": "image-classification", "labels": "image-classification", "number": "image-regression"}
POINTS = "image-feature-extraction"


def model_card(facts: RunFacts) -> str:
    """The card as Markdown with front matter.

    JSON is YAML: every value is written as JSON, so that no name of a class or folder can be taken for something else.
    """
    library = str(facts.model["backbone"]["name"]).partition("/")[0]
    known = {
        "library_name": "timm" if library == "timm" else "finetune",
        "tags": [_task(facts), "transfer-learning", "finetune"],
        # Hubs know no such task for a number.
        **({} if facts.kind == "number" else {"pipeline_tag": _task(facts)}),
        "license": facts.license if facts.license and "/" not in facts.license else "other",
        "datasets": [],
        "model-index": [{"name": facts.story["title"], "results": _results(facts)}],
    }  # fmt: skip
    front = "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in known.items())
    stated = (
        f"The weights that training began from are published under {facts.license}; what was learned from them is "
        "bound by it."
        if facts.license
        else "No licence is stated for the weights that training began from: ask whoever published them before you "
        "pass this model on."
    )
    worries = [point.sentence for point in verdict(facts)[1:] if point.severity == "look"]
    names = facts.model["labels"]["names"]
    use = (
        f"Pictures like those it learned from, as one of {len(names)} classes: {', '.join(names[:30])}"
        f"{' and more' if len(names) > 30 else ''}."
        if names
        else "Pictures like those it learned from, as a number."
    )
    if _task(facts) == POINTS:
        use = (
            f"Pictures like those it learned from, as points of {facts.model['backbone']['head']['size']} numbers: "
            "those of one thing lie near each other, also of things that it has not seen. It learned from "
            f"{len(names)} classes."
        )
    spec = facts.model["preprocessing"]
    counts = {part: sum(line.get(part, 0) for line in facts.counts().values()) for part in
              ("train", "validation", "test")}  # fmt: skip
    return "\n".join([
        "---", front, "---", "", f"# {facts.story['title']}", "", verdict(facts)[0].sentence, "",
        "## Intended use", "", use, "",
        f"Pictures are prepared at {spec['size'][0]}x{spec['size'][1]}, mean {spec['mean']}, std {spec['std']}.", "",
        "```python", "import finetune as ft", "", 'print(ft.load("FOLDER").predict(["picture.jpg"]))', "```", "",
        "## Limits", "", *([f"- {worry}" for worry in worries] or ["- None was found by what was looked at."]),
        "- Figures hold for pictures from the same source, taken in the same way; elsewhere measure anew.", "",
        "## Data", "", ", ".join(f"{n} {part}" for part, n in counts.items() if n) + " examples.", "",
        *(f"- {note}" for note in facts.story.get("notes", ())), "",
        "## Figures", "", "| part | metric | value |", "| --- | --- | --- |",
        *(f"| {part} | {name} | {between(figure)} |" for part, found in facts.parts.items()
          for name, figure in found.items()), "",
        *(["## Levels of the taxonomy", "", *levels, ""] if (levels := levels_markdown(facts.metrics)) else []),
        "## Licence of the weights", "", stated, "",
    ])  # fmt: skip


def _task(facts: RunFacts) -> str:
    """What hubs call it."""
    return POINTS if facts.model["task"]["kind"] == "embed" else TASKS[facts.kind]


def _results(facts: RunFacts) -> list[dict[str, Any]]:
    return [
        {
            "task": {"type": _task(facts)},
            "dataset": {"name": str(facts.story["title"]).rpartition(" on ")[2], "type": "private", "split": part},
            "metrics": [
                {"type": name, "value": figure["value"]}
                for name, figure in found.items()
                if figure["value"] is not None
            ],
        }
        for part, found in facts.parts.items()
    ]
