"""The form of a load balancer's configuration: to fields and back."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.unit.admin.test_application import ApplicationTestCase
from trial_tests.unit.admin.test_load_balancer import SOURCE, MemoryAgent
from zatotx.admin.balancer_form import apply_form, build_form
from zatotx.wire.lb_agent_messages import AgentCallError

CONFIG: dict[str, Any] = {
    'main': {'cluster': 'c'}, 'timeouts': {'connect': 15},
    'frontends': {'front': {'listen': ['127.0.0.1:1'], 'default_backend': 'back'}},
    'backends': {'back': {'algorithm': 'round_robin', 'check': {'path': '/x'}, 'servers': {
        'a.b': {'host': 'h', 'port': 1, 'tls': {'verify': False}}, 'c': {'host': 'h', 'port': 2, 'backup': True}}}},
    'stats': {'password': 's3cret'},
}  # fmt: skip


def fields_of(config: dict[str, Any]) -> dict[str, list[str]]:
    """What a browser sends of an unchanged form."""
    form = build_form(config)
    controls = [control for group in form.groups for control in group.controls]
    controls += [control for group in form.groups for row in group.servers for control in (row.name, *row.controls)]
    return {
        control.name: ['true' if control.value is True else control.value]
        for control in controls if control.value is not False
    }  # fmt: skip


class FormTests(SynchronousTestCase):
    def test_unchanged(self) -> None:
        """A form that was not touched changes nothing, adds no default, and has no secret."""
        fields = fields_of(CONFIG)
        self.assertEqual(apply_form(CONFIG, fields), CONFIG)
        self.assertNotIn('s3cret', str(fields))

    def test_changes(self) -> None:
        """Servers are changed, renamed, removed and added; emptied settings get their defaults."""
        fields = fields_of(CONFIG)
        fields.update({
            'timeouts.connect': [''], 'timeouts.client': ['2.5'], 'frontends.0.listen': ['a:1\n\nb:2'],
            'backends.0.algorithm': ['power_of_two'], 'backends.0.servers.0.name': ['z'],
            'backends.0.servers.0.weight': ['7'], 'backends.0.servers.0.state': ['drain'],
            'backends.0.servers.1.remove': ['true'], 'backends.0.servers.2.name': ['new'],
            'backends.0.servers.2.host': ['n'], 'backends.0.servers.2.port': ['x'],
        })  # fmt: skip
        changed = apply_form(CONFIG, fields)
        self.assertEqual(changed['timeouts'], {'client': 2.5})
        self.assertEqual(changed['frontends']['front']['listen'], ['a:1', 'b:2'])
        self.assertEqual(changed['backends']['back']['algorithm'], 'power_of_two')
        self.assertEqual(changed['backends']['back']['servers'], {
            'z': {'host': 'h', 'port': 1, 'tls': {'verify': False}, 'weight': 7, 'state': 'drain'},
            'new': {'host': 'n', 'port': 'x'}})  # fmt: skip
        self.assertEqual(changed['stats'], CONFIG['stats'])

    def test_errors(self) -> None:
        """Errors of the agent are at their fields, others above the form; what was typed stays."""
        fields = fields_of(CONFIG)
        fields['backends.0.servers.0.port'] = ['99999']
        form = build_form(CONFIG, fields, [
            'Line 9: backends.back.servers.a.b.port: expected `int` <= 65535.', 'Line 2: main.workers: too many.',
            'Line 8: backends.back.servers.a.b: host is missing.'])  # fmt: skip
        row = form.groups[2].servers[0]
        port = next(control for control in row.controls if control.setting.label == 'Port')
        self.assertEqual((port.value, port.error), ('99999', 'expected `int` <= 65535.'))
        self.assertEqual(row.name.error, 'host is missing.')
        self.assertEqual(form.messages, ['main.workers: too many.'])


class EditScreenTests(ApplicationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.agent = MemoryAgent()
        self.agent.answers['get_config'] = CONFIG
        self.application.balancer = self.agent
        self.log_in()

    def saved(self) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.agent.calls if name == 'validate_save']

    def test_edit(self) -> None:
        """The form is validated, and saved with the revision that it is based on; its page has no secret."""
        page = self.get('/load-balancer/edit').body
        self.assertNotIn('s3cret', page)
        self.assertIn('a.b', page)
        form = {**fields_of(CONFIG), 'revision': 'r1'}
        self.assertIn('is valid', self.post('/load-balancer/edit', form).body)
        self.assertEqual(self.location(self.post('/load-balancer/edit', {**form, 'save': 'yes'})), '/load-balancer')
        expected = {'config': CONFIG, 'revision': 'r1'}
        self.assertEqual(self.saved(), [{**expected, 'save': False}, {**expected, 'save': True}])

    def test_mistakes(self) -> None:
        """All mistakes are shown, those of fields in place; a conflict with somebody else is told."""
        errors = ['Line 3: timeouts.connect: expected `float` > 0.0.', 'Line 5: main.x: no such setting.']
        self.agent.answers['validate_save'] = AgentCallError('The configuration is not valid', errors)
        response = self.post('/load-balancer/edit', {'timeouts.connect': '-1'})
        self.assertEqual(response.code, 400)
        for text in ('expected `float` &gt; 0.0', 'main.x: no such setting', 'value="-1"'):
            self.assertIn(text, response.body)
        self.agent.answers['validate_save'] = AgentCallError('lb.toml was changed by somebody else', (), 409)
        response = self.post('/load-balancer/edit', {'timeouts.connect': '5'})
        self.assertEqual(response.code, 409)
        self.assertIn('changed by somebody else', response.body)

    def test_roles(self) -> None:
        """Operators see no button and change nothing."""
        self.api.roles = ['operator']
        self.clock.advance(60)
        self.assertNotIn('Validate and save', self.get('/load-balancer/edit').body)
        self.assertEqual(self.post('/load-balancer/edit', {'save': 'yes'}).code, 403)
        self.assertEqual(self.saved(), [])
        self.assertIn(SOURCE.splitlines()[0], self.get('/load-balancer/source').body)
