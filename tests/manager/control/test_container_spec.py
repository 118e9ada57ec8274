"""What no node could carry out is refused at the door, and what is let in every node can make a container of."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from manager.control import validate
from manager.control.container_spec import SYSCTLS
from netoverlay.dns.resolv_conf import container_text, parse, resolving
from swarmcore.errors import Invalid, SwarmError
from swarmcore.model.base import Annotations, Driver
from swarmcore.model.codec import convert_spec, decode_spec
from swarmcore.model.linux import RLIMITS
from swarmcore.model.secret import ConfigSpec, SecretSpec
from swarmcore.model.service import ServiceSpec, canonical
from swarmcore.model.task import Task
from swarmcore.text import image_reference
from tests.fakes.hostile import documents
from tests.manager.control.bench import Bench
from worker.containers import etc_files
from worker.containers.image_defaults import process, stop_signal
from worker.containers.plan import check as node_check
from worker.images.oci import RunConfig
from worker.runtime.bundle import BundleInput, oci_config
from worker.runtime.users import User
from worker.tasks.container_plan import container_plan
from worker.tasks.template import expand_task

BASE: dict[str, Any] = {
    "Name": "web",
    "TaskTemplate": {"ContainerSpec": {"Image": "app:1", "Command": ["x"]}},
}


def service(
    labels: dict[str, str] | None = None, networks: tuple[str, ...] = (), **container: Any
) -> ServiceSpec:
    template = {
        "ContainerSpec": {"Image": "app:1", **container},
        "Networks": [{"Target": name} for name in networks],
    }
    return canonical(convert_spec({"Name": "web", "Labels": labels, "TaskTemplate": template}, ServiceSpec))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("Image", "UPPER", "repository name must be lower case"),
        ("Image", "x@sha256:12", "the digest must be sha256"),
        ("Image", "", "image reference must be provided"),
        ("Image", "a b", "malformed"),
        ("Image", "a:" + "t" * 129, "tag"),
        ("Hostname", "h" * 65, "longer than 64 bytes"),
        ("Hostname", "ä" * 33, "longer than 64 bytes"),
        ("Hostname", "a b", "invalid Hostname 'a b'"),
        ("Hostname", "{{.Service.Nmae}}", "no such placeholder"),
        ("Hostname", "{{.Node.Hostname}}" + "h" * 64, "longer than 64 bytes"),
        ("Env", ["A={{.Task.Slto}}"], "no such placeholder"),
        ("Env", ["A={{.Task"], "not closed"),
        ("Env", ["=x"], "environment variable"),
        ("Env", [""], "environment variable"),
        ("Env", ["A=\0"], "Env: .* zero byte"),
        ("Env", ["A=" + "x" * (128 << 10)], "Env: .*longer than 128 KiB"),
        ("Args", ["\0"], "Args: .* zero byte"),
        ("Command", ["", "x"], "Command begins with an empty word"),
        ("Command", [""], "Command and Args name nothing to run"),
        ("Command", ["x" * (128 << 10)], "Command: .*longer than 128 KiB"),
        ("Dir", "/a\0", "invalid Dir"),
        ("User", "a b", "invalid User"),
        ("User", "web:", "invalid User"),
        ("User", "1:2:3", "invalid User"),
        ("User", "2147483648", "invalid User '2147483648'"),
        ("Groups", [""], "invalid Groups"),
        ("StopSignal", "SIGFLY", "invalid stop signal 'SIGFLY'"),
        ("StopSignal", "0", "invalid stop signal"),
        ("StopSignal", "SIGRTMIN+99", "invalid stop signal"),
        ("StopGracePeriod", -1, "stop grace period"),
        ("CapabilityAdd", ["CAP_FLY"], "unknown capability CAP_FLY"),
        ("CapabilityDrop", ["fly"], "unknown capability CAP_FLY"),
        ("Ulimits", [{"Name": "foo", "Soft": 1, "Hard": 1}], "invalid ulimit 'foo'"),
        ("Ulimits", [{"Name": "nofile", "Soft": 10, "Hard": 5}], "the soft limit is above the hard limit"),
        ("Ulimits", [{"Name": "nofile", "Soft": -1, "Hard": 5}], "the soft limit is above the hard limit"),
        ("Ulimits", [{"Name": "nofile", "Soft": -2, "Hard": -2}], "invalid ulimit nofile"),
        ("Ulimits", [{"Name": "nofile"}, {"Name": "NOFILE"}], "given twice"),
        ("OomScoreAdj", 1001, "OomScoreAdj"),
        ("Sysctls", {"kernel.panic": "1"}, "does not belong to a container"),
        ("Sysctls", {"net.a/../b": "1"}, "does not belong to a container"),
        ("Sysctls", {"net..x": "1"}, "does not belong to a container"),
        ("Sysctls", {"net.ipv4.ip_forward": "1\n"}, "invalid value"),
        ("Hosts", [""], "invalid Hosts entry"),
        ("Hosts", ["10.0.0.1"], "invalid Hosts entry"),
        ("Hosts", ["db 10.0.0.1"], "is no IP address"),
        ("Hosts", ["10.0.0.1 a\n10.0.0.2 b"], "invalid Hosts entry"),
        ("Hosts", ["10.0.0.1 a#b"], "invalid Hosts entry"),
        ("DNSConfig", {"Nameservers": ["dns"]}, "invalid name server"),
        ("DNSConfig", {"Search": ["a b"]}, "invalid search domain"),
        ("DNSConfig", {"Options": ["ndots:1\nnameserver 1.1.1.1"]}, "invalid DNS option"),
        ("Mounts", [{"Type": "tmpfs", "Target": "a"}], "must be an absolute path"),
        ("Mounts", [{"Type": "tmpfs", "Target": "/a/.."}], "the root itself"),
        ("Mounts", [{"Type": "tmpfs", "Target": "/{{.Node.Nmae}}"}], "no such placeholder"),
        (
            "Mounts",
            [{"Type": "tmpfs", "Target": "/a"}, {"Type": "tmpfs", "Target": "/a/"}],
            "duplicate mount point",
        ),
        (
            "Mounts",
            [{"Type": "tmpfs", "Target": "/a", "TmpfsOptions": {"SizeBytes": -1}}],
            "cannot be negative",
        ),
        ("Mounts", [{"Type": "tmpfs", "Target": "/a", "TmpfsOptions": {"Mode": 65535}}], "invalid mode"),
        ("Mounts", [{"Type": "tmpfs", "Target": "/" + "a" * 4096}], "invalid mount target"),
        ("Mounts", [{"Type": "bind", "Source": "/\0", "Target": "/a"}], "invalid mount source"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_no_node_could_do_is_refused_with_its_field(field: str, value: Any, says: str) -> None:
    with pytest.raises(Invalid, match=says) as refusal:
        validate.service_spec(service(**{field: value}))
    assert "\n" not in str(refusal.value) or "Hosts" in str(refusal.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Image", "registry.example.org:5000/a/b:1.2@sha256:" + "0" * 64),
        ("Image", "sha256:" + "0" * 64),
        ("Hostname", "h" * 64),
        ("Hostname", "web_{{.Task.Slot}}.{{.Node.Hostname}}"),
        ("Env", ["A", "A=", "A B=1", 'L={{index .Service.Labels "none"}}', "{{x}}=1"]),
        ("User", "1000:audio"),
        ("User", ":1000"),
        ("StopSignal", "rtmin+3"),
        ("StopSignal", "9"),
        ("CapabilityAdd", ["ALL", "net_admin", "CAP_CHOWN"]),
        ("Ulimits", [{"Name": name, "Soft": 0, "Hard": -1} for name in sorted(RLIMITS)]),
        ("Ulimits", [{"Name": "nofile", "Soft": -1, "Hard": -1}]),
        (
            "Sysctls",
            {**dict.fromkeys(SYSCTLS, "1"), "net.ipv4.conf.eth0.forwarding": "0 1", "fs.mqueue.msg_max": "9"},
        ),
        ("Hosts", ["10.0.0.1 a b.c", "::1\tself"]),
        ("DNSConfig", {"Nameservers": ["::1"], "Search": ["."], "Options": ["ndots:2"]}),
        (
            "Mounts",
            [{"Type": "bind", "Source": '{{index .Service.Labels "at"}}', "Target": "/{{.Task.Slot}}"}],
        ),
        (
            "Mounts",
            [
                {"Type": "tmpfs", "Target": "/d/{{.Task.Slot}}"},
                {"Type": "tmpfs", "Target": "/d/{{.Node.ID}}"},
            ],
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_nodes_can_do_is_taken(field: str, value: Any) -> None:
    validate.service_spec(service(**{field: value}))


def test_settings_of_the_host_s_network_are_refused_on_that_network_alone() -> None:
    sysctls = {"net.ipv4.ip_forward": "1"}
    validate.service_spec(service(Sysctls=sysctls))
    with pytest.raises(Invalid, match="host's network namespace"):
        validate.service_spec(service(networks=("host",), Sysctls=sysctls))


def test_an_empty_command_takes_the_image_s_away() -> None:
    validate.service_spec(service(Command=[""], Args=["x"]))


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"NanoCPUs": 2**63 - 1}, "Must be at most"),
        ({"Pids": 2**22 + 1}, "Must be at most"),
        ({"Pids": -1}, "negative"),
    ],
)
def test_limits_that_the_kernel_would_not_take_are_refused(limits: dict[str, int], says: str) -> None:
    spec = convert_spec(
        {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "a"}, "Resources": {"Limits": limits}}},
        ServiceSpec,
    )
    with pytest.raises(Invalid, match=says):
        validate.service_spec(canonical(spec))


@pytest.mark.parametrize("source", ["", "data", "./data"])
async def test_a_relative_bind_source_is_taken_with_a_warning_as_nodes_reject_it(source: str) -> None:
    bench = await Bench().begin()
    mounts = [{"Type": "bind", "Source": source, "Target": "/data"}]
    made = await bench.create(TaskTemplate={"ContainerSpec": {"Image": "app:1", "Mounts": mounts}})
    assert made.spec.task_template.container.mounts[0].source == source
    (warning,) = validate.service_warnings(made.spec)
    assert "is no absolute path" in warning
    with pytest.raises(Invalid, match="bind source"):
        node_check(container_plan(Task(id="t1", spec=made.spec.task_template)))


@pytest.mark.parametrize("descriptor", ["com.x", "", "node.labels.zone", "engine.labels.zone"])
async def test_any_spread_descriptor_is_taken(descriptor: str) -> None:
    bench = await Bench().begin()
    spread = [{"Spread": {"SpreadDescriptor": descriptor}}]
    template = {"ContainerSpec": {"Image": "app:1"}, "Placement": {"Preferences": spread}}
    assert (await bench.create(TaskTemplate=template)).spec.task_template.placement is not None


def make(spec: ServiceSpec) -> None:
    """What a node does before anything of the image or of the host counts."""
    task = Task(
        id="t1", service_id="s1", slot=1, service_annotations=Annotations(name=spec.name, labels=spec.labels),
        spec=spec.task_template,
    )  # fmt: skip
    task = expand_task(task, None)
    container = task.spec.container
    plan = container_plan(task)
    node_check(plan)
    image_reference.parse(container.image)
    assert len((container.hostname or "h").encode()) <= 64 + len("web.1.t1")
    etc_files.hosts(container.hosts, container.hostname or "h")
    container_text(container.dns_config, parse(""))
    resolving(container.dns_config, parse(""))
    stop_signal(plan, RunConfig())
    given = BundleInput(
        container_id="c1", hostname="h", process=process(plan, RunConfig(cmd=("x",)), "h", User()),
        confinement=plan.confinement, mounts=plan.mounts, rootfs="/r", cgroup_path="/p", architecture="amd64",
        host_network=any(one.target == "host" for one in task.spec.networks),
    )  # fmt: skip
    config = oci_config(given)
    for limit in config["process"]["rlimits"]:
        assert 0 <= limit["soft"] <= limit["hard"] < 2**64


def test_whatever_is_let_in_becomes_a_container() -> None:
    """Every field of a service with every odd value: refused here, or carried out there."""
    taken = 0
    wrong: dict[str, str] = {}
    for what, body in documents(ServiceSpec, BASE):
        try:
            spec = canonical(decode_spec(body, ServiceSpec, []))
            spec = replace(spec, name=spec.name or "web")
            validate.service_spec(spec)
        except SwarmError:
            continue
        if validate.service_warnings(spec):
            continue
        taken += 1
        try:
            make(spec)
        except Exception as error:
            wrong[what] = f"{type(error).__name__}: {error}"
    assert wrong == {}
    assert taken > 300


@pytest.mark.parametrize(
    ("templating", "data", "says"),
    [
        ("golang", b"{{.Service.Nmae}}", "no such placeholder"),
        ("golang", b"{{upper .Service.Name}}", "not supported"),
        ("golang", b"\xff", "not UTF-8"),
        ("jinja", b"x", "templating driver 'jinja' not found"),
    ],
)
def test_a_templated_payload_that_no_task_could_have_is_refused(
    templating: str, data: bytes, says: str
) -> None:
    driver = Driver(name=templating)
    with pytest.raises(Invalid, match=says):
        validate.config_spec(ConfigSpec(name="c", data=data, templating=driver))
    with pytest.raises(Invalid, match=says):
        validate.secret_spec(SecretSpec(name="s", data=data, templating=driver))
    validate.config_spec(ConfigSpec(name="c", data=data))  # without templating it is but bytes


def test_a_templated_payload_may_call_what_tasks_have() -> None:
    data = b'{{env "A"}} {{secret "s"}} {{config "c"}} {{.Task.Slot}} {{index .Service.Labels "x"}}'
    validate.config_spec(ConfigSpec(name="c", data=data, templating=Driver(name="golang")))
