"""A double of the cluster's API for the web admin, and the contract that it shares with the real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from zatotx.admin.cluster_api import ApiError, Caller, IClusterApi
from zatotx.api.object_type_descriptions import describe_type
from zatotx.connectors.security_type_registry import all_object_types
from zatotx.plugins.http.schema import OBJECT_TYPES
from zatotx.rules.display_preferences import DEFAULTS
from zatotx.rules.paging import filter_sort_and_page
from zatotx.schema.type_registry import ObjectTypeRegistry

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object

TYPES = ObjectTypeRegistry([*all_object_types([]), *OBJECT_TYPES])
USERNAME, PASSWORD = 'admin', 'right'


@implementer(IClusterApi)
class MemoryClusterApi:
    """A cluster of one user in memory, with the objects of some types. `answers` replaces the answer of a service by a
    value, an exception, or a function of the payload; `calls` are all calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Mapping[str, Any], Caller]] = []
        self.answers: dict[str, Any] = {}
        self.objects: dict[str, list[dict[str, Any]]] = {}  # by Zato prefix
        self.roles = ['admin']
        self.settings = dict(DEFAULTS)
        self.sessions: set[str] = set()
        self._last_id = 0

    def log_in(self, username: str, password: str, caller: Caller) -> Deferred[Mapping[str, Any]]:
        if (username, password) != (USERNAME, PASSWORD):
            return fail(ApiError(401, ['The user name or the password is wrong']))
        self._last_id += 1
        token = f'1.token-{self._last_id}'
        self.sessions.add(token)
        return succeed({'token': token, 'name': username, 'username': username, 'roles': self.roles,
                        'settings': self.settings})  # fmt: skip

    def call(self, service: str, payload: Mapping[str, Any], caller: Caller) -> Deferred[Any]:
        self.calls.append((service, payload, caller))
        if caller.token not in self.sessions:
            return fail(ApiError(401, ['Unauthorized']))
        if service in self.answers:
            answer = self.answers[service]
            answer = answer(payload) if callable(answer) else answer
            return fail(answer) if isinstance(answer, Exception) else succeed(answer)
        try:
            return succeed(self._answer(service, payload, caller))
        except ApiError as error:
            return fail(error)

    def call_each(self, service: str, payload: Mapping[str, Any], caller: Caller) -> Deferred[list[Any]]:
        return self.call(service, payload, caller).addCallback(lambda answer: [answer])

    def called(self, service: str) -> list[Mapping[str, Any]]:
        """The payloads of the calls of a service."""
        return [payload for name, payload, _ in self.calls if name == service]

    def _answer(self, service: str, payload: Mapping[str, Any], caller: Caller) -> Any:
        if service == 'zato.admin.get-session':
            return {'name': USERNAME, 'username': USERNAME, 'roles': self.roles, 'settings': self.settings}
        if service == 'zato.admin.change-own-settings':
            self.settings.update(payload)
            return self.settings
        if service == 'zato.admin.logout':
            self.sessions.discard(caller.token)
            return {}
        if service == 'zato.schema.get-list':
            return [describe_type(one, TYPES) for one in TYPES if one.zato is not None]
        if service in ('zato.schema.get-choices', 'zato.schema.get-usage', 'zato.history.get-list'):
            return []
        prefix, _, action = service.removeprefix('zato.').rpartition('.')
        actions: dict[str, Callable[[str, Mapping[str, Any]], Any]] = {
            'create': self._create, 'edit': self._edit, 'delete': self._delete, 'get-list': self._list,
            'get-by-id': self._find,
        }  # fmt: skip
        if action not in actions or all(one.zato is None or one.zato.prefix != prefix for one in TYPES):
            raise ApiError(404, [f'No service is called {service!r}'])
        return actions[action](prefix, payload)

    def _list(self, prefix: str, payload: Mapping[str, Any]) -> Any:
        return filter_sort_and_page(sorted(self.objects.get(prefix, ()), key=lambda row: row['name']), payload)

    def _find(self, prefix: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        for row in self.objects.get(prefix, ()):
            if str(row['id']) == str(payload.get('id')):
                return row
        raise ApiError(404, [f'No object has the id {payload.get("id")}'])

    def _create(self, prefix: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        if not payload.get('name'):
            raise ApiError(400, ['$.name: missing'])
        rows = self.objects.setdefault(prefix, [])
        if any(row['name'] == payload['name'] for row in rows):
            raise ApiError(409, [f'{payload["name"]!r} is taken'])
        self._last_id += 1
        fields = {name: value for name, value in payload.items() if name != 'password'}
        rows.append({'is_active': True, **fields, 'id': self._last_id, 'revision': 1})
        return {'id': self._last_id, 'name': payload['name']}

    def _edit(self, prefix: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        row = self._find(prefix, payload)
        if str(payload.get('revision') or row['revision']) != str(row['revision']):
            raise ApiError(409, [f'{row["name"]} was changed by somebody else'])
        row.update({name: value for name, value in payload.items() if name not in ('id', 'password')})
        row['revision'] = int(row['revision']) + 1
        return {'id': row['id'], 'name': row['name']}

    def _delete(self, prefix: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        self.objects[prefix].remove(self._find(prefix, payload))
        return {}


class ClusterApiContract(Case):
    """Tests of IClusterApi that hold for the double and for a real cluster."""

    PREFIX = 'zato.security.basic-auth'

    def cluster_api(self) -> IClusterApi:
        """Return the API under test."""
        raise NotImplementedError

    def credentials(self) -> tuple[str, str]:
        """Return the user name and the password of an administrator."""
        raise NotImplementedError

    async def refused(self, call: Deferred[Any]) -> ApiError:
        """Return the error of a call that must fail."""
        try:
            result = await call
        except ApiError as error:
            return error
        raise AssertionError(f'The call succeeded: {result}')

    async def test_sessions(self) -> None:
        """A login gives a token, with which services answer until the logout; without one they do not."""
        api = self.cluster_api()
        verifyObject(IClusterApi, api)
        username, password = self.credentials()
        self.assertEqual((await self.refused(api.log_in(username, 'wrong', Caller()))).status, 401)
        session = await api.log_in(username, password, Caller(address='192.0.2.1'))
        caller = Caller(session['token'])
        self.assertEqual((await api.call('zato.admin.get-session', {}, caller))['username'], username)
        each = await api.call_each('zato.admin.get-session', {}, caller)
        self.assertEqual([one['username'] for one in each], [username])
        await api.call('zato.admin.logout', {}, caller)
        for token in (session['token'], ''):
            self.assertEqual((await self.refused(api.call('zato.admin.get-session', {}, Caller(token)))).status, 401)

    async def test_objects(self) -> None:
        """Objects are created, listed by pages, changed unless somebody else did meanwhile, and deleted; errors name
        the fields."""
        api = self.cluster_api()
        caller = Caller((await api.log_in(*self.credentials(), Caller()))['token'])
        error = await self.refused(api.call(f'{self.PREFIX}.create', {'username': 'x'}, caller))
        self.assertEqual((error.status, error.field_errors), (400, {'name': 'missing'}))
        fields = {'name': 'contract', 'username': 'contract', 'password': 'secret'}
        made = await api.call(f'{self.PREFIX}.create', fields, caller)
        self.assertEqual(made['name'], 'contract')
        error = await self.refused(api.call(f'{self.PREFIX}.create', fields, caller))
        self.assertEqual((error.status, error.field_errors), (409, {}))
        self.assertIn('contract', error.messages[0])
        query = {'paginate': True, 'page_size': 1, 'query': 'CONTRACT'}
        page = await api.call(f'{self.PREFIX}.get-list', query, caller)
        self.assertEqual(([row['id'] for row in page['data']], page['_meta']['total']), ([made['id']], 1))
        self.assertNotIn('password', page['data'][0])
        change = {'id': made['id'], 'username': 'other', 'revision': page['data'][0]['revision']}
        await api.call(f'{self.PREFIX}.edit', change, caller)
        error = await self.refused(api.call(f'{self.PREFIX}.edit', {**change, 'username': 'third'}, caller))
        self.assertEqual(error.status, 409)
        row = await api.call(f'{self.PREFIX}.get-by-id', {'id': made['id']}, caller)
        self.assertEqual(row['username'], 'other')
        await api.call(f'{self.PREFIX}.delete', {'id': made['id']}, caller)
        error = await self.refused(api.call(f'{self.PREFIX}.get-by-id', {'id': made['id']}, caller))
        self.assertEqual(error.status, 404)

    async def test_descriptions(self) -> None:
        """The object types are described in the form that the admin reads."""
        api = self.cluster_api()
        caller = Caller((await api.log_in(*self.credentials(), Caller()))['token'])
        types = {one['key']: one for one in await api.call('zato.schema.get-list', {}, caller)}
        self.assertEqual(types['basic_auth']['heading'], 'Basic auth')
        self.assertEqual(types['channel_rest']['fixed_fields'], {'connection': 'channel', 'transport': 'plain_http'})
