"""zato.docs.get: the web page that displays the OpenAPI document, and its files.

The files are part of zatotx and contain no data of the cluster: the page requests the document with the credentials
that its user enters.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from zatotx.api.base import AdminService
from zatotx.model.errors import NotFound

PAGE = 'index.html'
_TYPES = {
    PAGE: 'text/html; charset=utf-8',
    'viewer.css': 'text/css; charset=utf-8',
    'viewer.js': 'text/javascript; charset=utf-8',
    'render.js': 'text/javascript; charset=utf-8',
    'console.js': 'text/javascript; charset=utf-8',
    'icon.svg': 'image/svg+xml',
}
# Only files of this server, nothing inline, no embedding in frames; connections to this server only.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    'Content-Security-Policy': POLICY,
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cache-Control': 'no-cache',
}


class GetDocsPage(AdminService):
    """Return the page /zato/docs, or the file of it named by the path."""

    name = 'zato.docs.get'
    plain = True

    async def handle(self) -> None:
        file_name = self.request.http.params.get('file', PAGE)
        if file_name not in _TYPES:
            raise NotFound(self.cid, 'URL not found')
        self.response.payload = await self.server.run_in_thread(read_page_file, file_name)
        self.response.content_type = _TYPES[file_name]
        for name, value in _HEADERS.items():
            self.response.headers[name] = value


@cache
def read_page_file(name: str) -> bytes:
    """Return a file of the page, cached after the first read. Blocking."""
    return files(__package__).joinpath('viewer', name).read_bytes()


SERVICES = (GetDocsPage,)
