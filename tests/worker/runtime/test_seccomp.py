"""The filter of system calls."""

from __future__ import annotations

from swarmcore.model.linux import DEFAULT_CAPABILITIES
from worker.runtime import capabilities, seccomp


def _actions(profile: dict[str, object]) -> dict[str, str]:
    rules = profile["syscalls"]
    assert isinstance(rules, list)
    return {name: rule["action"] for rule in rules for name in rule["names"] if "args" not in rule}


def test_dangerous_calls_need_their_capability() -> None:
    without = _actions(seccomp.profile(DEFAULT_CAPABILITIES, "amd64"))
    for name in (
        "mount",
        "umount2",
        "unshare",
        "setns",
        "bpf",
        "keyctl",
        "kexec_load",
        "init_module",
        "reboot",
    ):
        assert without[name] == "SCMP_ACT_ERRNO", name
    for name in ("read", "chroot", "execve", "ptrace", "arch_prctl"):
        assert without[name] == "SCMP_ACT_ALLOW", name
    admin = _actions(seccomp.profile(DEFAULT_CAPABILITIES | {"CAP_SYS_ADMIN"}, "amd64"))
    assert admin["mount"] == admin["clone3"] == "SCMP_ACT_ALLOW"
    assert admin["keyctl"] == "SCMP_ACT_ERRNO"


def test_no_call_is_both_allowed_and_refused() -> None:
    for caps in (frozenset[str](), DEFAULT_CAPABILITIES, capabilities.effective(("ALL",), ())):
        rules = seccomp.profile(caps, "amd64")["syscalls"]
        plain = [name for rule in rules if "args" not in rule for name in rule["names"]]
        assert len(plain) == len(set(plain))
