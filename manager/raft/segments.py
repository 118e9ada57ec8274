"""What a journal's segment holds: records that replay to the log, the term, the vote and the commit index.

A segment begins with a restatement of all that was live when it was made and is complete before it gets its name.
So the newest one alone is the journal, and older ones are leftovers of a crash.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from manager.raft.interfaces import CorruptState, Disk
from manager.raft.messages import Entry
from manager.raft.promise import NAME as PROMISE
from manager.raft.sealed import HEADER_BYTES, Keyring, Opener
from swarmcore.text.patterns import Pattern

MAGIC = b"pswRaftJ"
_NAME = Pattern(r"journal-(\d{16})(\.tmp)?", 255)
_ENTRY, _TRUNCATE, _TERM, _COMMIT, _RESET, _TRIM, _LIVE = range(1, 8)
_ENTRY_HEAD = struct.Struct("<BQQI")  # kind, index, term, size of the command
_PLACE = struct.Struct("<BQ")  # kind, index
_TERM_HEAD = struct.Struct("<BQH")  # kind, term, size of the vote
_RESTATE_BYTES = 1 << 20  # plain data of one frame of a restatement, roughly
RESET = bytes([_RESET])


def segment_name(number: int) -> str:
    return f"journal-{number:016d}"


def entry_record(command: bytes, index: int, term: int) -> bytes:
    return _ENTRY_HEAD.pack(_ENTRY, index, term, len(command)) + command


def truncate_record(index: int) -> bytes:
    """Entries from `index` on are gone."""
    return _PLACE.pack(_TRUNCATE, index)


def term_record(term: int, vote: str | None) -> bytes:
    voted = (vote or "").encode()
    return _TERM_HEAD.pack(_TERM, term, len(voted)) + voted


def commit_record(index: int) -> bytes:
    return _PLACE.pack(_COMMIT, index)


def trim_record(index: int) -> bytes:
    """Entries before `index` are not needed any more."""
    return _PLACE.pack(_TRIM, index)


class LogState:
    """What the journal says; `replay` is the inverse of the records."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.term = 0
        self.vote: str | None = None
        self.commit = 1
        self.restated = False

    def restatement(self) -> Iterator[bytes]:
        """Plain data of frames that replay to this state; the last ends with the mark of completeness."""
        part = [term_record(self.term, self.vote), commit_record(self.commit)]
        size = 0
        for command, index, term in self.entries:
            part.append(entry_record(command, index, term))
            size += len(part[-1])
            if size >= _RESTATE_BYTES:
                yield b"".join(part)
                part, size = [], 0
        part.append(bytes([_LIVE]))
        yield b"".join(part)

    def replay(self, plain: bytes) -> None:
        """Raises ValueError (or struct.error) for what no version of this program writes."""
        at = 0
        while at < len(plain):
            kind = plain[at]
            if kind == _ENTRY:
                _, index, term, size = _ENTRY_HEAD.unpack_from(plain, at)
                at += _ENTRY_HEAD.size
                command = plain[at : at + size]
                if len(command) != size or (self.entries and index != self.entries[-1][1] + 1):
                    raise ValueError(f"entry {index} is out of place")
                self.entries.append((command, index, term))
                at += size
            elif kind in (_TRUNCATE, _TRIM, _COMMIT):
                _, index = _PLACE.unpack_from(plain, at)
                at += _PLACE.size
                if kind == _COMMIT:
                    self.commit = index
                elif self.entries:
                    position = max(0, index - self.entries[0][1])
                    del self.entries[slice(position, None) if kind == _TRUNCATE else slice(position)]
            elif kind == _TERM:
                _, self.term, size = _TERM_HEAD.unpack_from(plain, at)
                at += _TERM_HEAD.size
                self.vote = plain[at : at + size].decode() or None
                at += size
            elif kind in (_RESET, _LIVE):
                at += 1
                if kind == _RESET:
                    self.entries = []
                else:
                    self.restated = True
            else:
                raise ValueError(f"record of kind {kind}")


def segment_names(names: Iterable[str]) -> list[str]:
    """The journal's files among these, unfinished ones included."""
    return [name for name in names if _NAME.fullmatch(name)]


def read_newest(disk: Disk, keyring: Keyring) -> tuple[int, LogState]:
    """The number and the state of the newest segment; (0, empty) when there is none."""
    state = LogState()
    finished = [name for name in segment_names(disk.listdir()) if not name.endswith(".tmp")]
    if not finished:
        return 0, state
    name = max(finished)
    data = disk.read(name)
    opener = Opener(keyring, MAGIC, name, data[:HEADER_BYTES])
    if segment_name(opener.number) != name:
        raise opener.corrupt(f"it is segment {opener.number} under another name")
    for frame in opener.frames(data):
        try:
            state.replay(frame)
        except (ValueError, struct.error) as error:
            raise opener.corrupt(f"it holds what this program does not write: {error}") from error
    if not state.restated:
        raise opener.corrupt("its beginning is incomplete")
    return opener.number, state


def remove_given_up(disk: Disk, segment: int) -> None:
    """Remove what a demotion may not have got to: everything, if there is no segment after that one."""
    names = disk.listdir()
    if segment and all(
        name <= segment_name(segment) for name in segment_names(names) if not name.endswith(".tmp")
    ):
        for name in names:
            if name != PROMISE:
                disk.unlink(name)
        disk.fsync_dir()  # before anything new: a snapshot that came back would be taken for its own


def check_names(disk: Disk) -> None:
    """Raises CorruptState when the journal is gone while a snapshot says that there was one."""
    names = disk.listdir()
    if "snapshot" in names and not any(not name.endswith(".tmp") for name in segment_names(names)):
        raise CorruptState("raft's journal is gone, though there is a snapshot: term and vote are lost")
