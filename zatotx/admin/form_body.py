"""Parses the bodies of form submissions: URL-encoded forms, and multipart forms with files."""

from __future__ import annotations

from urllib.parse import parse_qs

from twisted.web.iweb import IRequest

from zatotx.admin.page_request import FormFile
from zatotx.wire.http.multipart import CONTENT_TYPE, MultipartLimits, parse_boundary, parse_multipart
from zatotx.wire.malformed import Malformed

MAX_FIELDS = 5_000


def parse_form(request: IRequest) -> tuple[dict[str, list[str]], dict[str, FormFile]]:
    """Parse a form and return its fields and files. Raises Malformed."""
    content_type = (request.getHeader('content-type') or '').encode('latin-1', 'replace')
    request.content.seek(0)
    body = request.content.read()
    if content_type.lower().startswith(CONTENT_TYPE):
        return _parse_multipart(body, content_type)
    try:
        text = body.decode('utf-8')
        return parse_qs(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors='strict'), {}
    except (UnicodeDecodeError, ValueError) as error:
        raise Malformed(str(error)) from None


def _parse_multipart(body: bytes, content_type: bytes) -> tuple[dict[str, list[str]], dict[str, FormFile]]:
    form = parse_multipart(
        [body], lambda start, size: body[start : start + size], parse_boundary(content_type), MultipartLimits()
    )
    fields = {name: [value] if isinstance(value, str) else list(value) for name, value in form.fields.items()}
    files = {
        part.name: FormFile(part.filename, body[part.start : part.start + part.size])
        for part in form.files
        if part.filename
    }
    return fields, files
