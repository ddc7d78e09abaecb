"""Properties of edits of lb.toml: their result is what was asked for, and comments stay."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.balancer_control import CONFIG
from trial_tests.support.properties import holds
from zatotx.lb.agent.config_edits import (
    ConfigEditError,
    add_server_to_config,
    remove_server_from_config,
    rename_server_in_config,
    replace_config,
)

NAMES = st.text(st.sampled_from('ab1-_. "é\\\n#[]='), min_size=1, max_size=5) | st.sampled_from(('server1', 'server2'))
VALUES = st.recursive(
    st.integers(-9, 9) | st.booleans() | st.text('ab"\n#é', max_size=4) | st.floats(-2, 2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6,
)  # fmt: skip
# The same tables written differently: nested, inline, dotted, out of order.
SOURCES = st.sampled_from((
    CONFIG,
    '[backends.plain.servers]\nserver1 = {host = "a", port = 1} # one\nserver2 = {host = "b", port = 2}\n',
    'backends.plain.servers.server1 = {host = "a", port = 1}\n',
    '[backends.plain.servers.server1]\nhost = "a" # here\nport = 1\n[log]\nlevel = "info"\n'
    '[backends.plain]\nmode = "http"\n',
    '[backends.plain.servers.server1]\nport = 1\n[main]\ncluster = "x"\n[backends.plain.servers.server2]\nport = 2\n',
    '[backends]\n[backends.plain]\nmode = "http"\n',
))  # fmt: skip


def servers(source: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(source)['backends']['plain'].get('servers', {})
    return found


class EditTests(SynchronousTestCase):
    @holds(60, source=SOURCES, config=st.dictionaries(NAMES, VALUES, max_size=4))
    def test_replaced(self, source: str, config: dict[str, Any]) -> None:
        """The content of the text is the given one, whatever it was before."""
        self.assertEqual(tomllib.loads(replace_config(source, config)), config)

    @holds(60, source=SOURCES, key=NAMES, value=VALUES)
    def test_a_part_replaced(self, source: str, key: str, value: Any) -> None:
        """A change of one value leaves all others, and the comments of the others."""
        config = tomllib.loads(source)
        config.setdefault('log', {})[key] = value
        edited = replace_config(source, config)
        self.assertEqual(tomllib.loads(edited), config)
        for comment in ('# its cluster', '# here', '# one'):
            self.assertEqual(comment in edited, comment in source)

    @holds(60, source=SOURCES, name=NAMES)
    def test_added(self, source: str, name: str) -> None:
        """An added server is there, once; nothing else changes."""
        before = tomllib.loads(source)
        try:
            edited = add_server_to_config(source, 'plain', name, {'host': 'h', 'port': 9})
        except ConfigEditError as error:
            self.assertTrue(error.is_conflict)
            self.assertIn(name, servers(source))
            return
        before['backends']['plain'].setdefault('servers', {})[name] = {'host': 'h', 'port': 9}
        self.assertEqual(tomllib.loads(edited), before)
        self.assertEqual(edited.count('#') - name.count('#'), source.count('#'))

    @holds(60, source=SOURCES, name=NAMES)
    def test_removed(self, source: str, name: str) -> None:
        """A removed server is gone; nothing else changes."""
        before = tomllib.loads(source)
        try:
            edited = remove_server_from_config(source, 'plain', name)
        except ConfigEditError:
            self.assertNotIn(name, servers(source))
            return
        del before['backends']['plain']['servers'][name]
        after = tomllib.loads(edited)
        self.assertEqual(servers(edited), before['backends']['plain']['servers'])
        self.assertEqual({key: after.get(key) for key in before if key != 'backends'},
                         {key: value for key, value in before.items() if key != 'backends'})  # fmt: skip

    @holds(60, source=SOURCES, old=NAMES, new=NAMES)
    def test_renamed(self, source: str, old: str, new: str) -> None:
        """A renamed server has its values under another name; its comments stay."""
        try:
            edited = rename_server_in_config(source, 'plain', old, new)
        except ConfigEditError as error:
            self.assertTrue(new in servers(source) if error.is_conflict else old not in servers(source))
            return
        expected = {new if name == old else name: values for name, values in servers(source).items()}
        self.assertEqual(servers(edited), expected)
        self.assertEqual('# here' in edited, '# here' in source)
