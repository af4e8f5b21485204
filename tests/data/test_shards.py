import io
import json
import tarfile
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetune.cli import call
from finetune.data import loaders, samplers
from finetune.data.addresses import stamp
from finetune.data.clean import write_clean
from finetune.data.examples import list_pictures, read_examples
from finetune.data.looks import Looks
from finetune.data.options import Data
from finetune.data.readers import read_image
from finetune.data.shards import shard_order
from finetune.data.tars import find_archives, index_tar, is_shards
from finetune.errors import DataError, UnreadableError
from finetune.types import ImageSpec
from tests.made import QUICK_WORDS, class_folders

from .pictures import save

SPEC = ImageSpec(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)


def pack(path, members, format=tarfile.GNU_FORMAT):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as tar:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if info.isreg():
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """(kind, bytes) of 24 pictures."""
    root = class_folders(tmp_path_factory.mktemp("pictures"), kinds=("rings", "stripes"))
    return [(file.parent.name, file.read_bytes()) for file in sorted(root.rglob("*.png"))]


def shards(root, pictures, count=3, name="data-{:03}.tar", label="cls"):
    def text(number, kind):
        if label == "json":
            return json.dumps({"diagnosis": kind, "patient": f"p{number // 2}", "age": 40}).encode()
        return kind.encode()

    for shard in range(count):
        members = []
        for number, (kind, content) in list(enumerate(pictures))[shard::count]:
            members += [(f"{number:04}.png", content), (f"{number:04}.{label}", text(number, kind))]
        pack(root / name.format(shard), members)
    return root


def read(source, **options):
    return read_examples(Data(source=str(source), **options))


def test_samples_are_rows_of_the_ordinary_table(tmp_path, pictures):
    shards(tmp_path, pictures)
    examples = read(tmp_path)
    assert len(examples) == 24 and examples.kind == "class" and set(examples.targets) == {"rings", "stripes"}
    assert sorted(examples.table["id"])[0] == "data-000.tar/0000.png"
    expected = {f"{n:04}.png": read_image(content) for n, (_, content) in enumerate(pictures)}
    for id, picture in zip(examples.table["id"], examples.pictures(), strict=True):
        np.testing.assert_array_equal(read_image(picture), expected[id.split("/")[1]])


def test_a_file_a_pattern_and_a_folder_name_archives(tmp_path, pictures):
    shards(tmp_path, pictures)
    assert len(read(tmp_path / "data-001.tar")) == 8
    assert len(read(tmp_path / "data-{000..001}.tar")) == 16
    assert len(read(tmp_path / "data-{000,002}.tar")) == 16
    assert find_archives("s3://b/{08..10}-{a,b}.tar") == [
        f"s3://b/{n}-{x}.tar" for n in ("08", "09", "10") for x in "ab"
    ]
    with pytest.raises(DataError, match=r"2 of 5 archives .*data-003\.tar"):
        read(tmp_path / "data-{000..004}.tar")
    for odd in ("x-{5..2}.tar", "x-{0..999999999}.tar"):
        with pytest.raises(DataError):
            find_archives(odd)


@pytest.mark.parametrize("name", ["{}-000.tar", "{}/000.tar"])
def test_names_and_folders_of_archives_are_parts(tmp_path, pictures, name):
    for part in ("train", "val"):
        shards(tmp_path, pictures, 1, name.format(part))
    assert set(read(tmp_path).table["split"]) == {"train", "validation"}


def test_archives_of_train_alone_are_divided_as_any_source(tmp_path, pictures):
    assert set(read(shards(tmp_path, pictures, name="train-{:03}.tar")).table["split"]) == {None}


def test_fields_of_json_are_columns(tmp_path, pictures):
    shards(tmp_path, pictures, label="json")
    examples = read(tmp_path, target="diagnosis", group="patient")
    assert set(examples.targets) == {"rings", "stripes"} and examples.table["group"].nunique() == 12
    assert set(examples.table["age"]) == {40}
    assert set(read(tmp_path).targets) == {"rings", "stripes"}  # a usual name is found


