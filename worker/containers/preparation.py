"""Make a container ready to start by its plan: image, volumes, root file system, /etc, files, bundle."""

from __future__ import annotations

import secrets as random_source
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from swarmcore.aio import in_thread
from swarmcore.errors import Invalid
from swarmcore.files import remove_tree
from swarmcore.model.container import Mount, MountType
from worker.containers import etc_files, record
from worker.containers.container import Container
from worker.containers.engine import Engine
from worker.containers.image_defaults import process, stop_signal
from worker.containers.phases import Phase
from worker.containers.plan import ContainerPlan, check
from worker.containers.private_files import private_files
from worker.containers.record import ContainerRecord
from worker.images.index import Image
from worker.images.oci import host_architecture
from worker.networks.plan import ContainerNetwork
from worker.runtime import capabilities
from worker.runtime.bundle import BundleInput, Process, clean_target, oci_config
from worker.runtime.spawner_client import MountRequest
from worker.runtime.users import look_up


class HeldVolumes(Struct, frozen=True, kw_only=True):
    """Directories of the volumes by mount target, all their names, and those of them that end with the container."""

    sources: Mapping[str, str]
    names: tuple[str, ...]
    anonymous: tuple[str, ...]


async def prepare(engine: Engine, plan: ContainerPlan) -> Container:
    """A container in phase `prepared`; if anything fails, nothing is left of it."""
    container_id = random_source.token_hex(32)
    check(plan)
    hostname = plan.hostname or (engine.hostname if plan.networks.is_host else container_id[:12])
    network = await engine.networking.make_network(plan.networks, container_id, hostname)
    preparation = _Preparation(engine, plan, network, hostname, container_id)
    try:
        return await preparation.run()
    except BaseException:
        if network.sandbox is not None:
            await engine.networking.release(network.sandbox)
        await engine.spawner.unmount([preparation.rootfs, preparation.files])
        engine.volumes.release(container_id)
        engine.images.release(container_id)
        await in_thread(engine.places.forget, container_id)
        raise


class _Preparation:
    """All that is made for one container once it has its network."""

    def __init__(
        self,
        engine: Engine,
        plan: ContainerPlan,
        network: ContainerNetwork,
        hostname: str,
        container_id: str,
    ) -> None:
        self._engine, self._plan, self._network = engine, plan, network
        self._hostname, self._id = hostname, container_id
        self._directory = engine.places.of(container_id)
        self.rootfs = self._directory / "rootfs"
        self.files = engine.places.secrets / container_id

    async def run(self) -> Container:
        engine, plan = self._engine, self._plan
        # Before anything is awaited: the image stays from here on.
        image = engine.images.find_and_hold(plan.image, self._id)
        says = engine.images.config(image).run
        files, file_mounts = private_files(plan.files, self.files)
        etc = await in_thread(_lay_out, self._directory, plan, self._hostname, self._network)
        overlay = self._overlay(image)
        passwd, group = await self._mount(overlay, file_mounts)
        volumes = await in_thread(_volumes, engine, plan.mounts, self.rootfs, self._id)
        user = look_up(plan.user or says.user, plan.groups, passwd, group)
        first = process(plan, says, self._hostname, user)
        config = oci_config(self._bundle(first, etc, files, volumes))
        made = self._record(image, stop_signal(plan, says), overlay, volumes)
        await in_thread(_write, self._directory, msgspec.json.encode(config), made)
        container = Container(engine, made)
        container.give_secrets(file_mounts)
        return container

    def _overlay(self, image: Image) -> MountRequest:
        return MountRequest(
            source="overlay",
            target=str(self.rootfs),
            kind="overlay",
            layers=self._engine.images.layer_names(image),
            own=str(self._directory),
            cwd=str(self._engine.images.layers_directory),
        )

    async def _mount(self, overlay: MountRequest, file_mounts: tuple[MountRequest, ...]) -> list[str]:
        """The image's passwd and group files, read where it is mounted."""
        for mount in file_mounts:
            Path(mount.target).mkdir(parents=True, exist_ok=True, mode=0o700)
        rootfs = str(self.rootfs)
        return await self._engine.spawner.mount(
            (overlay, *file_mounts), read=[(rootfs, "etc/passwd"), (rootfs, "etc/group")]
        )

    def _bundle(
        self, first: Process, etc: Mapping[str, str], files: Mapping[str, str], volumes: HeldVolumes
    ) -> BundleInput:
        return BundleInput(
            container_id=self._id,
            hostname=self._hostname,
            process=first,
            confinement=self._plan.confinement,
            mounts=self._plan.mounts,
            rootfs=str(self.rootfs),
            cgroup_path=self._engine.cgroups.path(self._id),
            architecture=host_architecture(),
            capabilities=capabilities.of_host(),
            host_network=self._network.host,
            network_path=self._network.path,
            etc_files=etc,
            private_files=files,
            sources=volumes.sources,
        )

    def _record(
        self, image: Image, signal: int, overlay: MountRequest, volumes: HeldVolumes
    ) -> ContainerRecord:
        plan = self._plan
        return ContainerRecord(
            id=self._id,
            owner=plan.owner,
            name=plan.name,
            image_id=image.id,
            phase=Phase.PREPARED,
            created=self._engine.clock.now(),
            stop_signal=signal,
            grace_ns=plan.stop_grace,
            terminal=plan.terminal,
            silent=plan.log_driver == "none",
            mounts=(overlay,),
            volumes=volumes.names,
            anonymous_volumes=volumes.anonymous,
            sandbox=self._network.sandbox,
        )


