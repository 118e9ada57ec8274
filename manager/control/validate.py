"""Rules that a spec must meet before it is written: one Invalid line names the field and the rule."""

from __future__ import annotations

from collections.abc import Mapping

from manager.control import container_spec, ports
from manager.rules import constraints
from manager.rules.sizes import MAX_SPEC, spec_size
from swarmcore.durations import duration
from swarmcore.errors import Invalid, clipped
from swarmcore.ids import check_name
from swarmcore.model.base import Driver
from swarmcore.model.endpoint import DRAIN_LABEL, INGRESS_LABEL, INGRESS_WAYS
from swarmcore.model.network import check_antispoof
from swarmcore.model.node import NodeSpec
from swarmcore.model.policy import Placement, UpdateConfig
from swarmcore.model.resources import ResourceRequirements
from swarmcore.model.secret import ConfigSpec, SecretSpec
from swarmcore.model.service import ServiceSpec
from swarmcore.model.support import check_supported
from swarmcore.template.container import sample_scope
from swarmcore.template.expand import Function, expand
from swarmcore.text.patterns import Pattern

MIN_NANO_CPUS = 10**6
MAX_NANO_CPUS = 10**15  # a million processors: the kernel takes no quota far above that
MIN_MEMORY = 4 << 20
MAX_PIDS = 1 << 22  # PID_MAX_LIMIT
MAX_SECRET = 500 << 10
MAX_CONFIG = 1000 << 10
MAX_CONSTRAINTS, MAX_PREFERENCES = 256, 32
MAX_DRAIN = 3600 * 10**9
TEMPLATING = "golang"  # what Docker calls the only template language there is
_SECRET_NAME = Pattern(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-_.]*[a-zA-Z0-9])?", 64)


def service_spec(spec: ServiceSpec) -> None:
    """Everything about a service that does not depend on other objects."""
    check_name(spec.name, "service")
    spec_size(spec, f"service {spec.name}")  # before anything looks at all of it
    if len(spec.mode.names) > 1:
        raise Invalid(f"a service has one mode, not {' and '.join(spec.mode.names)}")
    _task(spec)
    for what, config in (("update", spec.update_config), ("rollback", spec.rollback_config)):
        if config is not None:
            _update(what, config)
    if spec.endpoint_spec is not None:
        ports.check(spec.endpoint_spec)
    _labels(spec.labels)
    check_supported(spec)


def service_warnings(spec: ServiceSpec) -> tuple[str, ...]:
    """What is stored all the same, as Docker does."""
    return tuple(container_spec.warnings(spec.task_template.container))


def node_spec(spec: NodeSpec) -> None:
    spec_size(spec, "the node")


def _task(service: ServiceSpec) -> None:
    spec = service.task_template
    if spec.container_spec is not None:
        on_host = any(one.target == "host" for one in (*spec.networks, *service.networks))
        container_spec.check(spec.container_spec, service.name, service.labels, host_network=on_host)
    if spec.resources is not None:
        _resources(spec.resources)
    if (policy := spec.restart_policy) is not None:
        _not_negative("restart delay", policy.delay)
        _not_negative("restart window", policy.window)
    if spec.placement is not None:
        _placement(spec.placement)


def _placement(placement: Placement) -> None:
    """The scheduler goes through all of it for each node, and nests the preferences."""
    for what, items, most in (
        ("Constraints", placement.constraints, MAX_CONSTRAINTS),
        ("Platforms", placement.platforms, MAX_CONSTRAINTS),
        ("Preferences", placement.preferences, MAX_PREFERENCES),
    ):
        if len(items) > most:
            raise Invalid(f"Placement: {len(items)} {what}, at most {most} are possible")
    constraints.parse(placement.constraints)


