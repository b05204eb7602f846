"""The arithmetic of the attentions: each fast path beside the plain one it must equal.

``with reference():`` (or ``DAT_ARITHMETIC=reference`` in the environment) selects the plain form where there are two.
"""

from dat_cli.ops.kept import constant_weights
from dat_cli.ops.setting import reference

__all__ = ["constant_weights", "reference"]
