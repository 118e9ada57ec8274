"""Keeps one table of one namespace as it is wanted: applies differences, and finds and repairs what others changed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from netoverlay.nft import dump
from netoverlay.nft.batch import Batch, Encoded
from netoverlay.nft.plan import Plan, Plans, plan, rebuild
from netoverlay.nft.socket import NftError, NftSocket
from netoverlay.nft.table import Part, merged

log = logging.getLogger(__name__)
_TRIES = 4
_UNKNOWN = -1


class KeptTable:
    """The table that `plans` are about, in the namespace of `socket`. Not for two threads at a time.

    What an earlier daemon left is taken over: equal rules stay, the rest is replaced without a gap.
    """

    def __init__(self, socket: NftSocket, plans: Plans, *, apart: bool = False) -> None:
        """`apart`: no two parts ever have an element in common, which need not be found out then."""
        self._socket = socket
        self._apart = apart
        self._plans = plans
        self._wanted: tuple[Part, ...] | None = None
        self._has: tuple[Part, ...] | None = None  # what the kernel has; None: not known
        self._prune = False
        self._handles: dict[str, list[int]] = {}
        self._generation = _UNKNOWN  # of the namespace when the table was seen to be as it is
        self._complete = False  # whether rules have remembered all that passed since the namespace was made

    def adopt(self, parts: Iterable[Part], fresh: bool = False) -> None:
        """Make these parts exist; what else is in the table stays until the first `keep`. `fresh`: the namespace has
        seen no packet yet."""
        self._wanted = tuple(parts)
        self._prune = False
        self._complete = not self._settle() or fresh

    def keep(self, parts: Iterable[Part]) -> None:
        """Make the table consist of these parts. Only parts that are other objects than before are looked at.

        NetlinkError where the kernel refuses it; then the next call, or `reconcile`, tries again.
        """
        self._wanted = wanted = tuple(parts)
        adopted, self._prune = not self._prune, True
        if self._has is None:
            differences = self._settle()
            self._complete = self._complete and (adopted or not differences)
            return
        try:
            self._change(self._has, wanted)
        except NftError as error:
            log.info("a table is not as we left it", extra={"table": self._plans.table, "reason": str(error)})
            self._settle()
            self._complete = False

    def reconcile(self) -> int:
        """Compare with the kernel, repair, and say how many differences there were.

        Costs one small question where nobody has changed any table of the namespace meanwhile.
        """
        if self._wanted is None:
            return 0
        if self._generation != _UNKNOWN and self._socket.generation() == self._generation:
            return 0
        differences = self._settle()
        if differences:
            self._complete = False
            log.warning("repaired a table", extra={"table": self._plans.table, "differences": differences})
        return differences

    def take_out(self, name: str, keys: Iterable[bytes]) -> list[bytes]:
        """Those of the keys that rules have added to the set; they are out of it then. All of them where rules may
        have missed some, as the table was not always what it should be."""
        asked = list(keys)
        if not self._complete or self._socket.generation() != self._generation:
            return asked
        family, table = self._plans.family, self._plans.table
        found = [key for key in asked if self._socket.has_element(family, table, name, key)]
        if found:
            batch = Batch(family, table)
            batch.drop_elements(name, found)
            try:
                self._commit(batch.encode())
            except NftError:  # somebody came between
                return asked
        return found

    def remove(self) -> None:
        """Drop the whole table, whether or not it is there."""
        self._wanted = self._has = None
        self._generation = _UNKNOWN
        batch = Batch(self._plans.family, self._plans.table)
        batch.make_table()
        batch.drop_table()
        self._socket.commit(batch.encode())

    def _change(self, has: tuple[Part, ...], wanted: tuple[Part, ...]) -> None:
        before = {id(each) for each in has}
        after = {id(each) for each in wanted}
        old = [each for each in has if id(each) not in after]
        new = [each for each in wanted if id(each) not in before]
        same = [each for each in wanted if id(each) in before]
        if not self._apart and _overlap(same, [*old, *new]):
            # An element of two parts: it must not go while one of them stays.
            found = plan(self._plans.family, self._plans.table, merged(has), merged(wanted))
        elif old or new:
            cached = self._plans.between(old, new)
            found = cached or rebuild(self._plans.family, self._plans.table, merged(wanted))
        else:
            return
        self._carry_out(found)
        self._has = wanted

    def _settle(self) -> int:
        """Read the table and make it as wanted; the number of differences."""
        assert self._wanted is not None
        family, table = self._plans.family, self._plans.table
        failed: NftError | None = None
        for _ in range(_TRIES):
            found, self._generation = dump.read(self._socket, family, table)
            if found is None:
                made = self._plans.anew(self._wanted)
            else:
                made = plan(family, table, found.part, merged(self._wanted), self._prune)
            self._handles = found.handles if found else {}
            try:
                self._carry_out(made)
            except NftError as error:
                failed = error  # others changed it between reading and writing, or it cannot be done
                continue
            self._has = self._wanted if self._prune or found is None else None
            return made.differences
        assert failed is not None
        raise failed

    def _carry_out(self, made: Plan) -> None:
        self._has = None  # until all of it is done
        handles = self._handles = {} if made.anew else self._handles
        second = made.second(self._plans.family, self._plans.table, handles)
        if made.first is not None:
            fresh = iter(self._commit(made.first))
            for chain, count in made.inserted:
                # Each was put before the one ahead of it.
                handles[chain] = [next(fresh) for _ in range(count)][::-1] + handles.get(chain, [])
        if second is not None:
            self._commit(second)
        inserted = dict(made.inserted)
        for chain, count in made.removed:
            start = inserted.get(chain, 0)
            del handles[chain][start : start + count]
        for chain in made.drop_chains:
            handles.pop(chain, None)

    def _commit(self, batch: Encoded) -> tuple[int, ...]:
        try:
            committed = self._socket.commit(batch)
        except NftError:
            self._generation = _UNKNOWN
            raise
        # Only if nobody else came between is the table known to be as we left it.
        ours = self._generation != _UNKNOWN and committed.generation == self._generation + 1
        self._generation = committed.generation if ours else _UNKNOWN
        return committed.handles


def _overlap(some: Sequence[Part], others: Sequence[Part]) -> bool:
    for one in some:
        for other in others:
            if not one.chains.keys().isdisjoint(other.chains.keys()):
                return True
            for name in one.elements.keys() & other.elements.keys():
                if not one.elements[name].keys().isdisjoint(other.elements[name].keys()):
                    return True
    return False
