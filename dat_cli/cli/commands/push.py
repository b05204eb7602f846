"""``dat push``: weights and their card to the Hub, in one commit."""

from __future__ import annotations

import argparse
import logging
import re
import sys
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING

from dat_cli.cli.options import PlainParser
from dat_cli.cli.output import Column
from dat_cli.cli.tables import render_table
from dat_cli.errors import UsageError, did_you_mean
from dat_cli.hub.card.licenses import LICENSES
from dat_cli.hub.names import RepoName, parse_repo
from dat_cli.hub.push import Pushed, push
from dat_cli.hub.push.access import require_login
from dat_cli.hub.push.plan import Plan, plan_push
from dat_cli.hub.push.refs import MAIN

if TYPE_CHECKING:
    from dat_cli.weights.config import WeightsConfig

log = logging.getLogger("dat.push")

_LONGEST_LICENSE = 100


def main(args: list[str]) -> int:
    """Push, or show what would be pushed; ``args`` begins with the command's own name."""
    options = _parser().parse_args(args[1:])
    repo = _target(options.repository, options.revision)
    _check(options, repo)
    if not options.dry_run:
        if not options.yes and not _can_ask():
            hint = "add --yes to push without being asked, or --dry_run to see what would be sent"
            raise UsageError("there is no terminal to confirm on", hint=hint)
        require_login()

    from dat_cli.run.foreign import own  # imports torch
    from dat_cli.run.resolve import find_weights

    weights = find_weights(options.weights, owner=options.owner)
    tensors = own(weights.path, weights.config, name=weights.name).tensors  # nobody is sent what does not load
    parameters = sum(tensor.numel() for tensor in tensors.values())
    folder = weights.path if weights.path.is_dir() else weights.path.parent
    config = _licensed(weights.config, options.license)
    with plan_push(tensors, config, repo, folder=folder, parameters=parameters, dataset=options.dataset) as plan:
        if options.dry_run:
            sys.stdout.write(f"{_files(plan, hashes=True)}\n{_shown(plan.card)}")
            log.info("nothing was sent; this is what would be sent to %s", repo)
            return 0
        sys.stderr.write(_files(plan, hashes=False))  # hashing waits until the Hub has let us in
        if not options.yes and not _agreed(plan):
            log.info("nothing was sent")
            return 1
        message = options.message or f"Upload {config.architecture} with dat"
        pushed = push(
            plan, message=message, private=options.private, tag=options.tag, overwrite_card=options.overwrite_card
        )
    _tell(plan, pushed, options.tag)
    sys.stdout.write(f"{pushed.url}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = PlainParser(
        prog="dat push",
        description="Send weights to the Hugging Face Hub: safetensors, config.json, a model card, and the pictures in "
        "pictures/ beside the weights. What has not changed is not sent again. The page of the commit is printed.",
    )
    add = parser.add_argument
    add("weights", help="a run folder, a weights file, a folder, owner/name on the Hub, or a published variant")
    add("repository", help="where to, as owner/name; it is made if it is not there")
    add("--private", action="store_true", help="make the repository private")
    add("--revision", metavar="BRANCH", help="branch to push to; a new one begins at main, which is the default")
    add("--tag", help="name for the commit")
    add("--message", metavar="TEXT", help="what the commit says; its first line is the title")
    add("--license", metavar="ID", help="licence of the weights as the Hub spells it, such as apache-2.0")
    add("--dataset", metavar="ID", help="training data on the Hub, as owner/name")
    add("--dry_run", action="store_true", help="print the files and the card, and send nothing")
    add("--overwrite_card", action="store_true", help="replace a README.md that somebody wrote there")
    add("--owner", help="whose repository on the Hub the name of a published variant means")
    add("--yes", action="store_true", help="do not ask")
    return parser


