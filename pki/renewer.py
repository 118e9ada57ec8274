"""When and how a node's certificate is renewed: at a random 50 to 80 % of its life, or at once when its role
changes; a failure is tried again with backoff from 5 s to 1 h. Open connections are not touched.

Two renewals of one role are at least five minutes apart, whatever this node's clock makes of the new certificate.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from random import Random

from pki.contexts import Contexts
from pki.csr import make_csr
from pki.identity import Identity, identity_of
from pki.keys import new_key
from pki.keystore import KeyStore
from pki.root import BACKDATE, load_certificate
from swarmcore.aio import Backoff, owned
from swarmcore.clock import Clock
from swarmcore.errors import Internal, SwarmError, Unavailable
from swarmcore.model.node import NodeRole
from swarmcore.rpc.caller import Caller
from swarmcore.rpc.messages.ca import IssueCertificate, IssuedCertificate

log = logging.getLogger(__name__)
EARLIEST, LATEST = 0.5, 0.8
FIRST_RETRY, LONGEST_RETRY = 5.0, 3600.0
#: To a clock that is ahead a new certificate may be as old as the last one was: another one would not help.
LEAST_DELAY = 300.0
# Timers do not run while a machine sleeps: look at the wall clock at least this often.
LONGEST_NAP = 600.0

Issue = Callable[[bytes], Awaitable[IssuedCertificate]]


def issue_through(client: Caller, choose: Callable[[], str]) -> Issue:
    """Asks the manager that `choose` names at that moment; the client presents the present certificate."""

    async def issue(csr: bytes) -> IssuedCertificate:
        return await client.call(choose(), IssueCertificate(csr=csr), IssuedCertificate, timeout=10.0)

    return issue


def renewal_time(not_before: datetime, not_after: datetime, random: Random) -> datetime:
    """A moment in the middle of the certificate's life, counted from its issue rather than its backdated start."""
    issued = min(not_before + BACKDATE, not_after)
    share = EARLIEST + (LATEST - EARLIEST) * random.random()
    return issued + (not_after - issued) * share


class Renewer:
    """Keeps the node's certificate valid and of the right role.

    `issue` sends a request to a manager with the present certificate; `on_renewed` is told the new identity
    after keystore and contexts have it (the daemon starts or stops its manager there).
    """

    def __init__(
        self,
        keystore: KeyStore,
        contexts: Contexts,
        issue: Issue,
        *,
        clock: Clock,
        random: Random,
        on_renewed: Callable[[Identity], None] = lambda _: None,
    ) -> None:
        self._keystore = keystore
        self._contexts = contexts
        self._issue = issue
        self._clock = clock
        self._random = random
        self._on_renewed = on_renewed
        self._wanted: NodeRole | None = None
        self._forced = asyncio.Event()
        self._backoff = Backoff(random, FIRST_RETRY, LONGEST_RETRY)
        self._earliest = clock.now()

    def role_is(self, role: NodeRole) -> None:
        """What the managers say this node's role is; a difference from the certificate renews it at once."""
        if role is self._wanted:
            return
        self._wanted = role
        if role is not self._keystore.role:
            self.force()

    def force(self) -> None:
        self._backoff.reset()
        self._forced.set()

    async def run(self) -> None:
        """For ever. May be repeated: what was wanted and not reached is wanted still."""
        if self._wanted not in (None, self._keystore.role):
            self._forced.set()
        while True:
            due = renewal_time(self._keystore.not_before, self._keystore.not_after, self._random)
            log.info(
                "certificate will be renewed", extra={"at": due.isoformat(), "role": str(self._keystore.role)}
            )
            await self._wait_until(max(due, self._earliest))
            while True:
                try:
                    await self.renew()
                    break
                except (SwarmError, OSError) as error:
                    delay = self._backoff.next()
                    level = logging.ERROR if self._expired() else logging.WARNING
                    log.log(
                        level,
                        "certificate was not renewed",
                        extra={
                            "error": str(error),
                            "retry_seconds": round(delay, 1),
                            "expired": self._expired(),
                        },
                    )
                    await self._wait_until(self._clock.now() + timedelta(seconds=delay))
            self._backoff.reset()
            self._earliest = self._clock.now() + timedelta(seconds=LEAST_DELAY)

    async def renew(self) -> None:
        """One renewal, now. Raises if the new certificate is not of the wanted role yet: the leader is behind."""
        key = new_key()
        issued = await self._issue(make_csr(key))
        before = self._keystore.identity
        given = identity_of(load_certificate(issued.cert_pem))
        if (given.node_id, given.cluster_id) != (before.node_id, before.cluster_id):
            raise Internal("a manager answered with another node's certificate")
        self._keystore.save(key, issued.cert_pem, issued.root_pem)
        self._contexts.reload()
        identity = self._keystore.identity
        log.info(
            "certificate renewed", extra={"role": str(identity.role), "until": identity.not_after.isoformat()}
        )
        if identity.role is not before.role:
            self._on_renewed(identity)
        if self._wanted not in (None, identity.role):
            raise Unavailable(f"the node was given the role {identity.role}, not {self._wanted}")

    async def _wait_until(self, due: datetime) -> None:
        """Until `due` on the wall clock, or until a renewal is forced."""
        while not self._forced.is_set() and (left := (due - self._clock.now()).total_seconds()) > 0:
            nap = self._clock.sleep(min(left, LONGEST_NAP))
            async with (
                owned(nap, "renewal timer") as timer,
                owned(self._forced.wait(), "forced renewal") as forced,
            ):
                await asyncio.wait({timer, forced}, return_when=asyncio.FIRST_COMPLETED)
        self._forced.clear()

    def _expired(self) -> bool:
        return self._clock.now() >= self._keystore.not_after
