"""`pyswarm network …`: what it asks of the API and what it prints."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from pyswarmd.cli import ipam
from pyswarmd.cli.main import build
from pyswarmd.cli.network import request
from swarmcore.errors import Invalid, NotFound
from swarmcore.model.codec import convert_spec
from tests.fakes.engine import FakeEngine, engine
from worker.networks.local_networks import ConnectRequest, DisconnectRequest, NetworkRequest

SHOP = {
    "Id": "shop1234567890123456789",
    "Name": "shop",
    "Driver": "overlay",
    "Scope": "swarm",
    "EnableIPv6": False,
    "Internal": True,
    "Ingress": False,
    "Labels": {"a": "b"},
    "Created": "2026-01-31T12:00:00Z",
}
INGRESS = SHOP | {"Id": "ingress1", "Name": "ingress", "Ingress": True}
ANSWERS: dict[str, Any] = {
    "GET /networks": [SHOP, INGRESS],
    "GET /networks/shop": SHOP,
    "GET /networks/ingress": INGRESS,
    f"DELETE /networks/{SHOP['Id']}": {},
    "DELETE /networks/ingress1": {},
    "POST /networks/create": {"Id": "new1", "Warning": "mind the gap"},
    "POST /networks/prune": {"NetworksDeleted": ["idle"]},
    "POST /networks/shop/connect": {},
    "POST /networks/shop/disconnect": {},
}


async def run(*words: str, answers: dict[str, Any] = ANSWERS) -> tuple[int, FakeEngine]:
    options = build().parse_args(["network", *words])
    async with engine(answers) as (fake, client):
        return int(await options.run(client, options) or 0), fake


def body(*words: str) -> NetworkRequest:
    return convert_spec(request(build().parse_args(["network", "create", *words])), NetworkRequest)


def test_every_flag_of_create_lands_in_the_request() -> None:
    words = """
        -d overlay --subnet 10.9.0.0/24 --subnet fd00:9::/64 --gateway 10.9.0.1,fd00:9::1 --ip-range 10.9.0.128/25
        --aux-address router=10.9.0.5,six=fd00:9::5 --attachable --internal --ipv6 --label a=b -o x=y --scope swarm
        --ipam-driver default --ipam-opt k=v --config-from base shop
    """
    found = body(*words.split())
    assert (found.name, found.driver, found.scope) == ("shop", "overlay", "swarm")
    assert found.attachable and found.internal and found.enable_ipv6
    assert (found.labels, found.options, found.ipam.options) == ({"a": "b"}, {"x": "y"}, {"k": "v"})
    assert found.config_from is not None and found.config_from.network == "base"
    four, six = found.ipam.config
    assert (four.subnet, four.gateway, four.ip_range) == ("10.9.0.0/24", "10.9.0.1", "10.9.0.128/25")
    assert four.auxiliary_addresses == {"router": "10.9.0.5"}
    assert (six.gateway, six.auxiliary_addresses) == ("fd00:9::1", {"six": "fd00:9::5"})


@pytest.mark.parametrize(
    ("words", "driver"),
    [
        (["x"], "bridge"),
        (["--config-only", "x"], "bridge"),
        (["--ingress", "x"], "overlay"),
        (["--scope", "swarm", "x"], "overlay"),
        (["-d", "macvlan", "x"], "macvlan"),
    ],
    ids=str,
)
def test_the_driver_that_is_meant(words: list[str], driver: str) -> None:
    assert body(*words).driver == driver


@pytest.mark.parametrize(
    ("subnets", "ranges", "gateways", "auxiliary", "why"),
    [
        (["nonsense"], [], [], [], "invalid subnet nonsense"),
        (["10.0.0.0/8", "10.1.0.0/16"], [], [], [], "overlap"),
        ([], [], ["10.0.0.1"], [], "must have a corresponding subnet"),
        ([], ["10.0.0.0/24"], [], [], "must have a corresponding subnet"),
        (["10.0.0.0/24"], [], ["10.0.1.1"], [], "no matching subnet for gateway 10.0.1.1"),
        (["10.0.0.0/24"], ["10.0.0.0/23"], [], [], "no matching subnet for ip-range"),
        (["10.0.0.0/24"], [], ["x"], [], "it is no IP address"),
        (["10.0.0.0/24", "10.1.0.0/24"], [], ["10.0.0.1", "10.0.0.2"], [], "cannot configure two of gateway"),
        (["10.0.0.0/24"], [], [], ["10.0.0.5"], "invalid aux-address"),
        ([], [], [], ["a=10.0.0.5"], "no matching subnet for aux-address"),
    ],
)
def test_addresses_that_do_not_fit(
    subnets: list[str], ranges: list[str], gateways: list[str], auxiliary: list[str], why: str
) -> None:
    with pytest.raises(Invalid) as failed:
        ipam.pools(subnets, ranges, gateways, auxiliary)
    assert why in str(failed.value)


async def test_create_prints_the_id_and_notes_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    await run("create", "-d", "overlay", "shop2")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("new1\n", "warning: mind the gap\n")


async def test_the_list_has_docker_s_columns(capsys: pytest.CaptureFixture[str]) -> None:
    _, fake = await run("ls", "-f", "driver=overlay")
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"]
    assert first.split() == ["ingress1", "ingress", "overlay", "swarm"]
    assert second.split() == ["shop12345678", "shop", "overlay", "swarm"]
    (query,) = fake.queries("GET /networks")
    assert json.loads(query["filters"]) == {"driver": ["overlay"]}


async def test_templates_and_ids_of_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    await run("ls", "--format", "{{.ID}} {{.IPv6}} {{.Internal}} {{.Labels}}")
    await run("ls", "-q", "--no-trunc")
    assert capsys.readouterr().out.splitlines() == [
        "ingress1 false true a=b",
        "shop12345678 false true a=b",
        "ingress1",
        str(SHOP["Id"]),
    ]


async def test_inspect_asks_for_all_when_it_shall_be_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    _, fake = await run("inspect", "-v", "-f", "{{.Name}} {{.Driver}}", "shop")
    assert fake.queries("GET /networks/shop") == [{"verbose": "true"}]
    assert capsys.readouterr().out == "shop overlay\n"
    with pytest.raises(NotFound):
        await run("inspect", "nope")


async def test_rm_goes_on_after_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    code, fake = await run("rm", "nope", "shop")
    printed = capsys.readouterr()
    assert (code, printed.out) == (1, "shop\n")
    assert printed.err == "pyswarm: status 404 of GET /networks/nope\n"
    assert (await run("rm", "-f", "nope"))[0] == 0
    busy = ANSWERS | {f"DELETE /networks/{SHOP['Id']}": 400}
    assert (await run("rm", "-f", "shop", answers=busy))[0] == 1


@pytest.mark.parametrize(("typed", "code", "asked"), [("y\n", 0, 1), ("n\n", 1, 0), ("", 1, 0)])
async def test_the_routing_mesh_goes_only_on_purpose(
    typed: str, code: int, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    found, fake = await run("rm", "ingress")
    assert found == code
    assert len(fake.queries("DELETE /networks/ingress1")) == asked


async def test_prune_asks_and_lists_what_is_gone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert (await run("prune"))[0] == 1
    code, fake = await run("prune", "-f", "--filter", "until=1h")
    assert code == 0
    (query,) = fake.queries("POST /networks/prune")
    assert json.loads(query["filters"]) == {"until": ["1h"]}
    assert capsys.readouterr().out == "Deleted Networks:\nidle\n"


async def test_containers_join_and_leave() -> None:
    words = (
        "--alias db --driver-opt a=b --ip 10.9.0.9 --ip6 fd00:9::9 --link other:o --link-local-ip 169.254.1.9"
    )
    _, fake = await run("connect", *words.split(), "shop", "c1")
    (sent,) = fake.bodies("POST /networks/shop/connect")
    found = convert_spec(sent, ConnectRequest)
    assert (found.container, found.endpoint_config.aliases) == ("c1", ("db",))
    assert found.endpoint_config.ipam_config is not None
    assert found.endpoint_config.ipam_config.ipv6_address == "fd00:9::9"
    _, fake = await run("disconnect", "-f", "shop", "c1")
    (sent,) = fake.bodies("POST /networks/shop/disconnect")
    assert convert_spec(sent, DisconnectRequest) == DisconnectRequest(container="c1", force=True)
