"""The firewalls of others on this host: where theirs would drop what containers forward, one chain of ours accepts it.

A packet has to pass every base chain on the forward hook, so an accept in our own table cannot help against a policy
of drop elsewhere (Docker sets it, so does ufw). What may pass at all is decided in our own table, after the
administrator's: table `pyswarm-user`, chain `forward`, which is made empty and never changed by us. Blocking.
"""

from __future__ import annotations

import errno
import logging
from typing import NamedTuple

from netoverlay.mesh.gateway import PREFIX
from netoverlay.mesh.routes import DEVICE
from netoverlay.netlink.wire import Message, NetlinkError, attribute, attributes, text
from netoverlay.netns import Namespace
from netoverlay.nft import dump, expr, match, types
from netoverlay.nft.batch import Batch
from netoverlay.nft.socket import NftError, NftSocket, request
from netoverlay.nft.table import Base, Chain, Hook, Rule, rule
from netoverlay.nft.wire import (
    Call,
    ChainAttribute,
    Family,
    RuleAttribute,
    body_attributes,
    family_of,
    items,
    unpack_number,
)

log = logging.getLogger(__name__)
USER_TABLE, USER_CHAIN = "pyswarm-user", "forward"
CHAIN = "PYSWARM-FWD"
_WIRES = f"{PREFIX}*"
_FORWARD = Chain((), Base(kind="filter", hook=Hook.FORWARD, priority=-10))
_OURS = "pyswarm"
# Chains that drop at their end by a rule, whatever their policy: iptables' own, and firewalld's.
_KNOWN = {("filter", "FORWARD"), ("firewalld", "filter_FORWARD")}
# As iptables writes them, so that it can list and save them.
_ACCEPTED: tuple[Rule, ...] = tuple(
    rule(way(device), expr.counter(), expr.verdict(types.ACCEPT), note="pyswarm")
    for device in (DEVICE, _WIRES)
    for way in (match.arrives_on, match.leaves_on)
)
_JUMP = rule(expr.counter(), expr.verdict(types.jump(CHAIN)), note="pyswarm")


class Foreign(NamedTuple):
    """A base chain of somebody else that may drop forwarded packets."""

    family: Family
    table: str
    chain: str


class Firewall:
    """The host `home`'s. Everything is idempotent, and comes back where somebody reloads their firewall."""

    def __init__(self, home: Namespace) -> None:
        self._home = home
        self._generation = -1
        self._refused: set[Foreign] = set()

    def open(self) -> int:
        """Make the administrator's chain, open the others' for us; how much was not so before."""
        socket = self._home.nft
        self._generation = socket.generation()
        found = _make_user_chain(socket)
        for foreign in _foreign_chains(socket):
            found += self._pass(socket, foreign)
        return found

    def reconcile(self) -> int:
        """As `open`; one small question where nobody has changed any table of the host meanwhile."""
        if self._home.nft.generation() == self._generation:
            return 0
        return self.open()

    def remove(self) -> None:
        """Nothing of ours is left in others' tables; the administrator's chain goes if it is empty."""
        socket = self._home.nft
        for foreign in _foreign_chains(socket, everything=True):
            _withdraw(socket, foreign)
        user = dump.read(socket, Family.INET, USER_TABLE).found
        if (
            user is not None
            and not any(each.rules for each in user.part.chains.values())
            and not user.part.sets
        ):
            batch = Batch(Family.INET, USER_TABLE)
            batch.drop_table()
            socket.commit(batch.encode())

    def _pass(self, socket: NftSocket, foreign: Foreign) -> int:
        """Whether the chain had to be opened. A table that its owner has locked stays as it is, and is named once."""
        try:
            return _open(socket, foreign)
        except NftError as error:
            if foreign not in self._refused:
                log.warning(
                    "cannot let forwarded packets pass another firewall",
                    extra={"table": foreign.table, "chain": foreign.chain, "reason": str(error)},
                )
            self._refused.add(foreign)
            return 0


def _make_user_chain(socket: NftSocket) -> int:
    found = dump.read(socket, Family.INET, USER_TABLE).found
    if found is not None and USER_CHAIN in found.part.chains:
        return 0
    batch = Batch(Family.INET, USER_TABLE)
    batch.make_table()
    batch.make_chain(USER_CHAIN, _FORWARD)
    socket.commit(batch.encode())
    return 1


