from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import finetune as ft
from finetune.activations import activations
from finetune.crew import Share
from finetune.data.examples import read_examples
from finetune.data.looks import Onlooker, scan_by
from finetune.data.options import Data
from finetune.data.readers import scan
from finetune.errors import UnreadableError
from finetune.features import features, run_over
from finetune.models.cut import cut
from finetune.views import view_features
from tests.made import class_folders
from tests.models.official import pictures

CPU = torch.device("cpu")


@given(st.integers(0, 200), st.integers(1, 40), st.integers(1, 9))
def test_shares_are_whole_batches_and_each_place_is_in_one_of_them(count, batch_size, ranks):
    spans = [Share(rank, ranks).span(count, batch_size) for rank in range(ranks)]
    assert [place for span in spans for place in span] == list(range(count))
    assert all(span.start % batch_size == 0 or not span for span in spans)
    batches = [-(-len(span) // batch_size) for span in spans]
    assert max(batches) - min(batches) <= 1, "nobody does much more than another"


class InTurn:
    """Ranks that share a pass one after the other, each handed the job as another process is."""

    def __init__(self, ranks: int) -> None:
        self.ranks, self.passes = ranks, 0

    def work(self, job, device, progress=None):
        self.passes += 1
        jobs = [job, *(pickle.loads(pickle.dumps(job)) for _ in range(1, self.ranks))]
        return [one(Share(rank, self.ranks), device, None if rank else progress) for rank, one in enumerate(jobs)]


@pytest.fixture
def source(tmp_path):
    return class_folders(tmp_path / "pictures", count=5)


def read(source):
    return read_examples(Data(source=str(source)))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return ft.Backbone("timm/test_resnet", weights="none", input_size=64).build(3).eval()


@pytest.mark.parametrize("ranks", [2, 4, 9])
def test_features_of_several_ranks_are_those_of_one(network, source, tmp_path, ranks):
    crew, examples = InTurn(ranks), read(source)
    one = features(network, examples, batch_size=4, cache=tmp_path / "one")
    many = features(network, examples, batch_size=4, cache=tmp_path / "many", crew=crew)
    assert one.values.tobytes() == np.asarray(many.values).tobytes() and np.array_equal(one.rows, many.rows)
    (file,), (other,) = (list((tmp_path / name).iterdir()) for name in ("one", "many"))
    assert file.name == other.name and file.read_bytes() == other.read_bytes(), "one file, as one rank writes it"
    features(network, examples, batch_size=4, cache=tmp_path / "many", crew=crew)
    assert crew.passes == 1, "what is known is not computed again"


def test_views_of_several_ranks_are_those_of_one(network, source, tmp_path):
    words = {"policy": "light", "views": 3, "batch_size": 4, "seed": 2}
    one = view_features(network, read(source), cache=tmp_path / "one", **words)
    many = view_features(network, read(source), cache=tmp_path / "many", crew=InTurn(3), **words)
    assert one.tobytes() == many.tobytes()


@pytest.mark.parametrize("policy", ["none", "light"])
def test_activations_of_several_ranks_are_those_of_one(network, source, tmp_path, policy):
    examples, rows = read(source), np.arange(1, 14)
    names = [stage.name for stage in network.stages]
    divided = cut(network, network.stages[names.index("layer4") :], pictures(network.spec, count=2))
    files = []
    for name, crew in (("one", None), ("many", InTurn(3))):
        made = activations(divided, examples, rows, say=lambda line: None, policy=policy, views=2, batch_size=4,
                           cache=tmp_path / name, crew=crew)  # fmt: skip
        with made:
            files.append(made.path.read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("ranks", [2, 4, 9])
def test_answers_of_several_ranks_are_those_of_one_and_no_picture_counts_twice(network, shared_data, ranks):
    """101 photographs in batches of 8, of which the last one is short."""
    examples = read(shared_data / "hymenoptera").take(range(101))
    one, many = (run_over(network, examples, batch_size=8, crew=crew) for crew in (None, InTurn(ranks)))
    assert one.values.tobytes() == many.values.tobytes()
    assert one.rows.tolist() == many.rows.tolist() == list(range(101)) and one.errors == many.errors == {}


def test_of_answers_too_it_is_told_what_other_ranks_could_not_read(network, source):
    files = sorted(source.rglob("*.png"))
    for file in files[-4:]:  # the whole share of the last rank
        file.write_bytes(file.read_bytes()[:40])
    one, many = (run_over(network, read(source), batch_size=4, crew=crew) for crew in (None, InTurn(4)))
    assert one.errors == many.errors and len(many.errors) == 4
    assert one.rows.tolist() == many.rows.tolist() and one.values.tobytes() == many.values.tobytes()
    for file in files:
        file.write_bytes(b"")
    nothing = run_over(network, read(source), batch_size=4, crew=InTurn(4))
    assert len(nothing.errors) == 15 and nothing.values.shape == (0, 0)


def test_who_looks_on_sees_all_in_one_process(network, source):
    class Who:
        seen = []  # noqa: RUF012

        def see(self, row, picture):
            return row, picture.shape

        def note(self, row, seen):
            assert seen[0] == row and len(seen[1]) == 3
            self.seen.append(row)

    crew = InTurn(3)
    run_over(network, read(source), batch_size=4, also=Who(), crew=crew)
    assert Who.seen == list(range(15)) and crew.passes == 0


@pytest.mark.parametrize("ranks", [2, 4, 20])
def test_a_plain_reading_by_several_ranks_finds_what_one_finds(source, tmp_path, ranks):
    broken = sorted(source.rglob("*.png"))[7]
    broken.write_bytes(broken.read_bytes()[:40])
    examples, moved = read(source), []
    alone, together = (Onlooker(examples, cache=tmp_path / name) for name in ("a", "b"))
    one = scan(examples, also=alone)
    many = scan_by(InTurn(ranks), CPU, examples, also=together, progress=moved.append)
    assert one == many and list(one) == [7]
    assert sum(moved) == len(Share(0, ranks).span(15, 1)), "this process has read its share alone"
    assert scan_by(InTurn(ranks), CPU, examples) == one
    for path in examples.pictures():
        Image.new("RGB", (9, 9)).save(path)
    both = [watch.looks(errors=one) for watch in (alone, together)]
    assert np.array_equal(both[0].digest, both[1].digest)


def test_what_other_ranks_could_not_read_is_told(network, source, tmp_path):
    broken = sorted(source.rglob("*.png"))[-1]
    broken.write_bytes(broken.read_bytes()[:40])
    one = features(network, read(source), batch_size=4, cache=tmp_path / "one")
    many = features(network, read(source), batch_size=4, cache=tmp_path / "many", crew=InTurn(3))
    assert one.errors == many.errors and len(many.errors) == 1
    assert np.array_equal(one.rows, many.rows) and one.values.tobytes() == many.values.tobytes()
    assert not list((tmp_path / "many").iterdir()), "a file of the cache has all"
    names = [stage.name for stage in network.stages]
    divided = cut(network, network.stages[names.index("layer4") :], pictures(network.spec, count=2))
    with pytest.raises(UnreadableError, match=broken.name):
        activations(divided, read(source), np.arange(15), say=lambda line: None, batch_size=4, cache=tmp_path / "many",
                    crew=InTurn(3))  # fmt: skip
    assert not list((tmp_path / "many").iterdir())


def test_what_other_ranks_saw_is_known_and_not_read_again(network, source, tmp_path):
    examples = read(source)
    alone, together = (Onlooker(examples, cache=tmp_path / name) for name in ("a", "b"))
    features(network, examples, batch_size=4, cache=tmp_path / "one", also=alone)
    features(network, examples, batch_size=4, cache=tmp_path / "many", also=together, crew=InTurn(3))
    seen = alone.looks()
    for path in examples.pictures():
        Image.new("RGB", (9, 9)).save(path)
    assert np.array_equal(together.looks().digest, seen.digest)


def test_no_room_for_a_file_is_no_reason_to_fail(network, source, tmp_path):
    (tmp_path / "file").write_text("no folder")
    one = features(network, read(source), batch_size=4, cache=tmp_path / "one")
    many = features(network, read(source), batch_size=4, cache=tmp_path / "file", crew=InTurn(2))
    assert one.values.tobytes() == many.values.tobytes()
