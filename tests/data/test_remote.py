import http.server
import json
import shutil
import threading

import numpy as np
import pytest

from finetune.cli import call
from finetune.data import remote
from finetune.data.addresses import printable
from finetune.data.examples import list_pictures, read_examples
from finetune.data.loaders import make_loader
from finetune.data.options import Data
from finetune.data.readers import read_image
from finetune.errors import ConfigError, DataError, UnreadableError
from finetune.types import ImageSpec
from tests.made import QUICK_WORDS, class_folders, contents, table

from .test_shards import shards

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files with ranges; /slow/... never answers; what was asked for is kept."""

    asked: list[tuple[str, str | None]]

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Range")))
        if self.path.startswith("/closed/"):
            self.send_error(403)
            return
        if self.path.startswith("/slow/"):
            self.server.stopping.wait(5)
            return
        path = self.translate_path(self.path)
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                content = file.read()
        except OSError:
            self.send_error(404)
            return
        status, spoken = 200, self.headers.get("Range")
        if spoken:
            first, last = spoken.removeprefix("bytes=").split("-")
            status, whole = 206, len(content)
            content = content[int(first) : int(last or whole) + 1]
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        if spoken:
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(content) - 1}/{whole}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder and the URL that it is served at."""
    root = tmp_path_factory.mktemp("site")
    class_folders(root, kinds=("rings", "stripes"))
    handler = type("H", (Handler,), {"asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: handler(*a, directory=str(root)))
    server.stopping = threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield root, f"http://127.0.0.1:{server.server_address[1]}", handler.asked
    server.stopping.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def memory():
    """fsspec's store in memory, empty."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()


def test_a_picture_at_a_url_is_that_of_the_file(site, memory):
    root, url, _ = site
    expected = read_image(root / "rings/0.png")
    np.testing.assert_array_equal(read_image(f"{url}/rings/0.png"), expected)
    memory.pipe_file("/p/0.png", (root / "rings/0.png").read_bytes())
    np.testing.assert_array_equal(read_image("memory://p/0.png"), expected)


def test_cells_of_a_table_may_be_urls_or_relative_to_one(site, tmp_path):
    root, url, _ = site
    names = [file.relative_to(root).as_posix() for file in sorted(root.rglob("*.png"))]
    whole = table(tmp_path / "t.csv", ("image", "label"), [(f"{url}/{name}", name.split("/")[0]) for name in names])
    examples = read_examples(Data(source=str(whole)))
    assert examples.table["source"].tolist() == [f"{url}/{name}" for name in names]
    table(root / "t.csv", ("image", "label"), [(name, name.split("/")[0]) for name in names])
    there = read_examples(Data(source=f"{url}/t.csv"))
    assert there.table["source"].tolist() == examples.table["source"].tolist()
    assert there.table["id"].tolist() == names
    rooted = read_examples(Data(source=str(table(tmp_path / "r.csv", ("image", "label"), [(n, n[0]) for n in names])),
                                root=url))  # fmt: skip
    assert rooted.table["source"].tolist() == examples.table["source"].tolist()


def test_archives_at_a_url_are_read_in_stretches(site):
    root, url, asked = site
    pictures = [(file.parent.name, file.read_bytes()) for file in sorted(root.rglob("*.png"))]
    shards(root / "shards", pictures, 2)
    examples = read_examples(Data(source=f"{url}/shards/data-{{000..001}}.tar"))
    assert len(examples) == 24
    asked.clear()
    picture = read_image(examples.pictures()[7])
    assert [path for path, _ in asked] == ["/shards/data-000.tar"] and asked[0][1].startswith("bytes=")
    local = read_examples(Data(source=str(root / "shards" / "data-{000..001}.tar")))
    np.testing.assert_array_equal(picture, read_image(local.pictures()[7]))


def test_a_server_without_ranges_is_told_of_an_archive_and_gives_pictures(tmp_path, capsys):
    class Plain(http.server.SimpleHTTPRequestHandler):
        """The standard library's, which knows no ranges."""

        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *said):
            pass

    class_folders(tmp_path / "pets")
    pictures = [(file.parent.name, file.read_bytes()) for file in sorted((tmp_path / "pets").rglob("*.png"))]
    shards(tmp_path, pictures, 2)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Plain) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        one = next((tmp_path / "pets").rglob("*.png"))
        assert read_image(f"{url}/{one.relative_to(tmp_path).as_posix()}").ndim == 3
        assert call(["check", f"{url}/data-{{000..001}}.tar", "--out", str(tmp_path / "check")]) == 2
        server.shutdown()
    said = capsys.readouterr().err
    assert "its server gives no ranges" in said and "download it first" in said and "data-000.tar" in said


