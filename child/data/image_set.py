"""The sets of images that can be had by name, and what is known of them before they are loaded."""

from __future__ import annotations

from typing import Literal, NamedTuple

from child.data.images import ImageShape

_CIFAR_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


class ImageSet(NamedTuple):
    """A set of images.

    class_name: of the class in torchvision.datasets that reads it.
    format: of its files: idx of MNIST, batches of CIFAR (pickles), mat of SVHN (Matlab).
    page: where its authors describe it.
    class_names: in the order of the labels; empty where nobody needs them by heart.
    unpacked_md5: of the files of idx, unpacked, in the order in which torchvision names them; empty
        where nobody published them.
    """

    class_name: str
    format: Literal["idx", "batches", "mat"]
    shape: ImageShape
    num_classes: int
    num_train: int
    num_test: int
    page: str
    class_names: tuple[str, ...] = ()
    unpacked_md5: tuple[str, ...] = ()


_DIGITS = tuple("0123456789")
_CLOTHES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
    "ankle boot",
)  # fmt: skip
_THINGS = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

IMAGE_SETS = {
    "mnist": ImageSet(
        class_name="MNIST",
        format="idx",
        shape=ImageShape(1, 28, 28),
        num_classes=10,
        num_train=60_000,
        num_test=10_000,
        page="http://yann.lecun.com/exdb/mnist/",
        class_names=_DIGITS,
        unpacked_md5=(
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
    ),
    "fashion-mnist": ImageSet(
        class_name="FashionMNIST",
        format="idx",
        shape=ImageShape(1, 28, 28),
        num_classes=10,
        num_train=60_000,
        num_test=10_000,
        page="https://github.com/zalandoresearch/fashion-mnist",
        class_names=_CLOTHES,
    ),
    "cifar10": ImageSet(
        class_name="CIFAR10",
        format="batches",
        shape=ImageShape(3, 32, 32),
        num_classes=10,
        num_train=50_000,
        num_test=10_000,
        page=_CIFAR_PAGE,
        class_names=_THINGS,
    ),
    "cifar100": ImageSet(
        class_name="CIFAR100",
        format="batches",
        shape=ImageShape(3, 32, 32),
        num_classes=100,
        num_train=50_000,
        num_test=10_000,
        page=_CIFAR_PAGE,
    ),
    "svhn": ImageSet(
        class_name="SVHN",
        format="mat",
        shape=ImageShape(3, 32, 32),
        num_classes=10,
        num_train=73_257,
        num_test=26_032,
        page="http://ufldl.stanford.edu/housenumbers/",
        class_names=_DIGITS,
    ),
}
