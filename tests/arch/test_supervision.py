"""No loop lives without somebody who starts it again: what is started runs under `aio.supervise`, or ends by itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.arch.test_shape import PACKAGES, ROOT

_PAGE = ROOT / "docs/design/supervision.md"
#: Where each is, and what is started there: work that ends by itself, or with what it is part of;
#: the page says with what. It may only get shorter: an entry that nothing needs fails the test.
EXCEPTIONS = {
    "manager/dispatcher/session.py": {"_guard"},
    "manager/logs/broker.py": {"_next"},
    "manager/raft/transport.py": {"close"},
    "netoverlay/dns/forward.py": {"_fetch"},
    "pyswarmd/node/role.py": {"_drop_manager"},
    "pyswarmd/node/taking_up.py": {"_again"},
    "swarmcore/aio.py": {"coro"},
    "swarmcore/rpc/listener.py": {"_shake_hands"},
    "swarmcore/rpc/server.py": {"close"},
    "worker/agent/log_publisher.py": {"_publish", "_read"},
    "worker/checks/checker.py": {"_live", "_work", "job", "reconcile", "wait"},
    "worker/checks/probe_listener.py": {"_accept", "_serve"},
    "worker/runtime/spawner_client.py": {"listen"},
    "worker/tasks/attachment_requests.py": {"_withdraw"},
    "worker/tasks/attachment_task.py": {"_locked"},
    "worker/tasks/container_task.py": {"_locked"},
}


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def _last(node: ast.expr) -> str:
    """`self._tasks` is `_tasks`, `session.close` is `close`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_call_of(node: ast.AST | None, name: str) -> bool:
    return isinstance(node, ast.Call) and _last(node.func) == name


def _owners(trees: list[ast.Module]) -> set[str]:
    """Every name under which some module holds a `Tasks`."""
    found: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Assign) and _is_call_of(node.value, "Tasks"):
            found.update(_last(target) for target in node.targets)
        elif isinstance(node, ast.keyword) and node.arg and _is_call_of(node.value, "Tasks"):
            found.add(node.arg)
    return found


def _unsupervised(tree: ast.Module, owners: set[str]) -> Iterator[str]:
    """What is started as it is: the name of the function, or of the value that holds the coroutine."""
    supervised = {
        _last(target)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_call_of(node.value, "supervise")
        for target in node.targets
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "start":
            if (
                _last(node.func.value) not in owners
                or not node.args
                or _is_call_of(node.args[0], "supervise")
            ):
                continue
            work = node.args[0]
            name = _last(work.func) if isinstance(work, ast.Call) else _last(work)
            if name not in supervised:
                yield name


def test_a_loop_runs_under_supervision() -> None:
    modules = dict(_modules())
    owners = _owners(list(modules.values()))
    found = {path: names for path, tree in modules.items() if (names := set(_unsupervised(tree, owners)))}
    assert found == EXCEPTIONS


def test_the_test_above_sees_a_loop_that_nobody_starts_again() -> None:
    code = """
self._tasks = Tasks()
watched = supervise(self.run, "a", clock, backoff)
self._tasks.start(watched, "a")
self._tasks.start(supervise(self.run, "b", clock, backoff), "b")
self._tasks.start(self._forever(), "c")
self._server.start(self.address(), 1)
"""
    tree = ast.parse(code)
    assert list(_unsupervised(tree, _owners([tree]))) == ["_forever"]


def _names_of_loops() -> Iterator[str]:
    """Under which each is supervised: in the log, in the metrics, in what `info` says."""
    for _, tree in _modules():
        for node in ast.walk(tree):
            if _is_call_of(node, "supervise") or _is_call_of(node, "_supervised"):
                assert isinstance(node, ast.Call)
                name = node.args[1]
                if isinstance(name, ast.Constant):
                    yield str(name.value)


def test_every_supervised_loop_is_in_the_table() -> None:
    table = _PAGE.read_text().partition("## Loops")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    names = sorted(_names_of_loops())
    assert len(names) > 8
    assert [name for name in names if not any(name in row for row in rows)] == []


def test_files_that_the_exceptions_name_are_there() -> None:
    assert [name for name in EXCEPTIONS if not Path(ROOT / name).is_file()] == []
