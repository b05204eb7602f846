"""``dat benchmark``: what is measured, what is printed, and what is said when something cannot be measured."""

from __future__ import annotations

import json
import statistics
from dataclasses import fields
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from timm.models.resnet import ResNet

from dat_cli.benchmark import bounds, grid, prepare
from dat_cli.benchmark.pipeline import PipelineRate, measure_pipeline
from dat_cli.benchmark.prepare import Prepared
from dat_cli.benchmark.results import Cell, Conditions, Machine, Measurement, Ratio
from dat_cli.cli.main import main
from dat_cli.errors import DataError

QUICK = ["--image_size", "32", "--warmup", "0", "--rounds", "2"]
ONE = [*QUICK, "--batch_size", "1", "--task", "inference"]
TINY = "timm:test_vit"


@pytest.fixture(autouse=True)
def quick_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time short ones: these tests are not about durations."""
    monkeypatch.setattr("dat_cli.benchmark.rounds.ENOUGH", 0.001)
    monkeypatch.setattr("dat_cli.benchmark.machine._SIZES", {"cpu": (64, 128)})


def measured(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> Any:
    assert main(["benchmark", *args, "--device", "cpu", "--format", "json"]) == code
    return json.loads(capsys.readouterr().out)


def names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


def test_json_has_every_round_and_what_follows_from_it(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--batch_size", "2,3", "--task", "inference"]
    result = measured(capsys, "dat_tiny", *QUICK, *sizes, "--against", f"reference,{TINY}")
    assert list(result) == ["machine", "cells"]
    assert list(result["machine"]) == names(Machine)
    assert result["machine"]["versions"]["torch"] == version("torch")
    assert [cell["conditions"]["batch_size"] for cell in result["cells"]] == [2, 3]
    for images, cell in zip((2, 3), result["cells"], strict=True):
        assert list(cell) == names(Cell)
        assert list(cell["conditions"]) == names(Conditions)
        fast, plain, other = cell["measurements"]
        assert [each["form"] for each in (fast, plain, other)] == ["fast", "reference", "timm"]
        for each in (fast, plain, other):
            assert list(each) == names(Measurement)
            seconds = statistics.median(each["seconds"])
            assert each["images_per_s"] == pytest.approx(images / seconds)
            assert each["ms_per_image"] == pytest.approx(1000 * seconds / images)
            rates = zip(each["seconds"], cell["matmul_flops_per_s"], strict=True)
            assert each["share"] == pytest.approx(statistics.median(each["flops"] / s / rate for s, rate in rates))
            assert min(each["call_bytes"], each["kept_bytes"]) > 0
        assert [list(ratio) for ratio in cell["ratios"]] == [names(Ratio)] * 2
        assert [ratio["against"] for ratio in cell["ratios"]] == ["dat_tiny (reference)", TINY]
        for against, ratio in zip((plain, other), cell["ratios"], strict=True):
            turns = [theirs / ours for ours, theirs in zip(fast["seconds"], against["seconds"], strict=True)]
            assert ratio["speed"]["median"] == pytest.approx(statistics.median(turns))
            assert min(turns) <= ratio["speed"]["low"] <= ratio["speed"]["high"] <= max(turns)
            peaks = [each["call_bytes"] + each["kept_bytes"] for each in (fast, against)]
            assert ratio["memory"] == pytest.approx(peaks[0] / peaks[1])


def test_the_table_has_a_row_for_each_network_and_a_column_for_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "dat_tiny", TINY, *ONE, "--device", "cpu", "--against", f"reference,{TINY}"]) == 0
    machine, header, *lines = capsys.readouterr().out.splitlines()
    assert "TFLOP/s in float32" in machine
    assert header.endswith(" x test_vit")
    assert [line.partition("  ")[0] for line in lines] == ["dat_tiny", TINY, "dat_tiny (reference)"]
    assert lines[0].count("(") == 2
    assert lines[1].split()[-2:] == ["-", "-"]


def test_compiled_beside_itself_not_compiled(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_whole = torch.nn.Module.compile
    # Traced, but not turned into machine code, which takes a minute.
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: compile_whole(self, backend="eager"))
    result = measured(capsys, TINY, *ONE, "--compile", "true", "--against", "eager")
    compiled, eager = result["cells"][0]["measurements"]
    assert compiled["error"] is None
    assert compiled["compile_s"] > eager["seconds"][0]
    assert (eager["form"], eager["compile_s"]) == ("eager", None)
    assert result["cells"][0]["ratios"][0]["against"] == f"{TINY} (eager)"


def test_what_cannot_be_measured_says_so_and_the_rest_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    # Batch normalisation at one pixel wants several images.
    args = ["timm:levit_128s", "timm:test_vit", *QUICK, "--batch_size", "1", "--against", "none", "--task", "training"]
    assert main(["benchmark", *args, "--device", "cpu"]) == 1
    told = capsys.readouterr()
    assert "ValueError: Expected more than 1 value per channel" in told.out
    assert told.out.splitlines()[-1].startswith(TINY)
    assert told.err.splitlines()[-1] == "dat: error: 1 of 2 measurements could not be made"


def test_a_cpu_without_room_is_not_filled(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "free_memory", lambda: 2**20)
    result = measured(capsys, TINY, *QUICK, "--batch_size", "1,64", "--task", "inference", "--against", "none", code=1)
    assert [cell["measurements"][0]["error"] for cell in result["cells"]] == [None, "out of memory"]


def test_memory_that_runs_out_in_a_round_ends_one_network(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = ResNet.forward

    def filled(self: ResNet, images: torch.Tensor) -> torch.Tensor:
        if len(images) == 1 and len(timings) > 2:  # in the second round of the first cell
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, images)

    def seconds(self: Prepared) -> float:
        timings.append(self)
        return timed(self)

    timed, timings = Prepared.seconds, list[Prepared]()
    monkeypatch.setattr(ResNet, "forward", filled)
    monkeypatch.setattr(Prepared, "seconds", seconds)
    sizes = ["--batch_size", "1,2", "--task", "inference"]
    result = measured(capsys, "timm:test_resnet", *QUICK, *sizes, "--against", TINY, code=1)
    first, second = result["cells"]
    assert [each["error"] for each in first["measurements"]] == ["out of memory", None]
    assert [len(each["seconds"]) for each in first["measurements"]] == [0, 2]
    assert [first["ratios"], len(first["matmul_flops_per_s"])] == [[], 2]
    assert [each["error"] for each in second["measurements"]] == [None, None]


def test_ctrl_c_shows_what_was_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(subject: Any, conditions: Conditions, *rest: Any) -> Prepared:
        if conditions.batch_size == 2:
            raise KeyboardInterrupt
        return prepare.prepare(subject, conditions, *rest)

    monkeypatch.setattr(grid, "prepare", interrupted)
    result = measured(capsys, TINY, *QUICK, "--batch_size", "1,2", "--task", "inference", "--against", "none", code=130)
    assert [cell["conditions"]["batch_size"] for cell in result["cells"]] == [1]


def test_rounds_before_ctrl_c_count(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(self: Prepared) -> float:
        calls.append(self)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return 0.5

    calls: list[Prepared] = []
    monkeypatch.setattr(Prepared, "seconds", seconds)
    result = measured(capsys, TINY, *ONE, "--rounds", "9", "--against", "none", code=130)
    assert result["cells"][0]["measurements"][0]["seconds"] == [0.5, 0.5]
    assert len(result["cells"][0]["matmul_flops_per_s"]) == 2


def test_data_says_which_of_the_two_bounds_a_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "measure_pipeline", partial(measure_pipeline, workers=(0,), seconds=0.01))
    result = measured(capsys, TINY, *QUICK, "--batch_size", "4", "--data", "digits")
    bound = result["data"]["bounds"][0]
    assert result["data"]["source"] == "digits"
    assert bound["loads_per_s"] == result["data"]["loading"][0]["rates"][-1]["samples_per_s"]
    assert bound["learns_per_s"] == result["cells"][0]["measurements"][0]["images_per_s"]
    assert bound["bound"] == ("network" if bound["learns_per_s"] <= bound["loads_per_s"] else "pipeline")
    assert [cell["conditions"]["task"] for cell in result["cells"]] == ["training"]


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (DataError("gone"), 2)])
def test_loading_measured_before_it_ended_is_shown(
    stop: BaseException, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(source: Any, *, image_size: int, batch_size: int) -> list[PipelineRate]:
        if batch_size == 3:
            raise stop
        return measure_pipeline(source, image_size=image_size, batch_size=batch_size, workers=(0,), seconds=0.01)

    monkeypatch.setattr(bounds, "measure_pipeline", ended)
    result = measured(capsys, TINY, *QUICK, "--batch_size", "2,3", "--data", "digits", code=code)
    assert [each["batch_size"] for each in result["data"]["loading"]] == [2]
    assert result["cells"] == []


def test_data_is_opened_once_for_all_sizes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for place in ("a/1", "a/2", "b/1", "b/2"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40)).save(tmp_path / f"{place}.png")
    monkeypatch.setattr(bounds, "measure_pipeline", partial(measure_pipeline, workers=(0, 0), seconds=0.01))
    args = [TINY, *QUICK, "--batch_size", "1,2", "--data", str(tmp_path), "--device", "cpu"]
    assert main(["benchmark", *args]) == 0
    assert capsys.readouterr().err.count("images are for validation") == 1


def test_the_plot_is_written_beside_the_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "cost.svg"
    args = [TINY, *ONE, "--against", "none", "--device", "cpu", "--plot", str(path)]
    assert main(["benchmark", *args, "--image_size", "32,64"]) == 0
    assert TINY in path.read_text(encoding="utf-8")
    assert capsys.readouterr().out.count(TINY) == 2


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["dat_tny"], "unknown model 'dat_tny'; did you mean 'dat_tiny'?"),
        (["reference"], "unknown model 'reference'"),
        (
            ["timm:swin_tiny_patch4"],
            "timm has no model 'swin_tiny_patch4'; did you mean 'swin_tiny_patch4_window7_224'",
        ),
        (["timm:"], "timm has no model ''"),
        (
            ["--against", "dat_hug"],
            "--against 'dat_hug': neither a model nor reference, eager or none; there are dat_tiny",
        ),
        (["--against", "refrence"], "did you mean 'reference'?"),
        (["--against", "none,reference"], "--against none stands alone; leave out none, or the others"),
        (["dat_tiny", "--against", "dat_tiny"], "--against dat_tiny: that is the network itself"),
        (["--against", "eager"], "--against eager: nothing is compiled; add --compile true"),
        (["--image_size", "31"], "--image_size: '31' is not a whole number from 32 to 8192"),
        (["--image_size", "224,²"], "--image_size: '²' is not a whole number"),
        (["--batch_size", ","], "--batch_size: it is empty"),
        (["--precision", "64"], "--precision: '64' is none of 32, bf16, 16"),
        (["--precision", "16", "--device", "cpu"], "--precision 16 needs a GPU; a CPU computes in 32 or bf16"),
        (["--compile", "maybe"], "--compile: 'maybe' is none of false, true, reduce-overhead"),
        (["--rounds", "0"], "--rounds: '0' is not a whole number from 1"),
        (["--treads", "2"], "unknown option --treads; did you mean --threads?"),
        (["--plot", "cost.pdf"], "--plot cost.pdf: a picture ends in .png or .svg"),
        (["--plot", "nowhere/cost.svg"], "--plot nowhere/cost.svg: there is no folder nowhere; make it first"),
        (
            ["--plot", "c.svg", "--image_size", "32", "--batch_size", "1"],
            "--plot draws cost against sizes; give several",
        ),
        (["--data", "digits", "--task", "inference"], "--data compares loading with training; leave out --task"),
        (["--data", "nowhere"], "data.source not found: nowhere"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_measured(
    args: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", *args]) == 2
    told = capsys.readouterr()
    assert words in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""
