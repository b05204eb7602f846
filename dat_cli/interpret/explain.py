"""Look into a network while it looks at an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from PIL import Image
from torch import Tensor

from dat_cli.catalog import Preprocessing
from dat_cli.data.geometry import View, eval_view
from dat_cli.data.image import load_image
from dat_cli.data.transforms import eval_transform
from dat_cli.errors import ModelError, UsageError, did_you_mean
from dat_cli.interpret.explanation import (
    Array,
    AttentionBlock,
    Cells,
    DeformableBlock,
    Explanation,
    LocalBlock,
    Saliency,
)
from dat_cli.interpret.rollout import roll_back, supporting
from dat_cli.models import DAT
from dat_cli.models.observe import Deformed, Local, Observation, observe
from dat_cli.models.stage import Stage

Seen: TypeAlias = "list[list[Observation]]"


def explain(
    network: DAT,
    image: Tensor | Image.Image | Path | str,
    *,
    target: int | str | None = None,
    preprocessing: Preprocessing | None = None,
    classes: Sequence[str] | None = None,
    temperature: float = 1.0,
) -> Explanation:
    """Run a network on one image and return what each of its attentions looked at.

    The forward pass is the network's own (``models.observe``); it is followed by one backward pass, for what speaks for
    a class. Nothing of the network is changed.

    Args:
        network: With its classifier, as ``load_model`` or ``create_model`` make it.
        image: A picture (RGB) or its path; or the network's input, a tensor (C, H, W) or (1, C, H, W), whose pixels are
            then those of the result.
        target: Index or name of the class that the saliency is of; by default the most probable one.
        preprocessing: How a picture becomes the input; by default as the network's weights say.
        classes: Names of the classes; the same.
        temperature: What logits are divided by before the softmax.

    Returns:
        Arrays with their shapes and units, see ``Explanation``.

    Raises:
        ModelError: The network has no classifier, or cannot take such an input.
        UsageError: There is no such class.
        DataError: The picture cannot be read.
    """
    if not network.num_classes or not network.global_pool:
        raise ModelError("a network without a classifier cannot be explained", hint="load weights with their classes")
    names = tuple(_classes(network) if classes is None else classes)
    pixels, view = _prepare(network, image, preprocessing)
    with _undisturbed(network), observe(network) as observed, torch.enable_grad():
        features = network.forward_features(pixels.requires_grad_())  # (1, C, H, W)
        logits = network.forward_head(features)[0]
        seen = _by_stage(network, observed)
        index = int(logits.argmax()) if target is None else _class_index(target, names)
        # Against the mean of all classes, because a softmax does not see what all logits have in common.
        score = logits[index] - logits.mean()
        flat = [observation.weights for stage in seen for observation in stage]
        of_features, *gradients = torch.autograd.grad(score, [features, *flat])
    all_cells = [_cells(network, stage, view, _map_size(blocks[0])) for stage, blocks in enumerate(seen)]
    with torch.no_grad():
        evidence = (features * of_features).sum(dim=1)[0].clamp(min=0)  # (H, W)
        saliency = _saliency(network, seen, gradients, evidence, all_cells[0])
    return Explanation(
        network.variant.name,
        view,
        _array(logits),
        _array((logits / temperature).softmax(dim=0)),
        index,
        names,
        tuple(_blocks(network, seen, all_cells)),
        saliency,
    )


def _prepare(
    network: DAT, image: Tensor | Image.Image | Path | str, preprocessing: Preprocessing | None
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
    prepared = _preprocessing(network) if preprocessing is None else preprocessing
    pixels = eval_transform(prepared)(image.convert("RGB"))[None]
    return pixels.to(like), eval_view(prepared, image.size)


def _preprocessing(network: DAT) -> Preprocessing:
    known: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    names = Preprocessing.__dataclass_fields__
    return Preprocessing(**{name: value for name, value in known.items() if name in names})


def _classes(network: DAT) -> Sequence[str]:
    names: Sequence[str] | None = getattr(network, "pretrained_cfg", {}).get("label_names")
    return [str(index) for index in range(network.num_classes)] if names is None else names


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
    """Without dropout and without recomputation, and back to how it was."""
    stages = [cast("Stage", stage) for stage in network.stages]
    training = {module: module.training for module in network.modules()}
    recomputed = [stage.grad_checkpointing for stage in stages]
    network.eval().set_grad_checkpointing(False)
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
        for stage, enabled in zip(stages, recomputed, strict=True):
            stage.grad_checkpointing = enabled


def _by_stage(network: DAT, observed: dict[str, Observation]) -> Seen:
    depths = [len(cast("Stage", stage).blocks) for stage in network.stages]
    return [
        [observed[f"stages.{stage}.blocks.{block}.attention"] for block in range(depth)]
        for stage, depth in enumerate(depths)
    ]


def _saliency(network: DAT, seen: Seen, gradients: list[Tensor], evidence: Tensor, cells: Cells) -> Saliency:
    left = iter(gradients)
    plain = [[(each, each.weights[0]) for each in stage] for stage in seen]
    weighted = [[(each, supporting(each.weights[0], next(left)[0])) for each in stage] for stage in seen]
    overlapping = network.variant.convolutions
    even = torch.full_like(evidence, 1 / evidence.numel())  # the head averages all cells
    return Saliency(
        cells,
        _array(roll_back(even, plain, overlapping=overlapping)),
        _array(roll_back(evidence, weighted, overlapping=overlapping)),
    )


def _blocks(network: DAT, seen: Seen, all_cells: Sequence[Cells]) -> Iterator[AttentionBlock]:
    for stage, (observations, cells) in enumerate(zip(seen, all_cells, strict=True)):
        kinds = network.variant.blocks[stage]
        for block, (kind, observation) in enumerate(zip(kinds, observations, strict=True)):
            heads = observation.weights.shape[1]
            place = (stage + 1, block + 1, kind, cells, heads)
            if isinstance(observation, Deformed):
                yield _deformable(place, cells, observation)
            else:
                yield LocalBlock(*place, _array(observation.weights[0]), _within(observation))


def _deformable(place: tuple[int, int, str, Cells, int], cells: Cells, seen: Deformed) -> DeformableBlock:
    height, width = cells.map_size
    half = (_array(seen.positions.new_tensor(cells.map_size)) - 1) / 2  # cells for each unit of a coordinate, (y, x)
    reference, offsets, positions = (_array(x) for x in (seen.reference, seen.offsets[0], seen.positions[0]))
    return DeformableBlock(
        *place,
        _array(seen.weights[0].unflatten(1, (height, width))),
        groups=len(positions),
        reference=cells.pixels((reference + 1) * half),
        offsets=(offsets * half)[..., ::-1] * cells.step,
        positions=cells.pixels((positions + 1) * half),
        normalised=positions,
    )


def _within(seen: Local) -> Array:
    """The cells that queries see, by their place in the map without its padding; -1 for padding."""
    height, width = seen.cells.shape[:2]
    rows, columns = seen.cells // seen.padded_size[1], seen.cells % seen.padded_size[1]
    inside = (rows < height) & (columns < width)
    return _array((rows * width + columns).where(inside, -1))


def _cells(network: DAT, stage: int, view: View, map_size: tuple[int, int]) -> Cells:
    """Where the cells of a stage's map look in the image: at the centres of what their convolutions see.

    Windows of 4 x 4 and 2 x 2 pixels lie side by side, and a cell is centred on its square. The 3 x 3 windows of DAT++
    with a border of one pixel begin a pixel before the image: cell i is centred on pixel i x stride itself.
    """
    stride = 4 * 2**stage
    first = 0.5 if network.variant.convolutions else stride / 2
    x, y = view.to_image([first, first])
    return Cells(map_size, (float(x), float(y)), (stride * view.scale[0], stride * view.scale[1]))


def _map_size(observation: Observation) -> tuple[int, int]:
    if isinstance(observation, Deformed):
        return observation.map_size
    return observation.cells.shape[0], observation.cells.shape[1]


def _array(tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy()
