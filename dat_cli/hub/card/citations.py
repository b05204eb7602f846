"""How to cite the networks, by generation."""

from __future__ import annotations

from typing import NamedTuple

from dat_cli.catalog import Generation


class Paper(NamedTuple):
    """What a generation is called, and where it is described."""

    title: str
    url: str


PAPERS: dict[Generation, Paper] = {
    "dat": Paper("Deformable Attention Transformer (DAT)", "https://arxiv.org/abs/2201.00520"),
    "dat_pp": Paper("Deformable Attention Transformer (DAT++)", "https://arxiv.org/abs/2309.01430"),
}

CITATIONS: dict[Generation, str] = {
    "dat": """@inproceedings{xia2022dat,
  title     = {Vision Transformer with Deformable Attention},
  author    = {Xia, Zhuofan and Pan, Xuran and Song, Shiji and Li, Li Erran and Huang, Gao},
  booktitle = {CVPR},
  year      = {2022}
}""",
    "dat_pp": """@article{xia2023dat,
  title   = {DAT++: Spatially Dynamic Vision Transformer with Deformable Attention},
  author  = {Xia, Zhuofan and Pan, Xuran and Song, Shiji and Li, Li Erran and Huang, Gao},
  journal = {arXiv preprint arXiv:2309.01430},
  year    = {2023}
}""",
}
