"""Unpack layer archives into directories that overlayfs can stack, without ever leaving the directory.

Whiteouts become overlayfs's own marks: a character device 0/0 hides a name, the attribute trusted.overlay.opaque hides
everything that lower layers have in a directory. docs/design/images.md lists the cases.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from swarmcore.errors import Invalid, clipped
from worker.images import copy_up
from worker.images.limits import Budget
from worker.images.merged import OPAQUE_XATTR, Merged, is_whiteout
from worker.images.tarstream import Kind, Member, Source, TarStream
from worker.runtime.in_root import open_in_root

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_AUFS = ".wh..wh."
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_MAX_TIME = (1 << 63) - 1
_MAX_ID = (1 << 32) - 2  # the last one means "unchanged" to chown(2)
_DEVICES = {Kind.CHARACTER: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK}


class Unpacked(Struct, frozen=True, kw_only=True):
    """`leans`: something of it was taken from the layers below, so that it does not fit on others."""

    size: int
    leans: bool


def unpack(archive: Source, target: Path, budget: Budget, below: Sequence[Path] = ()) -> Unpacked:
    """Unpack one uncompressed layer into the empty directory `target`; `below` it lie others, from the top down."""
    with _Unpacker(target, below, budget) as unpacker:
        stream = TarStream(archive)
        while (member := stream.next()) is not None:
            budget.entry()
            try:
                unpacker.add(stream, member)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise Invalid(
                    f"a layer's entry {clipped(member.name)} cannot be made: {error.strerror}"
                ) from None
            except (ValueError, OverflowError) as error:
                raise Invalid(f"a layer's entry {clipped(member.name)} cannot be made: {error}") from None
        unpacker.finish()
        return Unpacked(size=unpacker.size, leans=unpacker.leans)


def _clean(name: str) -> list[str]:
    """The components of a member's name; `..` stays within the image or is refused."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == ".." and not parts and not name.startswith("/"):
            raise Invalid(f"a layer holds the path {clipped(name)}, which leads out of the image")
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return parts


