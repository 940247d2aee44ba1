"""What a child costs, by the names of its costs."""

from __future__ import annotations

from collections.abc import Mapping


def costs_of(num_parameters: int | None, metrics: Mapping[str, float] | None) -> dict[str, float]:
    """Give what a child may cost, by its names: the parameters, if they were counted, and metrics.

    >>> costs_of(9, {"joules": 2.0}), costs_of(0, None)
    ({'num_parameters': 9, 'joules': 2.0}, {})
    """
    counted: dict[str, float] = {"num_parameters": num_parameters} if num_parameters else {}
    return {**counted, **(metrics or {}), **counted}