def test_a_folder_of_archives_in_a_store_is_a_source(memory, site, tmp_path):
    root, _, _ = site
    pictures = [(file.parent.name, file.read_bytes()) for file in sorted(root.rglob("[a-z]*/[0-9].png"))]
    for part in ("train", "val"):
        shards(tmp_path, pictures, 1, f"{part}-{{}}.tar")
        memory.pipe_file(f"/bucket/set/{part}-0.tar", (tmp_path / f"{part}-0.tar").read_bytes())
    examples = read_examples(Data(source="memory://bucket/set"))
    assert set(examples.table["split"]) == {"train", "validation"} and read_image(examples.pictures()[0]).ndim == 3
    with pytest.raises(DataError, match=r"no \.tar archives"):
        read_examples(Data(source="memory://bucket/other"))


def test_what_is_not_there_is_named_with_its_url_and_the_cause(site):
    _, url, _ = site
    with pytest.raises(UnreadableError, match="nothing at this URL"):
        read_image(f"{url}/gone.png")
    with pytest.raises(DataError, match=rf"{url}/gone\.csv cannot be read: there is nothing at this URL"):
        read_examples(Data(source=f"{url}/gone.csv"))
    with pytest.raises(DataError, match=rf"{url}/gone\.tar cannot be opened: there is nothing"):
        read_examples(Data(source=f"{url}/gone.tar"))
    with pytest.raises(UnreadableError, match="status 403"):
        read_image(f"{url}/closed/a.png")
    with pytest.raises(UnreadableError, match="Connect"):
        read_image("http://127.0.0.1:9/a.png")
    for kind in ("nosuchkind", "simplecache", "zip"):
        with pytest.raises(ConfigError, match="unknown kind"):
            read_image(f"{kind}://x/a.png")
    with pytest.raises(UnreadableError, match="no such file"):
        read_image("simplecache::memory://x/a.png")
    with pytest.raises(DataError, match="which files it has"):
        read_examples(Data(source=f"{url}/shards"))


def test_a_server_that_does_not_answer_is_given_up(site, monkeypatch):
    _, url, _ = site
    monkeypatch.setattr(remote, "TIMEOUT", 0.3)
    with pytest.raises(UnreadableError, match=r"did not answer|Timeout"):
        read_image(f"{url}/slow/a.png")


def test_a_file_larger_than_the_bound_is_refused(memory, monkeypatch):
    memory.pipe_file("/big.png", b"0" * 5000)
    monkeypatch.setattr(remote, "MOST_BYTES", 1000)
    with pytest.raises(UnreadableError, match="more than"):
        read_image("memory://big.png")


SECRET = "hunter2"


@pytest.mark.parametrize("text, expected", [
    (f"https://user:{SECRET}@host:8080/a/b.png", "https://***@host:8080/a/b.png"),
    (f"https://h/a.png?X-Amz-Signature={SECRET}&v=2", "https://h/a.png?X-Amz-Signature=***&v=2"),
    (f"https://h/a.png?sig={SECRET}", "https://h/a.png?sig=***"),
    (f"https://h/a.png?{SECRET}", "https://h/a.png?***"),
    ("https://h/a.png?page=3#frame=2", "https://h/a.png?page=3#frame=2"),
    ("/a/b@c.png?token=1", "/a/b@c.png?token=1"),
])  # fmt: skip
def test_what_a_url_keeps_secret_is_not_printed(text, expected):
    assert printable(text).replace(f"?{SECRET}=", "?***") == expected


