"""Logins of the web admin's users, their sessions and roles, through the pipeline of a node."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import fail
from twisted.internet.task import Clock

from trial_tests.support.internals import InternalTestCase
from zatotx.interfaces.admin_sessions import IDLE_TIMEOUT, SESSION_HEADER
from zatotx.model.cid import new_cid
from zatotx.model.errors import ServiceUnavailable
from zatotx.model.message import ChannelSpec, HTTPView, Message, Reply
from zatotx.pipeline.security.admin_sessions import AdminSessions
from zatotx.pipeline.security.authentication_policy import AuthenticationPolicy
from zatotx.pipeline.security.authenticator import AuthenticationDependencies, UnavailableFetcher
from zatotx.plugins.http.server.route_table import BUILTIN_ENDPOINTS
from zatotx.rules.display_preferences import DEFAULTS
from zatotx.security.admin_user import make_authenticator
from zatotx.testing.memory_redis_components import MemoryNonceStore, MemorySessionStore

LOGIN, INVOKE = BUILTIN_ENDPOINTS['/zato/admin/login'], BUILTIN_ENDPOINTS['/zato/admin/invoke/{service}']
PASSWORD = 'correct horse'
ALICE = {'name': 'Alice', 'username': 'alice', 'password': PASSWORD, 'roles': ['viewer']}


class AdminSessionTests(InternalTestCase):
    """One node with a user of the web admin."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.clock = Clock()
        self.sessions = MemorySessionStore(self.clock)
        node = self.one
        dependencies = AuthenticationDependencies(
            reactor=node.reactor,
            offload=node.run_in_thread,
            nonces=MemoryNonceStore(self.clock),
            sessions=self.sessions,
            fetcher=UnavailableFetcher(),
            comparison=node.verifier.comparison,
            verifier=node.verifier,
        )
        self.policy = AuthenticationPolicy({'admin_user': lambda stored: make_authenticator(stored, dependencies)})
        node.admin_sessions = AdminSessions(snapshot=lambda: node.config.snapshot, verifier=node.verifier,
                                            sessions=self.sessions, clock=self.clock)  # fmt: skip
        self.alice = await self.call('zato.admin.user.create', ALICE)

    async def send(self, channel: ChannelSpec, service: str, payload: Any, *, token: str = '',
                   peer: str = '192.0.2.1') -> Reply:  # fmt: skip
        """Send a request as the HTTP channel does."""
        self.policy.apply(self.one.config.snapshot)
        self.one.pipeline.authentication = self.policy
        headers = {SESSION_HEADER: token.encode()} if token else {}
        view = HTTPView('POST', b'/', '/', b'', headers, {}, peer)
        deadline = self.one.reactor.seconds() + 30.0
        message = Message(new_cid(), channel, service, headers, msgspec.json.encode(payload), deadline, view)
        return await self.one.pipeline.serve(message)

    async def log_in(self, password: str = PASSWORD, username: str = 'alice', **options: Any) -> Reply:
        payload = {'username': username, 'password': password, **options.pop('fields', {})}
        return await self.send(LOGIN, 'zato.admin.login', payload, **options)

    async def token(self) -> str:
        token: str = msgspec.json.decode((await self.log_in()).body)['zato_admin_login_response']['token']
        return token

    async def status(self, service: str, payload: Any = None, token: str = '') -> int:
        return (await self.send(INVOKE, service, payload or {}, token=token)).status

    async def history(self) -> list[tuple[str, str, str]]:
        rows = await self.call('zato.history.get-list', {'type': 'admin_user'})
        return [(row['action'], row['who'], row['address']) for row in rows]

    async def test_a_session(self) -> None:
        """A session reads as its user, and nothing more; it ends with the logout. The history names the user and the
        address."""
        token = await self.token()
        reply = await self.send(INVOKE, 'zato.admin.get-session', {}, token=token)
        self.assertEqual(msgspec.json.decode(reply.body)['zato_admin_get_session_response'],
                         {'name': 'Alice', 'username': 'alice', 'roles': ['viewer'], 'settings': DEFAULTS})
        self.assertEqual([await self.status(service, {}, token) for service in (
            'zato.http-soap.get-list', 'zato.admin.user.delete', 'zato.service.invoke', 'crm.get-balance')],
            [200, 403, 403, 404])
        self.assertEqual(await self.status('zato.admin.logout', {}, token), 200)
        self.assertEqual(await self.status('zato.http-soap.get-list', {}, token), 401)
        self.assertEqual((await self.history())[:2],
                         [('logout', 'alice', '192.0.2.1'), ('login', 'alice', '192.0.2.1')])

    async def test_without_a_session(self) -> None:
        """Without a valid token nothing is served, whatever the token looks like."""
        valid = await self.token()
        for token in ('', 'x', valid[:-1], valid + 'x', valid.partition('.')[0] + '.', '.', '9' * 40 + '.x', '\xff.x'):
            self.assertEqual(await self.status('zato.http-soap.get-list', {}, token), 401, token)

    async def test_a_user_changes(self) -> None:
        """A new password, and a user made inactive, end the sessions."""
        old = await self.token()
        ids = {'id': self.alice['id']}
        await self.call('zato.admin.user.change-password', {**ids, 'password1': 'new', 'password2': 'new'})
        self.assertEqual(await self.status('zato.http-soap.get-list', {}, old), 401)
        self.assertEqual((await self.log_in()).status, 401)
        reply = await self.log_in('new')
        token = msgspec.json.decode(reply.body)['zato_admin_login_response']['token']
        self.assertEqual(await self.status('zato.http-soap.get-list', {}, token), 200)
        await self.call('zato.admin.user.edit', {**ids, 'is_active': False})
        self.assertEqual(await self.status('zato.http-soap.get-list', {}, token), 401)
        self.assertEqual((await self.log_in('new')).status, 401)

    async def test_own_password(self) -> None:
        """Users change their own passwords, with the present one; their sessions end. Guesses at it are slowed down."""
        token, service = await self.token(), 'zato.admin.change-own-password'
        new = {'password1': 'new', 'password2': 'new'}
        for payload in ({**new, 'password': 'wrong'}, {**new, 'password': PASSWORD, 'password2': 'x'}, new,
                        {'password': PASSWORD, 'password1': '${X}', 'password2': '${X}'}):  # fmt: skip
            self.assertEqual(await self.status(service, payload, token), 400, payload)
        self.assertEqual(await self.status(service, {**new, 'password': PASSWORD}, token), 200)
        self.assertEqual(await self.status('zato.admin.get-session', {}, token), 401)
        self.assertEqual((await self.log_in('new')).status, 200)
        rows = await self.call('zato.history.get-list', {'type': 'admin_user', 'limit': 2})
        self.assertEqual((rows[1]['action'], rows[1]['who']), ('edit', 'alice'))

    async def test_own_settings(self) -> None:
        """Users choose how dates and colors are shown; every mistake is named. The sessions go on."""
        token, service = await self.token(), 'zato.admin.change-own-settings'
        chosen = {'time_zone': 'Europe/Warsaw', 'theme': 'dark'}
        self.assertEqual(await self.status(service, chosen, token), 200)
        reply = await self.send(INVOKE, 'zato.admin.get-session', {}, token=token)
        session = msgspec.json.decode(reply.body)['zato_admin_get_session_response']
        self.assertEqual(session['settings'], {**DEFAULTS, **chosen})
        reply = await self.send(INVOKE, service, {'theme': 'pink', 'time_zone': '<b>'}, token=token)
        details = msgspec.json.decode(reply.body)['zato_env']['details']
        self.assertEqual(reply.status, 400)
        self.assertIn('$.theme', details)
        self.assertIn('$.time_zone', details)
        self.assertIn('settings', await self.refusal(service, chosen, 409))

    async def test_local_logins(self) -> None:
        """Logins that a web admin accepted or refused when no server answered are written with the time they were made;
        only administrators may do that."""
        service = 'zato.admin.record-local-logins'
        logins = [{'username': 'break-glass', 'address': '192.0.2.4', 'at': 1_790_000_000.0},
                  {'username': 'break-glass', 'address': '192.0.2.5', 'at': 1_790_000_001.0, 'is_refused': True}]
        self.assertEqual(await self.status(service, {'logins': logins}, await self.token()), 403)
        self.assertEqual(await self.call(service, {'logins': logins}), {'recorded': 2})
        rows = await self.call('zato.history.get-list', {'type': 'admin_user', 'limit': 2})
        self.assertEqual([(row['action'], row['who'], row['address'], row['at'][:19]) for row in rows], [
            ('local-login-refused', 'break-glass', '192.0.2.5', '2026-09-21T14:13:21'),
            ('local-login', 'break-glass', '192.0.2.4', '2026-09-21T14:13:20')])
        self.assertIn('$.logins', await self.refusal(service, {'logins': [{'username': 1}]}, 400))

    async def test_idle(self) -> None:
        """A session ends after half an hour without a request."""
        token = await self.token()
        for seconds, expected in ((IDLE_TIMEOUT - 1, 200), (IDLE_TIMEOUT - 1, 200), (IDLE_TIMEOUT, 401)):
            self.clock.advance(seconds)
            self.assertEqual(await self.status('zato.http-soap.get-list', {}, token), expected)

    async def test_wrong_passwords(self) -> None:
        """Four wrong passwords lead to 429 with Retry-After, for that network and user name only; each wrong password
        is in the history, what was not compared is not. After the wait the right one opens a session."""
        statuses = [(await self.log_in('wrong')).status for _ in range(6)]
        self.assertEqual(statuses, [401, 401, 401, 401, 429, 429])
        refused = await self.log_in()
        self.assertEqual((refused.status, dict(refused.headers)[b'Retry-After']), (429, b'1'))
        self.assertEqual((await self.log_in(peer='198.51.100.7')).status, 200)
        self.clock.advance(1.0)
        self.assertEqual((await self.log_in()).status, 200)
        self.assertEqual([action for action, _, address in await self.history() if address == '192.0.2.1'],
                         ['login', *['login-refused'] * 4])

    async def test_unknown_users(self) -> None:
        """An unknown user name is answered as a wrong password is."""
        unknown, wrong = await self.log_in(username='bob'), await self.log_in('wrong')
        self.assertEqual([msgspec.json.decode(reply.body)['zato_env']['details'] for reply in (unknown, wrong)],
                         ['The user name or the password is wrong'] * 2)

    async def test_the_client_of_the_admin(self) -> None:
        """A program on this machine says where its client is; others are believed their own address only."""
        stated = {'client_address': '203.0.113.9'}
        await self.log_in(peer='127.0.0.1', fields=stated)
        await self.log_in(peer='192.0.2.1', fields=stated)
        self.assertEqual([address for _, _, address in (await self.history())[:2]], ['192.0.2.1', '203.0.113.9'])

    async def test_outages(self) -> None:
        """Without Redis logins and sessions fail with a sentence; a login does not depend on the ODB."""
        token = await self.token()
        self.patch(type(self.one.odb), 'record_event',
                   lambda *arguments: fail(ServiceUnavailable(None, 'The ODB is away')))
        self.assertEqual((await self.log_in()).status, 200)
        self.sessions.error = ServiceUnavailable(None, 'Redis is unavailable')
        self.assertEqual((await self.log_in()).status, 503)
        self.assertEqual(await self.status('zato.http-soap.get-list', {}, token), 503)

    async def test_no_password_is_stored(self) -> None:
        """The password is stored as an argon2id hash only, and shown nowhere."""
        stored = self.one.config.snapshot.find('admin_user', 'Alice').value
        self.assertTrue(stored.password.startswith('$argon2id$'))
        self.assertNotIn('enc:', stored.password)
        self.assertNotIn('argon2', repr(stored))
        self.assertNotIn('password', str(await self.call('zato.admin.user.get-list')))
