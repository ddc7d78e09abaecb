"""The calls of the load balancer's agent."""

from __future__ import annotations

import tomllib
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import balancer_control
from trial_tests.support.balancer_control import CONFIG, FakeBalancerControl
from zatotx.lb.agent.agent_calls import AgentCalls, source_revision
from zatotx.lb.agent.haproxy_stats_commands import format_uptime
from zatotx.testing.log_recorder import LogRecorder
from zatotx.wire.lb_agent_messages import AgentCallError

ADMIN = 'CN=web-admin,O=Bank'


class FakeControlTests(balancer_control.BalancerControlContract):
    """The double keeps what every control promises."""

    def make_control(self) -> FakeBalancerControl:
        return FakeBalancerControl()


class CallsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.control = FakeBalancerControl()
        self.calls = AgentCalls(self.control, {'host': '127.0.0.1', 'port': 20151})
        self.log = LogRecorder()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def call(self, name: str, /, **arguments: Any) -> Any:
        return self.successResultOf(ensureDeferred(self.calls.call(name, arguments, ADMIN)))

    def refused(self, name: str, /, **arguments: Any) -> AgentCallError:
        error = self.failureResultOf(ensureDeferred(self.calls.call(name, arguments, ADMIN)), AgentCallError).value
        assert isinstance(error, AgentCallError)
        return error

    def logged(self) -> list[str]:
        return [record.getMessage() for record in self.log.records if record.name.startswith('zatotx.lb')]


class ReadingTests(CallsTestCase):
    def test_ping(self) -> None:
        """`ping` answers as Zato's agent."""
        self.assertEqual(self.call('ping'), 'ZATO_OK')

    def test_config(self) -> None:
        """The configuration is there as text and as a nested object."""
        self.assertEqual(self.call('get_config_source_code'), CONFIG)
        self.assertEqual(self.call('get_config')['backends']['plain']['servers']['server1']['port'], 17010)

    def test_states(self) -> None:
        """Servers are grouped by state and backend."""
        self.control.states['plain', 'server2'] = 'DOWN'
        self.assertEqual(self.call('get_servers_state'), {
            'UP': {'plain': ['server1']}, 'DOWN': {'plain': ['server2']}, 'MAINT': {}, 'DRAIN': {},
        })  # fmt: skip

    def test_server_data(self) -> None:
        """Servers are there by name, all or one."""
        data = self.call('get_server_data_dict')
        self.assertEqual(list(data), ['server1', 'server2'])
        self.assertEqual((data['server1']['address'], data['server1']['state'], data['server1']['backend']),
                         ('127.0.0.1:17010', 'UP', 'plain'))  # fmt: skip
        self.assertEqual(list(self.call('get_server_data_dict', name='server2')), ['server2'])
        self.assertEqual(self.refused('get_server_data_dict', name='x').status, 404)

    def test_servers_of_one_name(self) -> None:
        """Servers of several backends with one name are told apart by their backends."""
        self.control.source += '[backends.other.servers.server1]\nhost = "h"\nport = 1\n'
        self.assertEqual(list(self.call('get_server_data_dict')), ['plain/server1', 'server2', 'other/server1'])
        self.assertEqual(list(self.call('get_server_data_dict', backend='other')), ['server1'])
        self.assertIn('Several backends', str(self.refused('set_server_state', name='server1', state='drain')))
        self.call('set_server_state', name='server1', backend='other', state='drain')
        self.assertEqual(self.call('get_servers_state')['DRAIN'], {'other': ['server1']})

    def test_commands(self) -> None:
        """Commands have Zato's numbers and HAProxy's names and form."""
        self.assertIn('Uptime: 1d 2h03m04s\n', self.call('execute_command', command=1))
        self.assertIn('Version: 1.2\n', self.call('execute_command', command='show info', timeout=0.25, extra=''))
        self.assertIn('Uptime_sec: 93784\n', self.call('execute_command', command=1))
        head, line, *_ = self.call('execute_command', command=2).splitlines()
        values = dict(zip(head.removeprefix('# ').split(','), line.split(','), strict=True))
        self.assertEqual((values['pxname'], values['svname'], values['status'], values['stot'], values['addr']),
                         ('plain', 'server1', 'UP', '7', '127.0.0.1:17010'))  # fmt: skip
        self.assertEqual(self.call('execute_command', command='show errors'), 'Total events captured: 0\n')
        self.control.errors = ['a request was malformed']
        self.assertEqual(self.call('execute_command', command=3), 'a request was malformed\n')
        self.assertIn('plain/server1: current=0', self.call('execute_command', command=4))
        self.assertIn('2: show stat', self.call('execute_command', command=0))
        for unknown in (5, 'shutdown frontend x'):
            self.assertEqual(self.refused('execute_command', command=unknown).status, 404)

    def test_status(self) -> None:
        """Version, uptime, liveness and the agent's own settings have calls of their own."""
        self.assertEqual(self.call('haproxy_version_info'), '1.2')
        self.assertEqual(self.call('get_uptime_info'), '1d 2h03m04s')
        self.assertIs(self.call('is_haproxy_alive', lb_use_tls=False), True)
        self.assertEqual(self.call('get_work_config'), {'host': '127.0.0.1', 'port': 20151})
        self.assertEqual(format_uptime(59.9), '0d 0h00m59s')

    def test_unknown_call(self) -> None:
        """An unknown call is answered with the names of all."""
        error = self.refused('drop_tables')
        self.assertEqual((error.status, error.errors), (404, tuple(self.calls.names)))

    def test_arguments(self) -> None:
        """All wrong arguments are reported at once."""
        error = self.refused('add_remove_server', action='move', nam='x', port=0, backend=5)
        self.assertEqual(error.status, 400)
        self.assertEqual([text.partition(':')[0] for text in error.errors],
                         ['nam', 'action', 'name', 'backend', 'port'])  # fmt: skip