def _write(directory: Path, config: bytes, made: ContainerRecord) -> None:
    bundle = directory / "bundle" / "config.json"
    bundle.touch(mode=0o600)  # environment variables are nobody else's business
    bundle.write_bytes(config)
    record.save(directory, made)


def _lay_out(
    directory: Path, plan: ContainerPlan, hostname: str, network: ContainerNetwork
) -> dict[str, str]:
    """The container's directory with its /etc files; path in the container -> file."""
    remove_tree(directory)
    directory.mkdir(mode=0o711)
    for name in ("bundle", "upper", "work", "rootfs"):
        (directory / name).mkdir(mode=0o755)
    (directory / "log").touch(mode=0o600)
    host_hosts = etc_files.host_text("/etc/hosts") if network.host and not plan.hosts else ""
    texts = {
        "hosts": host_hosts or etc_files.hosts(plan.hosts, hostname, network.address),
        "hostname": f"{hostname}\n",
        "resolv.conf": network.resolv_conf,
    }
    for name, text in texts.items():
        path = directory / name
        path.write_text(text)
        path.chmod(0o644)
    _check_bind_sources(plan.mounts)
    return {f"/etc/{name}": str(directory / name) for name in texts}


def _check_bind_sources(mounts: Iterable[Mount]) -> None:
    """Each is there, or is made where that is asked for."""
    for mount in mounts:
        if mount.type is MountType.BIND:
            source = Path(mount.source)
            if mount.bind_options is not None and mount.bind_options.create_mountpoint:
                source.mkdir(parents=True, exist_ok=True)
            if not source.exists():
                raise Invalid(f"bind source path does not exist: {mount.source}")


def _volumes(engine: Engine, mounts: Iterable[Mount], rootfs: Path, container_id: str) -> HeldVolumes:
    """Make the volumes that are not there yet, hold all, and fill new ones with what the image has at their place."""
    sources: dict[str, str] = {}
    names: list[str] = []
    anonymous: list[str] = []
    seen_rootfs = engine.spawner.root / rootfs.relative_to("/")
    for mount in mounts:
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
    return HeldVolumes(sources=sources, names=tuple(names), anonymous=tuple(anonymous))
