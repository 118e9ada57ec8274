"""Network namespaces: made, kept, entered and removed by threads of their own, which always return home.

setns(2) moves a single thread, so no other thread of the daemon ever leaves its namespace. Who works with namespaces
all the time does so on a thread that enters them by itself (`Namespaces.enter_from_this_thread`): to hand each visit
to another one costs two switches, which are nothing on an idle machine and half of the time on a busy one.

A socket stays in the namespace it was opened in for life, and any thread may use it: what works inside namespaces
holds sockets and does not hop. A namespace lives as long as something holds it: its mount, a process, an open file or
socket of it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import logging
import os
import socket as sockets
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from netoverlay.conntrack import ConntrackSocket
from netoverlay.netlink.route import RouteSocket
from netoverlay.nft.socket import NftSocket
from swarmcore.errors import NotFound

log = logging.getLogger(__name__)
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_MS_BIND, _MNT_DETACH = 4096, 2  # linux/mount.h
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # linux/sockios.h, linux/if.h
NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12  # linux/netlink.h
_OWN = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


class _Closes(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closes)


def _system_call(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


class _Place(threading.local):
    """The namespace that a thread is in, -1 for one that does not travel."""

    fd = -1


class _Traveller:
    """Enters other namespaces: one thread for everybody, and those that have joined for themselves."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="netns")
        self._here = _Place()
        self._lost = False
        self.home = self._executor.submit(os.open, _OWN, os.O_RDONLY).result()
        self._executor.submit(self.join).result()

    def join(self) -> None:
        """The calling thread, which is at home, travels by itself from now on."""
        self._here.fd = self.home

    def call(self, fn: Callable[[], T]) -> T:
        """`fn` on a thread that travels: this one if it does, such as for a `run` within a `run`."""
        if self._lost:
            raise OSError(errno.ESTALE, "a thread did not come back from a network namespace")
        if self._here.fd >= 0:
            return fn()
        return self._executor.submit(fn).result()

    def within(self, fd: int, fn: Callable[[], T]) -> T:
        return self.call(lambda: self._visit(fd, fn))

    def _visit(self, fd: int, fn: Callable[[], T]) -> T:
        before, self._here.fd = self._here.fd, fd
        try:
            self._enter(fd)
            return fn()
        finally:
            self._here.fd = before
            self.back()

    def back(self) -> None:
        """To where the visit started. If that ever failed, no visit may start any more from a thread that is lost."""
        try:
            self._enter(self._here.fd)
        except OSError:
            log.critical("cannot return from a network namespace")
            self._lost = True
            raise

    def _enter(self, fd: int) -> None:
        _system_call(_libc.setns(fd, _CLONE_NEWNET), "setns")

    def close(self) -> None:
        self._executor.shutdown()
        os.close(self.home)


