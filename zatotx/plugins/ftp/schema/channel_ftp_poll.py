"""The object type of FTP pollers, which fetch files from an FTP server and deliver them to a service."""

from __future__ import annotations

from typing import Annotated

import msgspec

from zatotx.plugins.ftp.wire import path_error
from zatotx.schema.delivery_fields import DeliveryRetry, Idempotency, MessageChannelBase
from zatotx.schema.meta import ObjectType, ZatoApi, field

MOVE, DELETE = 'move', 'delete'
IGNORED = ('*.part', '*.tmp', '*.filepart', '.*')  # names that programs give to files until they are complete


class FtpPollChannel(MessageChannelBase, frozen=True, kw_only=True):
    """An FTP poller: fetches the files of a directory on an FTP server and delivers them to a service, on one node of
    the cluster at a time."""

    name: Annotated[str, field('Name of the channel', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether files are fetched')] = True
    connection: Annotated[
        str, field('Outgoing FTP connection with the address and the account', ref='outgoing_ftp', min_length=1)
    ]
    service: Annotated[str, field('Service that gets the files', ref='service', min_length=1)]
    directory: Annotated[
        str, field('Directory on the server; empty = that of the account', max_length=4000, check=path_error)
    ] = ''
    pattern: Annotated[str, field("Names of the files to fetch, such as '*.csv'", min_length=1, max_length=200)] = '*'
    ignored_patterns: Annotated[
        list[str], field('Names of files that are not fetched until they are renamed', max_length=100)
    ] = msgspec.field(default_factory=lambda: list(IGNORED))
    interval: Annotated[float, field('Seconds between two looks at the directory', ge=0.1, le=86_400)] = 30.0
    stable_for: Annotated[
        float, field('Seconds for which size and time of a file must not change before it is fetched', ge=0, le=86_400)
    ] = 5.0
    timeout: Annotated[float, field('Seconds that the service may take for a file', gt=0, le=86_400)] = 300.0
    after: Annotated[
        str, field('What becomes of a processed file', choices=(MOVE, DELETE))
    ] = MOVE
    move_to: Annotated[
        str, field('Directory for processed files; relative to `directory`', min_length=1, max_length=4000,
                   check=path_error)
    ] = 'processed'
    failed_to: Annotated[
        str, field('Directory for files that were given up; relative to `directory`', min_length=1, max_length=4000,
                   check=path_error)
    ] = 'failed'
    retry: Annotated[DeliveryRetry | None, field('Retries where the service fails; none = one attempt')] = (
        DeliveryRetry()
    )
    dead_letter: Annotated[
        bool, field('Whether files that failed for the last time become dead letters, too, which name the file in '
                    '`failed_to`')
    ] = False
    idempotent: Annotated[
        Idempotency | None, field('Recognizes files that were processed, by name, size and time; none = all run')
    ] = Idempotency()


CHANNEL_FTP_POLL = ObjectType(
    key='channel_ftp_poll', struct=FtpPollChannel, section='channel_ftp_poll', title='FTP poller',
    zato=ZatoApi(prefix='channel.ftp-poll'),
)  # fmt: skip
