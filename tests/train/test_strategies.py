"""Which strategy a name means, and what is said where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch import Trainer
from torch import distributed

from dat_cli.cli.main import main
from dat_cli.cli.trainer import launched
from dat_cli.errors import UsageError
from dat_cli.train.processes import is_lost
from dat_cli.train.strategies import Replicated, Sharded, strategy_named


@pytest.mark.parametrize(("name", "kind"), [("auto", Replicated), ("ddp", Replicated), ("fsdp", Sharded)])
def test_several_processes_train_by_our_strategies(name: str, kind: type) -> None:
    trainer = Trainer(strategy=strategy_named(name), accelerator="cpu", devices=2, logger=False)
    assert type(trainer.strategy) is kind


def test_one_process_needs_none() -> None:
    trainer = Trainer(strategy=strategy_named("auto"), accelerator="cpu", devices=1, logger=False)
    assert not isinstance(trainer.strategy, Replicated)


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(UsageError, match="'deepspeed'; it must be one of auto, ddp, fsdp"):
        strategy_named("deepspeed")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, {}),
        ({"RANK": "0", "WORLD_SIZE": "4"}, {}),
        (
            {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"},
            {"devices": 8, "num_nodes": 2},
        ),
        (
            {"SLURM_NTASKS": "16", "SLURM_NTASKS_PER_NODE": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"},
            {"devices": 8, "num_nodes": 2},
        ),
        ({"SLURM_NTASKS": "16", "SLURM_NTASKS_PER_NODE": "8", "SLURM_JOB_NAME": "bash"}, {}),
    ],
)
def test_devices_and_nodes_follow_from_who_starts_the_processes(
    environment: dict[str, str], expected: dict[str, int]
) -> None:
    assert launched(environment) == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--trainer.strategy", "deepspeed"], "trainer.strategy is 'deepspeed'"),
        (["--trainer.strategy", "fsdp", "--ema_decay", "0.9"], "--ema_decay needs whole weights"),
        (["--trainer.devices", "2", "--find_lr", "true"], "--find_lr works in one process"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    options: list[str], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["fit", "--config", "tiny", "--trainer.accelerator", "cpu", "--output_dir", str(tmp_path)]
    assert main([*command, *options]) == 2
    (error,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("dat: error: ")]
    assert words in error


def test_an_error_of_the_network_is_told_apart_only_among_processes() -> None:
    assert not distributed.is_initialized()
    assert not is_lost(RuntimeError("Connection closed by peer"))
