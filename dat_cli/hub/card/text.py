"""The model card: README.md of a repository, made of what the weights say about themselves and nothing else."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dat_cli.catalog import get_variant
from dat_cli.hub.card.citations import CITATIONS, PAPERS
from dat_cli.hub.card.header import metric_of, render_header
from dat_cli.hub.card.markdown import escape, folded, picture, table
from dat_cli.hub.names import RepoName
from dat_cli.weights.config import WeightsConfig

_FEW = 20
"""Classes that are shown without being asked for."""
_MANY = 1000
"""Classes in a card; where there are more, config.json alone has them all."""
_MARK = re.compile(r"\n*<!-- Written by dat push; a card that was edited is kept. ([0-9a-f]{64}) -->\s*\Z")


def render_card(
    config: WeightsConfig, repo: RepoName, *, dataset: str | None, pictures: Sequence[str], parameters: int
) -> str:
    """The text of the card; the same facts give the same text.

    Args:
        config: What the weights say about themselves. Its texts are shown as they are, whatever they contain.
        repo: Where the card will stand, which is how its readers get the weights.
        dataset: Identifier of the training data on the Hub.
        pictures: Paths of the pictures in the repository.
        parameters: Number of the network's parameters.
    """
    facts = _Facts(config, repo, dataset, tuple(pictures), parameters)
    sections = [section(facts) for section in _SECTIONS]
    header = render_header(config, repo.name, dataset=dataset)
    text = f"---\n{header}\n---\n\n" + "\n\n".join(section for section in sections if section)
    return f"{text}\n\n<!-- Written by dat push; a card that was edited is kept. {_digest(text)} -->\n"


def is_generated(text: str) -> bool:
    """Whether ``render_card`` wrote this text and nobody has changed it since; line ends do not count."""
    text = text.replace("\r\n", "\n")
    mark = _MARK.search(text)
    return mark is not None and mark[1] == _digest(text[: mark.start()])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class _Facts:
    config: WeightsConfig
    repo: RepoName
    dataset: str | None
    pictures: tuple[str, ...]
    parameters: int

    @property
    def reference(self) -> str:
        """What to give as the name of these weights."""
        return self.repo.id if self.repo.revision in (None, "main") else str(self.repo)


def _title(facts: _Facts) -> str:
    paper = PAPERS[get_variant(facts.config.architecture).generation]
    count = len(facts.config.classes)
    trained = f", trained on {escape(facts.config.trained_on)}" if facts.config.trained_on else ""
    kind = f"`{facts.config.architecture}`, a [{paper.title}]({paper.url})"
    classes = f"{count:,} classes" if count > 1 else "one class"
    return f"# {escape(facts.repo.name)}\n\nAn image classifier of {classes}: {kind}{trained}."


def _model(facts: _Facts) -> str:
    shown = facts.config.preprocessing
    channels, height, width = shown.input_size
    scaled = f"{int(height / shown.crop_pct)} x {int(width / shown.crop_pct)}"
    resize = f"to {scaled}" if shown.crop_mode == "squash" else f"to cover {scaled}"
    rows = [
        ("Architecture", f"`{facts.config.architecture}`"),
        ("Parameters", f"{facts.parameters / 1e6:.2f} M"),
        ("Input", f"{channels} x {height} x {width} (channels, height, width)"),
        ("Preparation", f"resized {resize}, {shown.interpolation}; the centre of {height} x {width}"),
        ("Mean", ", ".join(f"{value:g}" for value in shown.mean)),
        ("Standard deviation", ", ".join(f"{value:g}" for value in shown.std)),
    ]
    if facts.config.temperature is not None:
        rows.append(("Temperature", f"{facts.config.temperature:g}: logits are divided by it before softmax"))
    if facts.dataset:
        rows.append(("Data set", f"[{facts.dataset}](https://huggingface.co/datasets/{facts.dataset})"))
    if facts.config.license:
        rows.append(("Licence", escape(facts.config.license)))
    if facts.config.origin:
        rows.append(("Converted from", escape(facts.config.origin)))
    if facts.config.origin_sha256:
        rows.append(("SHA-256 of that", escape(facts.config.origin_sha256)))
    return "## The model\n\n" + table(("", ""), rows)


def _results(facts: _Facts) -> str:
    rows = []
    for name, value in facts.config.metrics.items():
        kind, title, split = metric_of(name)
        percent = "accuracy" in kind and 0 <= value <= 1
        rows.append((escape(title), split or "", f"{value:.2%}" if percent else f"{value:.4g}"))
    return "## Results\n\n" + table(("Metric", "Measured on", "Value"), rows) if rows else ""


def _pictures(facts: _Facts) -> str:
    return "## Pictures\n\n" + "\n\n".join(picture(path) for path in facts.pictures) if facts.pictures else ""


def _usage(facts: _Facts) -> str:
    name = facts.reference
    logits = "model(image[None])[0]"
    calibrated = logits if facts.config.temperature is None else f"({logits} / config.temperature)"
    return f"""## Use

From the shell, with the command of `dat-cli`:

```shell
dat predict photo.jpg --weights {shlex.quote(name)}
```

From Python:

```python
import torch

import dat_cli
from dat_cli.data.image import load_image
from dat_cli.data.transforms import eval_transform

model, config = dat_cli.load_model({_literal(name)})
image = eval_transform(config.preprocessing)(load_image("photo.jpg"))
with torch.no_grad():
    probabilities = {calibrated}.softmax(-1)
print(config.classes[int(probabilities.argmax())])
```

With timm:

```python
import timm

import dat_cli.models.timm  # registers the architecture

model = timm.create_model({_literal("hf-hub:" + name)}, pretrained=True).eval()
```"""


def _classes(facts: _Facts) -> str:
    names = facts.config.classes
    listed = table(("Index", "Class"), [(str(index), escape(name)) for index, name in enumerate(names[:_MANY])])
    if len(names) > _MANY:
        listed += f"\n\nThe other {len(names) - _MANY:,} are in `config.json`."
    return "## Classes\n\n" + (listed if len(names) <= _FEW else folded(f"{len(names):,} classes", listed))


def _citation(facts: _Facts) -> str:
    return f"## Citation\n\n```bibtex\n{CITATIONS[get_variant(facts.config.architecture).generation]}\n```"


_SECTIONS: tuple[Callable[[_Facts], str], ...] = (_title, _model, _results, _pictures, _usage, _classes, _citation)


def _literal(text: str) -> str:
    """A string as Python reads it, in the quotes that the examples use."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
