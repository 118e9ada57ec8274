"""POST /networks/check and /networks/{id}/check: pyswarm's own addition to the Engine API.

Without a network all hosts are tested, over the ingress network; with one, its containers, one on each node.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from pyswarmd.engine.door.context import Route, answer, manager_of, node_of
from pyswarmd.engine.swarm.networks import find_network
from swarmcore.errors import Invalid
from swarmcore.rpc.messages.check import CheckedNode, HostFacts, NetworkReport

Shown = dict[str, Any]


async def check_hosts(request: web.Request) -> web.Response:
    return answer(shown(await manager_of(request).checks.check("")))


async def check(request: web.Request) -> web.Response:
    node = node_of(request)
    found = await find_network(node, request.match_info["id"], "swarm")
    if found.item is None and found.table is None:
        raise Invalid(f"network {found.name} is not one of the swarm's", "name an overlay network")
    return answer(shown(await node.manager().checks.check(found.id)))


def shown(report: NetworkReport) -> Shown:
    """As the API tells it. `Healthy` means no findings; remarks do not count."""
    return {
        "Network": report.network,
        "Healthy": not report.findings,
        "Seconds": report.seconds,
        "Nodes": [_node(node) for node in report.nodes],
        "Pairs": [pair for node in report.nodes for pair in _pairs(node)],
        "Names": [
            {
                "NodeID": node.node_id,
                "Name": name.name,
                "Outcome": name.outcome.value,
                "Addresses": list(name.addresses),
            }
            for node in report.nodes
            if node.report is not None
            for name in node.report.names
        ],
        "Services": [
            {
                "NodeID": node.node_id,
                "Name": service.name,
                "VirtualIP": service.vip,
                "Port": service.port,
                "Outcome": service.outcome.value,
            }
            for node in report.nodes
            if node.report is not None
            for service in node.report.services
        ],
        "Findings": [
            {"Kind": each.kind.value, "NodeIDs": list(each.nodes), "Text": each.text, "Hint": each.hint}
            for each in report.findings
        ],
        "Remarks": list(report.remarks),
    }


def _node(node: CheckedNode) -> Shown:
    facts = node.report.facts if node.report is not None else HostFacts()
    return {
        "NodeID": node.node_id,
        "Hostname": node.name,
        "DataPathAddr": node.vtep,
        "Addresses": list(node.addresses),
        "TaskID": node.task_id,
        "Problem": node.problem,
        "Device": facts.device,
        "DeviceMTU": facts.device_mtu,
        "MTU": facts.mtu,
        "Repairs": node.report.repairs if node.report is not None else 0,
    }


def _pairs(node: CheckedNode) -> list[Shown]:
    if node.report is None:
        return []
    passed = {path.node_id: path.passed for path in node.report.paths}
    return [
        {
            "From": node.node_id,
            "To": pair.node_id,
            "Address": pair.address,
            "Ping": pair.ping.value,
            "UDP": pair.udp.value,
            "TCP": pair.tcp.value,
            "LargeUDP": pair.large_udp.value,
            "LargeTCP": pair.large_tcp.value,
            "MTU": pair.mtu,
            "PathMTU": passed.get(pair.node_id, 0),
        }
        for pair in node.report.pairs
    ]


ROUTES: tuple[Route, ...] = (
    ("POST", "/networks/check", check_hosts),
    ("POST", "/networks/{id}/check", check),
)
