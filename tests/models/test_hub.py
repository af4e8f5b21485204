"""The libraries' own downloads, from a stand-in for the hub on this machine, and what is said without one."""

from __future__ import annotations

import hashlib
import http.server
import socket
import threading
import time
import urllib.request

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from huggingface_hub import constants, file_download
from safetensors.torch import save

from finetune.errors import WeightsError
from finetune.models import hub
from finetune.models.options import Backbone
from tests.models.official import normalised, official_state, pictures

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self):
        self._answer(False)

    def do_GET(self):
        self._answer(True)

    def _answer(self, body):
        self.asked.append(f"{self.command} {self.path}")
        content = self.files.get(self.path)
        self.send_response(200 if content is not None else 404)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if body and content:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def caches(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


@pytest.fixture
def server(caches, monkeypatch):
    handler = type("Handler", (_Hub,), {"files": {}, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        address = f"http://127.0.0.1:{running.server_address[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")[2]
        template = f"{address}/{{repo_id}}{template}"
        for module in (constants, file_download):  # before huggingface_hub 1 the second had its own
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        handler.address = address
        yield handler
        running.shutdown()
        thread.join()
        close = getattr(huggingface_hub, "close_session", None) or huggingface_hub.utils.reset_sessions
        close()  # its open connections would warn at the end of the tests


@pytest.fixture
def no_network(caches, monkeypatch):
    def refuse(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_timms_weights_are_downloaded_once_and_answer_as_timms_own(server):
    state = official_state("timm/mobilenetv2_100")
    server.files["/timm/mobilenetv2_100.ra_in1k/resolve/main/model.safetensors"] = save(state)
    network = Backbone("mobilenetv2_100").build(3).eval()
    assert network.id == "timm/mobilenetv2_100.ra_in1k"
    reference = timm.create_model("mobilenetv2_100").eval()
    reference.load_state_dict(state)
    inputs = pictures(network.spec, 1)
    with torch.inference_mode():
        expected = reference.forward_head(reference.forward_features(normalised(inputs, network.spec)), pre_logits=True)
        torch.testing.assert_close(network.features(inputs), expected)
    assert "state_dict" not in network.body.pretrained_cfg
    asked = len(server.asked)
    Backbone("mobilenetv2_100", in_chans=1).build(3)
    assert len(server.asked) == asked


def test_older_repositories_without_safetensors_are_read_without_running_code(server, tmp_path):
    state = official_state("timm/resnet10t")
    torch.save(state, tmp_path / "w.bin")
    server.files["/timm/resnet10t.c3_in1k/resolve/main/pytorch_model.bin"] = (tmp_path / "w.bin").read_bytes()
    network = Backbone("timm/resnet10t").build(3)
    assert torch.equal(network.native_state()["layer1.0.conv1.weight"], state["layer1.0.conv1.weight"])


def test_weights_published_without_a_classifier_get_one(server):
    state = official_state("timm/convnextv2_atto.fcmae", num_classes=0)
    server.files["/timm/convnextv2_atto.fcmae/resolve/main/model.safetensors"] = save(state)
    network = Backbone("timm/convnextv2_atto.fcmae").build(3)
    assert network.head_path == "head.fc"
    assert torch.equal(network.native_state()["stem.0.weight"], state["stem.0.weight"])


def test_published_weights_that_do_not_fit_the_arguments_are_an_error(server):
    server.files["/timm/resnet10t.c3_in1k/resolve/main/model.safetensors"] = save(official_state("timm/resnet10t"))
    with pytest.raises(WeightsError, match="resnet10t"):
        Backbone("timm/resnet10t", args={"stem_width": 16}).build(3)


def test_a_repository_without_the_file_is_an_error(server):
    with pytest.raises(WeightsError, match="does not hold the file"):
        Backbone("timm/resnet10t").build(3)


@pytest.mark.parametrize("name", ["squeezenet1_0", pytest.param("googlenet", marks=pytest.mark.thorough)])
def test_torchvisions_weights_come_from_its_cache(caches, name):
    file = torchvision.models.get_model_weights(name).DEFAULT.url.rpartition("/")[2]
    folder = caches / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    state = official_state(f"torchvision/{name}")
    torch.save(state, folder / file)
    network = Backbone(f"torchvision/{name}").build(3)
    kept = network.native_state()
    assert all(torch.equal(kept[k], state[k]) for k in kept if not k.startswith(network.head_path))


def test_a_plain_address_is_downloaded_once_and_its_hash_is_compared(server, caches):
    content = b"weights"
    good = f"w-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    server.files[f"/{good}"] = server.files["/w-00000000.pth"] = content
    path = hub.from_address(f"{server.address}/{good}", what="x")
    assert path.read_bytes() == content
    assert hub.from_address("http://nowhere.invalid/" + good, what="x") == path
    with pytest.raises(WeightsError, match="hash"):
        hub.from_address(f"{server.address}/w-00000000.pth", what="x")
    assert not (path.parent / "w-00000000.pth").exists()


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("resnet50", ["timm/resnet50.a1_in1k", "model.safetensors", "huggingface.co", "--weights FILE", "hf"]),
        ("torchvision/alexnet", ["alexnet-owt-7be5be79.pth", "download.pytorch.org", "--weights FILE", "checkpoints"]),
        ("timm/vit_base_patch16_224.augreg_in21k", ["vit_base_patch16_224.augreg_in21k", "--weights FILE"]),
    ],
)
def test_without_a_network_the_error_names_the_file_and_the_two_ways_to_give_it(no_network, name, needed):
    start = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        Backbone(name).build(3)
    assert time.monotonic() - start < 10
    assert all(word in str(caught.value) for word in needed)


def test_a_server_that_does_not_answer_costs_seconds(caches, monkeypatch):
    def never(*_, timeout, **__):
        assert timeout <= 10
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", never)
    with pytest.raises(WeightsError, match="timed out"):
        Backbone("resnet50").build(3)


def test_offline_mode_is_respected(caches, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        Backbone("resnet50").build(3)


def test_behind_a_proxy_the_server_is_not_asked_directly(caches, monkeypatch):
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": "http://proxy.invalid:3128"})
    assert hub._unreachable("https://huggingface.invalid") == ""


def test_an_architecture_without_published_weights_is_never_silently_random():
    published = {n.partition(".")[0] for n in timm.list_models(pretrained=True)}
    with pytest.raises(WeightsError, match="no pretrained weights"):
        Backbone(f"timm/{next(n for n in timm.list_models() if n not in published)}").build(3)
