"""/_ping, /version, /info: who answers here, and how this node stands in its swarm."""

from __future__ import annotations

import asyncio
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from pyswarmd.config import API_VERSION, ENGINE_VERSION, MIN_API_VERSION, VERSION
from pyswarmd.engine.door.context import Route, answer, node_of
from pyswarmd.engine.host.features import filesystem, host_features
from pyswarmd.engine.host.parts import CONTAINERS, IMAGES
from pyswarmd.engine.shown import objects
from pyswarmd.engine.shown.images import DRIVER
from pyswarmd.node.membership import Status
from pyswarmd.node.node import Node
from swarmcore.errors import Unavailable
from swarmcore.text.image_reference import DEFAULT_DOMAIN
from worker.runtime.cgroups import mount_points

PLUGINS = {
    "Volume": ["local"],
    "Network": ["bridge", "host", "ipvlan", "macvlan", "null", "overlay"],
    "Authorization": None,
    "Log": ["json-file", "none"],
}
_REGISTRIES = {
    "IndexServerAddress": f"https://index.{DEFAULT_DOMAIN}/v1/",
    "RegistryConfig": {
        "AllowNondistributableArtifactsCIDRs": [],
        "AllowNondistributableArtifactsHostnames": [],
        "InsecureRegistryCIDRs": ["127.0.0.0/8"],
        "IndexConfigs": {
            DEFAULT_DOMAIN: {"Name": DEFAULT_DOMAIN, "Mirrors": [], "Secure": True, "Official": True}
        },
        "Mirrors": [],
    },
}
_NO_PROXIES = {"HttpProxy": "", "HttpsProxy": "", "NoProxy": ""}  # nothing is pulled through one yet
_NO_COMMIT = {"ID": "N/A", "Expected": "N/A"}  # as dockerd says of a program whose version it does not know
_OF_THE_RUNTIME = {
    "LiveRestoreEnabled": True,  # containers outlive the daemon
    "Isolation": "",
    "InitBinary": "",
    "ContainerdCommit": _NO_COMMIT,
    "RuncCommit": _NO_COMMIT,
    "InitCommit": _NO_COMMIT,
    "SecurityOptions": ["name=seccomp,profile=default"],
}
_MOUNTS = Path("/proc/self/mountinfo")
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}


async def ping(request: web.Request) -> web.Response:
    headers = {
        "Cache-Control": "no-cache, no-store, must-revalidate",
        "Pragma": "no-cache",
        "Swarm": _standing(node_of(request).status()),
    }
    return web.Response(
        text="OK" if request.method == "GET" else "", headers=headers, content_type="text/plain"
    )


def _standing(status: Status) -> str:
    if status.state != "active":
        return status.state
    return "active/manager" if status.control_available else "active/worker"


async def version(request: web.Request) -> web.Response:
    facts = {
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "GitCommit": "",
        "GoVersion": f"python{platform.python_version()}",  # what this engine is written in
        "Os": "linux",
        "Arch": _ARCHITECTURE.get(platform.machine(), platform.machine()),
        "KernelVersion": platform.release(),
        "BuildTime": objects.ZERO_TIME,
    }
    components = [
        {"Name": "Engine", "Version": ENGINE_VERSION, "Details": {**facts, "Experimental": "false"}},
        {"Name": "pyswarm", "Version": VERSION, "Details": {"Python": platform.python_version()}},
    ]
    platform_name = {"Name": f"pyswarm {VERSION}"}
    return answer({"Platform": platform_name, "Components": components, "Version": ENGINE_VERSION, **facts})


async def info(request: web.Request) -> web.Response:
    node = node_of(request)
    running = request.app[CONTAINERS].running
    features = host_features(mount_points(_MOUNTS.read_text()))
    return answer(
        {
            "ID": node.status().node_id or node.hostname,
            "Containers": running,
            "ContainersRunning": running,
            "ContainersPaused": 0,
            "ContainersStopped": 0,
            "Images": len(request.app[IMAGES].list()),
            "Driver": DRIVER,
            "DriverStatus": [["Backing Filesystem", filesystem(node.settings.state_dir)]],
            "Plugins": PLUGINS,
            **features.limits,
            "Debug": False,
            "NFd": sum(1 for _ in Path("/proc/self/fd").iterdir()),
            "NGoroutines": len(asyncio.all_tasks()),
            "SystemTime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "LoggingDriver": "json-file",
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": features.cgroup_version,
            "NEventsListener": 0,
            **_machine(),
            **_REGISTRIES,
            "GenericResources": None,
            "DockerRootDir": str(node.settings.state_dir),
            **_NO_PROXIES,
            "Name": node.hostname,
            "Labels": [f"{key}={value}" for key, value in node.settings.labels.items()],
            "ExperimentalBuild": False,
            "ServerVersion": ENGINE_VERSION,
            "Runtimes": {"crun": {"path": "crun"}, "runc": {"path": "runc"}},
            "DefaultRuntime": "crun",
            "Swarm": await swarm_info(node),
            **_OF_THE_RUNTIME,
            "Warnings": list(features.warnings()) or None,
        }
    )


def _machine() -> dict[str, Any]:
    release = platform.freedesktop_os_release()
    return {
        "KernelVersion": platform.release(),
        "OperatingSystem": release.get("PRETTY_NAME", "Linux"),
        "OSVersion": release.get("VERSION_ID", ""),
        "OSType": "linux",
        "Architecture": platform.machine(),
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


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
            manager = node.manager()
            view = await manager.recent_view()  # /info must answer without a quorum, too
        except Unavailable:
            return found
        found["Nodes"] = len(view.nodes)
        found["Managers"] = len(manager.raft.members)
        for cluster in view.clusters:
            found["Cluster"] = objects.cluster(cluster, tokens=False)
    return found


ROUTES: tuple[Route, ...] = (
    ("GET", "/_ping", ping),
    ("HEAD", "/_ping", ping),
    ("GET", "/version", version),
    ("GET", "/info", info),
)
