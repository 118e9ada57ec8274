"""Placeholders in a task's env, hostname and mounts, and in templated secrets and configs.

The subset of Go's template language that stack files use: `{{.Service.Name}}`, `{{index .Service.Labels
"key"}}`, and in payloads also `{{env "NAME"}}`, `{{secret "target"}}`, `{{config "target"}}`; `{{-` and
`-}}` trim white space. Nothing is evaluated: an action is one path or one call of a listed function, and
whatever else stands between braces is refused with its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from swarmcore.errors import Invalid
from swarmcore.model.container import ContainerSpec, Mount
from swarmcore.model.naming import slot_text, task_name
from swarmcore.model.node import NodeDescription
from swarmcore.model.task import Task

Scope = Mapping[str, "str | Scope"]
Function = Callable[[str], str]

_ACTION = re.compile(r"\{\{(- )?(.*?)( -)?\}\}", re.DOTALL)
_TOKEN = re.compile(r'\s*(?:(\.[A-Za-z_][\w.]*)|"((?:[^"\\]|\\.)*)"|`([^`]*)`|([A-Za-z_]\w*))')


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
            "Slot": slot_text(task),
        },
    }


def expand(text: str, scope: Scope, functions: Mapping[str, Function] | None = None) -> str:
    """`text` with every action replaced; raises Invalid with the action that cannot be."""
    if "{{" not in text:
        return text
    parts: list[str] = []
    position = 0
    trim_next = False
    for match in _ACTION.finditer(text):
        literal = text[position : match.start()]
        literal = literal.lstrip() if trim_next else literal
        parts.append(literal.rstrip() if match[1] else literal)
        parts.append(_value(match[2].strip(), scope, functions or {}))
        trim_next = match[3] is not None
        position = match.end()
    rest = text[position:]
    if "{{" in rest:
        raise Invalid(f"template {_short(text)}: a placeholder is not closed")
    parts.append(rest.lstrip() if trim_next else rest)
    return "".join(parts)


def _value(action: str, scope: Scope, functions: Mapping[str, Function]) -> str:
    tokens = _tokens(action)
    match tokens:
        case [("string", text)]:
            return text
        case [("path", path)]:
            return _leaf(_walk(path, scope, action), action)
        case [("word", "index"), ("path", path), ("string", key)]:
            found = _walk(path, scope, action)
            if isinstance(found, str):
                raise Invalid(f"template {{{{{action}}}}}: {path} has no keys")
            return _leaf(found.get(key, ""), action)
        case [("word", name), ("string", argument)] if name in functions:
            return functions[name](argument)
    raise Invalid(f"template {{{{{action}}}}} is not supported")


def _tokens(action: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(action):
        if (match := _TOKEN.match(action, position)) is None:
            raise Invalid(f"template {{{{{action}}}}} is not supported")
        path, quoted, raw, word = match.groups()
        if path is not None:
            tokens.append(("path", path))
        elif quoted is not None:
            tokens.append(("string", re.sub(r"\\(.)", r"\1", quoted)))
        elif raw is not None:
            tokens.append(("string", raw))
        else:
            tokens.append(("word", word))
        position = match.end()
    return tokens


def _walk(path: str, scope: Scope, action: str) -> str | Scope:
    current: str | Scope = scope
    parts = path[1:].split(".")
    for depth, name in enumerate(parts):
        if isinstance(current, str):
            raise Invalid(f"template {{{{{action}}}}}: no such placeholder")
        if name not in current:
            if depth == 2 and parts[1] == "Labels":
                return ""  # a missing label is empty, a misspelt placeholder is an error
            raise Invalid(f"template {{{{{action}}}}}: no such placeholder")
        current = current[name]
    return current


def _leaf(found: str | Scope, action: str) -> str:
    if not isinstance(found, str):
        raise Invalid(f"template {{{{{action}}}}} names a group, not a value")
    return found


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def expand_task(task: Task, description: NodeDescription | None) -> Task:
    """The task with placeholders of its container spec filled in; the same object if it has none."""
    spec = task.spec.container_spec
    if spec is None:
        return task
    scope = scope_of(task, description)
    expanded = _expand_container(spec, scope)
    if expanded == spec:
        return task
    return replace(task, spec=replace(task.spec, container_spec=expanded))


def _expand_container(spec: ContainerSpec, scope: Scope) -> ContainerSpec:
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


def expand_payload(data: bytes, scope: Scope, functions: Mapping[str, Function], what: str) -> bytes:
    """A secret's or config's content with `templating`; must then be text."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"{what} is templated but is not UTF-8 text") from error
    return expand(text, scope, functions).encode()