class ChangeTests(CallsTestCase):
    def test_add(self) -> None:
        """A server is added to the only backend; comments and all else stay."""
        self.assertIs(self.call('add_remove_server', action='add', name='server3', host='10.0.0.3', port=17012), True)
        self.assertEqual(tomllib.loads(self.control.source)['backends']['plain']['servers']['server3'],
                         {'host': '10.0.0.3', 'port': 17012})  # fmt: skip
        for comment in ('# The load balancer of the tests.', '# its cluster', '# The first one.', '# here'):
            self.assertIn(comment, self.control.source)
        self.assertIn(f'{ADMIN} added the server server3', self.logged()[-1])

    def test_add_placeholder(self) -> None:
        """As in Zato, a server may be added by its name alone; it gets no requests until it has an address."""
        self.call('add_remove_server', action='add', name='server3')
        self.assertEqual(self.call('get_servers_state')['MAINT'], {'plain': ['server3']})

    def test_add_existing(self) -> None:
        """A second server of a name is a conflict, and nothing changes."""
        self.assertEqual(self.refused('add_remove_server', action='add', name='server1').status, 409)
        self.assertEqual(self.control.source, CONFIG)

    def test_remove(self) -> None:
        """A server is removed; one that is not there is named with those that are."""
        self.call('add_remove_server', action='remove', name='server1')
        self.assertEqual(list(self.call('get_server_data_dict')), ['server2'])
        self.assertIn('# its cluster', self.control.source)
        self.assertIn('known: server2', str(self.refused('add_remove_server', action='remove', name='server1')))

    def test_half_an_address(self) -> None:
        """Host and port belong together, and to servers that are added."""
        self.assertIn('give both', str(self.refused('add_remove_server', action='add', name='x', port=1)))
        self.assertIn('only for a server that is added',
                      str(self.refused('add_remove_server', action='remove', name='server1', weight=2)))  # fmt: skip

    def test_rename(self) -> None:
        """A server gets another name and keeps its values and comments; a name in use is a conflict."""
        self.call('rename_server', old_name='server1', new_name='primary')
        self.assertEqual(tomllib.loads(self.control.source)['backends']['plain']['servers']['primary'],
                         {'host': '127.0.0.1', 'port': 17010})  # fmt: skip
        self.assertIn('# here', self.control.source)
        self.assertEqual(self.refused('rename_server', old_name='primary', new_name='server2').status, 409)
        self.assertIn(f'{ADMIN} renamed the server server1 to primary', self.logged()[-1])

    def test_rename_keeps_the_state(self) -> None:
        """A server in maintenance, whose address may be about to change, gets no requests under its new name."""
        self.call('set_server_state', name='server1', state='maint')
        self.call('rename_server', old_name='server1', new_name='primary')
        self.assertEqual(self.call('get_server_data_dict', name='primary')['primary']['state'], 'MAINT')

    def test_source(self) -> None:
        """A text is validated, and applied only if it is to be saved."""
        source = CONFIG.replace('round_robin', 'least_connections')
        self.assertIs(self.call('validate_save_source_code', source=source), True)
        self.assertEqual(self.control.source, CONFIG)
        self.assertIs(self.call('validate_save_source_code', source=source, save=True), True)
        self.assertEqual(self.control.source, source)
        self.assertEqual(len(self.logged()), 1)

    def test_invalid_source(self) -> None:
        """All mistakes of a text are reported; nothing changes and nothing is logged as a change."""
        source = CONFIG.replace('host = "127.0.0.1"', '')
        for save in (False, True):
            error = self.refused('validate_save_source_code', source=source, save=save)
            self.assertEqual(len(error.errors), 2)
        self.assertEqual((self.control.source, self.logged()), (CONFIG, []))

    def test_config(self) -> None:
        """A nested object replaces the configuration: what did not change keeps its comments."""
        config = self.call('get_config')
        config['backends']['plain']['algorithm'] = 'least_connections'
        config['backends']['plain']['servers']['server4'] = {'host': 'h', 'port': 4}
        del config['backends']['plain']['servers']['server2']
        self.call('validate_save', config=config)
        self.assertEqual(self.control.source, CONFIG)
        self.call('validate_save', config=config, save=True)
        self.assertEqual(self.call('get_config'), config)
        for comment in ('# The load balancer of the tests.', '# its cluster', '# The first one.', '# here'):
            self.assertIn(comment, self.control.source)

    def test_null(self) -> None:
        """TOML has no null: a configuration with one is refused with a sentence."""
        error = self.refused('validate_save', config={'main': {'cluster': None}}, save=True)
        self.assertIn('cannot be written as TOML', str(error))

    def test_lost_update(self) -> None:
        """A change that is based on an old text is a conflict."""
        revision = source_revision(CONFIG)
        self.call('add_remove_server', action='add', name='server3')
        error = self.refused('validate_save_source_code', source=CONFIG, revision=revision, save=True)
        self.assertEqual(error.status, 409)
        self.assertEqual(self.refused('validate_save', config={}, revision=revision, save=True).status, 409)
        now = source_revision(self.control.source)
        self.call('validate_save_source_code', revision=now, save=True, source=CONFIG)

    def test_own_settings(self) -> None:
        """No edit through the agent changes who may use the agent."""
        for source in (CONFIG.replace('20151', '1'), CONFIG + 'verify_fields = {CN = "me"}\n',
                       CONFIG.replace('[agent]\nlisten = "127.0.0.1:20151"\n', '')):  # fmt: skip
            error = self.refused('validate_save_source_code', source=source, save=True)
            self.assertEqual(error.errors, ('agent: the agent does not change its own settings; edit them in lb.toml',))

    def test_state(self) -> None:
        """Drain, maintenance and ready are set at once, and logged with who did it."""
        for state, shown in (('drain', 'DRAIN'), ('maint', 'MAINT'), ('ready', 'UP')):
            self.assertIs(self.call('set_server_state', name='server1', state=state), True)
            self.assertIn('server1', self.call('get_servers_state')[shown]['plain'])
            self.assertIn(f'{ADMIN} set the server server1 of plain to {state}', self.logged()[-1])
        self.assertEqual(self.refused('set_server_state', name='x', state='drain').status, 404)
        self.assertEqual(self.refused('set_server_state', name='server1', state='up').status, 400)

    def test_one_after_another(self) -> None:
        """Changes at the same time are made one after another: none overwrites another one."""
        self.control.pending = Deferred()
        first, second = (
            ensureDeferred(self.calls.call('add_remove_server', {'action': 'add', 'name': name}, ADMIN))
            for name in ('a', 'b')
        )
        self.assertNoResult(first)
        self.assertNoResult(second)
        pending, self.control.pending = self.control.pending, None
        pending.callback(None)
        self.assertIs(self.successResultOf(first), True)
        self.assertIs(self.successResultOf(second), True)
        self.assertEqual(list(self.call('get_server_data_dict')), ['server1', 'server2', 'a', 'b'])

    def test_unreadable_source(self) -> None:
        """If lb.toml cannot be read, each call that needs it says why, and the next change is possible."""
        for error, reason in ((FileNotFoundError(2, 'No such file or directory'), 'No such file or directory'),
                              (UnicodeDecodeError('utf-8', b'', 0, 1, 'x'), 'it is not UTF-8 text')):  # fmt: skip
            self.control.read_error = error
            for name, arguments in (('get_config', {}), ('get_config_source_code', {}),
                                    ('add_remove_server', {'action': 'add', 'name': 'x'})):  # fmt: skip
                self.assertEqual(str(self.refused(name, **arguments)), f'lb.toml cannot be read: {reason}')
        self.control.read_error = None
        self.call('add_remove_server', action='add', name='x')

    def test_failed_apply(self) -> None:
        """After a change that failed, the next one is made."""
        self.control.pending = Deferred()
        change = ensureDeferred(self.calls.call('add_remove_server', {'action': 'add', 'name': 'a'}, ADMIN))
        self.control.pending.errback(OSError('disk full'))
        self.failureResultOf(change, OSError)
        self.control.pending = None
        self.call('add_remove_server', action='add', name='b')
