"""The authors' published weights: fetched from their own address, converted on arrival, kept in the cache."""

from __future__ import annotations

import logging
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dat_cli.errors import DatError, HubError, UsageError
from dat_cli.hub.authors import address, fetch
from dat_cli.weights import read_config, write_weights
from dat_cli.weights.header import tensor_shapes

log = logging.getLogger("dat.weights")


def published_weights(variant: str) -> Path:
    """Our file of the authors' weights; fetched and converted unless it is in the cache.

    Args:
        variant: Its name; one whose weights the authors have published.

    Raises:
        HubError: Their address cannot be reached, or sends something else than these weights.
        OSError: The cache cannot be written.
    """
    return cached_published(variant) or _convert(variant)


def cached_published(variant: str) -> Path | None:
    """The file that an earlier download has left in the cache; None when there is none or it is damaged."""
    path = cache_path(variant)
    with suppress(DatError):
        if read_config(path).architecture == variant and tensor_shapes(path):
            return path
    return None


def cache_path(variant: str) -> Path:
    """Where the cache has the weights of a variant, or would have them; its folder exists."""
    from huggingface_hub import cached_assets_path

    try:
        folder = Path(cached_assets_path("dat", namespace="authors"))
    except (OSError, ValueError) as error:  # the second where a file is in its way
        raise UsageError(
            f"the cache cannot be used ({ascii(str(error).splitlines()[0])[1:-1][:200]})", hint="see HF_HOME"
        ) from error
    return folder / f"{variant}.safetensors"


def _convert(variant: str) -> Path:
    path, origin = cache_path(variant), address(variant)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch.") as folder:
        file = fetch(variant, Path(folder))
        from dat_cli.run.foreign import read_foreign  # imports torch, for nothing if the file could not be fetched
        from dat_cli.run.source import described

        try:
            source = read_foreign(file, variant)
            config = described(source)
        except DatError as error:
            said = error.message.replace(str(file), "the file")
            raise HubError(f"{origin} sent something else than the weights of {variant}: {said}") from None
        config = replace(config, trained_on="ImageNet-1K", license="apache-2.0", origin=origin)
        write_weights(path, source.tensors, config)
    log.info("converted the authors' weights of %s; they are in the cache now: %s", variant, path)
    return path