class Namespace:
    """One network namespace, held open by `fd` until `close()`. Made by `Namespaces` only."""

    def __init__(self, name: str, fd: int, traveller: _Traveller) -> None:
        self.name = name
        self.fd = fd
        self._traveller = traveller
        self._cached: dict[str, _Closes] = {}

    def __repr__(self) -> str:
        return f"Namespace({self.name!r}, fd={self.fd})"

    @property
    def path(self) -> str:
        """A file that other processes of this host can open or mount while this one is open."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @property
    def closed(self) -> bool:
        return self.fd < 0

    def run(self, fn: Callable[[], T]) -> T:
        """`fn()` inside this namespace, on a thread for that. OSError where it cannot be entered."""
        return self._traveller.within(self._open_fd(), fn)

    def socket(self, family: int, kind: int, proto: int = 0) -> sockets.socket:
        """A socket of this namespace, close-on-exec, for any thread; the caller closes it."""
        return self.run(lambda: sockets.socket(family, kind, proto))

    @property
    def route(self) -> RouteSocket:
        """The rtnetlink socket of this namespace: made once, closed with it."""
        return self._keep("route", lambda: RouteSocket(self._netlink(NETLINK_ROUTE)))

    @property
    def nft(self) -> NftSocket:
        """The nftables socket of this namespace: made once, closed with it."""
        return self._keep("nft", lambda: NftSocket(self._netlink(NETLINK_NETFILTER)))

    @property
    def conntrack(self) -> ConntrackSocket:
        """The conntrack socket of this namespace: made once, closed with it."""
        return self._keep("conntrack", lambda: ConntrackSocket(self._netlink(NETLINK_NETFILTER)))

    def _netlink(self, protocol: int) -> sockets.socket:
        return self.socket(sockets.AF_NETLINK, sockets.SOCK_RAW, protocol)

    def _keep(self, key: str, make: Callable[[], C]) -> C:
        self._open_fd()
        found = self._cached.get(key)
        if found is None:
            found = self._cached[key] = make()
        return found  # type: ignore[return-value]  # one key, one type

    def sysctl(self, name: str, value: str | int) -> None:
        """Write /proc/sys; `name` with dots, or with slashes where an interface's name has dots.

        What this kernel does not have is skipped: there is nothing to be set. OSError for a value it refuses.
        """
        self.sysctls({name: value})

    def sysctls(self, values: Mapping[str, str | int]) -> None:
        """Several of them, with one visit."""
        self.run(lambda: _write_sysctls(values))

    def rest(self) -> None:
        """Close the sockets that are not needed all the time, of thousands of containers: they are opened again when
        somebody asks for them. Only where nobody uses them at this moment."""
        for key in ("route", "conntrack"):
            if (found := self._cached.pop(key, None)) is not None:
                found.close()

    def close(self) -> None:
        """Close its sockets and let go of the namespace. Idempotent."""
        cached, self._cached = self._cached, {}
        for each in cached.values():
            each.close()
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def _open_fd(self) -> int:
        if self.fd < 0:
            raise OSError(errno.EBADF, "the network namespace is closed", self.name)
        return self.fd


class Namespaces:
    """The namespaces that are mounted on files in `directory` (made when missing), and `home`, the host's.

    The host's is the daemon's own, or the one that the file `home` names: several hosts in one process, for tests
    and laboratories. One object per name: `open` gives the one that `create` or an earlier `open` made.
    """

    def __init__(self, directory: Path, home: str | Path | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._directory = directory
        self._traveller = _Traveller()
        own = os.dup(self._traveller.home) if home is None else os.open(home, os.O_RDONLY)
        self.home = Namespace("host", own, self._traveller)
        self._open: dict[str, Namespace] = {}
        self._foreign: list[Namespace] = []

    def enter_from_this_thread(self) -> None:
        """The calling thread, which must be in the daemon's own namespace, enters others by itself from now on. While
        it does, nothing else may run on it."""
        self._traveller.join()

    def file(self, name: str) -> Path:
        """Where the namespace `name` is mounted: for the OCI bundle of a container."""
        if not name or "/" in name or name.startswith("."):
            raise ValueError(f"{name!r} cannot be the name of a namespace")
        return self._directory / name

    def create(self, name: str) -> Namespace:
        """A new namespace with its loopback up. FileExistsError where there is one of this name."""
        path = self.file(name)
        self._clear_stale(path)
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o444))
        try:
            fd = self._traveller.call(lambda: self._make(path))
        except OSError:
            path.unlink()
            raise
        made = self._open[name] = Namespace(name, fd, self._traveller)
        return made

    def _make(self, path: Path) -> int:
        try:
            _system_call(_libc.unshare(_CLONE_NEWNET), "unshare")
            _loopback_up()
            _system_call(_libc.mount(_OWN.encode(), os.fsencode(path), b"none", _MS_BIND, None), "mount")
            return os.open(_OWN, os.O_RDONLY)
        finally:
            self._traveller.back()

    def open(self, name: str) -> Namespace:
        """The namespace `name`. NotFound where it is not, or where a reboot left only the file of its mount."""
        found = self._open.get(name)
        if found is not None and not found.closed:
            return found
        path = self.file(name)
        if not self._is_namespace(path):
            raise NotFound(f"network namespace {name} not found")
        made = self._open[name] = Namespace(name, os.open(path, os.O_RDONLY), self._traveller)
        return made

    def of_pid(self, pid: int) -> Namespace:
        """The namespace that the process is in. NotFound where there is no such process."""
        try:
            fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        except (FileNotFoundError, ProcessLookupError):
            raise NotFound(f"network namespace of process {pid} not found") from None
        made = Namespace(f"pid{pid}", fd, self._traveller)
        self._foreign = [*(each for each in self._foreign if not each.closed), made]
        return made

    def names(self) -> set[str]:
        """All that are there, whoever made them."""
        return {path.name for path in self._directory.iterdir() if self._is_namespace(path)}

    def remove(self, name: str) -> None:
        """Close and unmount it; nothing is left even where it was only a stale file. Idempotent."""
        if (held := self._open.pop(name, None)) is not None:
            held.close()
        path = self.file(name)
        while self._is_namespace(path):  # one that was mounted twice has two layers
            _system_call(_libc.umount2(os.fsencode(path), _MNT_DETACH), "umount")
        path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of all of them; the mounted ones stay. Idempotent."""
        for each in [*self._open.values(), *self._foreign, self.home]:
            each.close()
        self._open.clear()
        self._foreign.clear()
        with suppress(OSError):  # closed before
            self._traveller.close()

    def _is_namespace(self, path: Path) -> bool:
        """The file is a mount: the kernel's own file system of namespaces is another device."""
        try:
            return path.stat().st_dev != self._directory.stat().st_dev
        except FileNotFoundError:
            return False

    def _clear_stale(self, path: Path) -> None:
        """A reboot takes the mounts and leaves the files."""
        if path.exists() and not self._is_namespace(path):
            log.info("removed the file of a namespace that is gone", extra={"path": str(path)})
            path.unlink()


def _loopback_up() -> None:
    with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))


def _write_sysctls(values: Mapping[str, str | int]) -> None:
    for name, value in values.items():
        path = Path("/proc/sys", *(name.split("/") if "/" in name else name.split(".")))
        try:
            path.write_text(str(value))
        except FileNotFoundError:
            log.debug("this kernel has no such setting", extra={"setting": name})
