"""Implements `self.lock`, which provides named locks of a cluster as context managers."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from zatotx.interfaces.redis import ILease, LeaseHeld, LeaseLost
from zatotx.service.redis_coroutine_runner import RedisCoroutineRunner

_LEASE_PREFIX = 'lock:'  # keeps the names of services' locks apart from those of the cluster's leases


@frozen
class HeldLock:
    """A lock that a service holds.

    `token` is a fencing token: greater than those of all locks held before, even if Redis was wiped. Store it with what
    you write, and reject writes with a lower one; `self.kvdb.execute_fenced` does so in Redis.
    """

    name: str
    token: int
    _lease: ILease

    @property
    def is_held(self) -> bool:
        """Whether the lock is certainly still held. Check it right before each action that must not happen twice."""
        return bool(self._lease.is_held)


class Lock:
    """A lock that is held during a block. Use `async with` in async services, and `with` in synchronous services.

    Raises LeaseHeld (a Conflict, 409) if it is not free within `block` seconds; Timeout or ServiceUnavailable if Redis
    is unavailable for so long. After the block, it raises LeaseLost (a ServiceUnavailable, 503) if the lock was lost
    meanwhile, because then another service may have run at the same time.
    """

    def __init__(self, access: RedisCoroutineRunner, name: str, ttl: float, block: float) -> None:
        self._access = access
        self._name = name
        self._ttl = ttl
        self._block = block
        self._lease: ILease | None = None

    async def __aenter__(self) -> HeldLock:
        return await self._acquire()

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        lease = self._take_lease()
        was_held = lease.is_held
        await lease.release()
        self._check(was_held, error)

    def __enter__(self) -> HeldLock:
        if self._access.is_on_reactor:
            raise TypeError("An async service writes 'async with self.lock(…)'; 'with' would block the server")
        held: HeldLock = self._access.run(self._acquire)
        return held

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        lease = self._take_lease()
        was_held = lease.is_held
        # Not waited for: even when the request is over already, the lock must be released.
        self._access.call_on_reactor(lease.release)
        self._check(was_held, error)

    async def _acquire(self) -> HeldLock:
        if self._lease is not None:
            raise RuntimeError(f'The lock {self._name!r} is held by this very block: call self.lock again')
        try:
            self._lease = lease = await self._access.redis.leases.acquire(
                _LEASE_PREFIX + self._name, ttl=self._ttl, wait=self._block
            )
        except LeaseHeld as error:
            raise LeaseHeld(
                f'The lock {self._name!r} is held by another call and was not free within {self._block:g} s',
                error.expires_in,
            ) from None
        return HeldLock(self._name, lease.token, lease)

    def _take_lease(self) -> ILease:
        lease, self._lease = self._lease, None
        assert lease is not None, 'the block was entered'
        return lease

    def _check(self, was_held: bool, error: object) -> None:
        if not was_held and error is None:
            raise LeaseLost(
                self._access.cid,
                f'The lock {self._name!r} was lost before its block ended: another call may have held it meanwhile',
            )


def lock(
    service: Any, name: str | None = None, ttl: float = 20.0, block: float = 10.0, backend: object = None, *,
    expires: float | None = None, timeout: float | None = None,
) -> Lock:
    """Return a named lock of the cluster. Use it as `async with self.lock('name') as lease` in async services, and with
    `with` in synchronous services.

    The default name is that of the service. The lock is renewed while the block runs, and is free `ttl` seconds (0.2
    to 86,400) after its holder died. Waits up to `block` seconds until it is free. `expires` and `timeout` are Zato's
    names of `ttl` and `block`; `backend` has no effect.
    """
    access = RedisCoroutineRunner(service._zatotx)
    return Lock(
        access,
        access.service_name if name is None else str(name),
        ttl if expires is None else expires,
        float(block) if timeout is None else timeout,
    )
