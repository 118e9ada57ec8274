"""The agenda: what is due in its order, what waits, and what wakes it."""

from __future__ import annotations

from manager.allocator.waiting import PORTS, SUBNETS, Agenda, Kind, network_key


def test_what_waits_is_due_again_after_a_change_of_its_key_and_of_no_other() -> None:
    agenda = Agenda()
    agenda.add(Kind.TASK, "t2")
    agenda.add(Kind.TASK, "t1")
    assert agenda.due(Kind.TASK) == ("t2", "t1")
    agenda.wait(Kind.TASK, "t2", network_key("n"))
    agenda.done(Kind.TASK, "t1")
    assert not agenda
    agenda.wake(SUBNETS)
    assert not agenda
    agenda.wake(network_key("n"))
    assert agenda.due(Kind.TASK) == ("t2",)


def test_an_item_waits_for_its_last_reason_only() -> None:
    agenda = Agenda()
    agenda.add(Kind.SERVICE, "s")
    agenda.wait(Kind.SERVICE, "s", PORTS)
    agenda.add(Kind.SERVICE, "s")
    agenda.wait(Kind.SERVICE, "s", network_key("n"))
    agenda.wake(PORTS)
    assert not agenda
    agenda.drop(Kind.SERVICE, "s")
    agenda.wake(network_key("n"))
    assert not agenda
