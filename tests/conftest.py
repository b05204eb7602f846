"""What several tests share: one real training, made once, and a Hugging Face Hub on this machine alone."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from dat_cli.cli.main import main

SMALL = ["--config", "tiny", "--data.image_size", "32", "--data.batch_size", "8"]
FEW_BATCHES = ["--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1"]
GOLDEN = Path(__file__).parent / "golden"
NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two short epochs of DAT-Tiny on the digits at 32 pixels."""
    runs = tmp_path_factory.mktemp("runs")
    command = ["fit", *SMALL, *FEW_BATCHES, "--trainer.max_epochs", "2", "--output_dir", str(runs), "--name", "small"]
    assert main(command) == 0
    return runs / "small" / "version_0"


@pytest.fixture(scope="session")
def fill() -> Any:
    """The module that draws the tensors and images of the golden cases."""
    spec = spec_from_file_location("fill", GOLDEN / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def keywise_calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each image and group that was attended key by key, whether that was safe."""
    from dat_cli.ops.keywise.attention import attend_keywise

    safe: list[bool] = []

    def attend(*arguments: Any) -> Any:
        attended = attend_keywise(*arguments)
        safe.append(attended is not None)
        return attended

    monkeypatch.setattr("dat_cli.ops.deformable.attend_keywise", attend)
    return safe


@pytest.fixture
def small_maps_keywise(keywise_calls: list[bool], monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The same, where small maps are attended as large ones are."""
    for name in ("_WORTH", "_WORTH_TRAINING", "_LARGE"):
        monkeypatch.setattr(f"dat_cli.ops.keywise.attention.{name}", 1)
    monkeypatch.setattr("dat_cli.ops.keywise.bias._CELLS", 1000)
    return keywise_calls


@pytest.fixture
def hub(_hub_url: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """An empty Hub, which the client of this process and of processes started with ``hub.environment`` talks to.

    Tokens: ``hf_test`` (the user tester, logged in at first), ``hf_read`` (tester, read-only), ``hf_other`` (other).
    """
    hub = Hub(_hub_url, monkeypatch)
    hub.control("reset")
    hub.use(
        HF_ENDPOINT=hub.url,
        HF_HOME=str(tmp_path_factory.mktemp("huggingface")),
        HF_HUB_CACHE=None,
        HF_ASSETS_CACHE=None,
        HF_TOKEN_PATH=None,
        HF_HUB_OFFLINE=None,
        HF_TOKEN="hf_test",
        HUGGING_FACE_HUB_TOKEN=None,
        HF_HUB_DISABLE_XET="1",
        HF_HUB_ETAG_TIMEOUT="2",
        HF_HUB_DOWNLOAD_TIMEOUT="2",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        NO_PROXY="127.0.0.1,localhost",
        DAT_HUB_OWNER=None,
        DAT_AUTHORS_URL=NOBODY_LISTENS,
    )
    return hub


@pytest.fixture
def logged_out(hub: Hub) -> None:
    """Nobody is logged in: there is no token in the environment and none in a file."""
    hub.use(HF_TOKEN=None)


class Hub:
    """The test Hub as a test sees it.

    Attributes:
        url: Its address.
        environment: The environment of processes that shall talk to it.
    """

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url = url
        self._monkeypatch = monkeypatch

    @property
    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def use(self, **variables: str | None) -> None:
        """Set environment variables (None: unset them), for this process and its client too, until the test's end.

        ``use(HF_TOKEN="hf_other")`` is another user, ``use(HF_HUB_OFFLINE="1")`` offline mode,
        ``use(HF_ENDPOINT=NOBODY_LISTENS)`` a Hub that is out of reach.
        """
        for name, value in variables.items():
            if value is None:
                self._monkeypatch.delenv(name, raising=False)
            else:
                self._monkeypatch.setenv(name, value)
        _read_environment_again(self._monkeypatch)

    def fault(self, match: str, kind: str, times: int = 1, **options: Any) -> None:
        """Order a fault (see hub/faults.py) for requests in whose ``METHOD /path?query`` ``match`` is found."""
        self.control("fault", match=match, kind=kind, times=times, **options)

    def clear(self) -> None:
        """Forget the faults that are still to come, and the log."""
        self.control("clear")

    def log(self) -> list[dict[str, Any]]:
        """The requests so far: method, path, status, auth, user, host, range, agent, fault."""
        return self.control("log")

    def plant(self, repo: str, path: str, data: bytes, lfs: bool = False) -> str:
        """Commit a file of any name to main, ``../x`` too, in a repository that is made if need be; the commit."""
        return self.control("plant", repo=repo, path=path, base64=base64.b64encode(data).decode(), lfs=lfs)

    def access(self, repo: str, **who: Any) -> None:
        """Make a repository ``gated`` or ``private``, or ``allow`` users (a list), and make it if need be."""
        self.control("access", repo=repo, **who)

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """All files of a repository."""
        files = self.control("files", repo=repo, revision=revision)
        return {path: base64.b64decode(data) for path, data in files.items()}

    def commits(self, repo: str, revision: str = "main") -> list[dict[str, Any]]:
        """Commits of a branch, the newest first: id, parent, title, message, author; the last is the Hub's own."""
        return self.control("commits", repo=repo, revision=revision)

    def serve(self, path: str, data: bytes) -> str:
        """Serve a page beside the Hub's own, as another web server would; its address, without a query."""
        self.control("serve", path=path, base64=base64.b64encode(data).decode())
        return self.url + path

    def control(self, what: str, **wanted: Any) -> Any:
        request = Request(f"{self.url}/_control/{what}", json.dumps(wanted).encode(), method="POST")
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)


@pytest.fixture(scope="session")
def _hub_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "tests.hub.server", str(tmp_path_factory.mktemp("hub") / "blobs")]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), "the test Hub did not start"
        yield url
        server.stdin.close()  # it ends by itself


def _read_environment_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give ``huggingface_hub`` what it would find in the environment if it were imported now.

    It reads the environment once, at its import, and some of its modules keep copies of what was read.
    """
    import huggingface_hub.hf_api as hf_api
    from huggingface_hub import constants

    assert constants.__spec__ is not None
    assert constants.__spec__.loader is not None
    fresh = module_from_spec(constants.__spec__)
    constants.__spec__.loader.exec_module(fresh)
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "huggingface_hub"]
    for name, value in vars(fresh).items():
        for module in modules if name.isupper() else ():
            if vars(module).get(name, value) != value:
                monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(hf_api.api, "endpoint", fresh.ENDPOINT)


@pytest.fixture(autouse=True)
def _compile_anew() -> Iterator[None]:
    """What one test compiled counts towards the limit of another, because blocks share their code."""
    yield
    if "torch._dynamo" in sys.modules:
        sys.modules["torch"].compiler.reset()