def _target(reference: str, revision: str | None) -> RepoName:
    repo = parse_repo(reference)
    if repo is None:
        raise UsageError(f"{ascii(reference)[:120]} is no name of a Hub repository", hint="it looks like owner/name")
    if revision is not None and repo.revision not in (None, revision):
        raise UsageError(f"two branches are given, {repo.revision!r} and {revision!r}", hint="leave one out")
    return repo if revision is None else replace(repo, revision=revision)


def _check(options: argparse.Namespace, repo: RepoName) -> None:
    """What the Hub would refuse, before anything is read.

    Raises:
        UsageError: A name cannot be.
    """
    branch = repo.revision or MAIN
    _check_name("--revision", branch, "a branch")
    if options.tag is not None:
        replace(repo, revision=options.tag)  # a tag obeys the rules of a revision
        _check_name("--tag", options.tag, "a tag")
        if options.tag == branch:
            raise UsageError(f"--tag {options.tag} is the branch itself", hint="give --tag another name")
    if options.message is not None:
        _check_message(options.message)
    if options.license is not None and not (options.license.strip() and options.license.isprintable()):
        raise UsageError(f"--license {ascii(options.license)[:80]} is no licence's name", hint="such as apache-2.0")
    if options.license is not None and len(options.license) > _LONGEST_LICENSE:
        raise UsageError(
            f"--license has {len(options.license)} letters", hint="give its short name, such as apache-2.0"
        )
    if options.dataset is not None and not re.fullmatch(r"(?a:\w[\w.-]*)(?a:/\w[\w.-]*)?", options.dataset):
        raise UsageError(f"--dataset {ascii(options.dataset)[:120]} is no data set's name", hint="give owner/name")


def _check_name(option: str, name: str, what: str) -> None:
    if re.fullmatch(r"[0-9a-f]{7,40}", name):
        raise UsageError(f"{option} {name} looks like a commit", hint=f"give the name of {what}")
    if name.startswith("refs/"):
        raise UsageError(f"{option} {name} begins with refs/", hint=f"give the name of {what} without it")


def _check_message(message: str) -> None:
    if not message.strip():
        raise UsageError("--message is empty", hint="leave it out for a message of our own")
    if any(unicodedata.category(sign) in ("Cc", "Cs") and sign != "\n" for sign in message):
        raise UsageError("--message holds a control character", hint="plain text and line breaks are possible")


def _licensed(config: WeightsConfig, name: str | None) -> WeightsConfig:
    if name is None:
        return config
    licensed = replace(config, license=name)
    if name.lower() not in LICENSES:
        near = did_you_mean(name.lower(), LICENSES)
        log.warning(
            "the Hub does not know the licence %s and shows it as 'other'%s", ascii(name), f"; {near}" if near else ""
        )
    return licensed


def _files(plan: Plan, *, hashes: bool) -> str:
    columns: list[str | Column] = ["file", Column("bytes", ","), "sha256"]
    rows = [(file.path, file.size, file.digest.sha256 if hashes else None) for file in plan.files]
    return render_table(columns, rows) if hashes else render_table(columns[:2], [row[:2] for row in rows])


def _shown(card: str) -> str:
    """A card that somebody wrote may hold what a terminal would obey."""
    signs = (sign if sign.isprintable() or sign in "\n\t" else ascii(sign)[1:-1] for sign in card)
    return "".join(signs)


def _can_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def _agreed(plan: Plan) -> bool:
    size = sum(file.size for file in plan.files) / 1e6
    sys.stderr.write(f"Push these {len(plan.files)} files ({size:.1f} MB) to {plan.repo}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _tell(plan: Plan, pushed: Pushed, tag: str | None) -> None:
    if pushed.kept_card:
        log.info("the README.md there was written by somebody and stays; --overwrite_card replaces it")
    if pushed.unchanged:
        log.info("%s has all of this already; no commit was made", plan.repo)
    else:
        log.info("pushed to %s as commit %s", plan.repo, pushed.commit)
    if tag is not None:
        log.info("tagged %s", tag)
