"""The networks, and their attentions for use in others."""

from dat_cli.models.build import create_model
from dat_cli.models.dat import DAT
from dat_cli.models.deformable import DeformableAttention
from dat_cli.models.neighborhood import NeighborhoodAttention
from dat_cli.models.window import WindowAttention

__all__ = ["DAT", "DeformableAttention", "NeighborhoodAttention", "WindowAttention", "create_model"]
