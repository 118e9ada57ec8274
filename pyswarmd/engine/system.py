"""/_ping, /version, /info: who answers here, and how this node stands in its swarm."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from aiohttp import web

from pyswarmd.config import API_VERSION, MIN_API_VERSION, VERSION
from pyswarmd.engine import views
from pyswarmd.engine.context import Route, answer, node_of
from pyswarmd.node import Node
from swarmcore.errors import Unavailable

PLUGINS = {
    "Volume": ["local"],
    "Network": ["bridge", "host", "macvlan", "null", "overlay"],
    "Log": ["json-file", "none"],
}
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}


async def ping(request: web.Request) -> web.Response:
    headers = {
        "Builder-Version": "",
        "Cache-Control": "no-cache, no-store, must-revalidate",
        "Pragma": "no-cache",
    }
    headers["Swarm"] = node_of(request).ping_state
    return web.Response(
        text="OK" if request.method == "GET" else "", headers=headers, content_type="text/plain"
    )


async def version(request: web.Request) -> web.Response:
    facts = {
        "Version": VERSION,
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": _ARCHITECTURE.get(platform.machine(), platform.machine()),
        "KernelVersion": platform.release(),
        "BuildTime": views.ZERO_TIME,
        "Experimental": False,
    }
    engine = {"Name": "Engine", "Version": VERSION, "Details": {k: str(v) for k, v in facts.items()}}
    return answer({**facts, "Platform": {"Name": "pyswarm"}, "Components": [engine]})


async def info(request: web.Request) -> web.Response:
    node = node_of(request)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    running = node.running_containers()
    return answer(
        {
            "ID": node.engine_id,
            "Name": node.hostname,
            "ServerVersion": VERSION,
            "Containers": running,
            "ContainersRunning": running,
            "ContainersPaused": 0,
            "ContainersStopped": 0,
            "Images": node.image_count(),
            "Driver": "overlay2",
            "DriverStatus": [["Backing", "overlayfs"]],
            "LoggingDriver": "json-file",
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": "2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "1",
            "Plugins": PLUGINS,
            "Runtimes": {"crun": {"path": "crun"}, "runc": {"path": "runc"}},
            "DefaultRuntime": "crun",
            "InitBinary": "",
            "SecurityOptions": ["name=seccomp,profile=default"],
            "KernelVersion": platform.release(),
            "OperatingSystem": platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"),
            "OSType": "linux",
            "Architecture": platform.machine(),
            "NCPU": os.cpu_count() or 1,
            "MemTotal": memory,
            "DockerRootDir": str(node.settings.state_dir),
            "Debug": False,
            "Labels": [f"{key}={value}" for key, value in node.settings.labels.items()],
            "ExperimentalBuild": False,
            "Warnings": None,
            "Swarm": await swarm_info(node),
        }
    )


async def swarm_info(node: Node) -> dict[str, Any]:
    state = node.status()
    found: dict[str, Any] = {
        "NodeID": state.node_id,
        "NodeAddr": state.address,
        "LocalNodeState": state.state,
        "ControlAvailable": state.control_available,
        "Error": state.error,
        "RemoteManagers": [{"NodeID": m.node_id, "Addr": m.address} for m in state.managers] or None,
    }
    if state.control_available:
        try:
            view = node.stale_view()  # /info must answer without a quorum, too
        except Unavailable:
            return found
        found["Nodes"] = len(view.nodes)
        found["Managers"] = len(node.raft_status().members)
        for cluster in view.clusters:
            found["Cluster"] = views.cluster(cluster, tokens=False)
    return found


ROUTES: tuple[Route, ...] = (
    ("GET", "/_ping", ping),
    ("HEAD", "/_ping", ping),
    ("GET", "/version", version),
    ("GET", "/info", info),
)
