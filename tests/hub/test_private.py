"""What weights say of where they were made stays where they were made."""

from __future__ import annotations

import pytest

from dat_cli.catalog import Preprocessing
from dat_cli.hub.push.private import for_others
from dat_cli.weights import WeightsConfig


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("/home/alice/my photos", "my photos"),
        ("/home/alice/photos/", "photos"),
        ("~/photos", "photos"),
        ("~alice/photos", "photos"),
        ("../secret/photos", "photos"),
        ("runs/secret/best.safetensors", "best.safetensors"),
        (r"C:\Users\alice\photos", "photos"),
        (r"\\server\share\photos", "photos"),
        ("file:///home/alice/photos", "photos"),
        ("photos of /home/alice/cats and dogs", "photos of cats and dogs"),
        (r"photos (C:\Users\alice\cats)", "photos (cats)"),
        ("/", None),
        ("https://alice:word@files.example/a/b.pth?signature=x#y", "https://files.example/a/b.pth"),
        ("https://files.example/f/1367/", "https://files.example/f/1367/"),
        ("https://[", None),
        ("see https://u:pw@h/x?t=1 for more", "see https://h/x for more"),
        ("s3://bucket/key?sig=abc", "s3://bucket/key"),
        ("https://h/x?t=1, at first /home/alice/cats", "https://h/x at first cats"),
        ("ImageNet-1K", "ImageNet-1K"),
        ("cats and/or dogs, 1 / 2 of them", "cats and/or dogs, 1 / 2 of them"),
        ("dat_tiny_in1k_224.pth", "dat_tiny_in1k_224.pth"),
    ],
)
def test_of_a_path_only_the_last_part_is_sent(said: str, sent: str | None) -> None:
    config = WeightsConfig("dat_tiny", ("a",), Preprocessing(), trained_on=said, origin=said)
    public = for_others(config)
    assert (public.trained_on, public.origin) == (sent, sent)


def test_what_is_not_known_stays_unknown() -> None:
    config = WeightsConfig("dat_tiny", ("a/b",), Preprocessing(), license="mit")
    assert for_others(config) == config
