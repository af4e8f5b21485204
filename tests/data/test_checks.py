"""Each check of files, pictures and answers: it raises what was planted, and is quiet where nothing was."""

from __future__ import annotations

import json
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from finetune.data import agreement
from finetune.data.checks import of_files
from finetune.data.examples import Examples, list_pictures
from finetune.data.families import clusters, families
from finetune.data.findings import Finding, Item, by_severity
from finetune.data.headers import promised, read_header, read_headers
from finetune.data.leaks import Leak
from finetune.data.looks import Looks
from finetune.data.shortcuts import Shortcut
from finetune.data.suspects import Suspect
from tests.made import texture

Pair = namedtuple("Pair", "first second kind how correlation")


def table(targets, groups=None, splits=None, sources=None, kind="class"):
    count = len(targets)
    ids = [f"{n}.png" for n in range(count)]
    column = lambda values: pd.Series(values or [None] * count, dtype="object")  # noqa: E731
    target = pd.Series(targets, dtype="float64" if kind == "number" else "object")
    frame = pd.DataFrame({"id": ids, "source": sources or ids, "target": target, "group": column(groups),
                          "split": column(splits)})  # fmt: skip
    return Examples(table=frame, kind=kind)


def found(folder, tmp_path):
    """The findings of a folder's files, by name."""
    sources = list_pictures([folder])
    examples = table(["a"] * len(sources), sources=sources)
    looks = Looks.of(examples, cache=tmp_path / "cache")
    return {f.what: f for f in of_files(examples, read_headers(examples), looks, folder)}, sources


def noise(seed, side=40, level=128):
    return texture("rings", np.random.default_rng(seed), level=level, side=side)


@pytest.fixture
def plain(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(20):
        Image.fromarray(noise(number)).save(folder / f"{number}.png")
    return folder


def test_a_clean_folder_raises_nothing(plain, tmp_path):
    findings, _ = found(plain, tmp_path)
    assert {f.severity for f in findings.values()} == {"fine"}
    assert all(not f.items and f.sentence.endswith(".") for f in findings.values())


def blurred(path):
    small = Image.fromarray(noise(99)).resize((4, 4), Image.Resampling.BOX)
    wide = Image.fromarray(np.repeat(np.linspace(40, 220, 40).astype(np.uint8)[None], 40, axis=0)).convert("RGB")
    Image.blend(wide, small.resize((40, 40), Image.Resampling.BICUBIC), 0.3).save(path)


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(50)).save(path, exif=exif)


def truncated(path):
    Image.fromarray(noise(51, side=200)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])


def flat(value):
    return lambda path: Image.fromarray(np.clip(noise(52) * 0.01 + value, 0, 255).astype(np.uint8)).save(path)


def shaded(value):
    return lambda path: Image.fromarray(np.clip((noise(52) - 128.0) * 0.1 + value, 0, 255).astype(np.uint8)).save(path)


