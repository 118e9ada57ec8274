"""Stand-ins that have no behaviour to compare, only answers: they are called as the real ones are, to the letter."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from manager.checks.conversation import NetworkChecks
from manager.control.proxy import ControlProxy
from manager.dispatcher.dispatcher import Dispatcher
from manager.logs.broker import LogBroker
from pyswarmd.node.connecting import Connector
from pyswarmd.node.manager_parts import ManagerParts
from pyswarmd.node.node import Node
from swarmcore.rpc.client import RpcClient
from tests.fakes import manager_node
from tests.fakes.networks import FakeNetworks
from tests.manager.checks.bench import CheckBench
from tests.manager.checks.bench import Link as CheckLink
from tests.manager.control import test_proxy
from tests.manager.dispatcher import test_attachment_server
from tests.manager.logs.test_broker import Link as LogLink
from tests.manager.membership import test_ca_server
from tests.manager.test_leader import Silent
from tests.pyswarmd.engine.swarm.test_network_check import AskedNode
from tests.pyswarmd.engine.swarm.test_networks import Daemon, Local, WithLocal
from tests.worker.agent.conftest import Managers
from tests.worker.agent.test_asking import FakeClient
from worker.containers.registry import ContainerRegistry
from worker.networks.feed import Networks
from worker.networks.host_networks import HostNetworks
from worker.volumes.local import Volumes

#: Which methods of a stand-in are the test's own hand; all others are the real thing's.
STAND_INS: list[tuple[type, tuple[type, ...], set[str]]] = [
    (manager_node.ManagerNode, (Node,), {"begin"}),
    (manager_node.Managing, (ManagerParts, ControlProxy), set()),
    (manager_node.Containers, (ContainerRegistry,), set()),
    (manager_node.Volumes, (Volumes,), set()),
    (manager_node.SilentTasks, (LogBroker,), set()),
    (Daemon, (Node, ManagerParts, ControlProxy), set()),
    (WithLocal, (Node, ManagerParts, ControlProxy, Connector), set()),
    (AskedNode, (Node, ManagerParts, NetworkChecks), set()),
    (Local, (HostNetworks,), set()),
    (FakeNetworks, (Networks,), set()),
    (CheckLink, (Dispatcher,), {"session_breaks"}),
    (LogLink, (Dispatcher,), {"asked", "session"}),
    (test_ca_server.Wire, (RpcClient,), set()),
    (test_attachment_server.Wire, (RpcClient,), set()),
    (test_proxy.Wire, (RpcClient,), set()),
    (test_proxy.Cable, (RpcClient,), set()),
    (Silent, (RpcClient,), set()),
    (FakeClient, (RpcClient,), set()),
    (Managers, (RpcClient,), set()),
]


def called_as(function: Any) -> tuple[str, list[tuple[str, str, bool]]]:
    """How it is awaited or iterated, and its arguments: name, kind, whether one may leave it out."""
    how = (
        "iterated"
        if inspect.isasyncgenfunction(function)
        else "awaited"
        if inspect.iscoroutinefunction(function)
        else "called"
    )
    parameters = inspect.signature(function).parameters.values()
    return how, [(each.name, each.kind.name, each.default is not each.empty) for each in parameters]


@pytest.mark.parametrize(
    ("stand_in", "real", "hand"), STAND_INS, ids=lambda value: getattr(value, "__qualname__", "")
)
def test_a_stand_in_is_called_as_what_it_stands_for(
    stand_in: type, real: tuple[type, ...], hand: set[str]
) -> None:
    wrong = {}
    for name, function in inspect.getmembers(stand_in, inspect.isfunction):
        if name.startswith("_") or name in hand:
            continue
        known = [getattr(each, name) for each in real if hasattr(each, name)]
        if called_as(function) not in map(called_as, known):
            wrong[name] = (called_as(function), [called_as(each) for each in known])
    assert wrong == {}


def test_the_bench_of_network_checks_stands_for_a_client() -> None:
    assert called_as(CheckBench.call) == called_as(RpcClient.call)
