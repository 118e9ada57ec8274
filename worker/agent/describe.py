"""What this node tells the managers about itself: host name, platform, resources, engine, certificate issuer."""

from __future__ import annotations

import os
import platform
from collections.abc import Awaitable, Callable, Mapping

from netoverlay.netlink.surroundings import Surroundings
from swarmcore.model.base import Platform
from swarmcore.model.node import EngineDescription, NodeDescription, Plugin, TLSInfo
from swarmcore.model.resources import Resources

PLUGINS = (
    Plugin(type="Log", name="json-file"),
    Plugin(type="Network", name="bridge"),
    Plugin(type="Network", name="host"),
    Plugin(type="Network", name="null"),
    Plugin(type="Network", name="overlay"),
    Plugin(type="Volume", name="local"),
)


class Describer:
    """Reads the machine anew each time: memory and CPUs of a virtual machine can change while it runs."""

    def __init__(
        self,
        *,
        resources: Callable[[], Awaitable[Resources]],
        engine_version: str,
        labels: Mapping[str, str],
        tls_info: Callable[[], TLSInfo],
        hostname: Callable[[], str] = platform.node,
        plugins: tuple[Plugin, ...] = PLUGINS,
        data_path_addr: str = "",
        surroundings: Callable[[], Awaitable[Surroundings]] | None = None,
        fault: Callable[[], str] = lambda: "",
    ) -> None:
        """`data_path_addr`: where others send overlay traffic; empty means where the session comes from.

        `fault`: what is wrong on this node now.
        """
        self._resources = resources
        self._engine_version = engine_version
        self._labels = dict(labels)
        self._tls_info = tls_info
        self._hostname = hostname
        self._plugins = plugins
        self._data_path_addr = data_path_addr
        self._surroundings = surroundings
        self._fault = fault

    async def __call__(self) -> NodeDescription:
        around = await self._surroundings() if self._surroundings is not None else Surroundings()
        return NodeDescription(
            hostname=self._hostname(),
            platform=Platform(architecture=os.uname().machine, os="linux"),
            resources=await self._resources(),
            engine=EngineDescription(
                engine_version=self._engine_version, labels=self._labels, plugins=self._plugins
            ),
            tls_info=self._tls_info(),
            data_path_addr=self._data_path_addr,
            host_subnets=around.addresses,
            host_routes=around.routes,
            fault=self._fault(),
        )