PLANTED = {
    "truncated": ("unreadable", "x.jpg", truncated, "must decide"),
    "empty": ("unreadable", "x.jpg", lambda path: path.touch(), "must decide"),
    "text": ("unreadable", "x.png", lambda path: path.write_text("hello"), "must decide"),
    "extension": ("extension", "x.jpg", lambda path: Image.fromarray(noise(53)).save(path, format="PNG"), "look"),
    "rotation": ("rotation", "x.jpg", turned, "look"),
    "tiny": ("size", "x.png", lambda path: Image.fromarray(noise(54, side=20)).save(path), "look"),
    "long": ("proportions", "x.png", lambda path: Image.fromarray(np.tile(noise(55), (1, 5, 1))).save(path), "look"),
    "constant": ("one colour", "x.png", flat(128), "look"),
    "black": ("dark", "x.png", shaded(6), "look"),
    "white": ("bright", "x.png", shaded(251), "look"),
    "blurred": ("blurred", "x.png", blurred, "look"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_picture_is_found_and_it_alone(plain, tmp_path, case):
    what, name, plant, severity = PLANTED[case]
    plant(plain / name)
    findings, sources = found(plain, tmp_path)
    finding = findings[what]
    assert finding.severity == severity and finding.todo
    assert [sources[row] for row in finding.rows] == [str(plain / name)]
    assert finding.items[0].text
    assert {f.what for f in findings.values() if f.severity != "fine"} == {what}


def test_links_out_and_pictures_beside_are_named(plain, tmp_path):
    outside = tmp_path / "outside.png"
    Image.fromarray(noise(60)).save(outside)
    (plain / "link.png").symlink_to(outside)
    sources = list_pictures([plain])[1:]
    examples = table(["a"] * len(sources), sources=sources)
    looks = Looks.of(examples, cache=tmp_path / "cache")
    findings = {f.what: f for f in of_files(examples, read_headers(examples), looks, plain)}
    assert [item.text for item in findings["links"].items] == [str(plain / "link.png")]
    assert [item.text for item in findings["left out"].items] == [str(plain / "0.png")]


def test_a_header_tells_the_camera_and_survives_rubbish(tmp_path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0132] = "Canon", "40D", "2011:04:12 18:30:11"
    Image.fromarray(noise(1)).save(tmp_path / "a.jpg", exif=exif)
    header = read_header(tmp_path / "a.jpg")
    assert (header.format, header.camera, header.taken) == ("JPEG", "Canon 40D", "2011:04:12 18:30:11")
    assert header.quantisation > 0 and (header.width, header.height) == (40, 40)
    (tmp_path / "b.jpg").write_bytes(b"rubbish")
    assert read_header(tmp_path / "b.jpg").format is None and read_header(tmp_path / "c.jpg").bytes == 0


@pytest.mark.parametrize(("name", "format"), [("A.JPEG", "JPEG"), ("b.tif", "TIFF"), ("c.dcm", None), ("d", None)])
def test_extensions_promise_a_format(name, format):
    assert promised(name) == format


def by_name(findings):
    return {finding.what: finding for finding in findings}


def test_uneven_and_scarce_classes_are_told_and_even_ones_are_not():
    even = by_name(agreement.targets(table(["a"] * 30 + ["b"] * 40)))
    assert {f.severity for f in even.values()} == {"fine"} and "b 40, a 30" in even["balance"].sentence
    uneven = by_name(agreement.targets(table(["a"] * 300 + ["b"] * 5)))
    assert uneven["balance"].severity == "look" and "60 times" in uneven["balance"].sentence
    assert uneven["few"].items == (Item(rows=(), text="b: 5"),)


def test_labels_are_counted_one_by_one():
    found = by_name(agreement.targets(table([("a", "b")] * 25 + [("a",)] * 30 + [()] * 3, kind="labels")))
    assert "a 55, b 25" in found["balance"].sentence and found["few"].severity == "fine"


def test_a_number_that_is_nearly_always_the_same_is_told():
    assert agreement.targets(table([0.0] * 70 + [1.0] * 30, kind="number"))[0].severity == "look"
    assert agreement.targets(table([float(n) for n in range(100)], kind="number"))[0].severity == "fine"


def test_groups_with_two_answers_are_told():
    fine = agreement.groups(table(["a", "a", "b"], groups=["p", "p", "q"]))
    assert fine.severity == "fine" and "2 groups" in fine.sentence
    mixed = agreement.groups(table(["a", "b", "b"], groups=["p", "p", "q"]))
    assert mixed.severity == "look" and mixed.items == (Item(rows=(0, 1), text="group p"),)
    assert "No groups" in agreement.groups(table(["a"])).sentence


def test_copies_are_told_and_those_with_two_answers_must_be_decided():
    examples = table(["a", "a", "b"])
    same, other = Pair(0, 1, "exact", "", 1.0), Pair(1, 2, "copy", "mirrored", 0.98)
    found = by_name(agreement.copies(examples, [same, other]))
    assert found["conflicts"].severity == "must decide" and found["conflicts"].rows == (1, 2)
    assert found["copies"].rows == (0, 1) and "mirrored" in found["near copies"].items[0].text
    assert {f.severity for f in agreement.copies(examples, [])} == {"fine"}
    assert by_name(agreement.copies(examples, [same]))["conflicts"].severity == "fine"


def test_the_order_of_labels_is_no_conflict():
    examples = table([("a", "b"), ("b", "a"), ("a",)], kind="labels", groups=["p", "p", None])
    same, other = Pair(0, 1, "exact", "", 1.0), Pair(0, 2, "exact", "", 1.0)
    assert by_name(agreement.copies(examples, [same]))["conflicts"].severity == "fine"
    assert by_name(agreement.copies(examples, [other]))["conflicts"].rows == (0, 2)
    assert agreement.groups(examples).severity == "fine"


def test_near_copies_with_two_numbers_are_frames_and_no_conflict():
    examples = table([0.1, 0.2], kind="number")
    near, exact = Pair(0, 1, "copy", "", 0.99), Pair(0, 1, "exact", "", 1.0)
    assert by_name(agreement.copies(examples, [near]))["conflicts"].severity == "fine"
    assert by_name(agreement.copies(examples, [exact]))["conflicts"].severity == "must decide"


def test_leaks_must_be_decided_where_parts_are_given():
    examples = table(["a", "a"], splits=["train", "test"])
    leak = Leak(rows=(0, 1), ids=("0.png", "1.png"), parts=("train", "test"), why="exact copy")
    assert agreement.leaks(examples, [leak]).severity == "must decide"
    assert agreement.leaks(examples, []).severity == "fine"
    assert "No parts" in agreement.leaks(table(["a"]), []).sentence


def test_what_a_fit_refuses_must_be_decided():
    assert agreement.refused("One class.").severity == "must decide"
    assert agreement.refused(None).severity == "fine"


def test_suspects_are_shown_with_both_answers_and_what_was_not_checked_says_why():
    suspect = Suspect(row=4, given="a", suggested="b", probability=0.02, score=-0.96)
    told = agreement.labels("class", [suspect], audited=50)
    assert told.severity == "look" and told.rows == (4,) and "given a (2.0%), suggested b" in told.items[0].text
    assert agreement.labels("class", [], audited=50).severity == "fine"
    unchecked = agreement.labels("class", None, "No backbone.")
    assert (unchecked.severity, unchecked.sentence) == ("not checked", "No backbone.")


def shortcut(low, **words):
    return Shortcut(fact="picture size", score=low, low=low, high=1.0, chance=0.5, n=100, example="width",
                    **{"seen": True, **words})  # fmt: skip


def test_a_strong_shortcut_must_be_decided_a_weak_one_looked_at_and_none_is_fine():
    severities = [agreement.shortcuts("class", [shortcut(low)]).severity for low in (0.99, 0.6, 0.52)]
    assert severities == ["must decide", "look", "fine"]
    assert agreement.shortcuts("class", [shortcut(0.99, seen=False)]).severity == "look"
    assert agreement.shortcuts("class", [], "Too few.").severity == "not checked"


@given(st.lists(st.sampled_from(["must decide", "look", "fine", "not checked"])))
def test_what_must_be_decided_comes_first_and_nothing_is_lost(severities):
    findings = [Finding(what=str(n), severity=s, sentence="") for n, s in enumerate(severities)]
    ordered = by_severity(findings)
    assert sorted(f.what for f in ordered) == sorted(f.what for f in findings)
    places = ["must decide", "look", "fine", "not checked"]
    assert [f.severity for f in ordered] == sorted(severities, key=places.index)


@given(st.lists(st.integers(0, 50)), st.text(), st.sampled_from(["look", "fine"]))
def test_a_finding_survives_json(rows, text, severity):
    finding = Finding(what="dark", severity=severity, sentence=text, items=(Item(rows=tuple(rows), text=text),))
    assert Finding.from_dict(json.loads(json.dumps(finding.to_dict()))) == finding


@given(st.integers(1, 20), st.data())
def test_clusters_divide_the_rows_and_join_what_is_linked(count, draw):
    rows = st.integers(0, count - 1)
    links = draw.draw(st.lists(st.tuples(rows, rows)))
    found = clusters(count, links)
    assert sorted(row for cluster in found for row in cluster) == list(range(count))
    home = {row: n for n, cluster in enumerate(found) for row in cluster}
    assert all(home[one] == home[other] for one, other in links)
    assert len(found) >= count - len(links)


def test_families_join_groups_through_copies_and_leave_others_alone():
    names = families(["p", None, "q", None, "q"], [(0, 2)])
    assert names[0] == names[2] == names[4] is not None and names[1] is None and names[3] is None
