"""Without a network each download is tried once, and the libraries are as they were afterwards."""

import socket
import time

import pytest
from huggingface_hub import constants, hf_hub_download

from augment.errors import UserError
from augment.runtime.network import hub_is_reachable, one_try, out_of_reach
from classify.train.classifier import create_network


@pytest.mark.usefixtures("no_network")
def test_nobody_answers_and_nobody_waits() -> None:
    before, begun = constants.HF_HUB_OFFLINE, time.perf_counter()
    with one_try() as reachable, pytest.raises(OSError, match="local cache"):
        hf_hub_download("nobody/nothing", "file")
    assert not reachable
    assert time.perf_counter() - begun < 5  # the library alone tries five times, with pauses of 8 s
    assert constants.HF_HUB_OFFLINE is before


def test_somebody_who_listens_is_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert hub_is_reachable(f"http://127.0.0.1:{port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        assert hub_is_reachable("http://hub.invalid"), "the proxy is asked, not the host behind it"
    assert not hub_is_reachable("https://hub.invalid:1")


@pytest.mark.usefixtures("no_network")
def test_a_network_with_pretrained_weights_says_how_to_get_them() -> None:
    with pytest.raises(UserError, match="no network, and the weights of 'resnet18' are not on this machine"):
        create_network("resnet18", True, 2)
    with pytest.raises(UserError, match=r"timm cannot make 'resnet1' .*; similar names: "):
        create_network("resnet1", True, 2)


def test_what_is_said_depends_on_the_network() -> None:
    error = OSError("404: no such repository")
    assert "run `hf download a/b` once" in str(out_of_reach("x", "a/b", False, error))
    assert "404: no such repository" in str(out_of_reach("x", "a/b", True, error))