class _Unpacker:
    def __init__(self, target: Path, below: Sequence[Path], budget: Budget) -> None:
        self._below, self._budget = below, budget
        self._root = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._roots = [self._root]
        self._merged: Merged | None = None
        self._parent_name: str | None = None
        self._parent = -1
        self._directory_times: dict[str, int] = {}
        self._aufs: set[str] = set()
        self.size = 0
        self.leans = False

    def __enter__(self) -> _Unpacker:
        return self

    def __exit__(self, *failure: object) -> None:
        for fd in (*self._roots, *([self._parent] if self._parent >= 0 else [])):
            os.close(fd)

    # -- names ---------------------------------------------------------------------------------------
    def _view(self) -> Merged:
        """This layer and those below it."""
        if self._merged is None:
            for folder in self._below:
                self._roots.append(os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            self._merged = Merged(self._roots)
        return self._merged

    def _open_parent(self, parts: list[str]) -> int:
        """The directory of a member; where this layer does not list it, it is as the layers below have it."""
        name = "/".join(parts)
        if name == self._parent_name:
            return self._parent
        fd = self._open_directory(name)
        plain = fd is not None
        if fd is None:
            try:
                fd = open_in_root(self._root, name, _DIRECTORY)
            except (FileNotFoundError, NotADirectoryError):
                fd = self._make_directories(parts)
        if self._parent >= 0:
            os.close(self._parent)
        # Where a link leads may change before the next member comes.
        self._parent_name, self._parent = (name if plain else None), fd
        return fd

    def _open_directory(self, name: str) -> int | None:
        """None where it is missing, or behind a link."""
        try:
            return open_in_root(self._root, name, _DIRECTORY, links=False)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return None

    def _make_directories(self, parts: list[str]) -> int:
        self.leans = True
        try:
            real = self._view().find(parts).parts
        except NotADirectoryError:
            name = clipped("/".join(parts))
            raise Invalid(f"a layer uses {name} as a directory, which it is not") from None
        for depth in range(1, len(real) + 1):
            self._make_directory(real[:depth])
        return open_in_root(self._root, "/".join(real), _DIRECTORY)

    def _make_directory(self, parts: Sequence[str]) -> None:
        path = "/".join(parts)
        try:
            own = os.lstat(path, dir_fd=self._root)
        except FileNotFoundError:
            own = None
        if own is not None and stat.S_ISDIR(own.st_mode):
            return
        self.leans = True
        place = self._view().find(parts, follow_last=False)
        if own is not None:
            if not is_whiteout(own):
                raise Invalid(f"a layer uses {clipped(path)} as a directory, which it is not")
            os.unlink(path, dir_fd=self._root)
        os.mkdir(path, 0o755, dir_fd=self._root)
        os.chmod(path, 0o755, dir_fd=self._root)  # whatever this process's umask is
        if own is not None:
            self._make_opaque(self._root, path)
        elif place.found is not None and stat.S_ISDIR(place.found.st_mode):
            copy_up.directory(self._roots[place.layers[0]], self._root, path, place.found)
            self._directory_times[path] = place.found.st_mtime_ns

    # -- members -------------------------------------------------------------------------------------
    def add(self, stream: TarStream, member: Member) -> None:
        parts = _clean(member.name)
        if not parts:
            if member.kind is Kind.DIRECTORY:
                self._set_attributes(self._root, ".", member)
                self._directory_times[""] = member.mtime_ns
            return
        *above, name = parts
        if self._is_of_aufs(parts):
            self._bring(stream, member, parts)
        elif name == _OPAQUE:
            self._open_parent(above)
            self._make_opaque(self._parent, ".")
        elif name.startswith(_WHITEOUT):
            self._white_out(above, name.removeprefix(_WHITEOUT))
        else:
            self._bring(stream, member, parts)

    def _is_of_aufs(self, parts: list[str]) -> bool:
        """aufs kept its own files, and the targets of hard links, beside the others; they are no part of the image."""
        for depth, part in enumerate(parts):
            if part.startswith(_AUFS) and part != _OPAQUE:
                self._aufs.add("/".join(parts[: depth + 1]))
                return True
        return False

    def _bring(self, stream: TarStream, member: Member, parts: list[str]) -> None:
        *above, name = parts
        parent = self._open_parent(above)
        hidden = self._make_room(parent, name, member.kind is Kind.DIRECTORY)
        self._create(stream, member, parent, name)
        if hidden and member.kind is Kind.DIRECTORY:
            self._make_opaque(parent, name)
        if member.kind is Kind.HARD_LINK:
            return  # owner and mode belong to the file that it links to
        self._set_attributes(parent, name, member)
        if member.kind is Kind.DIRECTORY:
            self._directory_times["/".join(parts)] = member.mtime_ns
        else:
            self._set_time(parent, name, member.mtime_ns)

    def _white_out(self, above: list[str], name: str) -> None:
        if name in ("", ".", ".."):
            raise Invalid("a layer holds a malformed whiteout")
        parent = self._open_parent(above)
        try:
            found = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            if self._view().find([*above, name], follow_last=False).found is None:
                self.leans = True  # the kernel would list the mark itself where it hides nothing
            else:
                os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)
            return
        # A whiteout hides what lower layers have, never what this layer brought itself.
        if stat.S_ISDIR(found.st_mode):
            self._make_opaque(parent, name)

    def _make_room(self, parent: int, name: str, directory: bool) -> bool:
        """A later member replaces an earlier one, directories merge; True: what was there hid the layers below."""
        try:
            found = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=parent)
            return True
        if not directory:
            shutil.rmtree(name, dir_fd=parent)
        return False

    def _create(self, stream: TarStream, member: Member, parent: int, name: str) -> None:
        match member.kind:
            case Kind.FILE:
                self._write(stream, member, parent, name)
            case Kind.DIRECTORY:
                try:
                    os.mkdir(name, 0o755, dir_fd=parent)
                except FileExistsError:
                    pass  # listed twice, or made for a member above
            case Kind.SYMLINK:
                os.symlink(member.link, name, dir_fd=parent)
            case Kind.HARD_LINK:
                self._hard_link(member, parent, name)
            case Kind.FIFO:
                os.mkfifo(name, 0o600, dir_fd=parent)
            case Kind.CHARACTER | Kind.BLOCK:
                device = os.makedev(member.major, member.minor)
                os.mknod(name, _DEVICES[member.kind] | 0o600, device, dir_fd=parent)
            case None:
                raise Invalid(f"a layer holds a member of unknown type: {clipped(member.name)}")

    def _write(self, stream: TarStream, member: Member, parent: int, name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "wb") as out:
            for offset, chunk in stream.content():
                self._budget.write(len(chunk))
                if offset != out.tell():
                    out.seek(offset)
                out.write(chunk)
            if member.pieces is not None:
                out.truncate(member.size)  # holes stay holes
        self.size += member.size

    def _hard_link(self, member: Member, parent: int, name: str) -> None:
        """To what this layer has, or else to a copy of what lies below."""
        missing = Invalid(
            f"a layer links {clipped(member.name)} to {clipped(member.link)}, which is no file there"
        )
        if not (parts := _clean(member.link)):
            raise missing
        if (source := self._holder_of(parts)) is not None:
            try:
                os.link(parts[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(source)
            return
        self.leans = True
        try:
            place = self._view().find(parts, follow_last=False)
        except NotADirectoryError:
            raise missing from None
        if place.found is None or stat.S_ISDIR(place.found.st_mode):
            raise missing
        path = "/".join(place.parts)
        if place.layers[0] > 0:
            self._copy_up(path, place.layers[0], place.found)
        os.link(path, name, src_dir_fd=self._root, dst_dir_fd=parent, follow_symlinks=False)

    def _holder_of(self, parts: list[str]) -> int | None:
        """The directory in this layer that has a file there."""
        try:
            folder = open_in_root(self._root, "/".join(parts[:-1]), _DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            found = os.lstat(parts[-1], dir_fd=folder)
        except FileNotFoundError:
            found = None
        if found is None or stat.S_ISDIR(found.st_mode) or is_whiteout(found):
            os.close(folder)
            return None
        return folder

    def _copy_up(self, path: str, layer: int, found: os.stat_result) -> None:
        above, _, last = path.rpartition("/")
        parts = above.split("/") if above else []
        for depth in range(1, len(parts) + 1):
            self._make_directory(parts[:depth])
        folder = open_in_root(self._root, above, _DIRECTORY)
        try:
            copy_up.file(self._roots[layer], path, folder, last, found, self._budget)
        finally:
            os.close(folder)
        self.size += found.st_size if stat.S_ISREG(found.st_mode) else 0

    # -- attributes ----------------------------------------------------------------------------------
    @staticmethod
    def _make_opaque(parent: int, name: str) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.setxattr(fd, OPAQUE_XATTR, b"y")
            for _, _, files, folder in os.fwalk(".", dir_fd=fd):
                for each in files:  # marks that hide nothing any more
                    if is_whiteout(os.lstat(each, dir_fd=folder)):
                        os.unlink(each, dir_fd=folder)
        finally:
            os.close(fd)

    def _set_attributes(self, parent: int, name: str, member: Member) -> None:
        if not (0 <= member.uid <= _MAX_ID and 0 <= member.gid <= _MAX_ID):
            raise Invalid(f"a layer's entry {clipped(member.name)} has the owner {member.uid}:{member.gid}")
        os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        if member.kind is Kind.SYMLINK:
            return
        os.chmod(name, member.mode & 0o7777, dir_fd=parent)  # after chown, which clears setuid
        # Others are the host's business: an image must not steer overlayfs or a security module.
        wanted = {key: value for key, value in member.xattrs.items() if key.startswith(copy_up.KEPT_XATTRS)}
        if wanted and member.kind in (Kind.FILE, Kind.DIRECTORY):
            self._set_xattrs(parent, name, wanted)

    @staticmethod
    def _set_xattrs(parent: int, name: str, wanted: dict[str, bytes]) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        try:
            for key, value in wanted.items():
                try:
                    os.setxattr(fd, key, value)
                except OSError as error:
                    if error.errno == errno.ENOTSUP:
                        continue
                    # ext4 says ENOSPC of one that does not fit into its block: the disk is not full.
                    raise Invalid(
                        f"a layer's attribute {clipped(key)} cannot be set: {error.strerror}"
                    ) from None
        finally:
            os.close(fd)

    @staticmethod
    def _set_time(parent: int, name: str, nanoseconds: int) -> None:
        """Times that the kernel's clock does not know become the epoch, as in Docker."""
        time = nanoseconds if 0 <= nanoseconds <= _MAX_TIME else 0
        os.utime(name, ns=(time, time), dir_fd=parent, follow_symlinks=False)

    def finish(self) -> None:
        """What is not the image's goes; directories get their times last, because adding members changes them."""
        for path in self._aufs:
            above, _, name = path.rpartition("/")
            folder = open_in_root(self._root, above, _DIRECTORY)
            try:
                if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
                    shutil.rmtree(name, dir_fd=folder)
                else:
                    os.unlink(name, dir_fd=folder)
            finally:
                os.close(folder)
        for path, nanoseconds in sorted(self._directory_times.items(), reverse=True):
            try:
                folder = open_in_root(self._root, path, _DIRECTORY | os.O_NOFOLLOW)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                continue  # a later member replaced it
            try:
                self._set_time(folder, ".", nanoseconds)
            finally:
                os.close(folder)
