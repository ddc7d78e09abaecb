"""The break-glass account: a local login for when no server answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.cluster_api import PASSWORD, USERNAME, MemoryClusterApi
from trial_tests.unit.admin.test_application import TOKEN, ApplicationTestCase
from zatotx.admin.break_glass import IDLE_TIMEOUT, MAX_AGE, BreakGlassAccount
from zatotx.admin.cluster_api import ApiError
from zatotx.cli.environment.components.web_admin import find_break_glass, write_break_glass
from zatotx.cli.environment.environment_layout import UserCredentials
from zatotx.odb.secrets import hash_secret

ACCOUNT = UserCredentials('break-glass', 'only in an emergency')
HASH = hash_secret(ACCOUNT.password)
AWAY = ApiError(0, ['No server of the cluster can be reached: http://a'])


class FakeAgent:
    """An agent of the load balancer that knows one server."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def call(self, name: str, /, **arguments: Any) -> Any:
        self.calls.append(name)
        return {} if name == 'get_server_data_dict' else '1 day'


def make_account(case: SynchronousTestCase, clock: Clock) -> BreakGlassAccount:
    """Return the account of a file, which verifies passwords at once."""
    path = Path(case.mktemp())
    path.write_text(f'username = "break-glass"\npassword_hash = "{HASH}"\n')
    return BreakGlassAccount(path=path, clock=clock, now=lambda: 1_790_000_000.0, offload=maybeDeferred)


class AccountTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.account = make_account(self, self.clock)

    def log_in(self, username: str = 'break-glass', address: str = '192.0.2.1') -> Any:
        return self.successResultOf(Deferred.fromCoroutine(self.account.log_in(username, ACCOUNT.password, address)))

    def refused(self, *arguments: str) -> ApiError:
        failure = self.failureResultOf(Deferred.fromCoroutine(self.account.log_in(*arguments)), ApiError)
        error = failure.value
        assert isinstance(error, ApiError)
        return error

    def test_session(self) -> None:
        """A session ends with the logout, without use, and after two hours."""
        token = self.log_in()
        self.assertEqual(self.account.use(token), 'break-glass')
        self.assertIsNone(self.account.use(token + 'x'))
        self.account.log_out(token)
        self.assertIsNone(self.account.use(token))
        idle = self.log_in()
        self.clock.advance(IDLE_TIMEOUT - 1)
        self.assertEqual(self.account.use(idle, renews=False), 'break-glass')
        self.clock.advance(1)
        self.assertIsNone(self.account.use(idle))
        used = self.log_in()
        for _ in range(int(MAX_AGE // 1000)):
            self.assertEqual(self.account.use(used), 'break-glass')
            self.clock.advance(1000)
        self.clock.advance(MAX_AGE % 1000)
        self.assertIsNone(self.account.use(used))

    def test_guesses(self) -> None:
        """Wrong passwords are slowed down for their network only, whatever else that network sends."""
        for _ in range(4):
            self.assertEqual(self.refused('break-glass', 'guess', '192.0.2.1').status, 401)
            self.log_in(username='admin', address='198.51.100.1')
        refused = self.refused('break-glass', ACCOUNT.password, '192.0.2.1')
        self.assertEqual((refused.status, refused.retry_after), (429, '1'))
        self.assertTrue(self.log_in(address='198.51.100.7'))
        self.clock.advance(1)
        self.assertTrue(self.log_in())
        for _ in range(3):
            self.refused('break-glass', 'guess', '192.0.2.1')
            self.assertIsNone(self.log_in(username='somebody'))
        self.refused('break-glass', 'guess', '192.0.2.1')
        self.assertEqual(self.refused('somebody', 'x', '192.0.2.1').status, 429)

    def test_file(self) -> None:
        """The file is read at each login: without it there is no account, and a broken one is named in the log."""
        self.account.path.write_text('username = "other"\npassword_hash = "x"\n')
        self.assertIsNone(self.log_in())
        self.assertEqual(self.refused('other', 'x', '192.0.2.1').status, 401)
        self.account.path.write_text('username = 1')
        self.assertEqual(self.refused('break-glass', 'x', '192.0.2.1').status, 503)
        self.account.path.unlink()
        self.assertIsNone(self.log_in())

    def test_pending(self) -> None:
        """Logins, refused ones included, wait for the history."""
        self.log_in()
        self.refused('break-glass', 'guess', '192.0.2.9')
        taken = self.account.take_pending()
        self.assertEqual([(one['address'], one['is_refused'], one['at']) for one in taken],
                         [('192.0.2.1', False, 1_790_000_000.0), ('192.0.2.9', True, 1_790_000_000.0)])
        self.assertEqual(self.account.take_pending(), [])
        self.account.put_back(taken)
        self.assertEqual(self.account.take_pending(), taken)

    def test_written_by_the_commands(self) -> None:
        """The file that the commands write is the owner's, has no password in clear, and is found again."""
        directory = Path(self.mktemp()) / 'web-admin'
        (directory / 'config').mkdir(parents=True)
        (directory / '.zato-info').write_text('{"component": "WEB_ADMIN"}')
        write_break_glass(directory, ACCOUNT)
        path = directory / 'config' / 'break-glass.toml'
        self.assertEqual((path.stat().st_mode & 0o777, ACCOUNT.password in path.read_text()), (0o600, False))
        self.assertEqual(find_break_glass(directory.parent), (directory, 'break-glass'))
        self.account.path = path
        self.assertTrue(self.log_in())


class BreakGlassScreenTests(ApplicationTestCase):
    """The admin whose servers are all away."""

    def setUp(self) -> None:
        super().setUp()
        self.application.break_glass = make_account(self, self.clock)
        self.agent = FakeAgent()
        self.application.balancer = self.agent
        self.is_away = True
        log_in = self.api.log_in
        self.patch(self.api, 'log_in', lambda *arguments: fail(AWAY) if self.is_away else log_in(*arguments))
        self.patch(self.api, 'call', self.call)

    def call(self, service: str, payload: Mapping[str, Any], caller: Any) -> Deferred[Any]:
        if self.is_away:
            return fail(AWAY)
        return MemoryClusterApi.call(self.api, service, payload, caller)

    def enter(self, username: str = 'break-glass', password: str = ACCOUNT.password) -> Any:
        self.cookies.clear()
        found = TOKEN.search(self.get('/login').body)
        assert found is not None
        form = {'csrf_token': found[1], 'username': username, 'password': password, 'target': '/'}
        return self.send('POST', '/login', data=form)

    def test_load_balancer_only(self) -> None:
        """It opens the screens of the load balancer, without a server, and nothing else."""
        self.assertEqual(self.location(self.enter()), '/')
        for path in ('/', '/services', '/objects/basic_auth', '/settings', '/live'):
            self.assertEqual(self.location(self.get(path)), '/load-balancer', path)
        page = self.get('/load-balancer')
        self.assertEqual((page.code, self.agent.calls[0]), (200, 'get_server_data_dict'))
        self.assertIn('break-glass: the load balancer only', page.body)
        self.assertNotIn('/services', page.body)
        found = TOKEN.search(page.body)
        assert found is not None
        self.assertEqual(self.send('POST', '/logout', data={}).code, 403)
        self.assertEqual(self.location(self.send('POST', '/logout', data={'csrf_token': found[1]})), '/login')
        self.assertEqual(self.get('/load-balancer').code, 303)

    def test_refused(self) -> None:
        """A wrong password is rejected, and other users learn that no server answers."""
        self.assertEqual(self.enter(password='guess').code, 401)
        response = self.enter(username='admin')
        self.assertEqual(response.code, 503)
        self.assertIn('No server of the cluster can be reached', response.body)

    def test_servers_answer(self) -> None:
        """While servers answer, the account is nobody: its password is not even verified."""
        self.is_away = False
        self.assertEqual(self.enter().code, 401)
        assert self.application.break_glass is not None
        self.assertEqual(self.application.break_glass.take_pending(), [])

    def test_history(self) -> None:
        """When the servers are back, the next administrator's login writes the local logins to the history; if that
        fails, the one after it does."""
        self.enter()
        self.is_away = False
        service = 'zato.admin.record-local-logins'
        self.api.answers[service] = ApiError(503, ['The ODB is away'])
        self.location(self.enter(USERNAME, PASSWORD))
        self.api.answers[service] = {'recorded': 1}
        self.location(self.enter(USERNAME, PASSWORD))
        first, second = self.api.called(service)
        self.assertEqual(first, second)
        self.assertEqual([(one['username'], one['is_refused']) for one in first['logins']], [('break-glass', False)])
        self.location(self.enter(USERNAME, PASSWORD))
        self.assertEqual(len(self.api.called(service)), 2)

    def test_forged_tokens(self) -> None:
        """A token of the form of a local one opens nothing."""
        self.enter()
        name = next(each for each in self.cookies if 'session' in each)
        self.cookies[name] = 'local.forged'
        self.assertEqual(self.location(self.get('/load-balancer')), '/login?next=%2Fload-balancer')
        self.assertEqual(self.agent.calls, [])


class WithoutAccountTests(ApplicationTestCase):
    def test_none(self) -> None:
        """Without an account the page says that no server answers."""
        self.patch(self.api, 'log_in', lambda *_: fail(AWAY))
        self.assertEqual(self.log_in().code, 503)
        self.patch(self.api, 'log_in', lambda *_: succeed({'token': '1.x', 'roles': ['admin']}))
        self.assertEqual(self.location(self.log_in_once()), '/')

    def log_in_once(self) -> Any:
        found = TOKEN.search(self.get('/login').body)
        assert found is not None
        form = {'csrf_token': found[1], 'username': 'admin', 'password': 'x', 'target': '/'}
        return self.send('POST', '/login', data=form)
