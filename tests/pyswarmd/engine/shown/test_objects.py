"""Objects as the Engine API shows them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from manager.raft.proposer import Member, RaftStatus
from manager.store.tables import NETWORKS, Table
from pyswarmd.engine.shown import objects
from swarmcore.model.base import Driver, Version
from swarmcore.model.cluster import CAConfig, Cluster, EncryptionKey, JoinTokens, RootCA, SwarmSpec
from swarmcore.model.codec import convert_spec
from swarmcore.model.container import ContainerSpec
from swarmcore.model.endpoint import Endpoint, EndpointSpec, PortConfig, VirtualIP
from swarmcore.model.network import IPAMConfig, IPAMOptions, Network, NetworkAttachment, NetworkSpec
from swarmcore.model.node import Certificate, Node, NodeDescription, NodeRole, NodeSpec, NodeState, NodeStatus
from swarmcore.model.secret import Config, ConfigSpec, Secret, SecretSpec
from swarmcore.model.service import Service, ServiceSpec, canonical, essence
from swarmcore.model.task import ContainerStatus, PortStatus, Task, TaskSpec, TaskState, TaskStatus

WHEN = datetime(2026, 1, 31, 12, tzinfo=UTC)
NO_NETWORKS: Table[Network] = Table(NETWORKS)
RAFT = RaftStatus(
    node_id="m1",
    leader="m1",
    term=3,
    commit_index=9,
    applied_index=9,
    members={
        "m1": Member(node_id="m1", address="10.0.0.1:2377"),
        "m2": Member(node_id="m2", address="10.0.0.2:2377"),
    },
    reachable={"m1": True, "m2": False},
)


def node(node_id: str, **more: Any) -> Node:
    return Node(
        id=node_id,
        spec=NodeSpec(role=NodeRole.MANAGER),
        status=NodeStatus(state=NodeState.READY, addr="10.0.0.1"),
        certificate=Certificate(role=NodeRole.MANAGER, csr=b"csr", pem=b"pem"),
        **more,
    )


def test_a_service_gets_what_dockerd_fills_in() -> None:
    item = Service(
        id="s1",
        version=Version(index=7),
        created_at=WHEN,
        spec=ServiceSpec(name="web", task_template=TaskSpec(container_spec=ContainerSpec(image="app:1"))),
    )
    shown = objects.service(item)
    assert shown["ID"] == "s1"
    assert shown["Version"] == {"Index": 7}
    assert shown["CreatedAt"] == "2026-01-31T12:00:00Z"
    assert shown["UpdatedAt"] == objects.ZERO_TIME
    assert shown["Spec"]["Mode"] == {"Replicated": {"Replicas": 1}}
    assert "EndpointSpec" not in shown["Spec"]
    assert shown["Spec"]["TaskTemplate"]["Runtime"] == "container"
    assert shown["Spec"]["TaskTemplate"]["ContainerSpec"] == {"Image": "app:1", "Isolation": "default"}
    assert shown["Endpoint"] == {"Spec": {}}
    assert "SpecVersion" not in shown


def test_showing_a_service_does_not_change_it() -> None:
    spec = ServiceSpec(name="web", labels={"a": "b"})
    item = Service(id="s1", spec=spec)
    objects.service(item)["Spec"]["Labels"]["c"] = "d"
    assert item.spec == ServiceSpec(name="web", labels={"a": "b"})


@pytest.mark.parametrize("defaults", [False, True])
@pytest.mark.parametrize(
    "template",
    [
        {},
        {"ContainerSpec": {}},
        {"RestartPolicy": {}},
        {"RestartPolicy": {"Condition": "any", "Delay": 0}},
        {"RestartPolicy": {"Condition": "on-failure", "MaxAttempts": 3}},
        {"Placement": {}, "Resources": {}, "ContainerSpec": {"StopGracePeriod": 0, "DNSConfig": {}}},
    ],
    ids=json.dumps,
)
def test_a_spec_that_is_read_and_sent_back_asks_for_the_same(
    template: dict[str, Any], defaults: bool
) -> None:
    """Or clients that only scale a service would replace all its tasks."""
    stored = canonical(convert_spec({"Name": "web", "TaskTemplate": template}, ServiceSpec))
    shown = json.loads(json.dumps(objects.service(Service(id="s1", spec=stored), defaults=defaults)["Spec"]))
    again = canonical(convert_spec(shown, ServiceSpec))
    assert essence(again.task_template) == essence(stored.task_template)


def test_a_task_shows_states_as_words_and_none_of_our_own_fields() -> None:
    item = Task(
        id="t1",
        service_id="s1",
        slot=2,
        node_id="n1",
        created_at=WHEN,
        spec_version=Version(index=3),
        desired_state=TaskState.RUNNING,
        status=TaskStatus(
            timestamp=WHEN,
            state=TaskState.FAILED,
            err="task: non-zero exit (3)",
            container_status=ContainerStatus(container_id="c1", pid=0, exit_code=3),
        ),
    )
    shown = objects.task(item, NO_NETWORKS)
    assert shown["DesiredState"] == "running"
    assert shown["Status"]["State"] == "failed"
    assert shown["Status"]["Err"] == "task: non-zero exit (3)"
    assert shown["Status"]["ContainerStatus"] == {"ContainerID": "c1", "PID": 0, "ExitCode": 3}
    assert (shown["ServiceID"], shown["Slot"], shown["NodeID"]) == ("s1", 2, "n1")
    assert not {"SpecVersion", "ServiceAnnotations", "Endpoint", "LogDriver"} & set(shown)


def test_a_new_task_has_the_fields_that_clients_read() -> None:
    shown = objects.task(Task(id="t1", service_id="s1", created_at=WHEN), NO_NETWORKS)
    assert (shown["NodeID"], shown["Slot"]) == ("", 0)
    assert shown["Status"]["State"] == "new"
    assert shown["Status"]["Timestamp"] == "2026-01-31T12:00:00Z"


def test_a_task_shows_its_networks_whole() -> None:
    network = Network(
        id="net1",
        version=Version(index=4),
        spec=NetworkSpec(name="shop"),
        driver_state=Driver(name="overlay", options={"vni": "4096"}),
        ipam_options=IPAMOptions(configs=(IPAMConfig(subnet="10.0.1.0/24", gateway="10.0.1.1"),)),
    )
    attachments = (
        NetworkAttachment(network_id="net1", addresses=("10.0.1.5/24",), aliases=("a",)),
        NetworkAttachment(network_id="gone", addresses=("10.0.2.5/24",)),
    )
    shown = objects.task(Task(id="t1", networks_attachments=attachments), Table(NETWORKS, [network]))
    whole, gone = shown["NetworksAttachments"]
    assert whole["Addresses"] == ["10.0.1.5/24"]
    assert whole["Network"]["ID"] == "net1"
    assert whole["Network"]["Version"] == {"Index": 4}
    assert whole["Network"]["Spec"] == {"Name": "shop", "Labels": {}, "Scope": "swarm"}
    assert whole["Network"]["DriverState"] == {"Name": "overlay", "Options": {"vni": "4096"}}
    assert list(whole["Network"]["IPAMOptions"]["Configs"]) == [
        {"Subnet": "10.0.1.0/24", "Gateway": "10.0.1.1"}
    ]
    assert gone == {"Network": {"ID": "gone"}, "Addresses": ["10.0.2.5/24"]}
    assert set(whole) == {"Network", "Addresses"}


def test_a_task_shows_the_ports_of_its_host() -> None:
    status = TaskStatus(port_status=PortStatus(ports=(PortConfig(target_port=80, published_port=30001),)))
    (port,) = objects.task(Task(id="t1", status=status), NO_NETWORKS)["Status"]["PortStatus"]["Ports"]
    assert (port["TargetPort"], port["PublishedPort"], port["Protocol"]) == (80, 30001, "tcp")


def test_a_service_shows_its_ports_and_virtual_addresses() -> None:
    port = PortConfig(target_port=80, published_port=30000)
    endpoint = Endpoint(
        spec=EndpointSpec(ports=(PortConfig(target_port=80),)),
        ports=(port,),
        virtual_ips=(VirtualIP(network_id="net1", addr="10.0.1.2/24"),),
    )
    shown = objects.service(Service(id="s1", spec=ServiceSpec(name="web"), endpoint=endpoint))["Endpoint"]
    assert shown["Spec"]["Mode"] == "vip"
    assert list(shown["Ports"]) == [
        {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 30000, "PublishMode": "ingress"}
    ]
    assert list(shown["VirtualIPs"]) == [{"NetworkID": "net1", "Addr": "10.0.1.2/24"}]


def test_a_node_keeps_the_data_path_to_itself() -> None:
    description = NodeDescription(data_path_addr="10.1.1.1", host_subnets=("10.1.1.0/24",))
    attachments = (NetworkAttachment(network_id="ingress", addresses=("10.0.0.2/20",)),)
    text = json.dumps(objects.node(node("m1", description=description, attachments=attachments), RAFT))
    assert "10.1.1" not in text
    assert "Attachments" not in text


def test_the_leader_is_the_one_that_raft_names() -> None:
    leader, follower = objects.node(node("m1"), RAFT), objects.node(node("m2"), RAFT)
    assert leader["ManagerStatus"] == {
        "Leader": True,
        "Reachability": "reachable",
        "Addr": "10.0.0.1:2377",
    }
    assert follower["ManagerStatus"] == {"Reachability": "unreachable", "Addr": "10.0.0.2:2377"}


def test_a_node_outside_of_raft_is_no_manager_whatever_its_spec_wants() -> None:
    assert "ManagerStatus" not in objects.node(node("m3"), RAFT)


def test_a_node_shows_no_certificate_and_has_a_description_before_it_sent_one() -> None:
    shown = objects.node(node("m1"), RAFT)
    assert "Certificate" not in shown
    assert shown["Description"]["Hostname"] == ""
    assert shown["Description"]["Engine"] == {"EngineVersion": ""}
    named = objects.node(node("m1", description=NodeDescription(hostname="one")), RAFT)
    assert named["Description"]["Hostname"] == "one"


def cluster() -> Cluster:
    return Cluster(
        id="c1",
        spec=SwarmSpec(name="default", ca_config=CAConfig(signing_ca_key="PRIVATE")),
        root_ca=RootCA(
            ca_cert=b"CERT", ca_key=b"PRIVATE", join_tokens=JoinTokens(worker="W-TOKEN", manager="M-TOKEN")
        ),
        unlock_keys=(EncryptionKey(subsystem="manager", key=b"PRIVATE"),),
        network_keys=(EncryptionKey(subsystem="net", key=b"PRIVATE"),),
        blacklisted_certificates={"gone": WHEN},
    )


def test_the_swarm_shows_its_tokens_but_never_a_key() -> None:
    shown = objects.cluster(cluster())
    assert shown["JoinTokens"] == {"Worker": "W-TOKEN", "Manager": "M-TOKEN"}
    assert shown["TLSInfo"]["TrustRoot"] == "CERT"
    assert (shown["DefaultAddrPool"], shown["SubnetSize"], shown["DataPathPort"]) == (
        ["10.0.0.0/8"],
        24,
        4789,
    )
    text = json.dumps(shown)
    assert "PRIVATE" not in text
    assert "UFJJVkFUR" not in text  # nor in base64
    assert "BlacklistedCertificates" not in shown


def test_info_shows_no_tokens() -> None:
    assert "TOKEN" not in json.dumps(objects.cluster(cluster(), tokens=False))


def test_a_secret_never_shows_its_data_and_a_config_does() -> None:
    secret = objects.secret(Secret(id="x", spec=SecretSpec(name="s", data=b"PRIVATE")))
    assert "Data" not in secret["Spec"]
    config = objects.config(Config(id="y", spec=ConfigSpec(name="c", data=b"open")))
    assert config["Spec"]["Data"] == "b3Blbg=="
