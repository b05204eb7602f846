"""The authors' own weights: fetched from their address, converted, and kept."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dat_cli.catalog import VARIANTS
from dat_cli.data.imagenet import imagenet_classes
from dat_cli.errors import HubError
from dat_cli.run.published import cache_path, cached_published, published_weights
from dat_cli.run.resolve import find_weights
from dat_cli.weights import read_config, read_tensors

PAGE = f"/f/{VARIANTS['dat_tiny'].published.weights}/"


@pytest.fixture(scope="session")
def checkpoint(authors_tensors: dict[str, Tensor]) -> bytes:
    """The authors' file of DAT-Tiny, in half precision to be small."""
    stream = io.BytesIO()
    halves = {name: each.half() if each.is_floating_point() else each for name, each in authors_tensors.items()}
    torch.save({"model": halves, "max_accuracy": 82.04}, stream)
    return stream.getvalue()


@pytest.fixture
def authors(hub: Any) -> Any:
    """The test Hub as the authors' server, empty."""
    hub.use(DAT_AUTHORS_URL=hub.url)
    return hub


@pytest.fixture
def cache(authors: Any) -> Path:
    """The folder of the cache, a fresh one of the test Hub's."""
    folder = cache_path("dat_tiny").parent
    assert folder.is_relative_to(authors.environment["HF_HOME"])
    return folder


def test_weights_are_fetched_without_a_token_converted_and_kept_for_offline_use(
    authors: Any, cache: Path, checkpoint: bytes
) -> None:
    authors.serve(PAGE, checkpoint)
    assert cached_published("dat_tiny") is None
    path = published_weights("dat_tiny")
    config = read_config(path)
    assert config.architecture == "dat_tiny"
    assert config.classes == imagenet_classes()
    assert (config.trained_on, config.license) == ("ImageNet-1K", "apache-2.0")
    assert config.origin == f"{authors.url}{PAGE}?dl=1"
    assert config.metrics == {"val_acc1": 82.04 / 100}
    assert read_tensors(path)["head.weight"].shape == (1000, 768)
    assert [file.name for file in cache.iterdir()] == ["dat_tiny.safetensors"]
    assert cached_published("dat_tiny") == published_weights("dat_tiny") == find_weights("dat_tiny").path == path
    assert [(request["path"], request["auth"]) for request in authors.log()] == [(f"{PAGE}?dl=1", False)]
    authors.use(HF_HUB_OFFLINE="1", DAT_AUTHORS_URL="http://127.0.0.1:9")
    assert published_weights("dat_tiny") == path


def test_a_connection_that_breaks_is_tried_again(authors: Any, checkpoint: bytes) -> None:
    authors.serve(PAGE, checkpoint)
    authors.fault("GET /f/", "truncate")
    authors.fault("GET /f/", "status", status=503)
    published_weights("dat_tiny")
    assert [request["fault"] for request in authors.log()] == ["truncate", "status", None]


def test_a_damaged_copy_in_the_cache_is_fetched_again(authors: Any, checkpoint: bytes) -> None:
    authors.serve(PAGE, checkpoint)
    path = published_weights("dat_tiny")
    path.write_bytes(path.read_bytes()[:-100])
    assert cached_published("dat_tiny") is None
    assert published_weights("dat_tiny") == path
    assert read_tensors(path)


def hostile() -> bytes:
    stream = io.BytesIO()
    torch.save({"model": {}, "x": print}, stream)
    return stream.getvalue()


def other() -> bytes:
    stream = io.BytesIO()
    torch.save({"model": {"a": torch.zeros(1)}}, stream)
    return stream.getvalue()


SENT = {
    "a page": (b"<!DOCTYPE html><title>Sign in</title>", "answers with a web page"),
    "nothing": (b"", "sent 0 of"),
    "code": (hostile(), r"asks for builtins\.print"),
    "other tensors": (other(), "209 missing"),
    "JSON": (json.dumps({"error": 1}).encode(), "is damaged or not a checkpoint"),
}


@pytest.mark.parametrize("case", SENT)
def test_anything_else_is_refused_and_not_kept(authors: Any, cache: Path, case: str) -> None:
    data, said = SENT[case]
    authors.serve(PAGE, data)
    with pytest.raises(HubError, match=said) as caught:
        published_weights("dat_tiny")
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"kind": "status", "status": 404}, "it answered 404"),
    "forbidden": ({"kind": "status", "status": 403}, "it answered 403"),
    "overloaded": ({"kind": "status", "status": 503}, "it answered 503"),
    "cut": ({"kind": "truncate"}, "the connection broke"),
    "shortened": ({"kind": "short", "by": 1000}, "sent something else than the weights of dat_tiny"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_server_that_fails_is_one_line(authors: Any, cache: Path, checkpoint: bytes, case: str) -> None:
    fault, said = FAULTS[case]
    authors.serve(PAGE, checkpoint[:200_000])
    authors.fault("GET /f/", times=9, **fault)
    with pytest.raises(HubError, match=said) as caught:
        published_weights("dat_tiny")
    assert authors.url in str(caught.value)
    assert list(cache.iterdir()) == []


def test_out_of_reach_and_offline_are_told_apart(authors: Any) -> None:
    authors.use(DAT_AUTHORS_URL="http://127.0.0.1:9")
    with pytest.raises(HubError, match="it cannot be reached"):
        published_weights("dat_tiny")
    authors.use(HF_HUB_OFFLINE="1")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE switches requests off; unset"):
        published_weights("dat_tiny")


def test_out_of_reach_is_told_without_importing_torch(authors: Any) -> None:
    authors.use(DAT_AUTHORS_URL="http://127.0.0.1:9")
    code = (
        "import sys; from dat_cli.cli.main import main; code = main(['info', 'dat_pp_tiny']); "
        "sys.exit(code != 3 or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=authors.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "it cannot be reached" in done.stderr


@pytest.mark.parametrize(
    "mirror", ["ftp://host", "host/path", "http://", "https://user:secret@host", "http://[", "http://a\nb"]
)
def test_a_mirror_that_cannot_be_is_refused_without_being_shown(hub: Any, mirror: str) -> None:
    hub.use(DAT_AUTHORS_URL=mirror)
    with pytest.raises(HubError, match="DAT_AUTHORS_URL is no address of a server") as caught:
        published_weights("dat_tiny")
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("hub")
def test_a_variant_whose_weights_nobody_published_says_so() -> None:
    with pytest.raises(HubError, match="published no weights of dat_p_tiny"):
        published_weights("dat_p_tiny")
