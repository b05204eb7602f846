"""A sharded network in one process: where it lies in parts, and what its checkpoints say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from dat_cli.data.module import ImageDataModule
from dat_cli.models import create_model
from dat_cli.models.dat import DAT
from dat_cli.train.callbacks import StepSeed
from dat_cli.train.checkpoint_io import WholeCheckpointIO
from dat_cli.train.classification import Classification
from dat_cli.train.sharding import shard, whole_tensors
from dat_cli.train.strategies import strategy_named


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What Lightning tells the environment, and the group of this one process, are gone afterwards."""
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _trainer(strategy: str, steps: int) -> Trainer:
    return Trainer(
        strategy=strategy_named(strategy),
        accelerator="cpu",
        devices=1,
        max_epochs=2,
        max_steps=steps,
        gradient_clip_val=0.5,
        limit_val_batches=0,
        plugins=[WholeCheckpointIO()],
        callbacks=[StepSeed(0)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _module(data: ImageDataModule) -> Classification:
    torch.manual_seed(0)
    return Classification(data.classes, data.preprocessing)


@pytest.mark.usefixtures("alone")
def test_parameters_lie_in_parts_under_their_own_names(tmp_path: Path) -> None:
    network = create_model("dat_tiny", num_classes=3, img_size=32)
    assert isinstance(network, DAT)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    shard(network, init_device_mesh("cpu", (1,)))
    assert all(isinstance(parameter, DTensor) for parameter in network.parameters())
    shard(network, init_device_mesh("cpu", (1,)))  # Lightning may ask twice
    whole = whole_tensors(network.state_dict())
    assert list(whole) == list(before)
    assert all(type(tensor) is torch.Tensor and tensor.equal(before[name]) for name, tensor in whole.items())


@pytest.mark.usefixtures("alone")
def test_a_sharded_run_goes_on_from_one_device_and_the_other_way_round(tmp_path: Path) -> None:
    data = ImageDataModule(image_size=32, batch_size=4, num_workers=0)
    ends: dict[str, dict[str, torch.Tensor]] = {}
    for strategy, other in (("fsdp", "auto"), ("auto", "fsdp")):
        first = _trainer(strategy, 1)
        first.fit(_module(data), datamodule=data)
        first.save_checkpoint(tmp_path / "one.ckpt", weights_only=False)
        second = _trainer(other, 2)
        second.fit(_module(data), datamodule=data, ckpt_path=str(tmp_path / "one.ckpt"), weights_only=True)
        second.save_checkpoint(tmp_path / "two.ckpt", weights_only=False)
        content = WholeCheckpointIO().load_checkpoint(tmp_path / "two.ckpt")
        ends[other] = content["state_dict"]
        moments = content["optimizer_states"][0]["state"]
        assert {float(moment["step"]) for moment in moments.values()} == {2.0}
    assert list(ends["auto"]) == list(ends["fsdp"])
    assert all(tensor.allclose(ends["fsdp"][name], atol=1e-6) for name, tensor in ends["auto"].items())
