"""What the parts of a member have in common: its identity, its clock, and its ways to the managers."""

from __future__ import annotations

from random import Random

from msgspec import Struct

from pki.contexts import Contexts
from pki.identity import Identity, identify
from pki.keystore import KeyStore
from pyswarmd.config import Settings
from swarmcore.clock import AgreedClock
from swarmcore.process.faults import Faults
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.peers import Remotes


class Shared(Struct, frozen=True, kw_only=True):
    """Certificates, and all that managers date, go by `clock`: the one that most of them agree on."""

    settings: Settings
    keystore: KeyStore
    clock: AgreedClock
    contexts: Contexts
    client: RpcClient
    remotes: Remotes
    random: Random
    faults: Faults

    def identify(self, der: bytes) -> Identity:
        """Who shows this certificate."""
        return identify(der, self.keystore.cluster_id, self.clock.now())
