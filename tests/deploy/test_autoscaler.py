"""What the autoscaler is asked for, by a cluster that is made up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from deploy import autoscaler
from deploy.autoscaler import RoomRequest, has_autoscaler
from workers.children_settings import ChildrenSettings

CHILDREN = ChildrenSettings(num_cpus=1.0, num_gpus=0.5)


@pytest.fixture
def cluster(monkeypatch):
    """Nodes of these types, and what was asked for."""
    made_up = SimpleNamespace(types=["head", "worker"], asked=[])
    client = SimpleNamespace(
        get_all_node_info=lambda: {
            number: SimpleNamespace(node_type_name=name)
            for number, name in enumerate(made_up.types)
        }
    )
    monkeypatch.setattr(
        autoscaler.ray._private.worker, "global_worker", SimpleNamespace(gcs_client=client)
    )
    monkeypatch.setattr(
        autoscaler, "request_resources", lambda bundles: made_up.asked.append(bundles)
    )
    return made_up


def test_nodes_that_somebody_started_by_hand_are_of_no_type(cluster):
    assert has_autoscaler()
    cluster.types = ["", ""]
    assert not has_autoscaler()


def test_room_is_asked_for_and_given_back_once(cluster):
    with RoomRequest(CHILDREN, 3) as room:
        assert cluster.asked == [[{"CPU": 1.0, "GPU": 0.5}] * 3]
        room.withdraw()
    assert cluster.asked[1:] == [[]]


def test_room_is_given_back_when_the_search_fails(cluster):
    with pytest.raises(ValueError, match="the search"), RoomRequest(CHILDREN, 1):
        raise ValueError("the search failed")
    assert cluster.asked[-1] == []


def test_nothing_is_asked_where_nobody_answers_or_nothing_is_needed(cluster):
    with RoomRequest(CHILDREN, 0):
        pass
    cluster.types = [""]
    with RoomRequest(CHILDREN, 3):
        pass
    assert cluster.asked == []
