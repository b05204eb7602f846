"""The page of a run, in a real browser."""

from __future__ import annotations

import ast
import html
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dat_cli.report.facts import interval
from dat_cli.report.files import write_findings
from dat_cli.report.findings import Findings
from dat_cli.report.html import write_report

Make = Callable[..., Findings]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
POLICY = re.compile(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>")
LOOK = """<script>
addEventListener("load", () => {
  const found = {
    title: document.title,
    images: [...document.images].map(image => image.naturalWidth),
    drawings: [...document.querySelectorAll("svg")].map(svg => svg.getBoundingClientRect().width),
    scripts: document.scripts.length,
    requests: performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !/^data:/.test(name)),
    wide: document.documentElement.scrollWidth - innerWidth,
    ground: getComputedStyle(document.body).backgroundColor,
  };
  document.body.innerHTML = "";
  document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
});
</script>"""


@pytest.fixture(scope="module")
def page(run: Path) -> Path:
    """The page of a run."""
    return write_report(run)


class _Addresses(HTMLParser):
    """Everything that a browser would fetch, and every script."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data", "srcset")]
        self.found += [f"<{tag}>"] if tag in ("script", "iframe", "object", "embed", "base") else []
        self.found += [name for name, _ in attrs if name.startswith("on")]


def _code(page: Path) -> list[str]:
    """Lines of what the page offers to paste."""
    blocks = re.findall(r"<pre><code>(.*?)</code></pre>", page.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in html.unescape(block).split("\n")]


def _browse(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on PATH")
    quiet = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=5000"]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [CHROMIUM, *quiet, profile, "--enable-logging=stderr", *options, "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_a_browser_shows_everything_asks_for_nothing_and_runs_nothing(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    done = _browse(page)
    assert "CONSOLE" not in done.stderr  # an error, or something that the policy forbids
    assert "How good is it?" in done.stdout
    watched = page.with_name("watched.html")
    watched.write_text(POLICY.sub("", text).replace("</body>", f"{LOOK}</body>"), encoding="utf-8")
    done = _browse(watched, "--window-size=500,900", "--force-dark-mode")
    match = re.search(r"FOUND(.*)END", done.stdout, re.DOTALL)
    assert match is not None
    found = json.loads(match[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    assert found["title"] == "dat_tiny on photos"
    assert len(found["images"]) == 24
    assert min(found["images"]) > 0
    assert len(found["drawings"]) == 4
    assert min(found["drawings"]) > 100
    assert found["scripts"] == 1  # the one that looks
    assert found["requests"] == []
    assert found["wide"] <= 0  # a phone need not scroll sideways
    assert found["ground"] == "rgb(22, 25, 29)"


def test_the_page_is_one_file_with_nothing_from_elsewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    addresses = _Addresses()
    addresses.feed(text)
    assert len(addresses.found) >= 24
    assert [address[:60] for address in addresses.found if not address.startswith(("data:", "#"))] == []
    assert "default-src 'none'" in text


def test_the_page_says_what_was_trained_how_good_it_is_and_how_to_repeat_it(page: Path) -> None:
    body = page.read_text(encoding="utf-8").partition("</style>")[2]
    text = " ".join(re.sub(r"<[^>]*>", "", body).split())
    assert "dat_tiny on photos" in text
    assert "trained for 3 of 5 epochs; the weights of epoch 2 were the best" in text
    assert "Of 28 validation images it named 21 correctly (75.0%)" in text
    assert "would have been right for 14.3%" in text
    assert "dat fit --config runs/names/version_0/config.yaml" in text
    assert "abc123 with changes that are in no commit" in text
    assert "def456" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("classes", [2, 1000])
def test_a_page_of_any_number_of_classes_names_each_and_stays_small(tmp_path: Path, make: Make, classes: int) -> None:
    write_findings(tmp_path, make(classes))
    (tmp_path / "result.json").write_text(json.dumps({"weights": "runs/a", "architecture": "dat_tiny", "source": "x"}))
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert all(f"class {index}<" in text for index in range(classes))
    assert len(text) < 1_500_000
    assert ("top-5" in text) == (classes > 5)


def test_a_run_without_any_validation_has_a_page_too(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,train_loss,lr\n1,0.5,0.1\n")
    (tmp_path / "confusion.svg").write_text("of an earlier time")
    assert "No validation has been made yet" in write_report(tmp_path).read_text(encoding="utf-8")
    assert (tmp_path / "curves.svg").exists()
    assert not (tmp_path / "confusion.svg").exists()


NAMES = ["a b/<i>", 'it\'s "$(id)" `id` \\', "猫", "\u202fnarrow\nline\x1b", "\udcff", "~/runs"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_commands_can_be_pasted_whatever_a_folder_is_called(tmp_path: Path, name: str) -> None:
    said = {"weights": name, "architecture": "dat_tiny", "source": "x"}
    (tmp_path / "result.json").write_text(json.dumps(said))
    predict, test, load = [
        line for line in _code(write_report(tmp_path)) if line.startswith("dat ") or "load_model(" in line
    ]
    for command in (predict, test):
        words = command.replace("dat ", "printf '%s\\0' ", 1)
        done = subprocess.run(["bash", "-c", words], capture_output=True, check=True)
        assert os.fsencode(name) in done.stdout.split(b"\0")
    assert ast.literal_eval(load.partition("load_model")[2]) == name
    assert all(line.isprintable() for line in (predict, test, load))


def test_the_command_that_repeats_a_run_can_be_pasted(tmp_path: Path) -> None:
    run = tmp_path / "my runs" / "<b> & 'c'" / "version_0"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("name: x\n")
    (command,) = [line for line in _code(write_report(run)) if line.startswith("dat fit")]
    assert shlex.split(command) == ["dat", "fit", "--config", "my runs/<b> & 'c'/version_0/config.yaml"]


def test_beside_a_measurement_files_of_others_stay_and_are_not_told(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"weights": "w", "architecture": "dat_tiny", "source": "x"}))
    others = {"curves.svg": "a drawing", "metrics.csv": "epoch,val_acc1\n1,0.5\n", "environment.json": "no JSON"}
    for name, text in others.items():
        (tmp_path / name).write_text(text)
    assert "How did training go?" not in write_report(tmp_path).read_text(encoding="utf-8")
    assert {name: (tmp_path / name).read_text() for name in others} == others


def test_a_perfect_network_has_no_mistakes_to_show(tmp_path: Path, make: Make) -> None:
    findings = make(3, mistakes=0)
    findings.confusion[:] = 4 * (findings.confusion == 3)
    write_findings(tmp_path, findings)
    assert "all 12 were named correctly" in write_report(tmp_path).read_text(encoding="utf-8")


def test_the_interval_is_that_of_wilson() -> None:
    assert interval(9, 10) == pytest.approx((0.596, 0.982), abs=1e-3)  # Newcombe 1998 has such tables
    assert interval(10, 10)[1] == 1.0
