"""The arithmetic of the attentions: each fast path beside the plain one it must equal.

``with reference():`` (or ``DAT_ARITHMETIC=reference`` in the environment) switches all of it to the plain form.
"""

from dat_cli.ops.setting import reference

__all__ = ["reference"]