def test_digits_of_cls_are_classes_and_txt_may_hold_labels(tmp_path, pictures):
    content = pictures[0][1]
    pack(tmp_path / "a.tar", [(f"{n}.{e}", c) for n in range(9) for e, c in (("png", content), ("cls", b"%d" % n))])
    assert read(tmp_path / "a.tar").kind == "class"
    pack(tmp_path / "b.tar", [(f"{n}.{e}", c) for n in range(4)
                              for e, c in (("png", content), ("txt", b"cat|dog" if n else b"cat"))])  # fmt: skip
    assert read(tmp_path / "b.tar", delimiter="|").targets[1] == ("cat", "dog")


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_the_own_reader_finds_what_the_standard_library_finds(tmp_path, format):
    names = ["a.jpg", "./b/c.jpg", "d/" + "e" * 90 + ".jpg", "f" * 60 + "/" + "g" * 60 + ".jpg", "ü/日本.jpg"]
    if format != tarfile.USTAR_FORMAT:
        names.append("h/" * 150 + "i.jpg")
    folder = tarfile.TarInfo("folder")
    folder.type = tarfile.DIRTYPE
    file = pack(tmp_path / "a.tar", [(folder, b""), *((name, name.encode() * 40) for name in names)], format)
    with file.open("rb") as raw:
        members, links = index_tar(raw)
        assert links == 0 and len(members) == len(names)
        for member, name in zip(members, names, strict=True):
            assert member.name == name.removeprefix("./")
            raw.seek(member.start)
            assert raw.read(member.size) == name.encode() * 40


