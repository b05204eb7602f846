"""The built-in pictures: 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn."""

from __future__ import annotations

from PIL import Image

from dat_cli.catalog import Preprocessing
from dat_cli.data.samples import Samples, Source
from dat_cli.data.split import split_by_class
from dat_cli.errors import DataError

_TEST_FRACTION = 0.1
_TEST_SEED = 0  # the test part is the same for every seed, so that results can be compared

PREPROCESSING = Preprocessing(
    input_size=(3, 64, 64),
    mean=(0.305, 0.305, 0.305),  # of all 1,797
    std=(0.376, 0.376, 0.376),
    crop_pct=1.0,  # the strokes reach the border
)


def open_digits(*, val_fraction: float, seed: int, classes: tuple[str, ...] | None) -> Source:
    """The digits: a tenth of each class for testing, ``val_fraction`` of the rest for validation.

    Raises:
        DataError: Given classes lack a digit.
    """
    from sklearn.datasets import load_digits  # a second to import

    bunch = load_digits()
    names = [str(name) for name in bunch.target_names]
    if classes is not None and (missing := [name for name in names if name not in classes]):
        raise DataError(
            f"the built-in digits have a class that the weights lack: {missing[0]}",
            hint="pass --data.source DIR with pictures of the classes of the weights",
        )
    known = classes or tuple(names)
    pixels = (bunch.images * (255 / 16)).round().astype("uint8")  # (1797, 8, 8), ink is bright
    labels = tuple(known.index(names[target]) for target in bunch.target)
    everything = Samples(tuple(Image.fromarray(picture).convert("RGB") for picture in pixels), labels)
    ids = [str(index) for index in range(len(labels))]

    rest, test = split_by_class(ids, labels, _TEST_FRACTION, _TEST_SEED)
    kept, held_out = split_by_class([ids[i] for i in rest], [labels[i] for i in rest], val_fraction, seed)
    return Source(
        name="digits",
        classes=known,
        train=Samples.of(everything[rest[i]] for i in kept),
        val=Samples.of(everything[rest[i]] for i in held_out),
        test=Samples.of(everything[i] for i in test),
        preprocessing=PREPROCESSING,
        crop_scale=(0.8, 1.0),
        flip=0.0,  # a mirrored digit is another sign
    )
