"""Containers outside of services: a node asks the leader that one of its own may join or leave a network.

A manager that does not lead passes the request on once, naming the node that its TLS connection proved.
"""

from __future__ import annotations

from msgspec import Struct


class RequestAttachment(Struct, frozen=True, kw_only=True, tag="request-attachment"):
    """`task_id` is chosen by the node, so that asking twice attaches once. The node itself is never named.

    Answered when the task has its addresses and comes to the node; refused with the reason otherwise.
    """

    task_id: str
    network: str
    container_id: str
    name: str
    addresses: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


class RequestDetachment(Struct, frozen=True, kw_only=True, tag="request-detachment"):
    """The task, or else the container on the network; NotFound if there is none on the node that asks."""

    task_id: str = ""
    network: str = ""
    container_id: str = ""


class AttachmentReply(Struct, frozen=True, kw_only=True, tag="attachment-reply"):
    task_id: str


class ForwardedAttachment(Struct, frozen=True, kw_only=True, tag="forwarded-attachment"):
    """From a manager to the leader: what the node `node_id` asks for by its certificate."""

    request: RequestAttachment | RequestDetachment
    node_id: str
