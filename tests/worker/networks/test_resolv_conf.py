"""The resolv.conf of containers that the swarm's name server does not serve."""

from __future__ import annotations

from swarmcore.model.container import DNSConfig
from worker.networks.resolv_conf import resolv_conf


def test_resolv_conf_keeps_what_the_spec_leaves_open() -> None:
    host = "# made by the host\nnameserver 1.1.1.1\nsearch lan\noptions ndots:1\n"
    assert resolv_conf(None, host) == "nameserver 1.1.1.1\nsearch lan\noptions ndots:1\n"
    own = resolv_conf(DNSConfig(nameservers=("9.9.9.9", "8.8.8.8"), search=("a", "b")), host)
    assert own == "options ndots:1\nnameserver 9.9.9.9\nnameserver 8.8.8.8\nsearch a b\n"
