"""The ways into a swarm: make one, join one, take up the place that is on the disk, recover it alone.

Law: what makes or joins a swarm ends with a certificate and `node.json` on the disk and a member that has its place, or
it raises and leaves nothing behind.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from random import Random

from msgspec.structs import replace

from manager.membership.bootstrap import NewSwarm, new_swarm
from pki.join import join as request_certificate
from pki.keystore import KeyStore
from pyswarmd.config import Settings
from pyswarmd.node.addresses import (
    advertise_address,
    check_remotes,
    data_path_address,
    listen_address,
)
from pyswarmd.node.member import Member
from pyswarmd.node.membership import InitOptions, JoinOptions, LocalState, forget
from swarmcore.addresses import joined
from swarmcore.aio import in_thread
from swarmcore.clock import Clock
from swarmcore.errors import FailedPrecondition
from swarmcore.ids import new_id
from swarmcore.model.node import NodeDescription
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.messages.session import ManagerAddress

log = logging.getLogger(__name__)


class Entering:
    """Who calls has seen to it that this node is in no swarm, and that no other call runs.

    `describe` tells what the swarm must know of this host before it chooses networks, or lets it in.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        random: Random,
        new_member: Callable[[LocalState, KeyStore], Member],
        describe: Callable[[LocalState], Awaitable[NodeDescription]],
    ) -> None:
        self._settings, self._clock, self._random = settings, clock, random
        self._new_member, self._describe = new_member, describe
        #: A certificate is asked for or made, and the member is not there yet.
        self.pending = False

    async def by_making_a_swarm(self, options: InitOptions) -> Member:
        """Of this node alone, its first manager."""
        local = await _addresses(options)
        swarm = new_swarm(
            clock=self._clock,
            new_id=new_id,
            spec=options.spec,
            availability=options.availability,
            default_addr_pool=options.default_addr_pool,
            subnet_size=options.subnet_size,
            data_path_port=options.data_path_port,
            description=await self._describe(local),
        )

        async def keep_certificate(keystore: KeyStore) -> NewSwarm:
            await in_thread(swarm.save, keystore)
            return swarm

        member = await self._enter(_alone(local, swarm.node.id), keep_certificate)
        log.info("swarm initialized", extra={"node": swarm.node.id, "address": local.advertise})
        return member

    async def by_joining(self, options: JoinOptions) -> Member:
        """With the role that the token gives."""
        if not options.remotes:
            raise FailedPrecondition("no manager address was given", "pass a manager's address as HOST:PORT")
        check_remotes(options.remotes)
        local = await _addresses(options, remote=options.remotes[0])
        description = await self._describe(local)

        async def get_certificate(keystore: KeyStore) -> None:
            got = await request_certificate(
                RpcClient,
                options.remotes,
                options.token,
                clock=self._clock,
                random=self._random,
                availability=options.availability,
                description=description,
            )
            await in_thread(got.save, keystore)

        managers = tuple(ManagerAddress(node_id="", address=a) for a in options.remotes)
        member = await self._enter(replace(local, managers=managers), get_certificate)
        log.info("joined the swarm", extra={"node": member.node_id, "role": str(member.role)})
        return member

    async def _enter(
        self, local: LocalState, certify: Callable[[KeyStore], Awaitable[NewSwarm | None]]
    ) -> Member:
        keystore = KeyStore(self._settings.certificates)
        self.pending = True
        try:
            swarm = await certify(keystore)
            local.save(self._settings.local_state)
            return await self._started(local, keystore, swarm)
        except BaseException:
            forget(self._settings)
            raise
        finally:
            self.pending = False

    async def _started(
        self,
        local: LocalState,
        keystore: KeyStore,
        swarm: NewSwarm | None = None,
        *,
        force_new_cluster: bool = False,
    ) -> Member:
        """Nothing of the member runs any more if it cannot take its place."""
        member = self._new_member(local, keystore)
        try:
            await member.start(swarm, force_new_cluster=force_new_cluster)
        except BaseException:
            await member.close()
            raise
        return member

    async def by_what_is_on_disk(self) -> Member | None:
        """None where there is nothing."""
        keystore = KeyStore(self._settings.certificates)
        if not keystore.load():
            return None
        member = await self._started(LocalState.load(self._settings.local_state), keystore)
        log.info("node started", extra={"node": member.node_id, "role": str(member.role)})
        return member

    async def by_recovery(self, options: InitOptions, end_former: Callable[[], Awaitable[None]]) -> Member:
        """Go on alone with this manager's state: its log is verified, the other managers are forgotten.

        `end_former` ends the member that runs: only when this one can follow it.
        """
        keystore = KeyStore(self._settings.certificates)
        if not keystore.load() or not self._settings.raft_dir.exists():
            raise FailedPrecondition(
                "--force-new-cluster needs a manager's state on this host", "run it on a former manager"
            )
        known = LocalState.load(self._settings.local_state)
        local = _alone(await _addresses(options, known), keystore.node_id)
        await end_former()
        member = await self._started(local, keystore, force_new_cluster=True)
        local.save(self._settings.local_state)
        return member


_UNKNOWN = LocalState(listen="", advertise="")


async def _addresses(
    options: InitOptions | JoinOptions, known: LocalState = _UNKNOWN, *, remote: str = ""
) -> LocalState:
    """What the user typed, else what is `known`, as addresses; the managers are still to be named."""
    listen = await listen_address(options.listen or known.listen)
    advertise = await advertise_address(options.advertise or known.advertise, listen, remote)
    data_path = await data_path_address(options.data_path or known.data_path)
    return LocalState(listen=joined(*listen), advertise=advertise, data_path=data_path)


def _alone(local: LocalState, node_id: str) -> LocalState:
    return replace(local, managers=(ManagerAddress(node_id=node_id, address=local.advertise),))
