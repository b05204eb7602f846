"""What is timed is what people run: the same weights, the arithmetic that is said, a whole training step."""

from __future__ import annotations

import pytest
import torch

from dat_cli.benchmark.flops import flops_of_image
from dat_cli.benchmark.subjects import Subject
from dat_cli.benchmark.work import Work
from dat_cli.catalog import VARIANTS
from dat_cli.models.layers import DropPath, Linear
from dat_cli.ops import constant_weights, onednn
from dat_cli.ops.setting import is_reference

SWIN = "timm:swin_tiny_patch4_window7_224"
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_a_network_and_its_plain_form_have_the_same_weights_and_the_published_stochastic_depth() -> None:
    fast, plain = (Subject("dat_pp_tiny", plain=plain).build(32).eval() for plain in (False, True))
    with torch.inference_mode():
        expected = fast(IMAGES)
        with Subject("dat_pp_tiny", plain=True).arithmetic():
            assert is_reference()
            torch.testing.assert_close(plain(IMAGES), expected, rtol=1e-4, atol=1e-5)
    assert not is_reference()
    rates = [module.rate for module in fast.modules() if isinstance(module, DropPath)]
    assert max(rates) == VARIANTS["dat_pp_tiny"].drop_path_rate


def test_a_training_step_moves_the_weights_and_leaves_no_gradients() -> None:
    network = Subject("dat_tiny").build(32)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    work = Work(network, "training", IMAGES, "bf16")
    work.call()
    moved = [not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)
    assert all(parameter.grad is None for parameter in network.parameters())
    # Two moments beside each weight; the steps' numbers and some buffers are little.
    assert work.kept_bytes() == pytest.approx(3 * sum(each.nbytes for each in before), rel=0.01)


def test_inference_leaves_the_weights_and_keeps_nothing_else() -> None:
    network = Subject("dat_tiny").build(32)
    before = sum(parameter.nbytes for parameter in network.parameters())
    work = Work(network, "inference", IMAGES, "32")
    work.call()
    assert not network.training
    assert work.kept_bytes() == pytest.approx(before, rel=0.01)
    with constant_weights():
        work.call()
        beside = work.kept_bytes() - before
        products = sum(layer.weight.nbytes for layer in network.modules() if isinstance(layer, Linear))
        assert beside >= (products if onednn._IS_HERE else 0)
        assert beside < 1.2 * products  # tables of bias, and those of a few cells
    assert work.kept_bytes() == pytest.approx(before, rel=0.01)


def test_operations_are_those_of_published_figures() -> None:
    assert flops_of_image("dat_tiny", "inference", 224) == pytest.approx(2 * 4.56e9, rel=0.005)
    assert flops_of_image(SWIN, "inference", 224) == pytest.approx(2 * 4.5e9, rel=0.005)
    inference, training = (flops_of_image(SWIN, task, 224) for task in ("inference", "training"))
    assert inference is not None
    assert training == 3 * inference


def test_a_network_of_timm_is_made_for_the_size_where_it_has_to_be() -> None:
    for name in ("timm:test_vit", "timm:test_resnet"):
        Subject(name).build(96).eval()(torch.zeros(1, 3, 96, 96))