def _resources(spec: ResourceRequirements) -> None:
    for part in (spec.limits, spec.reservations):
        if part is None:
            continue
        if part.nano_cpus and part.nano_cpus < MIN_NANO_CPUS:
            raise Invalid(
                f"invalid cpu value {part.nano_cpus / 1e9:g}: Must be at least {MIN_NANO_CPUS / 1e9:g}"
            )
        if part.memory_bytes and part.memory_bytes < MIN_MEMORY:
            raise Invalid(f"invalid memory value {part.memory_bytes}: Must be at least 4MiB")
        if part.nano_cpus > MAX_NANO_CPUS:
            raise Invalid(
                f"invalid cpu value {part.nano_cpus / 1e9:g}: Must be at most {MAX_NANO_CPUS / 1e9:g}"
            )
    if spec.limits is not None and spec.limits.pids < 0:
        raise Invalid(f"invalid pids limit {spec.limits.pids}: Must not be negative")
    if spec.limits is not None and spec.limits.pids > MAX_PIDS:
        raise Invalid(f"invalid pids limit {spec.limits.pids}: Must be at most {MAX_PIDS}")


def _update(what: str, config: UpdateConfig) -> None:
    _not_negative(f"{what} delay", config.delay)
    _not_negative(f"{what} monitor", config.monitor)
    if not 0 <= config.max_failure_ratio <= 1:
        raise Invalid(f"{what} max failure ratio {config.max_failure_ratio:g} is not between 0 and 1")


def _labels(labels: Mapping[str, str]) -> None:
    """Those that pyswarm itself acts on."""
    way = labels.get(INGRESS_LABEL, INGRESS_WAYS[0])
    if way not in INGRESS_WAYS:
        raise Invalid(f"invalid label {INGRESS_LABEL}={way!r}", f"it is {' or '.join(INGRESS_WAYS)}")
    check_antispoof(labels)
    if (text := labels.get(DRAIN_LABEL)) is not None:
        try:
            time = duration(text)
        except Invalid as unreadable:
            raise Invalid(f"invalid label {DRAIN_LABEL}={text!r}: {unreadable}", unreadable.hint) from None
        if time > MAX_DRAIN:
            raise Invalid(f"invalid label {DRAIN_LABEL}={text!r}", "it is at most 1h")


def _not_negative(what: str, nanoseconds: int | None) -> None:
    if nanoseconds is not None and nanoseconds < 0:
        raise Invalid(f"{what} cannot be negative")


def secret_spec(spec: SecretSpec) -> None:
    _data_name(spec.name, "secret")
    if spec.driver is not None:
        raise Invalid("secret drivers have no behaviour yet", "leave the driver out")
    _size(spec.data, MAX_SECRET, "secret")
    _templating(spec.templating, spec.data, f"secret {spec.name}")
    spec_size(spec, f"secret {spec.name}", MAX_SPEC + MAX_SECRET)


def config_spec(spec: ConfigSpec) -> None:
    _data_name(spec.name, "config")
    _size(spec.data, MAX_CONFIG, "config")
    _templating(spec.templating, spec.data, f"config {spec.name}")
    spec_size(spec, f"config {spec.name}", MAX_SPEC + MAX_CONFIG)


def _templating(driver: Driver | None, data: bytes, what: str) -> None:
    """Placeholders that mean nothing would be found only on the nodes, by every task."""
    if driver is None:
        return
    if driver.name not in ("", TEMPLATING):
        raise Invalid(f"templating driver {clipped(driver.name)} not found", f"the only one is {TEMPLATING}")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Invalid(f"{what} is templated but is not UTF-8 text") from None
    names: dict[str, Function] = dict.fromkeys(("env", "secret", "config"), lambda name: "")
    expand(text, sample_scope("service", {}), names)


def _data_name(name: str, what: str) -> None:
    if _SECRET_NAME.fullmatch(name) is None:
        raise Invalid(
            f"invalid {what} name {clipped(name)}: only 64 [a-zA-Z0-9-_.] characters allowed, "
            "and the start and end character must be [a-zA-Z0-9]"
        )


def _size(data: bytes, limit: int, what: str) -> None:
    if not 0 < len(data) < limit:
        raise Invalid(f"{what} data must be larger than 0 and less than {limit} bytes")
