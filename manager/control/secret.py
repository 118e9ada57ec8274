"""Writes about secrets and configs: created whole, only labels change. Both go one way, by a table of two rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from manager.control import validate
from manager.control.lookup import lookup
from manager.store.tx import Tx, TxTable
from swarmcore.errors import Conflict, FailedPrecondition, Invalid, OutOfSequence
from swarmcore.model.container import ContainerSpec
from swarmcore.model.secret import Config, Secret
from swarmcore.rpc.messages.control import (
    ControlReply,
    CreateConfig,
    CreateSecret,
    RemoveConfig,
    RemoveSecret,
    UpdateConfig,
    UpdateSecret,
)


class Kind(Struct, frozen=True, kw_only=True):
    """What tells one of both from the other. `named_by`: the ids that a container's spec refers to."""

    name: str
    table: Callable[[Tx], TxTable[Any]]
    make: Callable[..., Secret | Config]
    check: Callable[[Any], None]
    named_by: Callable[[ContainerSpec], Iterable[str]]

    def create(self, tx: Tx, request: CreateSecret | CreateConfig) -> ControlReply:
        table, spec = self.table(tx), request.spec
        if request.id not in table:
            self.check(spec)
            if table.find("name", spec.name):
                raise Conflict(f"{self.name} {spec.name} already exists", "choose another name")
            table.put(self.make(id=request.id, spec=spec))
        return ControlReply(id=request.id)

    def update(self, tx: Tx, request: UpdateSecret | UpdateConfig) -> ControlReply:
        held = lookup(self.table(tx), request.id, self.name)
        if held.version.index != request.version:
            raise OutOfSequence(
                f"update out of sequence: {self.name} {held.spec.name} is at version {held.version.index}, "
                f"not {request.version}"
            )
        relabelled = replace(held.spec, labels=request.spec.labels)
        # Stack deploy sends the data again: the same data is no change, nor is none.
        if replace(request.spec, data=request.spec.data or held.spec.data) != relabelled:
            raise Invalid("only updates to Labels are allowed", f"create a new {self.name} for new data")
        self.table(tx).put(replace(held, spec=relabelled))
        return ControlReply(id=held.id)

    def remove(self, tx: Tx, request: RemoveSecret | RemoveConfig) -> ControlReply:
        held = lookup(self.table(tx), request.id, self.name)
        users = sorted(
            service.spec.name
            for service in tx.services
            if held.id in self.named_by(service.spec.task_template.container)
        )
        if users:
            raise FailedPrecondition(
                f"{self.name} '{held.spec.name}' is in use by the following services: {', '.join(users)}",
                "update or remove them first",
            )
        self.table(tx).delete(held.id)
        return ControlReply(id=held.id)


SECRETS = Kind(
    name="secret",
    table=lambda tx: tx.secrets,
    make=Secret,
    check=validate.secret_spec,
    named_by=lambda container: (each.secret_id for each in container.secrets),
)
CONFIGS = Kind(
    name="config",
    table=lambda tx: tx.configs,
    make=Config,
    check=validate.config_spec,
    named_by=lambda container: (each.config_id for each in container.configs),
)
