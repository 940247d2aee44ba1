"""Everything that a store is, in a form that can be written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class StoreState:
    """Arrays and whole numbers; see `ps.store.Store.state` for their names."""

    arrays: Mapping[str, NDArray[Any]]
    numbers: Mapping[str, int]
