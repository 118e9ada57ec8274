"""What cannot be allocated yet, and which change would be worth another try."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """What the allocator serves, in this order: later ones need what earlier ones got."""

    INGRESS = 0
    NETWORK = 1
    NODE = 2
    SERVICE = 3
    TASK = 4


Item = tuple[Kind, str]  # with the object's id
Key = tuple[str, str]

SUBNETS: Key = ("subnets", "")  # a subnet or VNI may have become free
PORTS: Key = ("ports", "")
INGRESS: Key = ("ingress", "")


def network_key(network_id: str) -> Key:
    return ("network", network_id)


def service_key(service_id: str) -> Key:
    return ("service", service_id)


class Waits(Exception):
    """`reason` is told to the user; another try is worth it after a change of `key`."""

    def __init__(self, key: Key, reason: str) -> None:
        super().__init__(reason)
        self.key = key
        self.reason = reason


class Agenda:
    """Items to look at, those of a kind in the order they came, and items that wait for a change of a key."""

    def __init__(self) -> None:
        self._due: dict[Kind, dict[str, None]] = {kind: {} for kind in Kind}
        self._waiting: dict[Key, dict[Item, None]] = {}
        self._key_of: dict[Item, Key] = {}

    def __bool__(self) -> bool:
        return any(self._due.values())

    def add(self, kind: Kind, id: str) -> None:
        self._forget((kind, id))
        self._due[kind][id] = None

    def due(self, kind: Kind) -> tuple[str, ...]:
        return tuple(self._due[kind])

    def done(self, kind: Kind, id: str) -> None:
        self._due[kind].pop(id, None)

    def wait(self, kind: Kind, id: str, key: Key) -> None:
        """Instead of being done."""
        self._forget((kind, id))
        self.done(kind, id)
        self._waiting.setdefault(key, {})[kind, id] = None
        self._key_of[kind, id] = key

    def drop(self, kind: Kind, id: str) -> None:
        """It is gone, or needs nothing any more."""
        self._forget((kind, id))
        self.done(kind, id)

    def wake(self, key: Key) -> None:
        for kind, id in self._waiting.pop(key, ()):
            del self._key_of[kind, id]
            self._due[kind][id] = None

    def _forget(self, item: Item) -> None:
        if (key := self._key_of.pop(item, None)) is not None:
            waiting = self._waiting[key]
            del waiting[item]
            if not waiting:
                del self._waiting[key]
