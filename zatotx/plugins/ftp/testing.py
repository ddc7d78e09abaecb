"""The method signatures of scripted FTP connections, for the users' test kit."""

from __future__ import annotations

from zatotx.testing.connection_api_signatures import ApiSignature

_ARGUMENTS = {
    'listdir': ('path', 'wildcard', 'full', 'absolute', 'dirs_only', 'files_only'),
    'listdirinfo': ('path', 'wildcard', 'dirs_only', 'files_only'),
    'makedir': ('path', 'recursive', 'allow_recreate'),
    'removedir': ('path', 'recursive', 'force'),
    'getinfo': ('path',),
    'getsize': ('path',),
    'exists': ('path',),
    'isdir': ('path',),
    'isfile': ('path',),
    'remove': ('path',),
    'rename': ('src', 'dst'),
    'getcontents': ('path', 'mode', 'encoding'),
    'setcontents': ('path', 'data', 'encoding'),
    'appendcontents': ('path', 'data', 'encoding'),
    'open': ('path', 'mode', 'encoding'),
    'download': ('path', 'local_path'),
    'upload': ('local_path', 'path'),
}
SIGNATURES = {
    'ftp': ApiSignature(
        title='FTP',
        methods=(*_ARGUMENTS, 'ping', 'close'),
        arguments=_ARGUMENTS,
        files=('open',),
        options=('atomic', 'offset', 'resume'),
    ),
}
