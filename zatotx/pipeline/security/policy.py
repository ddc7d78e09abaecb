"""Who may use a channel: the security definitions in force, one check object each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from zatotx.interfaces.config import Prepared, commit_at_once
from zatotx.interfaces.pipeline import NEEDS_BODY, IAuthenticationPolicy, NeedsBody
from zatotx.model.errors import Forbidden, Unauthorized
from zatotx.model.message import ANONYMOUS, ChannelSpec, Message, Principal
from zatotx.pipeline.security.any_of import AnyOf
from zatotx.pipeline.security.authenticator import Authenticator
from zatotx.pipeline.security.challenges import GENERIC, challenge_of
from zatotx.pipeline.security.former_names import FormerNames
from zatotx.pipeline.security.pending_check import PendingCheck
from zatotx.rules.security.roles import roles_of
from zatotx.schema.snapshot import Snapshot, Stored

GROUP = 'security_group'  # the type of groups of definitions

_Found = Principal | NeedsBody
_T = TypeVar('_T', bound=_Found)


@frozen
class _AcceptedDefinitions:
    """Into the channels that ask for the same."""

    any_of: AnyOf | None  # None = open
    roles: frozenset[str]  # one of which the principal must have; none = it need not


@implementer(IAuthenticationPolicy)
class AuthenticationPolicy:
    """Keeps a check for every security definition, and drops it, with all it remembers, when the definition changes.

    A channel accepts its `security` and every member of its `groups`; without either it is open. One of the broker's
    own doors that asks for roles accepts every definition that has one of them. `makers`: type of definition
    ('basic_auth') -> what makes its check.

    A request goes by the channels of the moment at which its head came. So a definition, or a group, that was renamed
    since is found by its former name too.
    """

    def __init__(self, makers: Mapping[str, Callable[[Stored], Authenticator]]) -> None:
        self._makers = makers
        self._checks: dict[str, tuple[Stored, Authenticator]] = {}
        self._inactive: Mapping[str, str] = {}  # definitions that are switched off -> their challenges
        self._groups: Mapping[str, tuple[str, ...]] = {}
        self._names = FormerNames()
        self._ways: dict[
            tuple[object, ...], _AcceptedDefinitions
        ] = {}  # made when they are needed, all forgotten with a change

    def check(self, inbound: Message) -> Principal | Awaitable[Principal | NeedsBody] | NeedsBody:
        channel = inbound.channel
        if channel.groups or channel.roles:
            way = self._way(channel)
            return ANONYMOUS if way.any_of is None else _with_role(way.any_of.check(inbound), way, inbound)
        name = channel.security
        if name is None:
            return ANONYMOUS
        check = self._check_of(name, inbound)
        return NEEDS_BODY if check.needs_body else check.check(inbound)

    def check_body(self, inbound: Message) -> Principal | Awaitable[Principal | NeedsBody] | NeedsBody:
        channel = inbound.channel
        if channel.groups or channel.roles:
            way = self._way(channel)
            return ANONYMOUS if way.any_of is None else _with_role(way.any_of.check_body(inbound), way, inbound)
        name = channel.security
        return ANONYMOUS if name is None else self._check_of(name, inbound).check(inbound)

    def _check_of(self, name: str, inbound: Message) -> Authenticator:
        known = self._checks.get(name) or self._checks.get(self._names.now(name))
        if known is None:  # the definition is gone or switched off: nobody gets in
            raise Unauthorized(inbound.cid, None, self._inactive.get(name, GENERIC))
        return known[1]

    def _way(self, channel: ChannelSpec) -> _AcceptedDefinitions:
        asked = channel.security, channel.groups, channel.roles, channel.door
        way = self._ways.get(asked)
        if way is None:
            way = self._ways[asked] = self._made_way(channel)
        return way

    def _made_way(self, channel: ChannelSpec) -> _AcceptedDefinitions:
        roles = frozenset(channel.roles)
        names = dict.fromkeys(self._accepted(channel))
        any_of = AnyOf([self._checks[name][1] for name in names if name in self._checks],
                       [self._inactive[name] for name in names if name in self._inactive])  # fmt: skip
        closed = channel.security is not None or channel.groups or channel.door
        return _AcceptedDefinitions(any_of if closed else None, roles)

    def _accepted(self, channel: ChannelSpec) -> Iterator[str]:
        """The names of the definitions that let in, in the order in which they are asked."""
        if channel.security is not None:
            yield channel.security if channel.security in self._checks else self._names.now(channel.security)
        for group in channel.groups:
            yield from self._groups.get(group if group in self._groups else self._names.now(group), ())
        if channel.door:
            for name, (stored, _) in self._checks.items():
                if not roles_of(stored.type, name, stored.value.roles).isdisjoint(channel.roles):
                    yield name

    def prepare(self, snapshot: Snapshot) -> Deferred[Prepared]:
        """Build the checks of the definitions of a snapshot: unchanged ones keep what they know of verified
        credentials."""
        checks = {stored.name: self._check_for(stored) for stored in snapshot.of(*self._makers)
                  if stored.value.is_active}  # fmt: skip
        return succeed(Prepared(partial(self._take_over, snapshot, checks)))

    def apply(self, snapshot: Snapshot) -> None:
        """Take over the definitions of a snapshot at once."""
        commit_at_once(self.prepare(snapshot))

    def _check_for(self, stored: Stored) -> tuple[Stored, Authenticator]:
        known = self._checks.get(stored.name)
        if known is not None and known[0] == stored:
            return known
        return stored, self._makers[stored.type](stored)

    def _take_over(self, snapshot: Snapshot, checks: dict[str, tuple[Stored, Authenticator]]) -> None:
        self._checks = checks
        self._inactive = {stored.name: challenge_of(stored.type, stored.value) for stored in snapshot.of(*self._makers)
                          if not stored.value.is_active}  # fmt: skip
        self._groups = {stored.name: tuple(stored.value.members) for stored in snapshot.of(GROUP)}
        self._names.follow(snapshot.of(GROUP, *self._makers))
        self._ways = {}

    def findings(self) -> Iterator[str]:
        """What keeps definitions from admitting whom they should, as far as they know."""
        for _, check in self._checks.values():
            if hasattr(check, 'findings'):
                yield from check.findings()


def _with_role(
    found: _Found | Awaitable[_Found], way: _AcceptedDefinitions, inbound: Message
) -> _Found | Awaitable[_Found]:
    """Whoever was found, if he may. Raises Forbidden."""
    if not way.roles:
        return found
    if isinstance(found, Principal) or isinstance(found, NeedsBody):  # noqa: SIM101 - a third of the time of one
        return _permitted(found, way, inbound)
    return PendingCheck(found, _waited(found, way, inbound))


async def _waited(found: Awaitable[_Found], way: _AcceptedDefinitions, inbound: Message) -> _Found:
    return _permitted(await found, way, inbound)


def _permitted(found: _T, way: _AcceptedDefinitions, inbound: Message) -> _T:
    if isinstance(found, Principal) and found.roles.isdisjoint(way.roles):
        raise Forbidden(inbound.cid)
    return found
