"""The authentication policy of a node. It contains one authenticator for each active security definition."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from zatotx.interfaces.config import PreparedConfigChange, commit_when_prepared
from zatotx.interfaces.pipeline import NEEDS_BODY, IAuthenticationPolicy, NeedsBody
from zatotx.interfaces.security_type import GENERIC_CHALLENGE
from zatotx.model.errors import Forbidden, Unauthorized
from zatotx.model.message import ANONYMOUS, ChannelSpec, Message, Principal
from zatotx.pipeline.security.any_of_authenticator import AnyOfAuthenticator, PendingCheck
from zatotx.pipeline.security.authenticator import Authenticator
from zatotx.rules.security.roles import effective_roles
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.system.time_slices import TimeSlices

MAX_FORMER_NAMES = 1_000  # number of former names kept


class FormerNames:
    """Maps the former names of renamed configuration objects to their current names. Callers must first look a name up
    among the current names, because another object may now have a name that was a former name."""

    __slots__ = ('_former', '_present')

    def __init__(self) -> None:
        self._present: dict[tuple[str, int], str] = {}  # (type, id) -> name
        self._former: dict[str, tuple[str, int]] = {}  # oldest first

    def changed_name(self, stored: StoredObject) -> str | None:
        """Return the present name of an object that is going to get another one; None if it keeps its name."""
        name = self._present.get((stored.type, stored.id), stored.name)
        return name if name != stored.name else None

    def update(self, present: dict[tuple[str, int], str], renamed: Mapping[str, tuple[str, int]]) -> None:
        """Replace the present names. `renamed`: names that changed, which become former ones."""
        for name, key in renamed.items():
            self._former.pop(name, None)
            self._former[name] = key
        for name in list(self._former)[: max(0, len(self._former) - MAX_FORMER_NAMES)]:
            del self._former[name]
        self._present = present

    def present_name(self, name: str) -> str:
        """Return the present name of the object that was called `name`; `name` itself if there is none."""
        key = self._former.get(name)
        return name if key is None else self._present.get(key, name)


SECURITY_GROUP_TYPE = 'security_group'  # the type of security groups

_CheckResult = Principal | NeedsBody
_T = TypeVar('_T', bound=_CheckResult)


@frozen
class _AcceptedDefinitions:
    """The definitions that a channel accepts; shared by channels with the same requirements."""

    any_of: AnyOfAuthenticator | None  # None = the channel is open
    roles: frozenset[str]  # the principal must have one of them; empty = no role is required


@define
class _Definitions:
    """The definitions and groups of a snapshot, by name."""

    authenticators: dict[str, tuple[StoredObject, Authenticator]] = field(factory=dict)
    inactive: dict[str, str] = field(factory=dict)  # inactive definitions -> their challenges
    groups: dict[str, tuple[str, ...]] = field(factory=dict)
    names: dict[tuple[str, int], str] = field(factory=dict)  # (type, id) -> name
    renamed: dict[str, tuple[str, int]] = field(factory=dict)  # names that changed -> (type, id)


@implementer(IAuthenticationPolicy)
class AuthenticationPolicy:
    """Implements IAuthenticationPolicy. It keeps an authenticator for each security definition, and drops the
    authenticator with its caches when the definition changes.

    A channel accepts its `security` and every member of its `groups`; without either it is open. An endpoint of the
    broker that requires roles accepts every definition that has one of them. `factories`: type of definition
    ('basic_auth') -> factory of its authenticator. `challenges`: type of definition -> function that returns the
    challenge of an inactive definition; the generic one for other types.

    A request is checked against the channels in force when its head arrived. A definition or group renamed since then
    is therefore also found by its former name.
    """

    def __init__(
        self,
        factories: Mapping[str, Callable[[StoredObject], Authenticator]],
        challenges: Mapping[str, Callable[[Any], str]] = MappingProxyType({}),
        clock: IReactorTime | None = None,
    ) -> None:
        """`clock`: the reactor, which handles other events while many definitions are prepared."""
        self._makers = factories
        self._challenges = challenges
        self._clock = clock
        self._snapshot = Snapshot()
        self._authenticators: dict[str, tuple[StoredObject, Authenticator]] = {}
        self._inactive: Mapping[str, str] = {}  # inactive definitions -> their challenges
        self._groups: Mapping[str, tuple[str, ...]] = {}
        self._former_names = FormerNames()
        self._accepted_by_channel: dict[
            tuple[object, ...], _AcceptedDefinitions
        ] = {}  # created on demand, cleared by every change

    def check(self, message: Message) -> Principal | Awaitable[Principal | NeedsBody] | NeedsBody:
        """See IAuthenticationPolicy."""
        channel = message.channel
        if channel.groups or channel.roles:
            accepted = self._accepted_of(channel)
            return (
                ANONYMOUS
                if accepted.any_of is None
                else _require_role(accepted.any_of.check(message), accepted, message)
            )
        name = channel.security
        if name is None:
            return ANONYMOUS
        known = self._authenticators.get(name)
        authenticator = self._authenticator_of(name, message) if known is None else known[1]
        return NEEDS_BODY if authenticator.needs_body else authenticator.check(message)

    def check_body(self, message: Message) -> Principal | Awaitable[Principal | NeedsBody] | NeedsBody:
        """See IAuthenticationPolicy."""
        channel = message.channel
        if channel.groups or channel.roles:
            accepted = self._accepted_of(channel)
            return (
                ANONYMOUS
                if accepted.any_of is None
                else _require_role(accepted.any_of.check_body(message), accepted, message)
            )
        name = channel.security
        return ANONYMOUS if name is None else self._authenticator_of(name, message).check(message)

    def _authenticator_of(self, name: str, message: Message) -> Authenticator:
        known = self._authenticators.get(name) or self._authenticators.get(self._former_names.present_name(name))
        if known is None:  # the definition was removed or deactivated
            raise Unauthorized(message.cid, None, self._inactive.get(name, GENERIC_CHALLENGE))
        return known[1]

    def _accepted_of(self, channel: ChannelSpec) -> _AcceptedDefinitions:
        key = channel.security, channel.groups, channel.roles, channel.is_builtin_endpoint
        accepted = self._accepted_by_channel.get(key)
        if accepted is None:
            accepted = self._accepted_by_channel[key] = self._make_accepted(channel)
        return accepted

    def _make_accepted(self, channel: ChannelSpec) -> _AcceptedDefinitions:
        roles = frozenset(channel.roles)
        names = dict.fromkeys(self._accepted_names(channel))
        any_of = AnyOfAuthenticator([self._authenticators[name][1] for name in names if name in self._authenticators],
                       [self._inactive[name] for name in names if name in self._inactive])  # fmt: skip
        is_closed = channel.security is not None or channel.groups or channel.is_builtin_endpoint
        return _AcceptedDefinitions(any_of if is_closed else None, roles)

    def _accepted_names(self, channel: ChannelSpec) -> Iterator[str]:
        """Yield the names of the accepted definitions, in the order in which they are tried."""
        if channel.security is not None:
            yield (
                channel.security
                if channel.security in self._authenticators
                else self._former_names.present_name(channel.security)
            )
        for group in channel.groups:
            yield from self._groups.get(group if group in self._groups else self._former_names.present_name(group), ())
        if channel.is_builtin_endpoint:
            for name, (stored, _) in self._authenticators.items():
                if not effective_roles(stored.type, name, stored.value.roles).isdisjoint(channel.roles):
                    yield name

    def prepare(self, snapshot: Snapshot) -> Deferred[PreparedConfigChange]:
        """Build the authenticators of a snapshot. Those of unchanged definitions are reused with their caches."""
        if snapshot.has_same_objects(self._snapshot, SECURITY_GROUP_TYPE, *self._makers):
            return succeed(PreparedConfigChange())
        return Deferred.fromCoroutine(self._prepare(snapshot))

    async def _prepare(self, snapshot: Snapshot) -> PreparedConfigChange:
        state = _Definitions()
        slices = None if self._clock is None else TimeSlices(self._clock)
        for stored in snapshot.objects_of_types(SECURITY_GROUP_TYPE, *self._makers):
            if slices is not None and slices.is_over():
                await slices.next()
            self._add(stored, state)
        return PreparedConfigChange(partial(self._commit, snapshot, state))

    def _add(self, stored: StoredObject, state: _Definitions) -> None:
        name, key = stored.name, (stored.type, stored.id)
        state.names[key] = name
        former = self._former_names.changed_name(stored)
        if former is not None:
            state.renamed[former] = key
        if stored.type == SECURITY_GROUP_TYPE:
            state.groups[name] = tuple(stored.value.members)
        elif stored.value.is_active:
            state.authenticators[name] = self._authenticator_for(stored)
        else:
            state.inactive[name] = self._challenges.get(stored.type, _generic_challenge)(stored.value)

    def apply(self, snapshot: Snapshot) -> None:
        """Apply the definitions of a snapshot at once."""
        commit_when_prepared(self.prepare(snapshot))

    def _authenticator_for(self, stored: StoredObject) -> tuple[StoredObject, Authenticator]:
        known = self._authenticators.get(stored.name)
        if known is not None and known[0] == stored:
            return known
        return stored, self._makers[stored.type](stored)

    def _commit(self, snapshot: Snapshot, state: _Definitions) -> None:
        self._snapshot = snapshot
        self._authenticators, self._inactive, self._groups = state.authenticators, state.inactive, state.groups
        self._former_names.update(state.names, state.renamed)
        self._accepted_by_channel = {}

    def findings(self) -> Iterator[str]:
        """Yield what prevents definitions from working, as far as their authenticators know."""
        for _, authenticator in self._authenticators.values():
            if hasattr(authenticator, 'findings'):
                yield from authenticator.findings()


def _generic_challenge(definition: Any) -> str:
    return GENERIC_CHALLENGE


def _require_role(
    result: _CheckResult | Awaitable[_CheckResult], accepted: _AcceptedDefinitions, message: Message
) -> _CheckResult | Awaitable[_CheckResult]:
    """Return the result if its principal has a required role. Raises Forbidden."""
    if not accepted.roles:
        return result
    if isinstance(result, Principal) or isinstance(result, NeedsBody):  # noqa: SIM101 - a tuple takes three times as long
        return _require_any_role(result, accepted, message)
    return PendingCheck(result, _require_role_later(result, accepted, message))


async def _require_role_later(
    pending: Awaitable[_CheckResult], accepted: _AcceptedDefinitions, message: Message
) -> _CheckResult:
    return _require_any_role(await pending, accepted, message)


def _require_any_role(result: _T, accepted: _AcceptedDefinitions, message: Message) -> _T:
    if isinstance(result, Principal) and result.roles.isdisjoint(accepted.roles):
        raise Forbidden(message.cid)
    return result
