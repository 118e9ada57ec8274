"""Writes about secrets and configs: created whole, only their labels change."""

from __future__ import annotations

from msgspec.structs import replace

from manager.control import validate
from manager.control.lookup import lookup
from manager.store.tables import Reader
from manager.store.tx import Tx
from swarmcore.errors import Conflict, FailedPrecondition, OutOfSequence
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


def create_secret(tx: Tx, request: CreateSecret) -> ControlReply:
    if request.id not in tx.secrets:
        validate.secret_spec(request.spec)
        _free(tx.secrets, request.spec.name, "secret")
        tx.secrets.put(Secret(id=request.id, spec=request.spec))
    return ControlReply(id=request.id)


def create_config(tx: Tx, request: CreateConfig) -> ControlReply:
    if request.id not in tx.configs:
        validate.config_spec(request.spec)
        _free(tx.configs, request.spec.name, "config")
        tx.configs.put(Config(id=request.id, spec=request.spec))
    return ControlReply(id=request.id)


def _free(table: Reader[Secret] | Reader[Config], name: str, kind: str) -> None:
    if table.find("name", name):
        raise Conflict(f"{kind} {name} already exists", "choose another name")


def update_secret(tx: Tx, request: UpdateSecret) -> ControlReply:
    secret = lookup(tx.secrets, request.id, "secret")
    _in_sequence(secret, request.version, "secret")
    wanted, current = request.spec, secret.spec
    # Stack deploy sends the data again: the same data is no change.
    validate.only_labels_change(
        (
            wanted.name != current.name,
            bool(wanted.data) and wanted.data != current.data,
            wanted.driver != current.driver,
            wanted.templating != current.templating,
        ),
        "secret",
    )
    tx.secrets.put(replace(secret, spec=replace(current, labels=wanted.labels)))
    return ControlReply(id=secret.id)


def update_config(tx: Tx, request: UpdateConfig) -> ControlReply:
    config = lookup(tx.configs, request.id, "config")
    _in_sequence(config, request.version, "config")
    wanted, current = request.spec, config.spec
    validate.only_labels_change(
        (
            wanted.name != current.name,
            bool(wanted.data) and wanted.data != current.data,
            wanted.templating != current.templating,
        ),
        "config",
    )
    tx.configs.put(replace(config, spec=replace(current, labels=wanted.labels)))
    return ControlReply(id=config.id)


def _in_sequence(held: Secret | Config, version: int, kind: str) -> None:
    if held.version.index != version:
        raise OutOfSequence(
            f"update out of sequence: {kind} {held.spec.name} is at version {held.version.index}, not {version}"
        )


def remove_secret(tx: Tx, request: RemoveSecret) -> ControlReply:
    secret = lookup(tx.secrets, request.id, "secret")
    users = _users(tx, secret_id=secret.id)
    if users:
        raise FailedPrecondition(
            f"secret '{secret.spec.name}' is in use by the following services: {', '.join(users)}",
            "update or remove them first",
        )
    tx.secrets.delete(secret.id)
    return ControlReply(id=secret.id)


def remove_config(tx: Tx, request: RemoveConfig) -> ControlReply:
    config = lookup(tx.configs, request.id, "config")
    users = _users(tx, config_id=config.id)
    if users:
        raise FailedPrecondition(
            f"config '{config.spec.name}' is in use by the following services: {', '.join(users)}",
            "update or remove them first",
        )
    tx.configs.delete(config.id)
    return ControlReply(id=config.id)


def _users(tx: Tx, secret_id: str = "", config_id: str = "") -> list[str]:
    """Names of the services that refer to it."""
    found = []
    for service in tx.services:
        container = service.spec.task_template.container
        if any(r.secret_id == secret_id for r in container.secrets if secret_id) or any(
            r.config_id == config_id for r in container.configs if config_id
        ):
            found.append(service.spec.name)
    return sorted(found)