def test_no_secret_is_in_any_message_or_file_of_a_run(site, tmp_path, capsys):
    root, url, _ = site
    secret = url.replace("http://", f"http://user:{SECRET}@")
    names = [file.relative_to(root).as_posix() for file in sorted(root.rglob("[a-z]*/*.png"))]
    bad = [*names, "rings/gone.png"]
    file = table(tmp_path / "t.csv", ("image", "label"), [(f"{secret}/{name}", name.split("/")[0]) for name in bad])
    words = ["fit", str(file), *QUICK_WORDS, "--out", str(tmp_path / "run")]
    assert call(words) == 2
    said = capsys.readouterr()
    assert "gone.png" in said.err and "***@127.0.0.1" in said.err and "nothing at this URL" in said.err
    assert call([*words, "--on-corrupt", "skip"]) == 0
    table(root / "u.csv", ("image", "label"), [(name, name.split("/")[0]) for name in names])
    assert call(["fit", f"{secret}/u.csv", *QUICK_WORDS, "--out", str(tmp_path / "run2")]) == 0
    assert call(["predict", str(tmp_path / "run"), f"{secret}/{names[0]}"]) == 0
    assert call(["fit", f"{secret}/gone.csv", *QUICK_WORDS]) == 2
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    written = contents(tmp_path / "run") | contents(tmp_path / "run2")
    assert written and not [name for name, content in written.items() if SECRET.encode() in content]
    assert json.loads(written["recipe.json"])["recipe"]["data"]["source"]


def test_nothing_is_written_to_disk(site, tmp_path, monkeypatch):
    root, url, _ = site
    pictures = [(file.parent.name, file.read_bytes()) for file in sorted(root.rglob("[a-z]*/[0-9].png"))]
    shards(root / "more", pictures, 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    examples = read_examples(Data(source=f"{url}/more/data-000.tar"))
    assert all(read_image(picture).ndim == 3 for picture in examples.pictures())
    assert not contents(tmp_path)


def test_pictures_at_urls_are_listed_as_they_are_for_predict(site):
    _, url, _ = site
    assert list_pictures([f"{url}/rings/0.png?x=[1]"]) == [f"{url}/rings/0.png?x=[1]"]


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ConfigError, match=r"pip install 'finetune\[remote\]'"):
        read_image("https://host/a.png")


def test_features_of_pictures_at_urls_are_not_kept(site, tmp_path, monkeypatch):
    """Nobody can say without reading them whether they are still the same."""
    root, url, _ = site
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    names = [file.relative_to(root).as_posix() for file in sorted(root.rglob("[a-z]*/*.png"))]
    file = table(tmp_path / "t.csv", ("image", "label"), [(f"{url}/{name}", name.split("/")[0]) for name in names])
    assert call(["fit", str(file), *QUICK_WORDS, "--out", str(tmp_path / "run")]) == 0
    assert not list((tmp_path / "cache").rglob("*.npy"))
    shutil.rmtree(tmp_path / "run")


def test_workers_that_were_forked_read_urls_too(site):
    root, url, _ = site
    pictures = [(file.parent.name, file.read_bytes()) for file in sorted(root.rglob("[a-z]*/*.png"))]
    shards(root / "forked", pictures, 2)
    examples = read_examples(Data(source=f"{url}/forked/data-{{000..001}}.tar"))
    spec = ImageSpec(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
    loader = make_loader(examples, np.zeros(len(examples), np.int64), spec, batch_size=4, train=False, workers=2)
    assert sorted(int(row) for batch in loader for row in batch.row) == list(range(len(examples)))


def test_a_scheme_may_be_written_in_capitals(site):
    root, url, _ = site
    loud = url.replace("http", "HTTP")
    np.testing.assert_array_equal(read_image(f"{loud}/rings/0.png"), read_image(root / "rings/0.png"))
    with pytest.raises(DataError, match="a web server does not say"):
        remote.list_under(loud)


@pytest.mark.parametrize("cell", ["file:///etc/hostname", "FILE:///etc/hostname", "memory://p/0.png"])
def test_a_table_from_a_server_names_nothing_of_this_machine(site, memory, cell):
    root, url, _ = site
    rows = [("rings/0.png", "a"), ("stripes/0.png", "b"), (cell, "b")]
    table(root / "odd.csv", ("image", "label"), rows)
    with pytest.raises(DataError, match=r"1 of 3 pictures .* are on this machine"):
        read_examples(Data(source=f"{url}/odd.csv"))
    for own in (Data(source=(root / "odd.csv").as_uri()), Data(source=str(root / "odd.csv"), root=url)):
        assert len(read_examples(own)) == 3  # a table of this machine may
