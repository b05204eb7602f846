"""Options and configs: what is wrong is one line with the file, the key and what was meant."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from jsonargparse.typing import PositiveInt

from dat_cli.cli import configs
from dat_cli.cli.parser import DatArgumentParser, NamedConfig, config_names, packaged_configs
from dat_cli.errors import UsageError


@dataclass
class Optimizer:
    """How the network learns."""

    lr: float = 1e-3
    warmup: int | None = None


class Model:
    """A network."""

    def __init__(self, arch: str = "dat_tiny", optimizer: Optimizer = Optimizer()) -> None:  # noqa: B008 - read only
        self.arch, self.optimizer = arch, optimizer


class Data:
    """Images."""

    def __init__(
        self,
        source: str = "digits",
        batch_size: int = 32,
        damaged: Literal["error", "skip"] = "error",
        crop: tuple[float, float] | None = None,
        flip: bool = False,
        workers: PositiveInt = 1,
    ) -> None:
        self.options = source, batch_size, damaged, crop, flip, workers


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parse(*args: str) -> dict[str, object]:
    """What ``dat fit`` with these options means; a parser as LightningCLI builds it."""
    parser, command = DatArgumentParser(), DatArgumentParser()
    command.add_argument("-c", "--config", action=NamedConfig)
    command.add_class_arguments(Model, "model")
    command.add_class_arguments(Data, "data")
    parser.add_subcommands().add_subcommand("fit", command)
    options: dict[str, object] = parser.parse_args(["fit", *args])["fit"].as_dict()
    return options


def complaint(*args: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("--data.sorce x", "unknown option --data.sorce; did you mean --data.source?"),
        ("--batch_size 8", "unknown option --batch_size; did you mean --data.batch_size?"),
        ("--batch-size=8", "unknown option --batch-size; did you mean --data.batch_size?"),
        ("--model.batch_size 8", "did you mean --data.batch_size?"),
        ("--lr 1", "did you mean --model.optimizer.lr?"),
        ("--data.batch 8", "unknown option --data.batch; did you mean --data.batch_size?"),
        ("--xyzzy 8", "unknown option --xyzzy; see dat fit --help"),
        ("-x", "unknown option -x"),
        ("photos", "unexpected argument 'photos'"),
        ("--data photos", "did you mean --data.source?"),
        ("--data.batch_size", "--data.batch_size needs a value: a whole number"),
        ("--data.batch_size many", "--data.batch_size must be a whole number; got 'many'"),
        ("--data.batch_size=", "--data.batch_size must be a whole number; got ''"),
        ("--data.batch_size 1.5", "--data.batch_size must be a whole number; got '1.5'"),
        ("--data.damaged maybe", "--data.damaged must be one of error, skip; got 'maybe'"),
        ("--data.crop 3", "--data.crop must be a list of 2 numbers or null; got '3'"),
        ("--data.workers 0", "--data.workers must be a whole number >0; got '0'"),
        ("--data.workers x", "--data.workers must be a whole number >0; got 'x'"),
        ("--data.flip maybe", "--data.flip must be true or false; got 'maybe'"),
        ("--model.optimizer.lr fast", "--model.optimizer.lr must be a number; got 'fast'"),
        ("--model.optimizer.warmup 1e9999", "--model.optimizer.warmup must be a whole number or null; got '1e9999'"),
        ("--config", "--config needs a value"),
    ],
)
def test_a_wrong_option_is_one_line(args: str, words: str) -> None:
    assert words in complaint(*args.split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model:\n  archh: x", "my.yaml, line 2: unknown key 'model.archh'; did you mean model.arch?"),
        ("# mine\nbatch_size: 8", "my.yaml, line 2: unknown key 'batch_size'; did you mean data.batch_size?"),
        ("model: {optimizer: {lrr: 1}}", "line 1: unknown key 'model.optimizer.lrr'; did you mean model.optimizer.lr?"),
        ("fit:\n  data: {batch_size: 4}", "line 1: unknown key 'fit'"),
        ("data:\n  source: a\n  source: b", "line 3: 'data.source' is given twice; first in line 2"),
        ("data: {}\nmodel: {}\ndata: {}", "line 3: 'data' is given twice; first in line 1"),
        ("data: [1, 2]", "line 1: 'data' is a section"),
        ("data:", "line 1: 'data' is a section"),
        ("data: {batch_size: many}", "my.yaml: data.batch_size must be a whole number; got 'many'"),
        ("data: {batch_size: [8]}", "my.yaml: data.batch_size must be a whole number; got [8]"),
        ("data: {crop: [1, 2, 3]}", "my.yaml: data.crop must be a list of 2 numbers or null; got [1, 2, 3]"),
        ("model: {arch: {a: 1}}", "my.yaml: model.arch must be text; got {'a': 1}"),
        ("config: other.yaml", "line 1: unknown key 'config'"),
        ("data:\n  source: a\n batch_size: [", "my.yaml, line 3: not valid YAML"),
        ("data: {source: a", "my.yaml, line 1: not valid YAML"),
        ("data:\n\tsource: a", "my.yaml, line 2: not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("just words", "my.yaml: not a mapping of keys to values"),
        ("- a\n- b", "my.yaml: not a mapping of keys to values"),
        ("", "my.yaml: the file is empty"),
        ("# nothing but a comment", "my.yaml: not a mapping"),
        ("1: 2", "line 1: a key must be a name, not '1'"),
        ("? [a, b]\n: 1", "a key must be a name"),
        ("data: &a {source: *a}", "an alias refers to itself"),
        ("data: {source: " + "[" * 2000 + "}", "nested too deeply"),
        ("x" * 2_000_000, "too large for a config"),
    ],
)
def test_a_wrong_config_is_one_line(text: str, words: str, in_folder: Path) -> None:
    (in_folder / "my.yaml").write_text(text)
    assert words in complaint("--config", "my.yaml")


def test_a_binary_file_is_not_a_config(in_folder: Path) -> None:
    for name, content in (
        ("a.png", b"\x89PNG\r\n\x1a\n\0\0"),
        ("nul.yaml", b"data: \0"),
        ("utf16.yaml", b"\xff\xfed\0"),
    ):
        (in_folder / name).write_bytes(content)
        assert complaint("--config", name).startswith(f"{name}: not a text file in UTF-8")


def test_a_tag_cannot_run_code(in_folder: Path) -> None:
    (in_folder / "my.yaml").write_text("data: {source: !!python/object/apply:os.mkdir [made]}")
    assert complaint("--config", "my.yaml").startswith("my.yaml: ")
    assert not (in_folder / "made").exists()


def test_merge_keys_and_aliases_work(in_folder: Path) -> None:
    (in_folder / "my.yaml").write_text("data: {crop: &crop [0.5, 1.0]}\nmodel:\n  <<: {arch: dat_small}\n")
    options = parse("--config", "my.yaml")
    assert options["model"]["arch"] == "dat_small"  # type: ignore[index]  # a nested dict
    assert options["data"]["crop"] == (0.5, 1.0)  # type: ignore[index]


def test_later_values_win_and_the_rest_is_default(in_folder: Path) -> None:
    (in_folder / "a.yaml").write_text("data: {batch_size: 4, source: a}")
    (in_folder / "b.yaml").write_text("data: {source: b}")
    options = parse("-c", "a.yaml", "--config=b.yaml", "--data.flip", "true")
    assert options["data"] == {
        "source": "b",
        "batch_size": 4,
        "damaged": "error",
        "crop": None,
        "flip": True,
        "workers": 1,
    }


def test_no_environment_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JSONARGPARSE_DEFAULT_ENV", "true")
    monkeypatch.setenv("PL_FIT__DATA__SOURCE", "elsewhere")
    monkeypatch.setenv("DAT_FIT__DATA__SOURCE", "elsewhere")
    assert parse()["data"]["source"] == "digits"  # type: ignore[index]  # a nested dict


def test_help_is_short_at_its_top_and_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    told = capsys.readouterr()
    assert told.out.startswith("usage: dat fit [--config NAME] [options]\n")
    assert "--data.batch_size" in told.out
    assert told.err == ""


@pytest.fixture
def shipped(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packaged configs of known content."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "imagenet").mkdir()
    (folder / "tiny.yaml").write_text("model: {arch: shipped_tiny}")
    (folder / "imagenet" / "dat_tiny.yaml").write_text("model: {arch: shipped_imagenet}")
    monkeypatch.setattr(configs, "packaged_configs", lambda: folder)
    return folder


def arch(*args: str) -> object:
    return parse(*args)["model"]["arch"]  # type: ignore[index]  # a nested dict


@pytest.mark.usefixtures("shipped")
def test_a_name_means_a_packaged_config_from_any_folder() -> None:
    assert arch("--config", "tiny") == arch("--config", "tiny.yaml") == "shipped_tiny"
    assert arch("--config", "imagenet/dat_tiny") == arch("--config", "imagenet/dat_tiny.yaml") == "shipped_imagenet"


@pytest.mark.usefixtures("shipped")
def test_a_local_file_of_that_name_wins(in_folder: Path) -> None:
    (in_folder / "tiny").mkdir()
    assert arch("--config", "tiny") == "shipped_tiny"
    (in_folder / "tiny.yaml").write_text("model: {arch: local}")
    assert arch("--config", "tiny.yaml") == arch("--config", "./tiny.yaml") == "local"
    assert arch("--config", str(in_folder / "tiny.yaml")) == "local"


@pytest.mark.usefixtures("shipped")
def test_a_missing_config_lists_what_exists() -> None:
    told = complaint("--config", "tny.yaml")
    assert told.startswith("no config 'tny.yaml'; did you mean 'tiny'? there are tiny, imagenet/dat_tiny")
    assert "no config '../tiny'" in complaint("--config", "../tiny")
    assert "no config named ''" in complaint("--config", "")


@pytest.mark.parametrize("name", [".", "a\0b", "~nobody-of-that-name/x.yaml", "x" * 5000])
def test_what_cannot_be_a_file_is_one_line(name: str) -> None:
    assert "config" in complaint("--config", name)


def test_the_configs_of_the_checkout_are_the_packaged_ones() -> None:
    assert packaged_configs() == Path(__file__).resolve().parents[2] / "configs"
    assert {"tiny", "small", "base", "pp_tiny", "pp_small", "pp_base"} <= set(config_names())
