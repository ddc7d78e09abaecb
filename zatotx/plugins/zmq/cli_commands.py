"""The command `zatotx crypto zmq-key`, which generates CURVE keys."""

from __future__ import annotations

import click


@click.command('zmq-key', epilog='\b\nExamples:\n  zatotx crypto zmq-key')
def zmq_key() -> None:
    """Generate a pair of CURVE keys for ZeroMQ, and print it.

    The secret key is for `curve_secret_key` of one side; the public key is for `curve_server_key` or
    `curve_client_keys` of the other.
    """
    from zatotx.plugins.zmq.reactor_sockets import make_key_pair

    public, secret = make_key_pair()
    click.echo(f'public: {public}\nsecret: {secret}')
