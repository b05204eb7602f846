"""The model card: facts of the weights, which nobody's words can turn into anything else."""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import replace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from dat_cli.catalog import Preprocessing
from dat_cli.hub.card import is_generated, render_card
from dat_cli.hub.names import RepoName
from dat_cli.weights import WeightsConfig

DIGITS = WeightsConfig(
    "dat_tiny",
    tuple(f"digit {number}" for number in range(10)),
    Preprocessing(input_size=(3, 64, 96)),
    metrics={"val_acc1": 0.9871794581413269, "val_acc5": 1.0, "val_f1": 0.5, "val_loss": 0.0632},
    trained_on="digits",
    license="mit",
)
REPO = RepoName("tester", "digits")


def card(config: WeightsConfig = DIGITS, repo: RepoName = REPO, **options: Any) -> str:
    return render_card(config, repo, **{"dataset": None, "pictures": [], "parameters": 27_812_345, **options})


def header(text: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(ModelCard(text).data.to_yaml())
    return read


def code(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)\n```", text, re.DOTALL)


def test_the_header_says_what_the_hub_searches_for() -> None:
    read = header(card(dataset="mnist/digits"))
    assert read["library_name"] == "dat-cli"
    assert read["pipeline_tag"] == "image-classification"
    assert "dat_tiny" in read["tags"]
    assert read["license"] == "mit"
    assert read["datasets"] == ["mnist/digits"]


def test_metrics_are_a_model_index() -> None:
    (model,) = header(card())["model-index"]
    assert model["name"] == "digits"
    (result,) = model["results"]
    assert result["task"] == {"type": "image-classification"}
    assert result["dataset"] == {"name": "digits", "type": "digits", "split": "validation"}
    assert {metric["name"]: (metric["type"], metric["value"]) for metric in result["metrics"]} == {
        "Top-1 accuracy": ("accuracy", 0.987179),
        "Top-5 accuracy": ("top_5_accuracy", 1.0),
        "Macro F1": ("f1", 0.5),
        "Cross entropy": ("loss", 0.0632),
    }


def test_the_body_has_the_numbers_that_a_person_reads() -> None:
    text = card()
    for fact in ("27.81 M", "98.72%", "3 x 64 x 96", "resized to 73 x 109", "| 7 | digit 7 |", "trained on digits"):
        assert fact in text, fact


def test_calibrated_weights_say_what_to_divide_by() -> None:
    text = card(replace(DIGITS, temperature=1.5))
    assert "| Temperature | 1.5: logits are divided by it before softmax |" in text
    assert "(model(image[None])[0] / config.temperature).softmax(-1)" in text
    assert "emperature" not in card()


def test_what_is_not_known_is_not_said() -> None:
    bare = WeightsConfig("dat_pp_tiny", ("cat", "dog"), Preprocessing())
    text = card(bare)
    read = header(text)
    assert not {"license", "datasets", "model-index", "model_name"} & set(read)
    for words in ("Results", "Licence", "trained on", "Pictures", "Converted", "| None", "unknown"):
        assert words not in text, words


@pytest.mark.parametrize(
    ("revision", "name"), [(None, "tester/digits"), ("main", "tester/digits"), ("v2", "tester/digits@v2")]
)
def test_the_examples_name_the_repository(revision: str | None, name: str) -> None:
    text = card(repo=replace(REPO, revision=revision))
    (shell,) = code(text, "shell")
    assert shlex.split(shell) == ["dat", "predict", "photo.jpg", "--weights", name]
    ours, timms = code(text, "python")
    assert f'dat_cli.load_model("{name}")' in ours
    assert f'timm.create_model("hf-hub:{name}", pretrained=True)' in timms
    for example in (ours, timms):
        ast.parse(example)


@pytest.mark.parametrize(("architecture", "year"), [("dat_base", "2022"), ("dat_pp_base", "2023")])
def test_the_paper_is_that_of_the_generation(architecture: str, year: str) -> None:
    (bibtex,) = code(card(replace(DIGITS, architecture=architecture)), "bibtex")
    assert re.findall(r"year\s+= \{(\d+)\}", bibtex) == [year]


def test_many_classes_are_folded_and_very_many_are_cut() -> None:
    assert "<details>" not in card()
    names = tuple(f"class {number}" for number in range(1003))
    text = card(replace(DIGITS, classes=names))
    assert "<summary>1,003 classes</summary>" in text
    assert "| 999 | class 999 |" in text
    assert "class 1000" not in text
    assert "The other 3 are in `config.json`" in text


def test_pictures_are_shown() -> None:
    text = card(pictures=["pictures/confusion.svg", "pictures/a b](x).png"])
    assert "![confusion](pictures/confusion.svg)" in text
    assert r"![a b\](x)](pictures/a%20b%5D%28x%29.png)" in text


HOSTILE = (
    "<script>alert(1)</script>",
    "a | b",
    "[click](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "www.evil.example",
    "`code`",
    "&lt;",
    "</details><h1>",
    "--- x: y",
    "{{ 7 * 7 }}",
    "no",
    "@everyone",
)


def test_class_names_stay_words() -> None:
    text = card(replace(DIGITS, classes=HOSTILE))
    body = text.split("\n---\n", 1)[1]
    assert "<script" not in body
    assert "<h1" not in body
    assert r"\[click\](https\://evil.example)" in body
    assert r"\!\[x\](https\://" in body
    assert r"www\.evil" in body
    assert r"\`code\`" in body
    assert "&amp;lt;" in body
    assert r"{{ 7 \* 7 }}" in body
    rows = [line for line in body.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) == len(HOSTILE)
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 3, row


@pytest.mark.parametrize(
    "words", ["no", "1.0", "a: b", "--- x", "'", '"', "{x}", "- a", "#a", "\ufeffx", "日本 🎉", "x" * 300]
)
def test_words_survive_the_header(words: str) -> None:
    read = header(card(replace(DIGITS, trained_on=words, metrics={"val_acc1": 0.5})))
    assert read["model-index"][0]["results"][0]["dataset"]["name"] == words


def test_a_metric_of_another_name_is_kept() -> None:
    text = card(replace(DIGITS, metrics={"Top 1 <b>": 0.25}))
    assert header(text)["model-index"][0]["results"][0]["metrics"] == [
        {"type": "top_1_b", "name": "Top 1 <b>", "value": 0.25}
    ]
    assert "| Top 1 &lt;b&gt; |  | 0.25 |" in text


def test_a_licence_that_the_hub_does_not_know_is_named_as_it_wants() -> None:
    assert header(card(replace(DIGITS, license="Apache-2.0")))["license"] == "apache-2.0"
    read = header(card(replace(DIGITS, license="My Own/1")))
    assert (read["license"], read["license_name"]) == ("other", "my-own-1")


def test_a_card_knows_whether_somebody_edited_it() -> None:
    text = card()
    assert is_generated(text)
    assert is_generated(text.replace("\n", "\r\n"))
    assert is_generated(text.rstrip("\n"))
    assert not is_generated(text.replace("98.72%", "99.99%"))
    assert not is_generated(text.replace("license: mit", "license: apache-2.0"))
    assert not is_generated(text + "\nMy own words.\n")
    assert not is_generated("# Mine\n")
    assert not is_generated("")


def test_the_same_facts_give_the_same_card() -> None:
    assert card() == card()
    assert card() != card(parameters=1)