def _foreign_chains(socket: NftSocket, everything: bool = False) -> list[Foreign]:
    """Those that drop what they do not know; with `everything` all on the hook, whatever their policy is by now."""
    found: list[Foreign] = []
    for message in socket.dump(request(Call.GETCHAIN, Family.ANY, b"", "list chains")):
        parts = body_attributes(message.body)
        hook = attributes(parts.get(ChainAttribute.HOOK, b""))
        table, chain = text(parts[ChainAttribute.TABLE]), text(parts[ChainAttribute.NAME])
        if (
            not hook
            or unpack_number(hook[ChainAttribute.HOOK_NUMBER]) != Hook.FORWARD
            or text(parts.get(ChainAttribute.TYPE, b"")) != "filter"
            or family_of(message.body) not in (Family.INET, Family.IPV4, Family.IPV6)
            or table.startswith(_OURS)
        ):
            continue
        drops = unpack_number(parts.get(ChainAttribute.POLICY, b"\x01")) == 0
        if drops or everything or (table, chain) in _KNOWN:
            found.append(Foreign(Family(family_of(message.body)), table, chain))
    return found


def _open(socket: NftSocket, foreign: Foreign) -> int:
    batch = Batch(foreign.family, foreign.table)
    if [_digest(each) for each in _rules(socket, foreign, CHAIN)] != [each.digest for each in _ACCEPTED]:
        batch.make_chain(CHAIN, Chain())
        batch.flush_chain(CHAIN)
        for each in _ACCEPTED:
            batch.append_rule(CHAIN, each)
    if not any(_leads_to_us(each) for each in _rules(socket, foreign, foreign.chain)):
        batch.insert_rule(foreign.chain, _JUMP)
    if not len(batch):
        return 0
    socket.commit(batch.encode())
    log.info("opened another firewall for us", extra={"table": foreign.table, "chain": foreign.chain})
    return 1


def _withdraw(socket: NftSocket, foreign: Foreign) -> None:
    batch = Batch(foreign.family, foreign.table)
    for each in _rules(socket, foreign, foreign.chain):
        if _leads_to_us(each):
            handle = body_attributes(each.body)[RuleAttribute.HANDLE]
            batch.drop_rule(foreign.chain, int.from_bytes(handle, "big"))
    if _rules(socket, foreign, CHAIN):
        batch.flush_chain(CHAIN)
        batch.drop_chain(CHAIN)
    if len(batch):
        socket.commit(batch.encode())


def _rules(socket: NftSocket, foreign: Foreign, chain: str) -> list[Message]:
    """Only of this one chain: a foreign table may be large."""
    body = attribute(RuleAttribute.TABLE, foreign.table) + attribute(RuleAttribute.CHAIN, chain)
    try:
        answers = socket.dump(request(Call.GETRULE, foreign.family, body, f"read chain {chain}"))
    except NetlinkError as error:
        if error.errno == errno.ENOENT:  # it is gone, or never was
            return []
        raise
    return [each for each in answers if _is_of(each, foreign, chain)]


def _is_of(message: Message, foreign: Foreign, chain: str) -> bool:
    """Not every kernel filters by table and chain."""
    found = body_attributes(message.body)
    return (
        family_of(message.body) == foreign.family
        and text(found.get(RuleAttribute.TABLE, b"")) == foreign.table
        and text(found.get(RuleAttribute.CHAIN, b"")) == chain
    )


def _expressions(message: Message) -> list[tuple[str, dict[int, bytes]]]:
    found: list[tuple[str, dict[int, bytes]]] = []
    for _, each in items(body_attributes(message.body).get(RuleAttribute.EXPRESSIONS, b"")):
        parts = attributes(each)
        found.append((text(parts[1]), attributes(parts.get(2, b""))))  # NFTA_EXPR_NAME, NFTA_EXPR_DATA
    return found


def _digest(message: Message) -> bytes:
    return expr.digest([expr.canonical(name, found) for name, found in _expressions(message)])


def _leads_to_us(message: Message) -> bool:
    """By where it goes: a rule that was saved and restored by others has lost our note."""
    for name, found in _expressions(message):
        if name == "immediate" and 2 in found:
            value = expr.read_data(found[2])
            if isinstance(value, types.Verdict) and value.chain == CHAIN:
                return True
    return False
