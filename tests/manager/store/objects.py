"""Small objects for store tests."""

from __future__ import annotations

from swarmcore.model.base import Version
from swarmcore.model.node import Node, NodeSpec
from swarmcore.model.secret import Secret, SecretSpec
from swarmcore.model.service import Service, ServiceSpec
from swarmcore.model.task import Task, TaskSpec


def service(id: str, name: str | None = None, version: int = 0) -> Service:
    spec = ServiceSpec(name=name or f"name-{id}", task_template=TaskSpec())
    return Service(id=id, version=Version(index=version), spec=spec)


def task(id: str, service_id: str = "s1", slot: int = 1, node_id: str = "") -> Task:
    return Task(id=id, spec=TaskSpec(), service_id=service_id, slot=slot, node_id=node_id)


def node(id: str) -> Node:
    return Node(id=id, spec=NodeSpec())


def secret(id: str, name: str) -> Secret:
    return Secret(id=id, spec=SecretSpec(name=name, data=b"x"))
