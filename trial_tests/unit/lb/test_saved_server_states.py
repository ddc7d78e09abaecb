"""Tests of the administrative states that survive a restart."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.lb.backends.backend_registry import BackendRegistry
from zatotx.lb.backends.saved_server_states import SavedServerStates
from zatotx.lb.config.model import AdministrativeState, Backend, Configuration, MainSettings, Server


def configured(**states: AdministrativeState) -> Configuration:
    """A configuration with one backend, whose servers lb.toml gives these states."""
    servers = {name: Server(host='127.0.0.1', port=1, state=state) for name, state in states.items()}
    return Configuration(main=MainSettings(cluster='c'), backends={'b': Backend(servers=servers)})


class SavedStateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        (self.directory / 'config').mkdir(parents=True)
        self.states = SavedServerStates(self.directory)

    def restarted(self, **states: AdministrativeState) -> dict[str, str]:
        """The states after a start with this lb.toml."""
        registry = BackendRegistry(clock=Clock(), find_state=SavedServerStates(self.directory).find)
        registry.apply(configured(**states))
        return {status.name: status.state for status in registry.statuses()}

    def test_restart(self) -> None:
        """A state that was set is in force after a restart, until it is set back; other servers are not affected."""
        self.states.save('b', 'one', 'maint', 'ready')
        self.states.save('b', 'two', 'drain', 'ready')
        self.assertEqual(self.restarted(one='ready', two='ready', three='ready'),
                         {'one': 'MAINT', 'two': 'DRAIN', 'three': 'UP'})
        self.states.save('b', 'one', 'ready', 'ready')
        self.states.save('b', 'two', 'ready', 'ready')
        self.assertEqual(self.restarted(one='ready', two='ready'), {'one': 'UP', 'two': 'UP'})
        self.assertEqual(self.states.path.read_text(), '{}\n')

    def test_another_state_in_the_file(self) -> None:
        """A state that lb.toml gives a server later takes precedence, and the state that was set does not come back
        when lb.toml is changed back. Servers that are not in the configuration may be discovered again."""
        self.states.save('b', 'one', 'maint', 'ready')
        self.states.save('b', 'gone', 'maint', 'ready')
        self.assertEqual(self.restarted(one='drain'), {'one': 'DRAIN'})
        self.states.forget_changed(configured(one='ready'))
        self.assertEqual(self.restarted(one='ready'), {'one': 'MAINT'})
        self.states.forget_changed(configured(one='drain'))
        self.assertEqual(self.restarted(one='ready', gone='ready'), {'one': 'UP', 'gone': 'MAINT'})

    def test_rename(self) -> None:
        """A state moves to the new name of its server. It is in force at once, and after a restart. The state of a
        former server of the new name is forgotten."""
        self.states.save('b', 'one', 'maint', 'ready')
        self.states.save('b', 'three', 'drain', 'ready')
        self.states.rename('b', 'one', 'two')
        self.states.rename('b', 'four', 'three')
        self.assertEqual([self.states.find('b', name, 'ready') for name in ('one', 'two', 'three')],
                         ['ready', 'maint', 'ready'])
        self.assertEqual(self.restarted(one='ready', two='ready', three='ready'),
                         {'one': 'UP', 'two': 'MAINT', 'three': 'UP'})

    def test_rename_that_cannot_be_saved(self) -> None:
        """The state is in force nevertheless, until the next start."""
        self.states.save('b', 'one', 'maint', 'ready')
        (self.directory / 'config').rename(self.directory / 'elsewhere')
        self.states.rename('b', 'one', 'two')
        self.assertEqual(self.states.find('b', 'two', 'ready'), 'maint')

    def test_damaged_file(self) -> None:
        """With a file that cannot be read, servers have the states of lb.toml; the next state that is set replaces
        it."""
        for text in ('{', '{"b": {"one": {"state": "away", "configured": "ready"}}}', '[]'):
            self.states.path.write_text(text)
            self.assertEqual(self.restarted(one='ready'), {'one': 'UP'})
        self.states.save('b', 'one', 'maint', 'ready')
        self.assertEqual(self.restarted(one='ready'), {'one': 'MAINT'})

    def test_state_that_cannot_be_saved(self) -> None:
        """It is not set either: the caller gets the error, and knows that nothing has changed."""
        self.states.save('b', 'one', 'maint', 'ready')
        (self.directory / 'config').rename(self.directory / 'elsewhere')
        self.assertRaises(OSError, self.states.save, 'b', 'two', 'drain', 'ready')
        self.assertEqual(self.states.find('b', 'two', 'ready'), 'ready')
        self.states.forget_changed(configured(one='drain'))
        self.assertEqual(self.states.find('b', 'one', 'ready'), 'maint')
