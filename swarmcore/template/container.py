"""Which parts of a container spec are templates, as in Docker, and what a template may name."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from swarmcore.model.container import ContainerSpec, Mount
from swarmcore.model.naming import task_name
from swarmcore.model.node import NodeDescription
from swarmcore.model.place import place_of
from swarmcore.model.task import Task
from swarmcore.template.expand import Scope, expand


def scope_of(task: Task, description: NodeDescription | None) -> Scope:
    """What a template may name; keys are Docker's."""
    platform = description.platform if description is not None else None
    return {
        "Service": {
            "ID": task.service_id,
            "Name": task.service_annotations.name,
            "Labels": dict(task.service_annotations.labels),
        },
        "Node": {
            "ID": task.node_id,
            "Hostname": description.hostname if description is not None else "",
            "Platform": {
                "Architecture": platform.architecture if platform is not None else "",
                "OS": platform.os if platform is not None else "",
            },
        },
        "Task": {
            "ID": task.id,
            "Name": task_name(task),
            "Slot": str(place_of(task)),
        },
    }


def sample_scope(service: str, labels: Mapping[str, str]) -> Scope:
    """For a service that has no task yet: what is not known has one letter, the least that it can have."""
    return {
        "Service": {"ID": "s", "Name": service, "Labels": dict(labels)},
        "Node": {"ID": "n", "Hostname": "h", "Platform": {"Architecture": "a", "OS": "o"}},
        "Task": {"ID": "t", "Name": "t", "Slot": "1"},
    }


def expand_container(spec: ContainerSpec, scope: Scope) -> ContainerSpec:
    """Invalid names the placeholder that means nothing."""
    # Of NAME=value only the value is a template, as in Docker.
    env = [
        f"{name}={expand(value, scope)}" if mark else name
        for name, mark, value in (entry.partition("=") for entry in spec.env)
    ]
    return replace(
        spec,
        env=tuple(env),
        hostname=expand(spec.hostname, scope),
        mounts=tuple(_expand_mount(mount, scope) for mount in spec.mounts),
    )


def _expand_mount(mount: Mount, scope: Scope) -> Mount:
    volume = mount.volume_options
    if volume is not None:
        driver = volume.driver_config
        if driver is not None:
            driver = replace(driver, options={k: expand(v, scope) for k, v in driver.options.items()})
        labels = {key: expand(value, scope) for key, value in volume.labels.items()}
        volume = replace(volume, labels=labels, driver_config=driver)
    return replace(
        mount,
        source=expand(mount.source, scope),
        target=expand(mount.target, scope),
        volume_options=volume,
    )
