"""Rules for what runs in a task's container: whatever no node could carry out is refused before it is stored.

Otherwise every task is rejected on its node, and replaced, every few seconds for ever. A line names the field as
the Engine API spells it. What only a node can know (that an image is there, a user of the image, a path of its own)
is left to the nodes.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address

from swarmcore.errors import Invalid, clipped
from swarmcore.model.container import ContainerSpec, DNSConfig, Mount, MountType, Ulimit
from swarmcore.model.linux import RLIMITS, capability_names, signal_number
from swarmcore.template.container import expand_container, sample_scope
from swarmcore.text import image_reference
from swarmcore.text.numbers import whole
from swarmcore.text.patterns import Pattern

LONGEST_WORD = 128 << 10  # bytes of one argument or variable: MAX_ARG_STRLEN, with its final zero
LONGEST_PATH = 4096  # bytes: PATH_MAX, with its final zero
LONGEST_HOSTNAME = 64  # bytes: HOST_NAME_MAX
LONGEST_NAME = 253  # characters of a DNS name
LARGEST_ID = 2**31 - 1  # of users and groups, as in Docker
OOM_SCORES = range(-1000, 1001)
#: Those that belong to a container's own namespaces; the others are the host's.
SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in (
        "domainname",
        "msgmax",
        "msgmnb",
        "msgmni",
        "sem",
        "shm_rmid_forced",
        "shmall",
        "shmmax",
        "shmmni",
    )
)
SYSCTL_TREES = ("net.", "fs.mqueue.")
_SYSCTL = Pattern(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_@:-]+)+", 256)


def check(
    spec: ContainerSpec, service: str, labels: Mapping[str, str], *, host_network: bool = False
) -> None:
    """`service` and `labels` are what the templates of the spec may name."""
    _image(spec.image)
    if spec.stop_grace_period is not None and spec.stop_grace_period < 0:
        raise Invalid("stop grace period cannot be negative")
    if spec.stop_signal:
        signal_number(spec.stop_signal)
    _process(spec)
    capability_names(spec.capability_add)
    capability_names(spec.capability_drop)
    _ulimits(spec.ulimits)
    _sysctls(spec.sysctls, host_network=host_network)
    if spec.oom_score_adj not in OOM_SCORES:
        raise Invalid(f"invalid OomScoreAdj {spec.oom_score_adj}", "it goes from -1000 to 1000")
    for entry in spec.hosts:
        _host(entry)
    if spec.dns_config is not None:
        _dns(spec.dns_config)
    filled = expand_container(spec, sample_scope(service, labels)) if _has_templates(spec) else spec
    _hostname(filled.hostname)
    _mounts(spec.mounts, filled.mounts)


def warnings(spec: ContainerSpec) -> Iterator[str]:
    """What Docker takes though no node will: told, not refused."""
    for mount in spec.mounts:
        # A placeholder may stand for an absolute path.
        if mount.type is MountType.BIND and not mount.source.startswith(("/", "{{")):
            yield (
                f"mount {mount.target}: the bind source {clipped(mount.source)} is no absolute path, "
                "nodes will reject the tasks"
            )


def _image(text: str) -> None:
    if not text:
        raise Invalid("ContainerSpec: image reference must be provided", "name the image to run")
    try:
        image_reference.parse(text)
    except Invalid as wrong:
        raise Invalid(f"ContainerSpec: {wrong}", wrong.hint) from None


# -- the process -----------------------------------------------------------------------------------
def _process(spec: ContainerSpec) -> None:
    for what, words in (("Command", spec.command), ("Args", spec.args), ("Env", spec.env)):
        for word in words:
            _word(what, word)
    if spec.command and not spec.command[0]:
        # Docker's way to take the image's entrypoint away: then the arguments are the command.
        if len(spec.command) > 1:
            raise Invalid("invalid Command: Command begins with an empty word", "name the program first")
        if not spec.args or not spec.args[0]:
            raise Invalid("invalid Command: Command and Args name nothing to run", "name the program in Args")
    for entry in spec.env:
        if not entry or entry.startswith("="):
            raise Invalid(f"invalid environment variable {clipped(entry)}", "write it like KEY=VALUE")
    _path("Dir", spec.dir)
    user, colon, group = spec.user.partition(":")
    if spec.user and (user or not colon):
        _account("User", user)
    if colon:
        _account("User", group)
    for name in spec.groups:
        _account("Groups", name)


def _word(what: str, text: str) -> None:
    if "\0" in text:
        raise Invalid(f"invalid {what}: {clipped(text)} holds a zero byte")
    if len(text) >= LONGEST_WORD // 4 and len(text.encode()) >= LONGEST_WORD:
        raise Invalid(
            f"invalid {what}: a word of it is longer than {LONGEST_WORD >> 10} KiB", "put it into a file"
        )


def _path(what: str, text: str) -> None:
    if "\0" in text or len(text.encode()) >= LONGEST_PATH:
        raise Invalid(f"invalid {what} {clipped(text)}", f"a path has at most {LONGEST_PATH - 1} bytes")


def _account(what: str, name: str) -> None:
    """A name of the image's passwd or group file, or a number."""
    if not name or ":" in name or any(c.isspace() or not c.isprintable() for c in name):
        raise Invalid(
            f"invalid {what} {clipped(name)}",
            "it is a name or a number, like 1000:1000",
        )
    if name.isascii() and name.isdigit() and whole(name, LARGEST_ID) is None:
        raise Invalid(f"invalid {what} {clipped(name)}", f"ids go from 0 to {LARGEST_ID}")


