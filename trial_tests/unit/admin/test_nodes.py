"""The screens of servers and connectors, the first page, and the rolling restart, over a double of the cluster."""

from __future__ import annotations

from typing import Any

from trial_tests.unit.admin.test_application import ApplicationTestCase
from trial_tests.unit.admin.test_load_balancer import MemoryAgent
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.rolling_restart import POLL_INTERVAL, PROBES, TIMEOUT
from zatotx.admin.screens.home import balancer_notices, dead_letter_notices, node_notices
from zatotx.admin.screens.load_balancer import show_uptime
from zatotx.admin.screens.nodes import uptime


def node(name: str, *, id: int = 1, state: str = 'running', started: float = 100.0, **status: Any) -> dict[str, Any]:
    """A row of zato.server.get-status."""
    facts: dict[str, Any] = {
        'name': name, 'role': 'connector' if name.startswith('con') else 'server', 'phase': 'ready',
        'started': started, 'version': '1.0', 'pid': 7, 'workers': 1, 'revision': 5, 'is_drained': False,
        'restart_problem': '', 'requests': 10, 'calls': 10, 'errors': 1, 'seconds': 1.0, 'in_flight': 3,
        'stalls': 2, 'findings': [],
    }  # fmt: skip
    return {'id': id, 'name': name, 'address': f'127.0.0.1:{id}', 'state': state, 'is_up': state != 'down',
            'is_leader': id == 1, 'seen_at': '2026-01-01T00:00:00+00:00',
            'status': None if state in ('down', 'not answering') else {**facts, **status}}  # fmt: skip


