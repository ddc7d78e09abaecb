"""`zatotx completion`: prints the script with which a shell completes commands, options, paths and services."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete


class FixedFishComplete(FishComplete):
    """Fixes click's completion script for fish, which truncates values and descriptions at the first comma."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split -m 1 ","')


SHELLS: dict[str, type[ShellComplete]] = {'bash': BashComplete, 'fish': FixedFishComplete, 'zsh': ZshComplete}


@click.command(
    epilog='\b\nExamples:\n  zatotx completion bash > ~/.local/share/bash-completion/completions/zatotx\n'
    '  zatotx completion zsh > ~/.zfunc/_zatotx\n'
    '  zatotx completion fish > ~/.config/fish/completions/zatotx.fish'
)
@click.argument('shell', metavar='SHELL', type=click.Choice(sorted(SHELLS)),
                help='The shell: bash, fish or zsh.')
def completion(shell: str) -> None:
    """Print the script that makes SHELL complete commands, options and values of zatotx.

    Values are the components of an environment, its users, and its services if a running server lists them within 0.3
    s. If bash-completion is installed, Bash loads the file of the example automatically; otherwise, 'source' it from
    ~/.bashrc. For zsh, ~/.zfunc must be in fpath before compinit runs.
    """
    from zatotx.cli.main import cli

    script = SHELLS[shell](cli, {}, 'zatotx', '_ZATOTX_COMPLETE')
    click.echo(script.source_template % script.source_vars())