def _ulimits(limits: Iterable[Ulimit]) -> None:
    seen: set[str] = set()
    for limit in limits:
        name = limit.name.lower()
        if name not in RLIMITS:
            raise Invalid(f"invalid ulimit {clipped(limit.name)}", f"known are {', '.join(sorted(RLIMITS))}")
        if name in seen:
            raise Invalid(f"ulimit {name} is given twice")
        seen.add(name)
        if limit.soft < -1 or limit.hard < -1:
            raise Invalid(f"invalid ulimit {name}={limit.soft}:{limit.hard}", "-1 means unlimited")
        if limit.hard != -1 and (limit.soft == -1 or limit.soft > limit.hard):
            raise Invalid(
                f"invalid ulimit {name}={limit.soft}:{limit.hard}: the soft limit is above the hard limit",
                "write it like nofile=1024:4096",
            )


def _sysctls(wanted: Mapping[str, str], *, host_network: bool) -> None:
    for name, value in wanted.items():
        if _SYSCTL.fullmatch(name) is None or not (name in SYSCTLS or name.startswith(SYSCTL_TREES)):
            raise Invalid(
                f"invalid sysctl {clipped(name)}: it does not belong to a container",
                "those that do begin with net., fs.mqueue., kernel.msg, kernel.sem or kernel.shm",
            )
        if host_network and name.startswith("net."):
            raise Invalid(
                f"sysctl {name} cannot be set in the host's network namespace", "leave the network host"
            )
        if any(not c.isprintable() and c != "\t" for c in value) or len(value) > LONGEST_PATH:
            raise Invalid(f"invalid value {clipped(value)} of sysctl {name}")


# -- names -----------------------------------------------------------------------------------------
def _is_line(text: str) -> bool:
    """It can stand in a file of lines and words, and nothing more."""
    return 0 < len(text) <= LONGEST_NAME and text.isprintable() and not any(c.isspace() for c in text)


def _host(entry: str) -> None:
    """`IP name…`, as a line of /etc/hosts."""
    address, *names = entry.split() or [""]
    hint = "write it like 10.0.0.9 db"
    try:
        ip_address(address)
    except ValueError:
        raise Invalid(
            f"invalid Hosts entry {clipped(entry)}: {clipped(address)} is no IP address", hint
        ) from None
    if not names or "\n" in entry or not all(_is_line(name) and "#" not in name for name in names):
        raise Invalid(f"invalid Hosts entry {clipped(entry)}", hint)


def _dns(config: DNSConfig) -> None:
    for server in config.nameservers:
        try:
            ip_address(server)
        except ValueError:
            raise Invalid(f"invalid name server {clipped(server)}", "name it by its IP address") from None
    for what, texts in (("search domain", config.search), ("DNS option", config.options)):
        for text in texts:
            if not _is_line(text):
                raise Invalid(f"invalid {what} {clipped(text)}", "it is one word")


def _hostname(text: str) -> None:
    if len(text.encode()) > LONGEST_HOSTNAME:
        raise Invalid(
            f"invalid Hostname {clipped(text)}: it is longer than {LONGEST_HOSTNAME} bytes",
            "choose a shorter one",
        )
    if text and not _is_line(text):
        raise Invalid(f"invalid Hostname {clipped(text)}", "it is one word")


# -- mounts ----------------------------------------------------------------------------------------
def _mounts(written: Iterable[Mount], filled: Iterable[Mount]) -> None:
    """`filled` are those of `written` with samples for the placeholders."""
    targets: set[str] = set()
    for mount, sample in zip(written, filled, strict=True):
        _target(sample.target)
        target = posixpath.normpath(mount.target)
        if target in targets:
            raise Invalid(f"ContainerSpec: duplicate mount point: {mount.target}")
        targets.add(target)
        _mount(mount)


def _target(target: str) -> None:
    if not target.startswith("/"):
        raise Invalid(f"invalid mount target {clipped(target)}, must be an absolute path")
    if posixpath.normpath(target) in ("/", "//"):
        raise Invalid(f"invalid mount target {clipped(target)}: the root itself cannot be replaced")
    _path("mount target", target)


def _mount(mount: Mount) -> None:
    where = f"mount {mount.target}"
    _path("mount source", mount.source)
    if mount.type is MountType.TMPFS and mount.source:
        raise Invalid(f"{where}: a tmpfs has no source", "leave the source out")
    if (tmpfs := mount.tmpfs_options) is not None:
        if tmpfs.size_bytes < 0:
            raise Invalid(f"{where}: the size of a tmpfs cannot be negative")
        if tmpfs.mode > 0o7777:
            raise Invalid(f"{where}: invalid mode {tmpfs.mode:o} of a tmpfs", "it goes up to 7777")
    for kind, options in (
        (MountType.BIND, mount.bind_options),
        (MountType.VOLUME, mount.volume_options),
        (MountType.TMPFS, mount.tmpfs_options),
        (MountType.IMAGE, mount.image_options),
    ):
        # Docker's command sends options that say nothing for any type.
        if mount.type is not kind and options is not None and options != type(options)():
            raise Invalid(f"{where}: options of a {kind} do not fit a mount of type {mount.type}")


def _has_templates(spec: ContainerSpec) -> bool:
    texts = [spec.hostname, *spec.env]
    for mount in spec.mounts:
        texts += [mount.source, mount.target]
        if (volume := mount.volume_options) is not None:
            texts += volume.labels.values()
            texts += volume.driver_config.options.values() if volume.driver_config is not None else ()
    return any("{{" in text for text in texts)
