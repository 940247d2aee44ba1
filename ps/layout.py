"""The map between named tensors, one flat float32 vector, and its slices on the shards."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

FlatVector = NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """Where every tensor lies in the flat vector, and which shard owns which part of it.

    The flat vector holds the tensors one after the other, in the order given, each in row-major
    order. Shard i owns one contiguous slice; slices differ in length by at most one parameter.

    >>> layout = Layout((("bias", (3,)), ("weight", (2, 2))), num_shards=2)
    >>> layout.num_parameters, layout.slices
    (7, (slice(0, 4, None), slice(4, 7, None)))
    """

    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    num_shards: int

    def __post_init__(self) -> None:
        """Refuse a name that stands twice, or a shard without parameters (ValueError)."""
        names = [name for name, _ in self.shapes]
        if len(set(names)) < len(names):
            raise ValueError(f"shapes name {names}: every tensor must have a name of its own")
        if not 1 <= self.num_shards <= self.num_parameters:
            raise ValueError(
                f"num_shards={self.num_shards}: must be between 1 and the number of parameters, "
                f"{self.num_parameters}"
            )

    @cached_property
    def num_parameters(self) -> int:
        return sum(math.prod(shape) for _, shape in self.shapes)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The slice of the flat vector that each shard owns; shard i's at index i."""
        length, longer = divmod(self.num_parameters, self.num_shards)
        starts = [i * length + min(i, longer) for i in range(self.num_shards + 1)]
        return tuple(slice(a, b) for a, b in pairwise(starts))

    @cached_property
    def sha256(self) -> bytes:
        """Digest of names, shapes, their order and the number of shards."""
        return hashlib.sha256(json.dumps([self.shapes, self.num_shards]).encode()).digest()

    def flatten(self, tensors: Mapping[str, NDArray[np.float32]]) -> FlatVector:
        """Copy the tensors into a new flat vector, (P,) float32.

        Raises:
            ValueError: names or shapes are not exactly the layout's.
        """
        expected, given = dict(self.shapes), {n: tuple(t.shape) for n, t in tensors.items()}
        if expected != given:
            wrong = sorted(n for n in expected | given if expected.get(n) != given.get(n))
            found = ", ".join(f"{n}: {given.get(n)} instead of {expected.get(n)}" for n in wrong)
            raise ValueError(f"tensors do not fit the layout: {found}")
        return np.concatenate(
            [np.asarray(tensors[name], np.float32).ravel() for name, _ in self.shapes]
        )

    def unflatten(self, flat: FlatVector) -> dict[str, NDArray[np.float32]]:
        """Give the named tensors as views into the flat vector, (P,) float32.

        Raises:
            ValueError: the vector has another length.
        """
        if flat.shape != (self.num_parameters,):
            raise ValueError(f"flat.shape={flat.shape}: must be ({self.num_parameters},)")
        tensors, start = {}, 0
        for name, shape in self.shapes:
            end = start + math.prod(shape)
            tensors[name] = flat[start:end].reshape(shape)
            start = end
        return tensors
