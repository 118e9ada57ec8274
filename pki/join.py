"""How a node joins: fetch the root unverified, pin it by the token's digest, then send token and request to
managers that this root vouches for. Nothing secret leaves the node before the root is pinned.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Protocol, TypeVar

from msgspec import Struct

from pki.contexts import pinned_context, unverified_context
from pki.csr import make_csr
from pki.identity import identity_of
from pki.keys import PrivateKey, new_key
from pki.keystore import KeyStore
from pki.root import load_certificate
from pki.tokens import JoinToken, parse_join_token, pins
from swarmcore.aio import Backoff
from swarmcore.clock import Clock
from swarmcore.errors import Internal, Invalid, NoLeader, SwarmError, Unauthenticated, Unavailable
from swarmcore.model.node import Availability, NodeDescription
from swarmcore.rpc.caller import Caller
from swarmcore.rpc.messages.ca import GetRootCertificate, IssueCertificate, IssuedCertificate, RootCertificate

T = TypeVar("T")
PATIENCE = 20.0


class OwnCaller(Caller, Protocol):
    """One that was made for a few calls, and is closed after them."""

    async def close(self) -> None: ...


# Makes a client whose TLS context is the given function's.
Dial = Callable[[Callable[[], ssl.SSLContext]], OwnCaller]


class WrongRoot(Unauthenticated):
    """The manager's root is not the one of the token: another swarm, or someone in between."""

    hint = 'check the address, and get the token with "pyswarm join-token worker" (or manager) on a manager'


class Joined(Struct, frozen=True, kw_only=True):
    key: PrivateKey
    cert_pem: bytes
    root_pem: bytes
    node_id: str

    def save(self, keystore: KeyStore) -> None:
        keystore.save(self.key, self.cert_pem, self.root_pem)


async def join(
    dial: Dial,
    addresses: Sequence[str],
    token_text: str,
    *,
    clock: Clock,
    random: Random,
    availability: Availability = Availability.ACTIVE,
    description: NodeDescription | None = None,
    patience: float = PATIENCE,
) -> Joined:
    """Ask each manager in turn; waits up to `patience` seconds while the swarm has no leader, not for a dead address.

    The same key is used for every attempt, so the CA gives a repeated request the same node. `description` is what
    the host knows of itself already: the swarm refuses one whose networks are in the way of its own.
    """
    if not addresses:
        raise Invalid("no manager address was given", "pass a manager's address as HOST:PORT")
    token = parse_join_token(token_text)
    key = new_key()
    request = IssueCertificate(
        csr=make_csr(key), token=token_text.strip(), availability=availability, description=description
    )
    backoff = Backoff(random, first=0.5, limit=4.0)
    deadline = clock.monotonic() + patience
    while True:
        try:
            return await _any(addresses, lambda address: _join_at(dial, address, token, request, key))
        except NoLeader:
            delay = 0.2 + backoff.next()
            if clock.monotonic() + delay > deadline:
                raise
            await clock.sleep(delay)


async def fetch_root(dial: Dial, address: str, token: JoinToken) -> bytes:
    """The swarm's root certificate, proven by the token's digest. Raises WrongRoot."""
    client = dial(unverified_context)
    try:
        answer = await client.call(address, GetRootCertificate(), RootCertificate)
    finally:
        await client.close()
    if not pins(token, answer.root_pem):
        raise WrongRoot(f"the manager at {address} does not belong to the swarm that the join token is for")
    load_certificate(answer.root_pem)
    return answer.root_pem


async def _join_at(
    dial: Dial, address: str, token: JoinToken, request: IssueCertificate, key: PrivateKey
) -> Joined:
    root_pem = await fetch_root(dial, address, token)
    context = pinned_context(root_pem)
    client = dial(lambda: context)
    try:
        issued = await client.call(address, request, IssuedCertificate, timeout=10.0)
    except Unavailable as error:
        raise explain(error, address) from error
    finally:
        await client.close()
    if (
        issued.root_pem != root_pem
        or identity_of(load_certificate(issued.cert_pem)).node_id != issued.node_id
    ):
        raise Internal(f"the manager at {address} answered with a certificate that does not fit its swarm")
    return Joined(key=key, cert_pem=issued.cert_pem, root_pem=root_pem, node_id=issued.node_id)


async def _any(addresses: Sequence[str], attempt: Callable[[str], Awaitable[T]]) -> T:
    """The first success. A manager that cannot be used sends us to the next; any other answer is final."""
    failures: list[SwarmError] = []
    for address in addresses:
        try:
            return await attempt(address)
        except (Unavailable, WrongRoot) as error:
            failures.append(error)
    for failure in failures:
        if isinstance(failure, NoLeader):  # worth waiting for, so it outranks a dead address
            raise failure
    for failure in failures:
        if isinstance(failure, WrongRoot):
            raise failure
    if len(failures) == 1:
        raise failures[0]
    said = "; ".join(str(failure) for failure in failures)
    raise Unavailable(f"no manager could be reached: {said}", failures[0].hint)


def explain(error: Unavailable, address: str) -> Unavailable:
    """The same failure, saying so if the reason is the manager's certificate."""
    cause = verification_failure(error)
    if cause is None:
        return error
    return Unavailable(
        f"the certificate of the manager at {address} is refused: {cause.verify_message}",
        "check that the address is a manager's and that the clocks of both hosts are right",
    )


def verification_failure(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The TLS verification error behind `error`, through whatever the RPC client wrapped it in."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        # aiohttp's error is one by class, but only the one inside it says what was wrong.
        for candidate in (getattr(error, "certificate_error", None), error):
            if isinstance(candidate, ssl.SSLCertVerificationError) and hasattr(candidate, "verify_message"):
                return candidate
        error = error.__cause__ or error.__context__
    return None
