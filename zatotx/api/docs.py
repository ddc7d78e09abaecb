"""zato.docs.get: the page that shows the OpenAPI document, and its files. They come with zatotx and name nothing of
the cluster: what they show, the page fetches with the credentials that its reader gives it.
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
# Nothing but our own files, nothing inline, in nobody's frame; connections to this very server only.
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


class GetDocs(AdminService):
    """The page of /zato/docs, or the file of it that the path names."""

    name = 'zato.docs.get'
    plain = True

    async def handle(self) -> None:
        wanted = self.request.http.params.get('file', PAGE)
        if wanted not in _TYPES:
            raise NotFound(self.cid, 'URL not found')
        self.response.payload = await self.server.offload(content, wanted)
        self.response.content_type = _TYPES[wanted]
        for name, value in _HEADERS.items():
            self.response.headers[name] = value


@cache
def content(name: str) -> bytes:
    """A file of the page, read once. Blocking."""
    return files(__package__).joinpath('viewer', name).read_bytes()


SERVICES = (GetDocs,)
