"""Drawings are part of the page: its colours, names for those who do not see them, ids of their own."""

import re
import xml.etree.ElementTree as ET

from finetune.report.drawn import NAMES, confusion, curves, reliability


def drawings():
    lines = {"training": [(0, 0.9), (1, 0.5), (2, 0.2)], "validation": [(0, 1.0), (1, 0.7), (2, 0.8)]}
    return [
        curves(
            lines, [("probe", 0, 0), ("fine-tune", 1, 2)], title="Loss", y="loss", alt="falls", shade=True, chosen=1
        ),
        confusion(["<b>", "bees"], [[3, 1], [0, 4]], title="Confusion on test", alt="<b> for bees"),
        reliability(
            [{"confidence": 0.6, "accuracy": 0.5, "count": 3}, {"confidence": 0.9, "accuracy": 1.0, "count": 0}],
            title="Reliability", alt="close",
        ),
    ]  # fmt: skip


def test_each_is_well_formed_named_and_described():
    for text in drawings():
        root = ET.fromstring(text)
        by_id = {e.get("id"): e for e in root.iter() if e.get("id")}
        name, words = root.get("aria-labelledby").split()
        assert by_id[name].text and by_id[words].text and root.get("role") == "img"


def test_ids_are_unique_on_a_page_and_references_lead_to_them():
    text = "".join(drawings())
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text)) <= {(i, "") for i in ids} | {("", i) for i in ids}


def test_colours_are_the_pages_own_and_nothing_is_from_elsewhere():
    text = "".join(drawings())
    assert not any(colour in text for colour in NAMES)
    assert "var(--first)" in text and "var(--ink)" in text
    assert "http" not in text and "<style" not in text and "<metadata" not in text


def test_every_count_of_a_confusion_matrix_can_be_read():
    assert {"3", "1", "4"} <= {e.text.strip() for e in ET.fromstring(drawings()[1]).iter("text") if e.text}
