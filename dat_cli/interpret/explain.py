"""Look into a network while it looks at an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from dat_cli.catalog import Preprocessing
from dat_cli.data.geometry import View, eval_view
from dat_cli.data.image import load_image
from dat_cli.data.transforms import eval_transform
from dat_cli.errors import ModelError, UsageError, did_you_mean
from dat_cli.interpret.blocks import Observations, blocks_of, by_stage, cells_of, to_array
from dat_cli.interpret.explanation import Explanation, Saliency
from dat_cli.interpret.rollout import roll_back, supporting
from dat_cli.models import DAT
from dat_cli.models.observe import observe
from dat_cli.models.stage import Stage


def explain(
    network: DAT,
    image: Tensor | Image.Image | Path | str,
    *,
    target: int | str | None = None,
    preprocessing: Preprocessing | None = None,
    classes: Sequence[str] | None = None,
    temperature: float | None = None,
) -> Explanation:
    """Run a network on one image and return what each of its attentions looked at.

    The forward pass is the network's own (``models.observe``); it is followed by one backward pass, for what speaks for
    a class. Nothing of the network is changed.

    Args:
        network: With its classifier, as ``load_model`` or ``create_model`` make it; compiled or not.
        image: A picture (RGB) or its path; or the network's input, a tensor (C, H, W) or (1, C, H, W), whose pixels are
            then those of the result.
        target: Index or name of the class that the saliency is of; by default the most probable one.
        preprocessing: How a picture becomes the input; by default as the network's weights say.
        classes: Names of the classes; the same.
        temperature: What logits are divided by before the softmax; the same.

    Returns:
        Arrays with their shapes and units, see ``Explanation``.

    Raises:
        ModelError: The network has no classifier, cannot take such an input, or gives something that is no number.
        UsageError: There is no such class.
        DataError: The picture cannot be read.
    """
    network = cast("DAT", getattr(network, "_orig_mod", network))  # of torch.compile: there is nothing to gain here
    known: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    names = _names(network, classes or known.get("label_names"))
    with torch.inference_mode(False), torch.enable_grad(), _undisturbed(network):
        pixels, view = _prepare(network, image, preprocessing or _preprocessing(known))
        with observe(network) as observed:
            features = network.forward_features(pixels.requires_grad_())  # (1, C, H, W)
            logits = network.forward_head(features)[0]
        if not logits.isfinite().all():
            raise ModelError("the network's output is not finite", hint="look at the image and the weights")
        seen = by_stage(network, observed)
        index = int(logits.argmax()) if target is None else _class_index(target, names)
        cells = [cells_of(network, stage, view, blocks[0].map_size) for stage, blocks in enumerate(seen)]
        rollout, gradient = _saliency(network, seen, features, logits, index)
    return Explanation(
        network.variant.name,
        view,
        to_array(logits),
        to_array((logits.float() / (temperature or known.get("temperature") or 1.0)).softmax(dim=0)),
        index,
        names,
        tuple(blocks_of(network, seen, cells)),
        Saliency(cells[0], to_array(rollout), to_array(gradient)),
    )


def _saliency(network: DAT, seen: Observations, features: Tensor, logits: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """The rollout, and the one for a class, of the first stage's cells."""
    # Against the mean of all classes, because a softmax does not see what all logits have in common.
    score = logits[index] - logits.mean() if len(logits) > 1 else logits[index]
    weights = [observation.weights for stage in seen for observation in stage]
    of_features, *gradients = torch.autograd.grad(score, [features, *weights])
    with torch.no_grad():
        left = iter(gradients)
        plain = [[(each, each.weights[0].float()) for each in stage] for stage in seen]
        support = [[(each, supporting(each.weights[0], next(left)[0]).float()) for each in stage] for stage in seen]
        evidence = _evidence(features[0] * of_features[0]).to(plain[0][0][1].dtype)
        even = torch.full_like(evidence, 1 / evidence.numel())  # the head averages all cells
        overlapping = network.variant.convolutions
        return (
            roll_back(even, plain, overlapping=overlapping),
            roll_back(evidence, support, overlapping=overlapping),
        )


def _evidence(parts: Tensor) -> Tensor:
    """What the cells of the last map say for a class, (C, H, W) -> (H, W), not negative.

    Where no cell speaks for it on the whole, as for an improbable class, the channels that do are counted alone.
    """
    whole = parts.sum(dim=0).clamp(min=0)
    return whole if whole.any() else parts.clamp(min=0).sum(dim=0)


def _prepare(
    network: DAT, image: Tensor | Image.Image | Path | str, preprocessing: Preprocessing
) -> tuple[Tensor, View]:
    like = next(network.parameters())
    if isinstance(image, Tensor):
        pixels = image.detach()[None] if image.ndim == 3 else image.detach()
        if pixels.ndim != 4 or len(pixels) != 1:
            raise ModelError(f"the input has the shape {tuple(image.shape)}", hint="give one image, (C, H, W)")
        size = (pixels.shape[3], pixels.shape[2])
        return pixels.to(like, copy=True), View(size, size)
    if not isinstance(image, Image.Image):
        image = load_image(image)
    pixels = eval_transform(preprocessing)(image.convert("RGB"))[None]
    return pixels.to(like), eval_view(preprocessing, image.size)


def _preprocessing(known: dict[str, Any]) -> Preprocessing:
    names = Preprocessing.__dataclass_fields__
    return Preprocessing(**{name: value for name, value in known.items() if name in names})


def _names(network: DAT, classes: Sequence[str] | None) -> tuple[str, ...]:
    if not network.num_classes or not network.global_pool:
        raise ModelError("a network without a classifier cannot be explained", hint="load weights with their classes")
    if classes is None:
        return tuple(str(index) for index in range(network.num_classes))
    if len(classes) != network.num_classes:
        raise ModelError(f"{len(classes)} names for {network.num_classes} classes", hint="give one for each")
    return tuple(classes)


def _class_index(target: int | str, classes: Sequence[str]) -> int:
    if isinstance(target, str):
        if target in classes:
            return classes.index(target)
        if not target.isdecimal():
            hint = (
                did_you_mean(target, classes) or f"there are {len(classes)}, such as {classes[0]!r}; or give an index"
            )
            raise UsageError(f"there is no class {target!r}", hint=hint)
    if not 0 <= int(target) < len(classes):
        raise UsageError(f"there is no class {target}", hint=f"their indices are 0 to {len(classes) - 1}")
    return int(target)


@contextmanager
def _undisturbed(network: DAT) -> Iterator[None]:
    """Without dropout, recomputation and autocast, and back to how it was."""
    stages = [cast("Stage", stage) for stage in network.stages]
    training = {module: module.training for module in network.modules()}
    recomputed = [stage.grad_checkpointing for stage in stages]
    network.eval().set_grad_checkpointing(False)
    try:
        with torch.autocast(next(network.parameters()).device.type, enabled=False):
            yield
    finally:
        for module, mode in training.items():
            module.training = mode
        for stage, enabled in zip(stages, recomputed, strict=True):
            stage.grad_checkpointing = enabled
