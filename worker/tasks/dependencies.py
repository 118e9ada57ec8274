"""The secrets and configs of this node's tasks: in memory only, they come with every new session.

After a restart of the daemon a task that already runs needs none of them; one that has yet to be prepared
waits here until the first assignment has brought them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from swarmcore.errors import Invalid
from swarmcore.model.node import NodeDescription
from swarmcore.model.secret import Config, Secret
from swarmcore.model.task import Task
from swarmcore.rpc.messages.session import dependencies_of
from swarmcore.template.container import scope_of
from swarmcore.template.expand import Function
from worker.tasks.template import expand_payload


class Dependencies:
    def __init__(self) -> None:
        self._secrets: dict[str, Secret] = {}
        self._configs: dict[str, Config] = {}
        self._changed = asyncio.Event()

    def reset(self, secrets: Iterable[Secret], configs: Iterable[Config]) -> None:
        """A full assignment: exactly these."""
        self._secrets, self._configs = {}, {}
        self.put(secrets, configs)

    def put(self, secrets: Iterable[Secret], configs: Iterable[Config]) -> None:
        self._secrets.update((secret.id, secret) for secret in secrets)
        self._configs.update((config.id, config) for config in configs)
        # Everyone who waits holds the old event; the new one is for those who come later.
        self._changed.set()
        self._changed = asyncio.Event()

    def remove(self, secrets: Iterable[str], configs: Iterable[str]) -> None:
        for secret_id in secrets:
            self._secrets.pop(secret_id, None)
        for config_id in configs:
            self._configs.pop(config_id, None)

    def complete(self, task: Task) -> bool:
        secrets, configs = dependencies_of(task)
        return secrets <= self._secrets.keys() and configs <= self._configs.keys()

    async def wait_for(self, task: Task) -> None:
        while not self.complete(task):
            await self._changed.wait()

    def of(
        self, task: Task, description: NodeDescription | None
    ) -> tuple[dict[str, Secret], dict[str, Config]]:
        """What is here of the task's secrets and configs, templated ones filled in for this task."""
        secret_ids, config_ids = dependencies_of(task)
        secrets = {i: s for i in secret_ids if (s := self._secrets.get(i)) is not None}
        configs = {i: c for i in config_ids if (c := self._configs.get(i)) is not None}
        scope = scope_of(task, description)
        functions = _functions(task, secrets, configs)
        for secret_id, secret in secrets.items():
            if secret.spec.templating is not None:
                what = f"secret {secret.spec.name}"
                data = expand_payload(secret.spec.data, scope, functions, what)
                secrets[secret_id] = replace(secret, spec=replace(secret.spec, data=data))
        for config_id, config in configs.items():
            if config.spec.templating is not None:
                what = f"config {config.spec.name}"
                data = expand_payload(config.spec.data, scope, functions, what)
                configs[config_id] = replace(config, spec=replace(config.spec, data=data))
        return secrets, configs


def _functions(
    task: Task, secrets: Mapping[str, Secret], configs: Mapping[str, Config]
) -> dict[str, Function]:
    """`secret`, `config` (by the file name in the container) and `env`, as payload templates call them."""
    spec = task.spec.container  # an attachment's is empty
    secret_data: dict[str, bytes] = {}
    for secret_reference in spec.secrets:
        found = secrets.get(secret_reference.secret_id)
        if found is not None and secret_reference.file is not None:
            secret_data[secret_reference.file.name] = found.spec.data
    config_data: dict[str, bytes] = {}
    for config_reference in spec.configs:
        present = configs.get(config_reference.config_id)
        if present is not None and config_reference.file is not None:
            config_data[config_reference.file.name] = present.spec.data
    env = dict(entry.partition("=")[::2] for entry in spec.env)

    def payload(kind: str, content: Mapping[str, bytes]) -> Callable[[str], str]:
        def get(target: str) -> str:
            if target not in content:
                raise Invalid(f"template names {kind} target {target!r}, which the service does not have")
            return content[target].decode(errors="replace")

        return get

    return {
        "env": lambda name: env.get(name, ""),
        "secret": payload("secret", secret_data),
        "config": payload("config", config_data),
    }
