"""Names of ImageNet's classes."""

from __future__ import annotations

from dat_cli.data.imagenet import imagenet_classes


def test_there_are_a_thousand_names_and_no_two_alike() -> None:
    names = imagenet_classes()
    assert len(names) == len({name.casefold() for name in names}) == 1000
    assert all(name and name == name.strip() and name.isprintable() for name in names)


def test_names_stand_in_the_order_of_the_outputs() -> None:
    names = imagenet_classes()
    assert names[:3] == ("tench", "goldfish", "great white shark")
    assert (names[281], names[574], names[999]) == ("tabby", "golf ball", "toilet tissue")


def test_what_has_one_name_is_told_apart() -> None:
    names = imagenet_classes()
    assert (names[134], names[517]) == ("crane (bird)", "crane (machine)")
    assert (names[638], names[639]) == ("maillot", "maillot, tank suit")
