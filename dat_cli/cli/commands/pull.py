"""``dat pull``: weights of the Hub onto this machine, without importing torch."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from pathlib import Path

from dat_cli.catalog import VARIANTS
from dat_cli.cli.options import PlainParser
from dat_cli.errors import UsageError, did_you_mean
from dat_cli.hub.names import RepoName, parse_repo
from dat_cli.hub.pull import Pulled, pull
from dat_cli.weights.folder import layout_files, layout_folder

_LOG = logging.getLogger("dat.pull")


def main(args: list[str]) -> int:
    """Pull, and print what pins the weights; ``args`` begins with the command's own name."""
    options = _parser().parse_args(args[1:])
    out = Path(options.out).expanduser() if options.out is not None else None
    if options.out == "":
        raise UsageError("--out is empty", hint="give a folder")
    if options.name in VARIANTS:
        _pull_variant(options, out)
    else:
        _pull_repo(_repo(options), out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = PlainParser(
        prog="dat pull",
        description="Download weights from the Hugging Face Hub, or those of a published network, and check all bytes. "
        "Prints owner/name@commit, which names just these weights for ever.",
    )
    parser.add_argument("name", help="owner/name[@revision] on the Hub, or one of dat models")
    parser.add_argument("--revision", help="branch, tag or commit; the main branch is the default")
    parser.add_argument("--out", metavar="DIR", help="also put the files into this folder")
    parser.add_argument("--owner", help="whose repository on the Hub the name of a published network means")
    return parser


def _repo(options: argparse.Namespace) -> RepoName:
    if options.owner is not None:
        raise UsageError("--owner goes with the name of a published network", hint="see dat models")
    repo = parse_repo(options.name)
    if repo is None:
        hint = did_you_mean(options.name, VARIANTS) or "give owner/name, or one of dat models"
        raise UsageError(f"{ascii(options.name)[:120]} names no weights that can be pulled", hint=hint)
    if options.revision is None:
        return repo
    if repo.revision not in (None, options.revision):
        raise UsageError(f"--revision is {options.revision!r}, but the name says {repo.revision!r}", hint="say it once")
    return RepoName(repo.owner, repo.name, options.revision)


def _pull_repo(repo: RepoName, out: Path | None) -> None:
    if out is None:
        pulled = pull(repo)
        _tell(pulled, pulled.folder)
    else:
        with layout_folder(out) as folder:  # refused before anything is fetched
            pulled = pull(repo)
            for file in pulled.files:
                _copy(pulled.folder / file.name, folder)
        _tell(pulled, out)
    sys.stdout.write(f"{repo.id}@{pulled.commit}\n")


def _pull_variant(options: argparse.Namespace, out: Path | None) -> None:
    if options.revision is not None:
        raise UsageError("--revision goes with owner/name", hint=f"give owner/{options.name}@{options.revision}")
    from dat_cli.run.resolve import find_weights

    if out is None:
        weights = find_weights(options.name, owner=options.owner, fresh=True)
        sys.stdout.write(f"{weights.name if weights.place == 'hub' else weights.path}\n")
        return
    from dat_cli.weights import read_tensors
    from dat_cli.weights.layout import write_layout

    with layout_folder(out) as folder:
        weights = find_weights(options.name, owner=options.owner, fresh=True)
        if weights.path.is_dir():
            for file in layout_files(weights.path):
                _copy(file, folder)
        else:
            write_layout(folder, read_tensors(weights.path), weights.config)
    sys.stdout.write(f"{weights.name if weights.place == 'hub' else out}\n")


def _copy(file: Path, folder: Path) -> None:
    """Copy, and on failure name the place that is full rather than the file that is read."""
    try:
        shutil.copyfile(file, folder / file.name)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder / file.name)) from error


def _tell(pulled: Pulled, place: Path) -> None:
    for file in pulled.files:
        _LOG.info("%s  %s  sha256 %s", file.name, _bytes(file.size), file.sha256)
    _LOG.info("%s in %s", pulled.repo, place)


def _bytes(size: int) -> str:
    """A size for people: ``112.9 MB``."""
    shown, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if shown < 1000:
            break
        shown, unit = shown / 1000, larger
    return f"{size} bytes" if unit == "bytes" else f"{shown:.1f} {unit}"
