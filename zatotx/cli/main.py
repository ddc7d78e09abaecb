"""Entry point of the `zatotx` command. It runs the requested command, and converts every error to one sentence and an
exit code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click
from click.exceptions import NoArgsIsHelpError, NoSuchCommand, NoSuchOption
from click.shell_completion import CompletionItem

from zatotx import __version__
from zatotx.cli.errors import CommandError, format_os_error
from zatotx.cli.kind_commands import kind_commands

# name -> (module:attribute, description). `zatotx --help` uses only this table, so that it imports no command.
COMMANDS: dict[str, tuple[str, str]] = {
    'quickstart': ('zatotx.cli.quickstart:quickstart', 'Create a complete environment: create.'),
    'create': ('zatotx.cli.create:create', 'Create a cluster, a component or a user: server, connector …'),
    'start': ('zatotx.cli.process_commands:start', 'Start the stopped components of an environment.'),
    'run': ('zatotx.cli.run_container:run_component', 'Create a component from environment variables, and run it.'),
    'stop': ('zatotx.cli.process_commands:stop', 'Stop components after their running requests.'),
    'restart': ('zatotx.cli.process_commands:restart', 'Restart the servers one after another.'),
    'status': ('zatotx.cli.process_commands:status', 'Show which components are running and ready.'),
    'service': ('zatotx.cli.service:service', 'Manage the services of a running cluster: invoke, list, rollback.'),
    'job': ('zatotx.cli.job:job', 'The jobs of the scheduler: list, execute, pause, resume, history, next.'),
    'dead-letter': ('zatotx.cli.dead_letters:dead_letter', 'Manage messages that failed: list, replay, purge.'),
    'migrate': ('zatotx.cli.migrate_check:migrate', 'Move from Zato: check.'),
    'new': ('zatotx.cli.new_service:new', 'Generate the code of a new service: service.'),
    'hot-deploy': ('zatotx.cli.hot_deploy:hot_deploy', 'Deploy files and packages to every node.'),
    'enmasse': ('zatotx.cli.enmasse:enmasse', 'Import or export the configuration as YAML.'),
    'openapi': ('zatotx.cli.openapi:openapi', 'Write the OpenAPI document of the REST channels.'),
    'doctor': ('zatotx.cli.doctor:doctor', 'Find problems, on disk and in running processes.'),
    'info': ('zatotx.cli.info:info', 'Show information about an environment and its cluster.'),
    'component-version': ('zatotx.cli.info:component_version', 'Show which version created a component.'),
    'check-config': ('zatotx.cli.check_config:check_config', 'Check files, permissions, keys, ports and the database.'),
    'update': ('zatotx.cli.update_password:update', 'Change the settings of an environment: password.'),
    'wait': ('zatotx.cli.wait_for_url:wait', 'Wait until an address responds.'),
    'ca': ('zatotx.cli.ca:ca', 'Issue certificates for the components: create, list, show, renew, revoke, crl.'),
    'lb': ('zatotx.cli.lb:lb', 'Administer a load balancer: servers, drain, maint, ready, config, apply, export.'),
    'crypto': ('zatotx.cli.crypto:crypto', 'Manage secret keys: generate-key, rotate-key, encrypt, decrypt.'),
    'encrypt': ('zatotx.cli.crypto:encrypt', "Encrypt a value with the secret key of an environment."),
    'decrypt': ('zatotx.cli.crypto:decrypt', "Decrypt a value with the secret key of an environment."),
    'history': ('zatotx.cli.history:history', 'Show who changed what: list, show, export, restore.'),
    'log': ('zatotx.cli.log_levels:log', 'Show and set the log levels of a running cluster: levels, level.'),
    'completion': ('zatotx.cli.completion:completion', 'Print the completion script for bash, zsh or fish.'),
    'odb': ('zatotx.cli.odb_schema:odb', 'Check and upgrade the schema of the database: current, check, upgrade.'),
}

EXAMPLES = """\b
Examples:
  zatotx quickstart create ~/env/qs-1
  zatotx start ~/env/qs-1
  zatotx hot-deploy ~/env/qs-1 crm.py
  zatotx service invoke ~/env/qs-1 crm.get-balance --payload '{"account_id": 1}'

Exit codes: 0 success, 1 the command failed, 2 wrong usage. Messages go to stderr, one sentence each.
"""


def command_descriptions() -> dict[str, str]:
    """Return a one-line description of each command, by name. The commands of zatotx itself are followed by the
    commands of the installed kinds."""
    own = {name: text for name, (_, text) in COMMANDS.items()}
    added = {name: command.get_short_help_str(100) for name, command in kind_commands().items() if name not in own}
    return {**own, **added}


class LazyGroup(click.Group):
    """A click group that imports each command when it is run. It includes the commands of the installed kinds."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(command_descriptions())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return kind_commands().get(cmd_name)
        module, _, attribute = COMMANDS[cmd_name][0].partition(':')
        command: click.Command = getattr(import_module(module), attribute)
        if isinstance(command, click.Group):
            for name, added in kind_commands(cmd_name).items():
                if name not in command.commands:
                    command.add_command(added, name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:
            raise NoSuchCommand(error.command_name, error.message, command_descriptions(), error.ctx) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        matches = [(name, text) for name, text in command_descriptions().items() if name.startswith(incomplete)]
        return [*(CompletionItem(name, help=text) for name, text in matches),
                *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section('Commands'):
            formatter.write_dl(list(command_descriptions().items()))


@click.command(cls=LazyGroup, epilog=EXAMPLES, context_settings={'help_option_names': ['-h', '--help']})
@click.version_option(__version__, message='%(version)s')
def cli() -> None:
    """zatotx, an integration broker on Twisted. PATH is an environment or one of its components, e.g. PATH/server1."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 if the command succeeded, 1 if it failed, and 2 if it was used
    wrongly."""
    try:
        result = cli.main(args=arguments, prog_name='zatotx', standalone_mode=False)
    except NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.UsageError as error:
        return print_error(usage_error_sentence(error), 2)
    except CommandError as error:
        return print_error(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return print_error('Interrupted.', 1)
    except OSError as error:
        return print_error(format_os_error(error), 1)
    return result if isinstance(result, int) else 0


def usage_error_sentence(error: click.UsageError) -> str:
    """Return a sentence about the error in the command line, followed by a suggestion and a hint how to get help."""
    path = error.ctx.command_path if error.ctx else 'zatotx'
    if isinstance(error, NoSuchCommand | NoSuchOption) and error.possibilities:
        suggestions = ' or '.join(map(repr, error.possibilities))
        return f"{error.message.rstrip('.')}: did you mean {suggestions}? See '{path} --help'."
    message = ' '.join(line.strip() for line in error.format_message().splitlines()).rstrip('.')
    return f"{message}: see '{path} --help'."


def print_error(sentence: str, code: int) -> int:
    click.echo(f'Error: {sentence}', err=True)
    return code


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run())
