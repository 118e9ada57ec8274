"""What raft's peers say to each other passes the wire whole; configurations are read as every version wrote them."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.raft.messages import (
    KIND_MEMBERSHIP,
    AppendEntries,
    Configuration,
    Entry,
    Message,
    SnapshotMeta,
    decode_configuration,
    encode_configuration,
    encode_members,
)
from swarmcore.model.generation import FIRST, Generation

KINDS = get_args(Message)
NUMBERS = st.integers(0, 2**63 - 1)
MEMBERS = st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=5)
GENERATIONS = st.builds(Generation, id=st.text(max_size=5), number=NUMBERS, began=NUMBERS)
RECOVERED = st.builds(Generation, id=st.text(min_size=1, max_size=5), number=st.integers(1, 9), began=NUMBERS)

VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: NUMBERS,
    bool: st.booleans(),
    bool | None: st.none() | st.booleans(),
    bytes: st.binary(max_size=50),
    list[Entry]: st.lists(st.tuples(st.binary(max_size=50), NUMBERS, NUMBERS), max_size=4),
    Configuration: st.builds(Configuration, members=MEMBERS, generation=GENERATIONS),
    SnapshotMeta: st.builds(
        SnapshotMeta,
        index=NUMBERS,
        term=NUMBERS,
        members=MEMBERS,
        size=NUMBERS,
        digest=st.binary(max_size=32),
        generation=GENERATIONS,
    ),
}


def messages(kind: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    fields = {field.name: VALUES[field.type] for field in msgspec.structs.fields(kind)}
    return st.builds(kind, **fields)


@given(st.data())
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_message_arrives_as_it_was_sent(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    message = data.draw(messages(kind))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=Message) == message


def test_no_two_messages_have_one_number() -> None:
    tags = [kind.__struct_config__.tag for kind in KINDS]
    assert sorted(tags) == list(range(1, len(KINDS) + 1))


@pytest.mark.parametrize("raw", [b"", b"\xc0", b"\x90", b"\x92\xcc\xff\x00", msgspec.msgpack.encode([1, 1])])
def test_what_is_none_of_them_is_not_decoded(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.msgpack.decode(raw, type=Message)


def test_a_message_of_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    sent = AppendEntries(
        term=3, sequence=4, commit_index=5, previous_index=6, previous_term=2, entries=[(b"x", 7, 3)]
    )
    longer = [*msgspec.msgpack.decode(msgspec.msgpack.encode(sent)), "news"]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(longer), type=Message) == sent


@given(MEMBERS, st.just(FIRST) | RECOVERED)
def test_a_configuration_is_read_as_it_was_written(members: dict[str, str], generation: Generation) -> None:
    configuration = Configuration(members=members, generation=generation)
    command = encode_configuration(configuration)
    assert command[0] == KIND_MEMBERSHIP
    assert decode_configuration(command) == configuration


@given(MEMBERS)
def test_a_swarm_that_was_never_recovered_writes_what_every_version_reads(members: dict[str, str]) -> None:
    command = encode_members(members)
    assert msgspec.msgpack.decode(command[1:], type=dict[str, str]) == members
    assert command == encode_members(dict(reversed(members.items())))  # whoever writes it, the same bytes


@given(MEMBERS, RECOVERED)
def test_a_snapshot_carries_the_configuration_of_its_entry(
    members: dict[str, str], generation: Generation
) -> None:
    meta = SnapshotMeta(index=5, term=2, members=members, size=0, digest=b"", generation=generation)
    assert meta.configuration == Configuration(members=members, generation=generation)
