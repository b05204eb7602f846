"""Names of the classes of ImageNet-1K."""

from __future__ import annotations

from collections import Counter
from functools import cache

NUM_CLASSES = 1000

# The one name that two classes share whole, by the index of the class.
_CRANES = {134: "crane (bird)", 517: "crane (machine)"}


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Readable names, no two alike, in the order in which networks have their outputs.

    The first of the synonyms; all of them where others have the same first one.
    """
    from timm.data.imagenet_info import ImageNetInfo

    synonyms = ImageNetInfo("imagenet-1k").label_descriptions()
    firsts = [names.split(",")[0] for names in synonyms]
    shared = Counter(map(str.casefold, firsts))
    names = [
        first if shared[first.casefold()] == 1 else all_names for first, all_names in zip(firsts, synonyms, strict=True)
    ]
    return tuple(_CRANES.get(index, name) for index, name in enumerate(names))
