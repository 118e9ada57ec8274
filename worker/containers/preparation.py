"""Make a container ready to start for a task: image, volumes, root file system, /etc, secrets, bundle."""

from __future__ import annotations

import base64
import secrets as random_source
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from swarmcore.aio import in_thread
from swarmcore.errors import Invalid, NotFound, Unsupported, clipped
from swarmcore.files import remove_tree
from swarmcore.model.container import ConfigReference, ContainerSpec, MountType, SecretReference
from swarmcore.model.naming import task_name
from swarmcore.model.secret import Config, Secret
from swarmcore.model.task import Task
from swarmcore.text.numbers import whole
from worker.containers import etc_files, record
from worker.containers.container import Container, Engine
from worker.containers.networking import ContainerNetwork
from worker.containers.record import ContainerRecord, Phase
from worker.images.oci import host_architecture
from worker.runtime import capabilities, mounts
from worker.runtime.bundle import BundleInput, clean_target, oci_config, stop_signal
from worker.runtime.spawner_client import MountRequest, SecretFile
from worker.runtime.users import LARGEST_ID, look_up


class Payloads(Struct, frozen=True, kw_only=True):
    secrets: Mapping[str, Secret]
    configs: Mapping[str, Config]


def check(spec: ContainerSpec) -> None:
    """Refuse what this runtime would have to ignore (the managers refuse it before)."""
    if not spec.image:
        raise Invalid("the task names no image")
    if spec.init:
        raise Unsupported("an init process (Init) is not supported yet")
    if spec.healthcheck is not None and spec.healthcheck.test[:1] not in ((), ("NONE",)):
        raise Unsupported("a health check is not supported yet")
    for mount in spec.mounts:
        clean_target(mount.target)
        if mount.type is MountType.BIND and not mount.source.startswith("/"):
            raise Invalid(f"invalid bind source {clipped(mount.source)}: it must be an absolute path")


async def prepare(
    engine: Engine, task: Task, payloads: Payloads, *, node_hostname: str, container_id: str | None = None
) -> Container:
    """A container in phase `prepared`; if anything fails, nothing is left of it."""
    container_id = container_id or random_source.token_hex(32)
    check(task.spec.container)
    on_host = engine.networking.is_host(task)
    hostname = task.spec.container.hostname or (node_hostname if on_host else container_id[:12])
    network = await engine.networking.attach(task, container_id, hostname)
    try:
        return await _prepare(engine, task, payloads, network, hostname, container_id)
    except BaseException:
        if network.sandbox is not None:
            await engine.networking.release(network.sandbox)
        await engine.spawner.unmount([_rootfs(engine, container_id), engine.places.secrets / container_id])
        engine.volumes.release(container_id)
        engine.images.release(container_id)
        await in_thread(engine.places.forget, container_id)
        raise


def _rootfs(engine: Engine, container_id: str) -> Path:
    return engine.places.of(container_id) / "rootfs"


async def _prepare(
    engine: Engine,
    task: Task,
    payloads: Payloads,
    network: ContainerNetwork,
    hostname: str,
    container_id: str,
) -> Container:
    spec = task.spec.container
    image = engine.images.take(spec.image, container_id)  # before anything is awaited: it stays from here on
    run = engine.images.config(image).run
    directory, rootfs = engine.places.of(container_id), _rootfs(engine, container_id)
    secret_files, secret_mounts = _secret_files(engine, spec, payloads, container_id)
    etc = await in_thread(_lay_out, directory, spec, hostname, network)
    overlay = MountRequest(
        source="overlay",
        target=str(rootfs),
        kind="overlay",
        layers=engine.images.layer_names(image),
        own=str(directory),
        cwd=str(engine.images.layers_directory),
    )
    for mount in secret_mounts:
        Path(mount.target).mkdir(parents=True, exist_ok=True, mode=0o700)
    passwd, group = await engine.spawner.mount(
        (overlay, *secret_mounts), read=[(str(rootfs), "etc/passwd"), (str(rootfs), "etc/group")]
    )
    sources, volumes, anonymous = await in_thread(
        _volumes, engine, spec, run.volumes or {}, rootfs, container_id
    )
    config = oci_config(
        BundleInput(
            container_id=container_id,
            hostname=hostname,
            spec=spec,
            image=run,
            user=look_up(spec.user or run.user, spec.groups, passwd, group),
            rootfs=str(rootfs),
            cgroup_path=engine.cgroups.path(container_id),
            architecture=host_architecture(),
            capabilities=capabilities.of_host(),
            resources=task.spec.resources,
            host_network=network.host,
            network_path=network.path,
            etc_files=etc,
            secret_files=secret_files,
            sources=sources,
        )
    )
    made = ContainerRecord(
        id=container_id,
        task_id=task.id,
        name=task_name(task),
        image_id=image.id,
        phase=Phase.PREPARED,
        created=engine.clock.now(),
        stop_signal=int(stop_signal(spec, run)),
        grace_ns=spec.stop_grace_ns,
        terminal=spec.tty,
        silent=_is_silent(task),
        mounts=(overlay,),
        volumes=volumes,
        anonymous_volumes=anonymous,
        sandbox=network.sandbox,
    )
    await in_thread(_write, directory, msgspec.json.encode(config), made)
    container = Container(engine, made)
    container.give_secrets(secret_mounts)
    return container


