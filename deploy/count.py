"""Numbers with their nouns."""

from __future__ import annotations


def counted(number: int, singular: str, plural: str = "") -> str:
    """Say how many there are.

    >>> counted(1, "shard"), counted(1_200, "shard"), counted(2, "push", "pushes")
    ('1 shard', '1,200 shards', '2 pushes')
    """
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"
