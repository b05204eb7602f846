"""``dat convert``: weights of the authors, or of any other form, into a file of ours; or back."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from dat_cli.catalog import get_variant
from dat_cli.cli.options import PlainParser
from dat_cli.errors import UsageError
from dat_cli.run.convert import Wish, convert

log = logging.getLogger("dat.convert")


def main(args: list[str]) -> int:
    """Convert, and print where to; ``args`` begins with the command's own name."""
    options = _parser().parse_args(args[1:])
    if not options.source.strip() or not options.out.strip():
        raise UsageError("the name of a file is empty", hint="dat convert IN OUT")
    if options.arch is not None:
        get_variant(options.arch)  # a mistyped one is told before torch is imported
    wish = Wish(
        source=options.source,
        out=Path(options.out).expanduser(),
        to=options.to,
        arch=options.arch,
        img_size=options.img_size,
        window=options.window,
        labels=None if options.labels is None else Path(options.labels).expanduser(),
        owner=options.owner,
    )
    log.info("%s", convert(wish))
    sys.stdout.write(f"{wish.out}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = PlainParser(
        prog="dat convert",
        description="Turn weights into a file or folder of ours: the authors' .pth, their tensors as safetensors, a "
        "checkpoint of Lightning, or anything that --weights takes elsewhere. Code in a pickle is refused. "
        "Tensors are checked one by one, and nothing is written unless all fit.",
    )
    add = parser.add_argument
    add("source", metavar="IN", help="a .pth, .pt, .bin, .ckpt or .safetensors, a run, owner/name, a network's name")
    add("out", metavar="OUT", help="NAME.safetensors, or NAME for a folder in the layout of the Hub")
    add("--arch", help="the network that IN is of; recognised by default")
    add("--img_size", type=int, metavar="PIXELS", help="resize the tables of position bias for such images")
    add(
        "--window",
        type=int,
        metavar="N",
        help="windows of N positions; by default 7, in DAT more above 224 pixels",
    )
    add("--labels", metavar="FILE", help="names of the classes, one per line or a JSON list; ImageNet's for 1000")
    add("--to", choices=["dat", "authors"], default="dat", help="whose form; authors: OUT is a .pth or a .safetensors")
    add("--owner", help="whose repository on the Hub the name of a published network means")
    return parser
