"""The screens of the load balancer, over a double of its agent."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.unit.admin.test_application import ApplicationTestCase
from zatotx.admin.toml_secrets import UnknownSecret, mask_source, unmask_source
from zatotx.processes.lb_agent_client import AgentUnreachableError
from zatotx.wire.lb_agent_messages import AgentCallError

SOURCE = '[main]\nname = "lb"\n\n[stats]\nuser = "u"\npassword = "s3cret"  # of the page\n'
SERVER = {'backend': 'b', 'name': 'server1', 'address': '127.0.0.1:1', 'state': 'UP', 'reason': '', 'weight': 1,
          'is_backup': False, 'current_sessions': 2, 'queued': 0, 'total_requests': 9, 'errors': 0,
          'last_change': 1.0}  # fmt: skip


class MemoryAgent:
    """An agent in memory; `answers` has exceptions that calls end with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {
            'get_server_data_dict': {'server1': SERVER}, 'get_uptime_info': '0d 0h00m01s',
            'get_config_source_code': SOURCE, 'execute_command': 'Name: lb',
        }  # fmt: skip

    async def call(self, name: str, /, **arguments: Any) -> Any:
        self.calls.append((name, arguments))
        answer = self.answers.get(name, True)
        if isinstance(answer, Exception):
            raise answer
        return answer


class LoadBalancerTests(ApplicationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.agent = MemoryAgent()
        self.application.balancer = self.agent
        self.log_in()

    def changes(self) -> list[tuple[str, dict[str, Any]]]:
        reading = ('get_server_data_dict', 'get_uptime_info', 'get_config_source_code', 'execute_command')
        return [call for call in self.agent.calls if call[0] not in reading]

    def test_servers(self) -> None:
        """Servers are shown with their states, drained and made ready."""
        page = self.get('/load-balancer').body
        self.assertIn('127.0.0.1:1', page)
        self.location(self.post('/load-balancer/state', {'name': 'server1', 'backend': 'b', 'state': 'drain'}))
        self.assertEqual(self.changes(), [('set_server_state', {'name': 'server1', 'backend': 'b', 'state': 'drain'})])
        self.assertEqual(self.post('/load-balancer/state', {'name': 'server1', 'state': 'x'}).code, 400)

    def test_source(self) -> None:
        """The configuration is shown without secrets; what comes back has them again, and the revision it is based
        on."""
        page = self.get('/load-balancer/source').body
        self.assertNotIn('s3cret', page)
        revision = sha256(SOURCE.encode()).hexdigest()
        self.assertIn(revision, page)
        edited = mask_source(SOURCE).replace('"lb"', '"other"')
        form = {'source': edited.replace('\n', '\r\n'), 'revision': revision}
        self.assertIn('is valid', self.post('/load-balancer/source', form).body)
        self.location(self.post('/load-balancer/source', {**form, 'save': 'yes'}))
        expected = {'source': SOURCE.replace('"lb"', '"other"'), 'revision': revision}
        self.assertEqual([arguments for _, arguments in self.changes()],
                         [{**expected, 'save': False}, {**expected, 'save': True}])

    def test_mistakes(self) -> None:
        """Mistakes of the configuration are all shown, and what was typed stays."""
        error = AgentCallError('The configuration is not valid', ['one', 'two'])
        self.agent.answers['validate_save_source_code'] = error
        response = self.post('/load-balancer/source', {'source': 'typed', 'save': 'yes'})
        self.assertEqual(response.code, 400)
        for text in ('one', 'two', 'typed'):
            self.assertIn(text, response.body)

    def test_adding_and_removing(self) -> None:
        """A server is added by a form, and removed after a confirmation."""
        fields = {'name': 's2', 'host': 'h', 'port': '8', 'weight': '', 'backend': ''}
        self.location(self.post('/load-balancer/servers/create', fields))
        self.assertIn('Remove server', self.post('/load-balancer/servers/remove', {'name': 's2', 'backend': 'b'}).body)
        self.location(self.post('/load-balancer/servers/remove', {'name': 's2', 'backend': 'b', 'confirmed': 'yes'}))
        self.assertEqual(self.changes(), [
            ('add_remove_server', {'action': 'add', 'name': 's2', 'host': 'h', 'port': 8}),
            ('add_remove_server', {'action': 'remove', 'name': 's2', 'backend': 'b'})])

    def test_roles(self) -> None:
        """The agent does not know who is logged in, so viewers and operators are stopped here."""
        for roles, statuses in ((['viewer'], (403, 403)), (['operator'], (303, 403)), (['admin'], (303, 303))):
            self.api.roles = roles
            self.clock.advance(60)
            found = (self.post('/load-balancer/state', {'name': 'server1', 'backend': 'b', 'state': 'drain'}).code,
                     self.post('/load-balancer/source', {'source': SOURCE, 'save': 'yes'}).code)
            self.assertEqual(found, statuses, roles)

    def test_away(self) -> None:
        """An agent that does not answer is named; commands of the agent are shown."""
        self.assertIn('Name: lb', self.get('/load-balancer/command?command=show+info').body)
        self.agent.answers['get_server_data_dict'] = AgentUnreachableError('The agent at https://h:1 is unreachable')
        response = self.get('/load-balancer')
        self.assertEqual(response.code, 503)
        self.assertIn('https://h:1', response.body)

    def test_none(self) -> None:
        """Without a load balancer there is no link, and the page says which setting names it."""
        self.application.balancer = None
        self.assertNotIn('/load-balancer', self.get('/settings').body)
        response = self.get('/load-balancer')
        self.assertEqual(response.code, 404)
        self.assertIn('[load_balancer] agent', response.body)


class SecretTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        """Masked secrets come back by table and name; a new one is taken as it is written."""
        text = '[a]\npassword = "one" # x\nnote = "password"\n[b]\npassword = \'two\'\nsecret=""\n'
        masked = mask_source(text)
        for secret in ('one', 'two'):
            self.assertNotIn(secret, masked)
        self.assertEqual(unmask_source(masked, text), text)
        moved = '[b]\npassword = "******"\n[a]\npassword = "new"\n'
        self.assertEqual(unmask_source(moved, text), '[b]\npassword = \'two\'\n[a]\npassword = "new"\n')
        self.assertRaises(UnknownSecret, unmask_source, '[c]\npassword = "******"\n', text)
