"""The YAML header of a model card: what the Hub's search, its widgets and its tables of results read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dat_cli.hub.card.licenses import LICENSES
from dat_cli.weights.config import WeightsConfig

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TAGS = ("image-classification", "vision-transformer", "deformable-attention")
SCORES = {
    "acc1": ("accuracy", "Top-1 accuracy"),
    "acc5": ("top_5_accuracy", "Top-5 accuracy"),
    "f1": ("f1", "Macro F1"),
    "loss": ("loss", "Cross entropy"),
}
"""By the last part of a metric's name: the Hub's type, and how a person calls it."""
SPLITS = {"val": "validation", "test": "test"}


def render_header(config: WeightsConfig, name: str, *, dataset: str | None) -> str:
    """YAML without its fences.

    Args:
        config: What the weights say about themselves.
        name: Name of the model in tables of results.
        dataset: Identifier of the data set on the Hub.
    """
    from huggingface_hub import ModelCardData

    license_id, license_name = _license(config.license)
    data = ModelCardData(
        library_name="dat-cli",
        pipeline_tag="image-classification",
        tags=[*TAGS, config.architecture],
        datasets=[dataset] if dataset else None,
        license=license_id,
        license_name=license_name,
        model_name=name,
        eval_results=_results(config, dataset) or None,
    )
    if data.eval_results is None:
        del data.model_name  # it belongs to the results
    return str(data.to_yaml())


def metric_of(name: str) -> tuple[str, str, str | None]:
    """The Hub's type of a metric, what a person calls it, and the part of the data that it was measured on."""
    split, _, score = name.partition("_")
    if split in SPLITS and score in SCORES:
        return (*SCORES[score], SPLITS[split])
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "metric", name, SPLITS.get(split)


def _license(name: str | None) -> tuple[str | None, str | None]:
    """The Hub's ``license`` and ``license_name``: what it does not know is ``other``, with a name in small letters."""
    if name is None or name.lower() in LICENSES:
        return name and name.lower(), None
    return "other", re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-") or "custom"


def _results(config: WeightsConfig, dataset: str | None) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    words = config.trained_on or "unknown"  # the Hub's own word for it
    found = []
    for name, value in config.metrics.items():
        kind, title, split = metric_of(name)
        result = EvalResult(
            task_type="image-classification",
            dataset_type=dataset or re.sub(r"[^a-z0-9._-]+", "-", words.lower()).strip("-") or "unknown",
            dataset_name=config.trained_on or dataset or words,
            dataset_split=split,
            metric_type=kind,
            metric_name=title,
            metric_value=float(f"{value:.6g}"),
        )
        found.append(result)
    return found
