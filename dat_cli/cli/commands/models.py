"""``dat models``: the published networks as a table or as data, without importing torch."""

from __future__ import annotations

import argparse

from dat_cli.catalog import VARIANTS, Variant
from dat_cli.cli.options import PlainParser
from dat_cli.cli.output import Column, print_csv, print_json, print_table

_COLUMNS = {
    "name": Column("name"),
    "parameters_m": Column("parameters (M)", ".2f"),
    "macs_g": Column("MACs (G)", ".2f"),
    "image_size": Column("size"),
    "top1": Column("top-1 (%)", ".1f"),
    "weights": Column("weights"),
}


def main(args: list[str]) -> int:
    """Print the table; ``args`` begins with the command's own name."""
    options = _parser().parse_args(args[1:])
    records = [_record(variant) for variant in VARIANTS.values()]
    if options.format == "json":
        print_json(records)
    elif options.format == "csv":
        print_csv(records)
    else:
        print_table(list(_COLUMNS.values()), [list(record.values()) for record in records])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = PlainParser(
        prog="dat models",
        description="List the published networks. Parameters are those with 1,000 classes; MACs and the accuracy on "
        "ImageNet-1K, as published, are those at the size shown.",
    )
    parser.add_argument("--format", choices=["table", "json", "csv"], default="table", help="table is the default")
    return parser


def _record(variant: Variant) -> dict[str, object]:
    published = variant.published
    return {
        "name": variant.name,
        "parameters_m": published.parameters,
        "macs_g": published.macs,
        "image_size": variant.image_size,
        "top1": published.top1,
        "weights": published.weights is not None,
    }
