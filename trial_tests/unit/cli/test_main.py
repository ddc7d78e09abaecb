"""The command line as a whole: help, exit codes, one sentence per error."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.command import sentences, zatotx
from zatotx import __version__
from zatotx.cli import process_commands
from zatotx.cli.main import COMMANDS, cli


def raising(error: BaseException) -> Callable[[str], object]:
    def find(_path: str) -> object:
        raise error

    return find


def every_command() -> list[tuple[list[str], click.Command]]:
    """Return all commands and subcommands by their words."""
    found: list[tuple[list[str], click.Command]] = []
    waiting: list[tuple[list[str], click.Command]] = [([], cli)]
    while waiting:
        words, command = waiting.pop()
        found.append((words, command))
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                waiting.append(([*words, name], child))
    return found


class HelpTests(SynchronousTestCase):
    """The help of the command line."""

    def test_every_command_has_help_with_examples(self) -> None:
        """`--help` works for all commands, and every command that is not a group has examples."""
        for words, command in every_command():
            said = zatotx(*words, '--help')
            self.assertEqual(said.code, 0, words)
            self.assertIn('Usage: zatotx', said.out)
            if not isinstance(command, click.Group):
                self.assertIn('Examples:', said.out, words)
                self.assertIn(' '.join(['zatotx', *words]), said.out)

    def test_version(self) -> None:
        """`--version` prints the version and nothing else."""
        self.assertEqual(zatotx('--version').out, f'{__version__}\n')

    def test_a_group_without_a_command_shows_its_commands(self) -> None:
        """A group without a command is wrong usage: help on stderr, exit code 2."""
        for words in ([], ['service'], ['odb']):
            said = zatotx(*words)
            self.assertEqual(said.code, 2)
            self.assertIn('Commands:', said.err + said.out)


class UsageTests(SynchronousTestCase):
    """Wrong usage is exit code 2 and one sentence that says where the help is."""

    def wrong(self, *args: object) -> str:
        said = zatotx(*args)
        self.assertEqual((said.code, said.out), (2, ''), said)
        self.assertEqual(len(sentences(said.err)), 1, said.err)
        return said.err

    def test_unknown_command(self) -> None:
        """The error names the command and the help that lists the existing ones."""
        self.assertEqual(self.wrong('launch'), "Error: No such command 'launch': see 'zatotx --help'.\n")

    def test_missing_path(self) -> None:
        """Every command that requires PATH reports that it is missing."""
        for name in ('start', 'stop', 'restart', 'status', 'info', 'enmasse', 'check-config', 'component-version'):
            self.assertIn(f"Missing argument 'PATH': see 'zatotx {name} --help'", self.wrong(name))

    def test_unknown_option(self) -> None:
        """The error names the option."""
        self.assertIn('--fast', self.wrong('start', '/x', '--fast'))

    def test_values_out_of_range(self) -> None:
        """The error contains the valid range."""
        self.assertIn('1<=x<=11', self.wrong('quickstart', 'create', '/x', '--servers', '0'))

    def test_enmasse_wants_one_direction(self) -> None:
        """Neither or both directions, and options of the other direction, are rejected before anything is read."""
        self.assertIn('either --import or --export', self.wrong('enmasse', '/x'))
        self.assertIn('either --import or --export', self.wrong('enmasse', '/x', '--import', '--export'))
        self.assertIn('--dry-run', self.wrong('enmasse', '/x', '--export', '--dry-run'))
        self.assertIn('--output', self.wrong('enmasse', '/x', '--import', '--output', 'y'))

    def test_payload_and_headers(self) -> None:
        """Payloads that are not JSON and headers not of the form NAME=VALUE are rejected."""
        self.assertIn('--payload', self.wrong('service', 'invoke', '/x', 'demo.echo', '--payload', '{'))
        self.assertIn('NAME=VALUE', self.wrong('service', 'invoke', '/x', 'demo.echo', '--headers', 'x'))
        self.assertIn('NAME=VALUE', self.wrong('service', 'invoke', '/x', 'demo.echo', '--headers', 'a=b\r\nc: d'))

    def test_wait_wants_an_http_address(self) -> None:
        """Other schemes, missing hosts and invalid ports are rejected."""
        for address in ('ftp://x', 'http://', 'http://x:70000', 'http://x:y'):
            self.assertIn('--address', self.wrong('wait', '--address', address))


class FailureTests(SynchronousTestCase):
    """Failures give exit code 1 and one sentence."""

    def fails(self, *args: object) -> str:
        said = zatotx(*args)
        self.assertEqual((said.code, len(sentences(said.err))), (1, 1), said)
        return said.err

    def test_path_that_is_nowhere(self) -> None:
        """The message says how to create an environment."""
        for words in (['start'], ['stop'], ['status'], ['info'], ['check-config'], ['component-version']):
            self.assertIn('quickstart create /no/where', self.fails(*words, '/no/where'))

    def test_path_that_is_something_else(self) -> None:
        """A directory that is not an environment: the message names the missing files."""
        error = self.fails('start', Path(self.mktemp()).parent)
        self.assertIn('credentials.toml', error)
        self.assertIn('.zato-info', error)

    def test_what_the_operating_system_refuses(self) -> None:
        """The message contains the operating system's reason and the file; an interruption is named."""
        for error, expected in (
            (PermissionError(13, 'Permission denied', '/x'),
             'Error: Permission denied: /x: run the command as the owner of the file\n'),
            (KeyboardInterrupt(), '\nError: Interrupted.\n'),
        ):
            self.patch(process_commands, 'find_environment', raising(error))
            said = zatotx('status', '/x')
            self.assertEqual((said.code, said.out, said.err), (1, '', expected))

    def test_an_environment_of_somebody_else(self) -> None:
        """An inaccessible environment is not wrong usage."""
        self.patch(os, 'access', lambda *words, **options: False)
        path = self.mktemp()
        Path(path).mkdir()
        said = zatotx('status', path)
        self.assertEqual(said.code, 1, said.err)
        self.assertNotIn('--help', said.err)

    def test_a_choice_that_is_missing(self) -> None:
        """The sentence lists the choices."""
        said = zatotx('completion')
        self.assertEqual((said.code, said.err.count('\n')), (2, 1))
        self.assertIn('bash, fish, zsh', said.err)

    def test_every_command_of_the_table_is_there(self) -> None:
        """Every entry of the command table can be imported."""
        context = click.Context(cli)
        for name in COMMANDS:
            command = cli.get_command(context, name) if isinstance(cli, click.Group) else None
            self.assertIsInstance(command, click.Command, name)