def odd(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, b""


def test_links_and_devices_are_passed_over_and_said(tmp_path, pictures):
    content = pictures[0][1]
    wicked = [odd("1.png", tarfile.SYMTYPE, "/etc/passwd"), odd("2.png", tarfile.LNKTYPE, "../x"),
              odd("3.png", tarfile.CHRTYPE), odd("4.png", tarfile.FIFOTYPE)]  # fmt: skip
    good = [(f"{n}.{e}", c) for n in "ab" for e, c in (("png", content), ("cls", n.encode()))]
    examples = read(pack(tmp_path / "a.tar", [*wicked, *good]))
    assert len(examples) == 2 and any("4 links" in note for note in examples.notes)


def test_names_that_lead_out_are_refused_and_absolute_ones_mean_nothing(tmp_path):
    with pytest.raises(DataError, match=r"leads out of the archive"):
        read(pack(tmp_path / "a.tar", [("../../x.png", b"1"), ("../../x.cls", b"1")]))
    with pack(tmp_path / "b.tar", [("/etc/x.png", b"1")]).open("rb") as file:
        assert index_tar(file)[0][0].name == "etc/x.png"


def test_an_archive_that_is_cut_off_is_named_wherever_it_is_cut(tmp_path, pictures):
    members = [(f"{n}.{e}", c) for n in "ab" for e, c in (("png", pictures[0][1]), ("cls", n.encode()))]
    whole = pack(tmp_path / "a.tar", members).read_bytes()
    used = whole.rstrip(b"\0")
    for length in (700, 1024, len(used) // 2, len(used) - 3, -(-len(used) // 512) * 512):
        (tmp_path / "a.tar").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.tar cannot be used.*(cut off|damaged)"):
            read(tmp_path / "a.tar")


def rewritten(file, **fields):
    """The first header with other fields and a checksum that is right again."""
    raw = bytearray(file.read_bytes())
    for name, value in fields.items():
        start = {"size": 124, "kind": 156, "magic": 257}[name]
        raw[start : start + len(value)] = value
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + 256 + sum(raw[156:512]))
    file.write_bytes(raw)
    return file


@pytest.mark.parametrize(
    "size", [b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"-0000001\0\0\0\0", b"9" * 12]
)
@pytest.mark.parametrize("kind", [b"0", b"L", b"x", b"S", b"\xee"])
def test_sizes_that_lie_are_refused_and_cost_no_memory(tmp_path, size, kind):
    file = rewritten(pack(tmp_path / "a.tar", [("1.png", b"1" * 600)]), size=size, kind=kind)
    tracemalloc.start()
    with pytest.raises(DataError, match="cut off or damaged"):
        read(file)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("content, reason", [
    (b"\x1f\x8b\x08" + b"0" * 600, "compressed"), (b"hello" * 200, "no tar archive"), (b"", "no tar archive"),
    (b"0" * 100, "no tar archive"), (b"\0" * 1024, "holds no pictures"),
])  # fmt: skip
def test_what_is_no_archive_says_what_it_is(tmp_path, content, reason):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read(tmp_path / "a.tar")


def test_sparse_members_and_attributes_without_end_are_refused(tmp_path):
    file = pack(tmp_path / "a.tar", [("1.png", b"1" * 600)])
    with pytest.raises(DataError, match="sparse"):
        read(rewritten(file, kind=b"S"))
    with pytest.raises(DataError, match="attributes"):
        read(rewritten(file, kind=b"x"))


@given(st.binary(max_size=2000), st.integers(0, 2000))
def test_any_bytes_are_an_archive_or_refused(noise, at):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("1.png")
        info.size = 700
        tar.addfile(info, io.BytesIO(b"1" * 700))
    raw = bytearray(buffer.getvalue())
    raw[at : at + len(noise)] = noise
    try:
        members, _ = index_tar(io.BytesIO(raw))
    except DataError as error:
        assert str(error)
    else:
        assert all(0 <= m.start <= m.start + m.size <= len(raw) for m in members)


def sample_errors(content):
    yield "two pictures", [("1.png", content), ("1.jpg", content), ("1.cls", b"0")], "several pictures"
    yield "no label", [("1.png", content), ("2.png", content)], "have no label"
    yield "a gap", [("1.png", content), ("1.cls", b"a"), ("2.png", content)], "1 samples .* no cls, such as a.tar/2.png"
    yield "no json", [("1.png", content), ("1.json", b"{")], "no JSON"
    yield "twice", [("1.png", content), ("1.png", content), ("1.cls", b"0")], "two members"
    yield "long label", [("1.png", content), ("1.cls", b"0" * (2 << 20))], "no label"


def test_samples_without_one_meaning_are_refused(tmp_path, pictures):
    for _, members, reason in sample_errors(pictures[0][1]):
        with pytest.raises(DataError, match=reason):
            read(pack(tmp_path / "a.tar", members))
    two = [(f"{n}.{e}", c) for n in "ab" for e, c in (("l.png", pictures[0][1]), ("r.png", b"1"), ("cls", n.encode()))]
    assert len(read(pack(tmp_path / "a.tar", two), image="l.png")) == 2


def test_an_archive_that_got_shorter_since_is_told(tmp_path, pictures):
    file = shards(tmp_path, pictures, 1) / "data-000.tar"
    picture = read(file).pictures()[5]
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(UnreadableError, match="archive ends"):
        read_image(picture)


@pytest.mark.parametrize("window", [1, 5, 10_000])
def test_the_order_reads_archives_from_front_to_back(window):
    sources = [f"/d/{shard}.tar#{512 * n}+100=x.jpg" for n in range(50) for shard in "abcd"]
    order = shard_order(sources, seed=0, epoch=0, window=window)
    assert sorted(order) == list(range(200))
    assert not np.array_equal(order, shard_order(sources, seed=0, epoch=1, window=window))
    np.testing.assert_array_equal(order, shard_order(sources, seed=0, epoch=0, window=window))
    if window == 1:
        runs = [sources[row].split("#")[0] for row in order]
        assert sum(a != b for a, b in pairwise(runs)) == 3
        starts = [int(sources[row].split("#")[1].split("+")[0]) for row in order]
        assert all(starts[k : k + 50] == sorted(starts[k : k + 50]) for k in range(0, 200, 50))


@pytest.mark.parametrize("train", [True, False])
def test_two_ranks_of_two_workers_see_every_sample_once(tmp_path, pictures, monkeypatch, train):
    examples = read(shards(tmp_path, pictures))
    monkeypatch.setattr(loaders, "cpu_count", lambda: 2)
    seen = []
    for rank in range(2):
        monkeypatch.setattr(samplers, "_rank_and_world", lambda rank=rank: (rank, 2))
        loader = loaders.make_loader(examples, np.zeros(24, np.int64), SPEC, batch_size=3, train=train, workers=2)
        seen.append([int(row) for batch in loader for row in batch.row])
    assert not set(seen[0]) & set(seen[1])
    assert sorted(seen[0] + seen[1]) == list(range(24))


def test_pictures_from_archives_are_those_of_the_files(tmp_path, pictures):
    examples = read(shards(tmp_path, pictures))
    (_, batch, errors), *_ = loaders.stream(examples, SPEC, batch_size=24)
    assert not errors and batch.dtype == torch.uint8 and len(batch) == 24


def test_fit_evaluate_and_predict_take_archives(tmp_path, pictures, capsys):
    source, out = str(shards(tmp_path / "s", pictures)), str(tmp_path / "run")
    assert call(["fit", source, *QUICK_WORDS, "--out", out]) == 0
    assert call(["evaluate", out, f"{source}/data-{{000..002}}.tar"]) == 0
    capsys.readouterr()
    assert call(["predict", out, f"{source}/data-000.tar"]) == 0
    assert capsys.readouterr().out.count(".png") == 8
    assert {file.name for file in (tmp_path / "s").iterdir()} == {f"data-{n:03}.tar" for n in range(3)}


def test_a_picture_in_an_archive_that_cannot_be_read_is_named_or_skipped(tmp_path, pictures, capsys):
    source = shards(tmp_path / "s", [*pictures, ("rings", b"no picture")], 1)
    words = ["fit", str(source), *QUICK_WORDS, "--out", str(tmp_path / "run")]
    assert call(words) == 2
    message = capsys.readouterr().err
    assert "1 of 25 pictures cannot be read" in message and message.count("0024.png") == 1
    assert call([*words, "--on-corrupt", "skip"]) == 0
    (source / "data-000.tar").write_bytes((source / "data-000.tar").read_bytes()[:5000])
    assert call([*words, "--overwrite"]) == 2
    message = capsys.readouterr().err
    assert "data-000.tar cannot be used" in message and "Traceback" not in message


def test_other_stretches_of_an_archive_are_other_pictures_to_the_cache_of_features(tmp_path, pictures):
    first, second = read(shards(tmp_path, pictures, 1) / "data-000.tar").pictures()[:2]
    assert stamp(first) != stamp(second)


def test_listing_an_archive_gives_its_pictures(tmp_path, pictures):
    shards(tmp_path, pictures)
    assert is_shards(tmp_path / "data-000.tar") and not is_shards(tmp_path)
    assert len(list_pictures([tmp_path / "data-{000..001}.tar"])) == 16


def test_an_archive_in_capitals_is_found_and_read(tmp_path, pictures):
    shards(tmp_path, pictures, 1, "X.TAR")
    for source in (tmp_path, tmp_path / "X.TAR"):
        assert read_image(read(source).pictures()[0]).ndim == 3


def test_members_that_a_clean_table_names_are_found_again(tmp_path, pictures):
    examples = read(shards(tmp_path / "set", pictures, 1))
    save(tmp_path / "set" / "0001.png")  # of a member's name, and not meant
    reasons = [""] * len(examples)
    rows = examples.table.assign(drop=False, reason=reasons, suggested_target=reasons, group="", split="")
    write_clean(tmp_path / "clean.csv", rows)
    again = read(tmp_path / "clean.csv")
    assert again.table["source"].tolist() == examples.table["source"].tolist() and again.targets == examples.targets
    (tmp_path / "set" / "data-000.tar").unlink()
    with pytest.raises(DataError, match="24 of 24 pictures"):
        read(tmp_path / "clean.csv", root=str(tmp_path / "set"))


def test_looks_of_members_are_kept_until_the_archive_changes(tmp_path, pictures, monkeypatch):
    root = tmp_path / "set"
    examples = read(shards(root, pictures, 1))
    fresh = Looks.of(examples, cache=tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr("finetune.data.readers.read_image", lambda *a, **k: pytest.fail("read again"))
        again = Looks.of(examples, cache=tmp_path / "cache")
    assert np.array_equal(fresh.digest, again.digest) and len(set(map(bytes, again.digest))) > 1
    assert len(list((tmp_path / "cache" / "looks").iterdir())) == 1
    turned = read(shards(root, pictures[::-1], 1))
    assert np.array_equal(Looks.of(turned, cache=tmp_path / "cache").digest, Looks.of(turned, cache=tmp_path).digest)
