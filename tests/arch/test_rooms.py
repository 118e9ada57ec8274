"""Everything lies in a room: which files a root may have, what each room says it is for, which contract names it."""

from __future__ import annotations

import ast

import pytest

from tests.arch.contracts import ordered, unnamed
from tests.arch.graph import PACKAGES, first_sentence, modules, rooms
from tests.arch.limits import faults

# What belongs to no room: the entry, the composition root, and what every room of the package stands on.
ROOTS = {
    "pyswarmd": "__main__ daemon client config doctor metrics",
    "stacks": "",
    "manager": "leader manager",
    "worker": "",
    "netoverlay": "host netns conntrack features host_facts",
    "pki": "contexts csr dates identity join keys keystore renewer root seal tokens",
    "swarmcore": "errors ids clock aio log durations files addresses ipam",
}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_root_has_no_files_but_those_of_the_plan(package: str) -> None:
    names = [module.name for module in modules().values() if not module.is_folder]
    roots = {
        name.partition(".")[2] for name in names if name.startswith(f"{package}.") and name.count(".") == 1
    }
    assert roots - set(ROOTS[package].split()) == set()


@pytest.mark.parametrize("name", sorted({*PACKAGES, *rooms()}))
def test_every_room_says_first_what_it_is_for(name: str) -> None:
    sentence = first_sentence(modules()[name].doc)
    assert sentence.endswith(".")
    assert len(sentence.split()) >= 4
    assert "arrives with" not in sentence


def test_every_folder_is_a_package() -> None:
    """Where `__init__.py` is missing, nobody says what the folder is for."""
    folders = {module.path.parent for module in modules().values()}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_a_folder_has_its_docstring_and_nothing_else() -> None:
    """So no import goes through a folder to somewhere else, and no arrow is hidden."""
    folders = [module for module in modules().values() if module.is_folder]
    assert [folder.name for folder in folders if len(ast.parse(folder.path.read_text()).body) != 1] == []


def test_contracts_name_every_room() -> None:
    assert faults("in-no-contract") == []


def test_a_contract_that_leaves_a_room_out_is_noticed() -> None:
    top = {
        "type": "layers",
        "layers": ["pyswarmd", "stacks | manager | worker", "netoverlay | pki", "swarmcore"],
    }
    assert set(PACKAGES) <= ordered(top)
    missing = unnamed([top])
    assert "worker.images" in missing and "worker" not in missing
    inner = {"type": "layers", "containers": ["worker"], "layers": ["(agent)", "tasks : images"]}
    assert ordered(inner) == {"worker.agent", "worker.tasks", "worker.images"}
    assert "worker.images" not in unnamed([top, inner])
    half = {"type": "layers", "layers": ["manager.rules.current", "manager.rules.constraints"]}
    assert "manager.rules" in unnamed([half])


def test_a_ban_on_something_from_outside_orders_no_rooms() -> None:
    ban = {"type": "forbidden", "source_modules": ["manager.store"], "forbidden_modules": ["pysyncobj"]}
    assert ordered(ban) == set()