def _is_silent(task: Task) -> bool:
    driver = task.log_driver or task.spec.log_driver
    return driver is not None and driver.name == "none"


def _write(directory: Path, config: bytes, made: ContainerRecord) -> None:
    bundle = directory / "bundle" / "config.json"
    bundle.touch(mode=0o600)  # environment variables are nobody else's business
    bundle.write_bytes(config)
    record.save(directory, made)


def _lay_out(
    directory: Path, spec: ContainerSpec, hostname: str, network: ContainerNetwork
) -> dict[str, str]:
    """The container's directory with its /etc files; path in the container -> file."""
    remove_tree(directory)
    directory.mkdir(mode=0o711)
    for name in ("bundle", "upper", "work", "rootfs"):
        (directory / name).mkdir(mode=0o755)
    (directory / "log").touch(mode=0o600)
    host_hosts = host_text("/etc/hosts") if network.host and not spec.hosts else ""
    texts = {
        "hosts": host_hosts or etc_files.hosts(spec.hosts, hostname, network.address),
        "hostname": f"{hostname}\n",
        "resolv.conf": network.resolv_conf,
    }
    for name, text in texts.items():
        path = directory / name
        path.write_text(text)
        path.chmod(0o644)
    for mount in spec.mounts:
        if mount.type is MountType.BIND:
            source = Path(mount.source)
            if mount.bind_options is not None and mount.bind_options.create_mountpoint:
                source.mkdir(parents=True, exist_ok=True)
            if not source.exists():
                raise Invalid(f"bind source path does not exist: {mount.source}")
    return {f"/etc/{name}": str(directory / name) for name in texts}


def host_text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _volumes(
    engine: Engine, spec: ContainerSpec, image_volumes: Mapping[str, object], rootfs: Path, container_id: str
) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Directories of the volumes by mount target, all their names, and those of them that end with the container."""
    sources: dict[str, str] = {}
    names: list[str] = []
    anonymous: list[str] = []
    seen_rootfs = engine.spawner.root / rootfs.relative_to("/")
    for mount in spec.mounts:
        if mount.type is not MountType.VOLUME:
            continue
        options = mount.volume_options
        volume = engine.volumes.ensure(mount.source, options.labels if options else None)
        engine.volumes.hold(volume.name, container_id)
        names.append(volume.name)
        if volume.anonymous:
            anonymous.append(volume.name)
        target = clean_target(mount.target)
        if not (options and options.no_copy):
            engine.volumes.fill(volume.name, seen_rootfs, target)
        sources[target] = str(engine.volumes.path(volume.name))
    return sources, tuple(names), tuple(anonymous)


def _secret_files(
    engine: Engine, spec: ContainerSpec, payloads: Payloads, container_id: str
) -> tuple[dict[str, str], tuple[MountRequest, ...]]:
    """Secrets and configs as files of one tmpfs that only the container's namespace sees."""
    folder = engine.places.secrets / container_id
    targets: dict[str, str] = {}
    files: list[SecretFile] = []

    def add(
        reference: SecretReference | ConfigReference, data: bytes, default_folder: str, what: str
    ) -> None:
        file = reference.file
        assert file is not None
        target = clean_target(f"{default_folder}/{file.name}" if not file.name.startswith("/") else file.name)
        for value, kind in ((file.uid, "UID"), (file.gid, "GID")):
            if value and whole(value, LARGEST_ID) is None:
                raise Invalid(f"{what} has the invalid {kind} {clipped(value)}: a number is needed")
        name = str(len(files))
        files.append(
            SecretFile(
                name=name,
                content=base64.b64encode(data).decode(),
                uid=int(file.uid or 0),
                gid=int(file.gid or 0),
                mode=file.mode & 0o7777,
            )
        )
        targets[target] = str(folder / name)

    for secret_reference in spec.secrets:
        secret = payloads.secrets.get(secret_reference.secret_id)
        if secret is None:
            raise NotFound(f"secret {secret_reference.secret_name} did not come with the task")
        add(secret_reference, secret.spec.data, "/run/secrets", f"secret {secret_reference.secret_name}")
    for config_reference in spec.configs:
        config = payloads.configs.get(config_reference.config_id)
        if config is None:
            raise NotFound(f"config {config_reference.config_name} did not come with the task")
        if config_reference.file is not None:
            add(config_reference, config.spec.data, "", f"config {config_reference.config_name}")
    if not files:
        return {}, ()
    request = MountRequest(
        source="tmpfs",
        target=str(folder),
        kind="tmpfs",
        flags=mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC,
        options="mode=0711",
        files=tuple(files),
    )
    return targets, (request,)
