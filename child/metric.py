"""What children are compared by, and how it reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """The figure that validation and test give.

    name: as it stands before a figure, or over a column of them.
    format: of one figure; see Python's format specifications.
    is_higher_better: whether children of a higher figure are the better ones.

    >>> ACCURACY.text(0.975), PERPLEXITY.text(118.25)
    ('97.5%', '118.2')
    """

    name: str
    format: str
    is_higher_better: bool

    def text(self, figure: float) -> str:
        """Give a figure as people read it."""
        return format(figure, self.format)


# The fraction of images classified right; higher is better.
ACCURACY = Metric("accuracy", ".1%", is_higher_better=True)
# e to the cross-entropy, in nats, of a word; lower is better.
PERPLEXITY = Metric("perplexity", ".1f", is_higher_better=False)
# The cross-entropy of a character, in bits; lower is better.
BITS_PER_CHARACTER = Metric("bits per character", ".3f", is_higher_better=False)
