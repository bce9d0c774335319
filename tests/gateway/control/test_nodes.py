"""A node that is to leave on purpose."""

from events.base import NodeId
from events.node import NodeDraining, NodeJoined
from events.replica import ReplicaDraining
from tests.gateway.control.reported import built_and_ready
from tests.gateway.control.stand import Stand


def joined(node: str) -> NodeJoined:
    return NodeJoined(
        node_id=NodeId(node), boot_id="b", host="h", cpu_millicores=8000, memory_bytes=16 << 30, isolation="process"
    )


async def test_a_node_drains_where_there_is_another_one_or_somebody_says_at_once(stand: Stand) -> None:
    await stand.happened("node", "n1", joined("n1"))
    await built_and_ready(stand, await stand.pushed())
    (replica,) = stand.views.fleet.state.replicas.values()
    node = replica.node_id
    if node not in stand.views.fleet.state.nodes:
        await stand.happened("node", node, joined(node))
    unknown = await stand.client.post("/v1/nodes/n9/drain", json={})
    assert unknown.status_code == 404 and "causeway node list" in unknown.text
    for other in [each for each in stand.views.fleet.state.nodes if each != node]:
        assert (await stand.client.post(f"/v1/nodes/{other}/drain", json={})).json()["replicas"] == []
    refused = await stand.client.post(f"/v1/nodes/{node}/drain", json={"reason": "disk"})
    assert refused.status_code == 409 and "no other node is up" in refused.text and "--now" in refused.text
    assert stand.views.fleet.state.nodes[node].status == "up"
    answer = await stand.client.post(f"/v1/nodes/{node}/drain", json={"reason": "disk", "now": True})
    assert answer.json() == {"node_id": node, "status": "draining", "replicas": [replica.replica_id]}
    events = [each.event for each in await stand.log.read()]
    assert NodeDraining(node_id=node, reason="disk") in events
    assert [each.replica_id for each in events if isinstance(each, ReplicaDraining)] == [replica.replica_id]
