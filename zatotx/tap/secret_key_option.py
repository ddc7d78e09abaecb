"""The option `--secret-key -`: reads the secret key from stdin, so that it appears in no file, no process list and no
environment that the kernel shows.

The key is then kept in this process's ZATOTX_SECRET_KEY variable, from where the workers of a server get it.
"""

from __future__ import annotations

import os

from twisted.python import usage

from zatotx.node.secret_key import KEY_VARIABLE, read_key_from_stdin

SECRET_KEY_OPTION = ['secret-key', None, None, '"-": read the secret key from stdin, not from config/secret.key.']


def read_secret_key_option(given: str | None) -> None:
    """Read the key as the option says. Raises UsageError if stdin has no key, and if the key itself is on the command
    line."""
    if given is None:
        return
    if given != '-':
        raise usage.UsageError(
            'a secret key on the command line can be read by every user: use --secret-key - and pass the key on stdin.'
        )
    key = read_key_from_stdin()
    if not key:
        raise usage.UsageError('stdin contains no secret key: its first line must be the key.')
    os.environ[KEY_VARIABLE] = key
