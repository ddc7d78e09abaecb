"""Restarting a node from within: when it is possible, and how its name is changed."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.errors import Conflict
from zatotx.node.node_restart import NodeRestarter, parse_config_problems
from zatotx.processes.background_start_variable import STARTED_BY_COMMAND
from zatotx.processes.workers.control_pipe import SINGLE_PROCESS, WorkerSpec

SETTINGS = '# Settings.\n[main]\nname = "server1"  # unique in the cluster\ncluster = "c"\n'
WORKER = WorkerSpec(slot=1, listen_when_ready=False, is_worker=True)


def run_now(function: Any, *arguments: Any) -> Deferred[Any]:
    """Run a function in this thread."""
    return succeed(function(*arguments))


class NodeRestarterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        (self.home / 'config').mkdir(parents=True)
        (self.home / 'config' / 'secret.key').write_text('key')
        self.settings = self.home / 'config' / 'server.toml'
        self.settings.write_text(SETTINGS)
        self.patch(os, 'environ', {STARTED_BY_COMMAND: '1'})

    def restarter(self, spec: WorkerSpec = SINGLE_PROCESS) -> NodeRestarter:
        return NodeRestarter(self.home, 'server.toml', spec, run_now)

    def test_possible(self) -> None:
        """A process that `zatotx start` has started, and a worker, whatever started its parent, can be restarted."""
        self.assertEqual(self.restarter().problem(), '')
        self.patch(os, 'environ', {})
        self.assertEqual(self.restarter(WORKER).problem(), '')

    def test_impossible(self) -> None:
        """Under a supervisor, and without the secret key in its file, the reason says how to do it instead."""
        self.patch(os, 'environ', {})
        self.assertIn('systemctl restart', self.restarter().problem())
        self.patch(os, 'environ', {STARTED_BY_COMMAND: '1'})
        (self.home / 'config' / 'secret.key').unlink()
        self.assertIn(f'zatotx restart {self.home}', self.restarter().problem())
        error = self.failureResultOf(Deferred.fromCoroutine(self.restarter().check()), Conflict).value
        self.assertIn('secret key', str(error.details))

    def test_name(self) -> None:
        """The name changes, comments stay, the file is private; the old text can be restored."""
        restore = self.successResultOf(Deferred.fromCoroutine(self.restarter().set_name('alpha "1"')))
        text = self.settings.read_text()
        self.assertEqual(tomllib.loads(text)['main'], {'name': 'alpha "1"', 'cluster': 'c'})
        self.assertIn('# unique in the cluster', text)
        self.assertEqual(stat.S_IMODE(self.settings.stat().st_mode), 0o600)
        self.successResultOf(restore())
        self.assertEqual(self.settings.read_text(), SETTINGS)

    def test_a_file_that_cannot_be_changed(self) -> None:
        """A settings file that is not TOML is named, and stays as it is."""
        self.settings.write_text('[main')
        error = self.failureResultOf(Deferred.fromCoroutine(self.restarter().set_name('x')), Conflict).value
        self.assertIn(str(self.settings), str(error.details))
        self.assertEqual(self.settings.read_text(), '[main')

    def test_problems(self) -> None:
        """Of the output of the check only what is wrong is told."""
        output = 'ok     server1: ports\nWRONG  server1: odb: it is locked\nError: 1 problem'
        self.assertEqual(parse_config_problems(output), 'server1: odb: it is locked; Error: 1 problem')
        self.assertIn('check-config', parse_config_problems(''))
