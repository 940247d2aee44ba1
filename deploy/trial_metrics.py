"""The metrics of trials beside their validation figure, as tables and files have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# In the columns of files and data frames, where a name may be that of another column.
PREFIX = "metrics."


def metric_names(rows: Iterable[Mapping[str, float] | None]) -> list[str]:
    """Give the names of all metrics that any trial has, as they are first met.

    >>> metric_names([None, {"joules": 3.0}, {"loss": 0.1, "joules": 2.0}])
    ['joules', 'loss']
    """
    return list(dict.fromkeys(name for metrics in rows for name in metrics or ()))


def metric_text(figure: float) -> str:
    """Give a figure as it is printed: whole numbers in full, others to four digits.

    >>> metric_text(1234567), metric_text(0.00123456), metric_text(2.0)
    ('1,234,567', '0.001235', '2')
    """
    if float(figure).is_integer() and abs(figure) < 1e15:
        return f"{int(figure):,}"
    return f"{figure:.4g}"
