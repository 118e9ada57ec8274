"""The difference between two states of a table, as batches. Pure: the same states give the same plan.

A connection must never meet a gap. So a chain's new rules go in before its old ones, and these leave in a later
batch: within one, a packet that is already past the old rule's head would find its map empty. Elements of named sets
change in one step.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import NamedTuple

from netoverlay.nft.batch import Batch, Encoded
from netoverlay.nft.table import Chain, Part, Rule, merged
from netoverlay.nft.types import Value
from netoverlay.nft.wire import Family


class Plan(NamedTuple):
    """What to do; the same for each namespace in which the table is in the first state.

    `first` is a whole batch. Then the rules that were the first `removed` of their chains go, by their handles there,
    and the named sets and chains of `drop_*`. `inserted`: how many rules each chain gets, in the order of the batch.
    """

    first: Encoded | None
    inserted: tuple[tuple[str, int], ...] = ()
    removed: tuple[tuple[str, int], ...] = ()
    drop_sets: tuple[str, ...] = ()
    drop_chains: tuple[str, ...] = ()
    differences: int = 0
    anew: bool = False  # nothing that was in the table is left

    def second(self, family: Family, table: str, handles: Mapping[str, Sequence[int]]) -> Encoded | None:
        """What follows, where the chains' rules had these handles before `first`."""
        batch = Batch(family, table)
        for chain, count in self.removed:
            for handle in handles[chain][:count]:
                batch.drop_rule(chain, handle)
        for chain in self.drop_chains:
            batch.flush_chain(chain)
        for name in self.drop_sets:
            batch.drop_set(name)
        for chain in self.drop_chains:
            batch.drop_chain(chain)
        return batch.encode() if len(batch) else None


def plan(family: Family, table: str, before: Part | None, after: Part, prune: bool = True) -> Plan:
    """From `before` (None: no table) to `after`. Without `prune`, chains and elements that `after` lacks stay."""
    if before is None:
        batch = Batch(family, table)
        batch.make_table()
        return _Difference(batch, Part(), after, prune, found=1).plan()
    if not _compatible(before, after):
        return rebuild(family, table, after)
    return _Difference(Batch(family, table), before, after, prune).plan()


def rebuild(family: Family, table: str, after: Part) -> Plan:
    """Everything anew, in one batch: for base chains and sets, which cannot be changed under their name."""
    batch = Batch(family, table)
    batch.make_table()
    batch.drop_table()
    batch.make_table()
    return _Difference(batch, Part(), after, True, found=1).plan()._replace(anew=True)


def _compatible(before: Part, after: Part) -> bool:
    chains = before.chains.keys() & after.chains.keys()
    sets = before.sets.keys() & after.sets.keys()
    return all(before.chains[name].base == after.chains[name].base for name in chains) and all(
        before.sets[name].shape == after.sets[name].shape for name in sets
    )


class _Difference:
    def __init__(self, batch: Batch, before: Part, after: Part, prune: bool, found: int = 0) -> None:
        self._batch = batch
        self._before = before
        self._after = after
        self._prune = prune
        self._found = found

    def plan(self) -> Plan:
        """What is referred to comes first: chains and sets, then rules, then elements."""
        before, after = self._before, self._after
        for name, chain in after.chains.items():
            if name not in before.chains:
                self._batch.make_chain(name, chain)
                self._found += 1
        for name, wanted in after.sets.items():
            if name not in before.sets:
                self._batch.make_set(name, wanted)
                self._found += 1
        drop_sets = tuple(sorted(before.sets.keys() - after.sets.keys())) if self._prune else ()
        drop_chains = tuple(sorted(before.chains.keys() - after.chains.keys())) if self._prune else ()
        inserted, removed = self._rules()
        for name in sorted((before.elements.keys() | after.elements.keys()) - set(drop_sets)):
            self._elements(name, before.elements.get(name, {}), after.elements.get(name, {}))
        return Plan(
            first=self._batch.encode() if len(self._batch) else None,
            inserted=tuple(inserted),
            removed=tuple(removed),
            drop_sets=drop_sets,
            drop_chains=drop_chains,
            differences=self._found + len(drop_sets) + len(drop_chains),
        )

    def _rules(self) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        inserted: list[tuple[str, int]] = []
        removed: list[tuple[str, int]] = []
        for name, chain in self._after.chains.items():
            old = self._before.chains.get(name, _EMPTY)
            if old is chain:
                continue
            same = _common_end(old.rules, chain.rules)
            fresh, stale = len(chain.rules) - same, len(old.rules) - same
            for each in reversed(chain.rules[:fresh]):  # each goes to the head: the first one last
                self._batch.insert_rule(name, each)
            if fresh:
                inserted.append((name, fresh))
            if stale:
                removed.append((name, stale))
            self._found += max(fresh, stale)
        return inserted, removed

    def _elements(self, name: str, old: Mapping[bytes, Value], new: Mapping[bytes, Value]) -> None:
        put = {key: value for key, value in new.items() if key not in old or old[key] != value}
        drop = [key for key in old if (key in put if key in new else self._prune)]
        if drop:
            self._batch.drop_elements(name, drop)
        if put:
            self._batch.put_elements(name, put)
        self._found += len(put.keys() | set(drop))


_EMPTY = Chain()
_NO_TABLE = -1  # like 0, no id of a part


def _common_end(old: Sequence[Rule], new: Sequence[Rule]) -> int:
    count = 0
    for one, other in zip(reversed(old), reversed(new), strict=False):
        if one.digest != other.digest or one.note != other.note:
            break
        count += 1
    return count


class Plans:
    """Plans that were made, by the parts they are about: namespaces that change alike share one. Thread-safe."""

    def __init__(self, family: Family, table: str, size: int = 32) -> None:
        self.family = family
        self.table = table
        self._size = size
        self._lock = Lock()
        # The parts are kept with the plan, so that no other object can get their ids.
        self._made: OrderedDict[tuple[int, ...], tuple[Sequence[Part], Sequence[Part], Plan | None]] = (
            OrderedDict()
        )

    def between(self, before: Sequence[Part], after: Sequence[Part]) -> Plan | None:
        """The plan that replaces these parts of the table. None where the whole table has to be rebuilt."""
        return self._keep(before, after, 0, self._between)

    def anew(self, after: Sequence[Part]) -> Plan:
        """The plan that makes a table of these parts where there is none."""
        made = self._keep((), after, _NO_TABLE, self._anew)
        assert made is not None
        return made

    def _between(self, before: Sequence[Part], after: Sequence[Part]) -> Plan | None:
        old, new = merged(before), merged(after)
        return plan(self.family, self.table, old, new) if _compatible(old, new) else None

    def _anew(self, _: Sequence[Part], after: Sequence[Part]) -> Plan:
        return plan(self.family, self.table, None, merged(after))

    def _keep(
        self,
        before: Sequence[Part],
        after: Sequence[Part],
        mark: int,
        make: Callable[[Sequence[Part], Sequence[Part]], Plan | None],
    ) -> Plan | None:
        key = (*map(id, before), mark, *map(id, after))
        with self._lock:
            if (made := self._made.get(key)) is not None:
                self._made.move_to_end(key)
                return made[2]
        result = make(before, after)
        with self._lock:
            self._made[key] = (before, after, result)
            if len(self._made) > self._size:
                self._made.popitem(last=False)
        return result
