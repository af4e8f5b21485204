import csv
import xml.etree.ElementTree as ElementTree

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from finetune.report.curves import HEIGHT, RIM, WIDTH, drawn, write_curves

SVG = "{http://www.w3.org/2000/svg}"


def rows(losses, chosen=0.01):
    rates = np.geomspace(1e-5, 10, len(losses))
    return [{"rate": r, "loss": v, "smoothed": v, "chosen": chosen} for r, v in zip(rates, losses, strict=True)]


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40), st.text(max_size=8).filter(str.isprintable))
def test_a_curve_is_whole_xml_inside_its_frame_whatever_the_losses_and_the_phase(losses, phase):
    root = ElementTree.fromstring(drawn(rows(losses), phase))
    dots = root.findall(f".//{SVG}circle")
    assert len(dots) == len(losses)
    for dot in dots:
        assert (
            RIM - 1 <= float(dot.get("cx")) <= WIDTH - RIM + 1 and RIM - 1 <= float(dot.get("cy")) <= HEIGHT - RIM + 1
        )


def test_the_report_shows_each_curve_and_its_decisive_points(tmp_path):
    for phase in ("all", "from layer4"):
        with (tmp_path / f"rates-{phase}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["rate", "loss", "smoothed", "chosen"])
            writer.writeheader()
            writer.writerows(rows([2.0, 1.5, 1.0, 3.0]))
    text = "\n".join(write_curves(tmp_path))
    assert "(rates-all.svg)" in text and "(rates-from%20layer4.svg)" in text
    assert text.count("| chosen | 0.01 |") == 2 and "| lowest loss | 0.1 | 1 |" in text
    assert (tmp_path / "rates-from layer4.svg").exists()


def test_a_run_that_looked_for_no_rate_has_no_curve(tmp_path):
    assert write_curves(tmp_path) == []