class NodeScreenTests(ApplicationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.rows = [node('server1'), node('server2', id=2), node('connector1', id=3)]
        self.api.answers.update({
            'zato.server.get-status': lambda payload: self.rows, 'zato.info.get-info': {
                'name': 'server1', 'version': '1.0', 'cluster': {'revision': 5}, 'kinds': {}},
            'zato.schema.get-counts': {'service': 1, 'basic_auth': 2}, 'zato.dead-letter.get-list': [],
        })  # fmt: skip
        for action in ('restart', 'drain', 'resume', 'delete', 'edit'):
            self.api.answers[f'zato.server.{action}'] = {}
        self.log_in()

    def test_lists(self) -> None:
        """Servers and connectors have a screen each, with what can be done with each."""
        servers, connectors = self.get('/servers').body, self.get('/connectors').body
        self.assertIn('server2', servers)
        self.assertNotIn('connector1', servers)
        self.assertIn('connector1', connectors)
        self.assertNotIn('server2', connectors)
        for path in ('restart', 'drain'):
            self.assertIn(f'/servers/2/{path}', servers)
            self.assertIn(f'/servers/3/{path}', connectors)
        self.rows = [node('server1', state='drained'), node('server2', id=2, state='down')]
        page = self.get('/servers').body
        self.assertIn('/servers/1/resume', page)
        self.assertIn('/servers/2/delete', page)
        self.assertIn('No connectors', self.get('/connectors').body)
        self.api.roles = ['viewer']
        self.clock.advance(60)
        self.assertNotIn('/servers/2/delete', self.get('/servers').body)

    def test_actions(self) -> None:
        """Each action asks first and then calls its service; a refusal is shown in place."""
        for action in ('restart', 'drain', 'resume', 'delete'):
            self.assertIn('server2', self.get(f'/servers/2/{action}').body)
            self.assertEqual(self.location(self.post(f'/servers/2/{action}')), '/servers')
            self.assertEqual(self.api.called(f'zato.server.{action}'), [{'id': 2}])
        self.assertEqual(self.location(self.post('/servers/3/restart')), '/connectors')
        self.api.answers['zato.server.restart'] = ApiError(409, ['server2: port 1 is in use'])
        response = self.post('/servers/2/restart')
        self.assertEqual(response.code, 409)
        self.assertIn('port 1 is in use', response.body)
        self.assertEqual(self.get('/servers/2/explode').code, 404)
        self.assertEqual(self.get('/servers/9').code, 404)

    def test_rename(self) -> None:
        """A node is renamed; a refusal keeps what was typed."""
        self.assertEqual(self.location(self.post('/servers/2', {'name': ' alpha '})), '/servers')
        self.assertEqual(self.api.called('zato.server.edit'), [{'id': 2, 'name': 'alpha'}])
        self.api.answers['zato.server.edit'] = ApiError(400, ['$.name: must have letters'])
        response = self.post('/servers/2', {'name': 'a b'})
        self.assertEqual(response.code, 400)
        self.assertIn('must have letters', response.body)
        self.assertIn('value="a b"', response.body)
        self.rows = [node('server1', restart_problem='It runs under systemd')]
        self.assertIn('It runs under systemd', self.get('/servers/1').body)

    def test_home(self) -> None:
        """The first page has all nodes with their figures, what needs attention, and only types with objects."""
        page = self.get('/').body
        for text in ('server1', 'connector1', 'nothing needs attention', 'Leader', 'Nothing yet of'):
            self.assertIn(text, page)
        self.rows = [node('server1', findings=['The disk is full']), node('server2', id=2, state='down')]
        page = self.get('/').body
        self.assertIn('2 things need attention', page)
        self.assertLess(page.index('server2 is down'), page.index('The disk is full'))

    def test_rolling_restart(self) -> None:
        """Servers restart one after another, each when the one before runs again and its load balancer has noticed."""
        self.application.balancer = None
        self.assertIn('server2', self.get('/servers/restart').body)
        self.location(self.post('/servers/restart'))
        self.assertEqual(self.api.called('zato.server.restart'), [{'id': 1}])
        self.assertEqual(self.post('/servers/restart').code, 409)
        for _ in range(3):
            self.clock.advance(POLL_INTERVAL)
        self.rows[0] = node('server1', started=200.0)
        self.clock.advance(POLL_INTERVAL)
        self.assertEqual(len(self.api.called('zato.server.restart')), 1)
        self.clock.advance(PROBES)
        self.assertEqual(self.api.called('zato.server.restart'), [{'id': 1}, {'id': 2}])
        self.rows[1] = node('server2', id=2, started=200.0)
        self.clock.advance(POLL_INTERVAL)
        self.clock.advance(PROBES)
        page = self.get('/servers/restart').body
        self.assertEqual((page.count('>Restarted<'), 'Restart all' in page), (2, True))

    def test_rolling_restart_with_a_balancer(self) -> None:
        """With a load balancer, the next server waits until the one before gets requests."""
        agent = self.application.balancer = MemoryAgent()
        known = {f's{number}': {'name': f's{number}', 'backend': 'b', 'address': f'127.0.0.1:{number}', 'state': 'UP',
                                'weight': 1, 'current_sessions': 0} for number in (1, 2)}  # fmt: skip
        agent.answers['get_server_data_dict'] = known
        self.location(self.post('/servers/restart'))
        self.rows[0] = node('server1', started=200.0)
        known['s1']['state'] = 'DOWN'
        for _ in range(3):
            self.clock.advance(POLL_INTERVAL)
        self.assertEqual(self.api.called('zato.server.restart'), [{'id': 1}])
        known['s1']['state'] = 'UP'
        self.clock.advance(POLL_INTERVAL)
        self.assertEqual(self.api.called('zato.server.restart'), [{'id': 1}, {'id': 2}])

    def test_a_rolling_restart_that_fails(self) -> None:
        """A server that does not run again ends it, and the others are not touched."""
        self.location(self.post('/servers/restart'))
        for _ in range(int(TIMEOUT / POLL_INTERVAL) + 2):
            self.clock.advance(POLL_INTERVAL)
        page = self.get('/servers/restart').body
        self.assertIn('does not run again', page)
        self.assertIn('Not restarted', page)
        self.assertEqual(self.api.called('zato.server.restart'), [{'id': 1}])

    def test_notices(self) -> None:
        """Each thing that needs attention is a sentence with the place to go to."""
        rows = [node('server1', state='drained'), node('server2', id=2, state='not answering')]
        texts = [notice.text for notice in node_notices(rows)]
        self.assertEqual(texts, ['server1 is drained', 'server2 does not answer'])
        rows[0]['is_leader'] = False
        self.assertIn('jobs do not run', node_notices(rows)[-1].text)
        (notice,) = balancer_notices([{'name': 'a', 'state': 'UP'}, {'name': 'b', 'state': 'MAINT'}])
        self.assertEqual(notice.text, 'b is in maintenance for the load balancer')
        self.assertEqual((dead_letter_notices(0), dead_letter_notices(2)[0].url), ([], '/dead-letters'))
        self.assertIn('100 or more messages', dead_letter_notices(100)[0].text)

    def test_uptime(self) -> None:
        """Durations have their two largest units."""
        for seconds, text in ((0, '0 s'), (59, '59 s'), (61, '1 min 1 s'), (3600, '1 h'), (90_061, '1 d 1 h')):
            self.assertEqual(uptime(100.0, 100.0 + seconds), text)
        self.assertEqual([show_uptime(text) for text in ('1d 2h05m27s', '0d 0h00m07s', 'unknown')],
                         ['1 d 2 h', '7 s', 'unknown'])  # fmt: skip
