"""Unpack layer archives into directories that overlayfs can stack, without ever leaving the directory.

Whiteouts become overlayfs's own marks: a character device 0/0 hides a name, the attribute
trusted.overlay.opaque hides everything that lower layers have in a directory.
"""

from __future__ import annotations

import base64
import errno
import os
import stat
import tarfile
from pathlib import Path
from typing import IO

from swarmcore.errors import Invalid
from worker.rootfs import open_in_root

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_OPAQUE_XATTR = "trusted.overlay.opaque"
_CHUNK = 1 << 18
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_XATTR_PREFIX = "SCHILY.xattr."


def directory_name(diff_id: str) -> str:
    """The layer's directory: 26 characters, so that 127 of them fit into mount(2)'s one page of options."""
    raw = bytes.fromhex(diff_id.removeprefix("sha256:"))
    return base64.b32encode(raw[:16]).decode().rstrip("=").lower()


def unpack(archive: IO[bytes], target: Path) -> int:
    """Unpack one uncompressed layer into the empty directory `target`; returns the bytes of its files."""
    root = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    unpacker = _Unpacker(root)
    try:
        with tarfile.open(fileobj=archive, mode="r|", errorlevel=2) as tar:
            for member in tar:
                unpacker.add(tar, member)
        unpacker.finish()
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise Invalid(f"a layer is no valid tar archive: {error}") from None
    finally:
        unpacker.close()
        os.close(root)
    return unpacker.size


