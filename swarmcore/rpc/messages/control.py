"""What a manager is asked to write: one request a use case, the same on the leader and on its way there."""

from __future__ import annotations

from msgspec import Struct

from swarmcore.model.cluster import SwarmSpec
from swarmcore.model.network import NetworkSpec
from swarmcore.model.node import NodeSpec
from swarmcore.model.secret import ConfigSpec, SecretSpec
from swarmcore.model.service import ServiceSpec


class Create(Struct, frozen=True, kw_only=True):
    """A new object. `id` is chosen by the manager that was asked, so that asking twice creates once."""

    id: str = ""


class Update(Struct, frozen=True, kw_only=True):
    """`id` is what the user typed (id, name or unique prefix); `version` is the one that was read."""

    id: str
    version: int


class Remove(Struct, frozen=True, kw_only=True):
    """`id` is what the user typed."""

    id: str


class CreateService(Create, frozen=True, kw_only=True, tag="create-service"):
    spec: ServiceSpec


class UpdateService(Update, frozen=True, kw_only=True, tag="update-service"):
    """`rollback` swaps spec and previous spec and does not look at `spec`."""

    spec: ServiceSpec | None = None
    rollback: bool = False


class RemoveService(Remove, frozen=True, kw_only=True, tag="remove-service"):
    pass


class UpdateNode(Update, frozen=True, kw_only=True, tag="update-node"):
    spec: NodeSpec


class RemoveNode(Remove, frozen=True, kw_only=True, tag="remove-node"):
    force: bool = False


class UpdateSwarm(Struct, frozen=True, kw_only=True, tag="update-swarm"):
    """There is one swarm, so it needs no id."""

    version: int
    spec: SwarmSpec
    rotate_worker_token: bool = False
    rotate_manager_token: bool = False
    rotate_unlock_key: bool = False


class CreateNetwork(Create, frozen=True, kw_only=True, tag="create-network"):
    spec: NetworkSpec


class RemoveNetwork(Remove, frozen=True, kw_only=True, tag="remove-network"):
    pass


class AttachContainer(Create, frozen=True, kw_only=True, tag="attach-container"):
    """A container outside of services joins a network of the swarm: `id` is that of the task that stands for it.

    `network` is what the user typed; `addresses` (bare, at most one a family) are wishes that are met or refused.
    """

    network: str
    node_id: str
    container_id: str
    name: str
    addresses: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


class DetachContainer(Struct, frozen=True, kw_only=True, tag="detach-container"):
    """It leaves again: the task `id`, or the container's on the network. With a `node_id` only if it is there."""

    id: str = ""
    network: str = ""
    node_id: str = ""
    container_id: str = ""


class CreateSecret(Create, frozen=True, kw_only=True, tag="create-secret"):
    spec: SecretSpec

    def __repr__(self) -> str:
        return f"CreateSecret(id={self.id!r}, ...)"  # its data must not reach a log


class UpdateSecret(Update, frozen=True, kw_only=True, tag="update-secret"):
    spec: SecretSpec

    def __repr__(self) -> str:
        return f"UpdateSecret(id={self.id!r}, ...)"


class RemoveSecret(Remove, frozen=True, kw_only=True, tag="remove-secret"):
    pass


class CreateConfig(Create, frozen=True, kw_only=True, tag="create-config"):
    spec: ConfigSpec


class UpdateConfig(Update, frozen=True, kw_only=True, tag="update-config"):
    spec: ConfigSpec


class RemoveConfig(Remove, frozen=True, kw_only=True, tag="remove-config"):
    pass


ControlRequest = (
    CreateService
    | UpdateService
    | RemoveService
    | UpdateNode
    | RemoveNode
    | UpdateSwarm
    | CreateNetwork
    | RemoveNetwork
    | AttachContainer
    | DetachContainer
    | CreateSecret
    | UpdateSecret
    | RemoveSecret
    | CreateConfig
    | UpdateConfig
    | RemoveConfig
)


class ControlReply(Struct, frozen=True, kw_only=True, tag="control-reply"):
    """The answer to every request: the object's full id, and what the user should know."""

    id: str = ""
    warnings: tuple[str, ...] = ()


class ForwardedControl(Struct, frozen=True, kw_only=True, tag="forwarded-control"):
    """From a manager to the leader, which carries it out or refuses: it is never passed on again.

    `write_id` is the same when it is asked again: what was carried out already is answered as the first time.
    """

    request: ControlRequest
    write_id: str = ""
