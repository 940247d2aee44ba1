"""What the state on disk says it belongs to."""

from pathlib import Path

import pytest

from ps.errors import StateMismatch
from ps.layout import Layout
from ps.line import check_identity
from ps.plan import FORMAT, ShardPlan

FILE = Path("/run/shards/shard-0/journal-1-0")


def identity_of(name, length):
    return ShardPlan(Layout(((name, (length,)),), num_shards=1), 0).identity


@pytest.mark.parametrize(
    ("found", "differing"),
    [
        (identity_of("weight", 5), {"num_parameters"}),
        (identity_of("kernel", 4), {"layout_sha256"}),
        (identity_of("weight", 4) | {"format": FORMAT + 1}, {"format"}),
    ],
    ids=["length", "names", "format"],
)
def test_differences_that_tell_something_are_named(found, differing):
    expected = identity_of("weight", 4)
    with pytest.raises(StateMismatch, match=f"^{FILE} holds a state of ") as caught:
        check_identity(found, expected, FILE)
    named = {key for key in found if f"{key}=" in str(caught.value)}
    assert named == differing


def test_same_identity_is_taken():
    check_identity(identity_of("weight", 4), identity_of("weight", 4), FILE)