class _Unpacker:
    def __init__(self, root: int) -> None:
        self._root = root
        self._parent_name: str | None = None
        self._parent = -1
        self._directory_times: dict[str, int] = {}
        self.size = 0

    def close(self) -> None:
        if self._parent >= 0:
            os.close(self._parent)
            self._parent = -1

    # -- names ---------------------------------------------------------------------------------------
    @staticmethod
    def _clean(name: str) -> list[str]:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts or "\0" in name:
            raise Invalid(f"a layer holds the path {name!r}, which leads out of the image")
        return parts

    def _open_parent(self, parts: list[str]) -> int:
        """The directory of a member; created with default modes where the archive does not list it."""
        name = "/".join(parts)
        if name == self._parent_name and self._parent >= 0:
            return self._parent
        try:
            try:
                fd = open_in_root(self._root, name, _DIRECTORY)
            except FileNotFoundError:
                self._make_directories(parts)
                fd = open_in_root(self._root, name, _DIRECTORY)
        except OSError as error:
            # ENOENT here: a link to nothing within the image.
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise Invalid(f"a layer uses {name!r} as a directory, which it is not") from None
            raise
        self.close()
        self._parent_name, self._parent = name, fd
        return fd

    def _make_directories(self, parts: list[str]) -> None:
        for depth, part in enumerate(parts):
            upper = open_in_root(self._root, "/".join(parts[:depth]), _DIRECTORY)
            try:
                os.mkdir(part, 0o755, dir_fd=upper)
            except FileExistsError:
                continue
            finally:
                os.close(upper)

    # -- members -------------------------------------------------------------------------------------
    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = self._clean(member.name)
        if not parts:  # the root itself
            if member.isdir():
                Path(f"/proc/self/fd/{self._root}").chmod(member.mode & 0o7777)
                os.chown(f"/proc/self/fd/{self._root}", member.uid, member.gid)
            return
        *above, name = parts
        parent = self._open_parent(above)
        if name == _OPAQUE:
            os.setxattr(f"/proc/self/fd/{parent}", _OPAQUE_XATTR, b"y")
            return
        if name.startswith(_WHITEOUT):
            self._white_out(parent, name.removeprefix(_WHITEOUT))
            return
        replaced = self._make_room(parent, name, member.isdir())
        self._create(tar, member, parent, name)
        if replaced == "whiteout" and member.isdir():
            self._on(parent, name, lambda path: os.setxattr(path, _OPAQUE_XATTR, b"y"))
        if member.islnk():
            return  # owner and mode belong to the file that it links to
        os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        if not member.issym():
            os.chmod(name, member.mode & 0o7777, dir_fd=parent)  # after chown, which clears setuid
            self._set_xattrs(parent, name, member)
        if member.isdir():
            self._directory_times["/".join(parts)] = int(member.mtime)
        else:
            self._set_time(parent, name, int(member.mtime))

    def _white_out(self, parent: int, name: str) -> None:
        if name.startswith(_WHITEOUT):
            return  # aufs's own files
        if name in ("", ".", ".."):
            raise Invalid("a layer holds a malformed whiteout")
        try:
            mode = os.lstat(name, dir_fd=parent).st_mode
        except FileNotFoundError:
            os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)
            return
        # A whiteout hides what lower layers have, never what this layer brought itself.
        if stat.S_ISDIR(mode):
            self._on(parent, name, lambda path: os.setxattr(path, _OPAQUE_XATTR, b"y"))

    @staticmethod
    def _make_room(parent: int, name: str, directory: bool) -> str:
        """A later member of the same name replaces an earlier one; directories merge."""
        try:
            found = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            return ""
        if stat.S_ISDIR(found.st_mode):
            if directory:
                return "directory"
            try:
                os.rmdir(name, dir_fd=parent)
            except OSError:
                raise Invalid(f"a layer replaces its own full directory {name!r} by a file") from None
            return "directory"
        os.unlink(name, dir_fd=parent)
        return "whiteout" if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0 else "file"

    def _create(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> None:
        if member.isreg():
            fd = os.open(
                name,
                os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
                dir_fd=parent,
            )
            with os.fdopen(fd, "wb") as out:
                source = tar.extractfile(member)
                assert source is not None
                while chunk := source.read(_CHUNK):
                    out.write(chunk)
                if out.tell() != member.size:
                    raise Invalid("a layer ends in the middle of a file")
            self.size += member.size
        elif member.isdir():
            try:
                os.mkdir(name, 0o755, dir_fd=parent)
            except FileExistsError:
                pass  # listed twice, or made for a member above
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
        elif member.islnk():
            self._hard_link(member, parent, name)
        elif member.isfifo():
            os.mkfifo(name, 0o600, dir_fd=parent)
        elif member.ischr() or member.isblk():
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            os.mknod(name, kind | 0o600, os.makedev(member.devmajor, member.devminor), dir_fd=parent)
        else:
            raise Invalid(f"a layer holds a member of unknown type: {member.name!r}")

    def _hard_link(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        *above, last = self._clean(member.linkname) or [""]
        if not last:
            raise Invalid(f"a layer links {member.name!r} to nothing")
        try:
            source = open_in_root(self._root, "/".join(above), os.O_PATH | os.O_DIRECTORY)
        except OSError:
            raise Invalid(f"a layer links {member.name!r} to a file that it does not hold") from None
        try:
            os.link(last, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise Invalid(f"a layer links {member.name!r} to a file that it does not hold") from None
        finally:
            os.close(source)

    # -- attributes ----------------------------------------------------------------------------------
    @staticmethod
    def _on(parent: int, name: str, act: object) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            assert callable(act)
            act(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)

    def _set_xattrs(self, parent: int, name: str, member: tarfile.TarInfo) -> None:
        wanted = {
            key.removeprefix(_XATTR_PREFIX): value.encode("utf-8", "surrogateescape")
            for key, value in member.pax_headers.items()
            # Others are the host's business: an image must not steer overlayfs or a security module.
            if key.startswith((_XATTR_PREFIX + "user.", _XATTR_PREFIX + "security.capability"))
        }
        if not wanted or not (member.isreg() or member.isdir()):
            return
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        try:
            for key, value in wanted.items():
                try:
                    os.setxattr(fd, key, value)
                except OSError as error:
                    if error.errno != errno.ENOTSUP:
                        raise
        finally:
            os.close(fd)

    @staticmethod
    def _set_time(parent: int, name: str, seconds: int) -> None:
        os.utime(name, (seconds, seconds), dir_fd=parent, follow_symlinks=False)

    def finish(self) -> None:
        """Directories get their times last: adding members changes them."""
        for path, seconds in sorted(self._directory_times.items(), reverse=True):
            above, _, name = path.rpartition("/")
            try:
                parent = open_in_root(self._root, above, os.O_PATH | os.O_DIRECTORY)
            except FileNotFoundError:
                continue  # a later member replaced it
            try:
                self._set_time(parent, name, seconds)
            except FileNotFoundError:
                pass  # a later member replaced it
            finally:
                os.close(parent)
