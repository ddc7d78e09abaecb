"""`--secret-key -`: the secret key comes on stdin, and stands in no file, no list of processes and no environment as
the kernel shows it.

From there on it is where a key of ZATOTX_SECRET_KEY is, so the workers of a server inherit it.
"""

from __future__ import annotations

import os

from twisted.python import usage

from zatotx.node.secret_key import VARIABLE, key_from_stdin

OPTION = ['secret-key', None, None, '"-": the secret key is the first line of stdin, not config/secret.key.']


def read_secret_key_option(given: str | None) -> None:
    """Read the key that the option asks for. Raises UsageError where there is none, and for one on the command line."""
    if given is None:
        return
    if given != '-':
        raise usage.UsageError(
            'a secret key on the command line can be read by everybody: write --secret-key - and give it on stdin.'
        )
    key = key_from_stdin()
    if not key:
        raise usage.UsageError('stdin gives no secret key: its first line must be one.')
    os.environ[VARIABLE] = key
