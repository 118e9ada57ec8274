"""Batches against a real kernel: all or nothing, what errors say, sizes, generations."""

from __future__ import annotations

import errno

import pytest

from netoverlay.netlink.wire import NetlinkError
from netoverlay.netns import Namespace
from netoverlay.nft import dump, expr, match, types
from netoverlay.nft.batch import Batch
from netoverlay.nft.socket import NftError
from netoverlay.nft.table import Base, Chain, Hook, NamedSet, rule
from netoverlay.nft.types import INTEGER, IPV6, ip
from netoverlay.nft.wire import Family
from tests.netoverlay.nft.listing import nft

pytestmark = pytest.mark.root
INET = Family.INET


def started(table: str = "pyswarm") -> Batch:
    batch = Batch(INET, table)
    batch.make_table()
    batch.make_chain("one", Chain())
    return batch


def test_a_refused_batch_changes_nothing_and_says_which_message_and_why(namespace: Namespace) -> None:
    batch = started()
    batch.append_rule("nowhere", rule(expr.verdict(types.DROP), note="lost"))
    batch.append_rule("one", rule(expr.verdict(types.DROP)))
    with pytest.raises(NftError, match=r"append rule 'lost' to nowhere: .*") as caught:
        namespace.nft.commit(batch.encode())
    assert caught.value.errno == errno.ENOENT
    assert nft(namespace, "list ruleset") == ""


def test_the_kernels_explanation_is_in_the_error(namespace: Namespace) -> None:
    batch = started()
    batch.make_chain("bad", Chain(base=Base(kind="nat", hook=Hook.FORWARD, priority=0)))
    with pytest.raises(NftError) as caught:
        namespace.nft.commit(batch.encode())
    assert caught.value.errno == errno.EOPNOTSUPP
    assert "make chain bad" in str(caught.value)


def test_an_error_does_not_disturb_the_next_batch(namespace: Namespace) -> None:
    for _ in range(3):
        bad = started()
        bad.drop_set("nothing")
        with pytest.raises(NftError):
            namespace.nft.commit(bad.encode())
        good = started()
        good.append_rule("one", rule(expr.counter()))
        assert len(namespace.nft.commit(good.encode()).handles) == 1


def test_each_batch_makes_one_generation_and_tells_which(namespace: Namespace) -> None:
    before = namespace.nft.generation()
    first = namespace.nft.commit(started().encode())
    second = namespace.nft.commit(started("pyswarm-other").encode())
    assert (first.generation, second.generation) == (before + 1, before + 2)
    assert namespace.nft.generation() == before + 2
    nft(namespace, "add table ip foreign")
    assert namespace.nft.generation() > before + 2


def test_fifty_thousand_elements_go_in_one_batch_and_read_back(namespace: Namespace) -> None:
    batch = started()
    wanted = []
    for place in range(25):
        addresses = {types.mark(n): ip(f"fd00:{place:x}::{n:x}") for n in range(2000)}
        balanced = expr.mapped(types.anonymous_map(INTEGER, IPV6, addresses))
        wanted.append(rule(match.family(Family.IPV6), expr.random(2000), balanced, expr.dnat(Family.IPV6)))
        batch.append_rule("one", wanted[-1])
    encoded = batch.encode()
    assert len(encoded.data) > 1_500_000
    assert len(namespace.nft.commit(encoded).handles) == 25
    found = dump.read(namespace.nft, INET, "pyswarm").found
    assert found is not None
    assert [each.digest for each in found.part.chains["one"].rules] == [each.digest for each in wanted]


def test_thousands_of_handles_come_back_in_order(namespace: Namespace) -> None:
    batch = started()
    for place in range(5000):
        batch.append_rule("one", rule(expr.counter(), note=f"rule {place}"))
    handles = namespace.nft.commit(batch.encode()).handles
    found = dump.read(namespace.nft, INET, "pyswarm").found
    assert found is not None
    assert list(handles) == found.handles["one"]
    assert [each.note for each in found.part.chains["one"].rules] == [
        f"rule {place}" for place in range(5000)
    ]


def test_a_table_that_is_not_there_is_not_found(namespace: Namespace) -> None:
    assert dump.read(namespace.nft, INET, "pyswarm").found is None
    nft(namespace, "add table ip pyswarm; add table inet pyswarm-other")
    assert dump.read(namespace.nft, INET, "pyswarm").found is None


def test_what_has_our_name_but_not_our_comment_is_not_ours(namespace: Namespace) -> None:
    batch = started()
    kept = rule(match.protocol(match.TCP), expr.verdict(types.DROP), note="kept")
    batch.append_rule("one", kept)
    namespace.nft.commit(batch.encode())
    nft(namespace, "add rule inet pyswarm one meta l4proto tcp drop")
    nft(namespace, f'add rule inet pyswarm one meta l4proto udp drop comment "{kept.comment}"')
    found = dump.read(namespace.nft, INET, "pyswarm").found
    assert found is not None
    assert [each.digest for each in found.part.chains["one"].rules] == [
        kept.digest,
        dump.FOREIGN,
        dump.FOREIGN,
    ]


def test_a_closed_namespace_is_an_error_not_a_hang(namespace: Namespace) -> None:
    socket = namespace.nft
    namespace.close()
    with pytest.raises(OSError):
        socket.generation()


def test_asking_for_what_is_not_there_is_a_netlink_error(namespace: Namespace) -> None:
    batch = Batch(INET, "pyswarm")
    batch.drop_table()
    with pytest.raises(NetlinkError) as caught:
        namespace.nft.commit(batch.encode())
    assert caught.value.errno == errno.ENOENT


def test_an_empty_batch_cannot_be_encoded() -> None:
    with pytest.raises(ValueError, match="nothing"):
        Batch(INET, "pyswarm").encode()


def test_a_set_can_be_made_anew_after_it_was_dropped(namespace: Namespace) -> None:
    for value in (None, types.MARK):
        batch = started()
        batch.make_set("some", NamedSet(key=IPV6, value=value))
        batch.put_elements("some", {ip("fd00::1"): None if value is None else types.mark(1)})
        namespace.nft.commit(batch.encode())
        batch = started()
        batch.drop_set("some")
        namespace.nft.commit(batch.encode())
