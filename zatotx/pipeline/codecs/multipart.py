"""Uploads: forms with files, and bodies that are one file. Neither is read into memory as a whole."""

from __future__ import annotations

from zope.interface import implementer

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.errors import BadRequest
from zatotx.model.message import Body, Message
from zatotx.pipeline.codecs.base import ANY
from zatotx.pipeline.codecs.json import JsonCodec
from zatotx.rules.limits.limits import USUAL, MessageBudget
from zatotx.wire.http.multipart import FilePart, Limits, Malformed, boundary_of, read_form

BODY = 'body'  # the name of a file that is a whole body
_PIECE = 256 * 1024  # bytes read at a time
_QUICK = 64 * 1024  # bytes of a form that is read on the reactor


@implementer(ICodec)
class MultipartCodec(JsonCodec):
    """multipart/form-data in: the payload is its fields, `inbound.parsed` has its files (wire.multipart.Part). JSON
    out."""

    piecewise = True

    def __init__(self, budget: MessageBudget = USUAL) -> None:
        super().__init__(budget)
        self._limits = Limits(parts=budget.form_fields)
        self.weightless = ANY
        self.threaded = _QUICK

    def decode(self, inbound: Message) -> object:
        """Field name -> text, or a list of texts where it is repeated. Raises BadRequest."""
        body = whole(inbound)
        try:
            boundary = boundary_of(inbound.headers.get(b'content-type', b''))
            if isinstance(body, bytes):
                form = read_form([body], lambda start, size: body[start : start + size], boundary, self._limits)
            else:
                form = read_form(body.pieces(_PIECE), body.at, boundary, self._limits)
        except Malformed as error:
            raise BadRequest(inbound.cid, f'Malformed multipart form: {error}') from None
        inbound.parsed = form.files
        return form.fields


@implementer(ICodec)
class FileCodec(JsonCodec):
    """The body is one file, whatever is in it: `inbound.parsed` has it, the payload is nothing. JSON out."""

    piecewise = True

    def __init__(self, budget: MessageBudget = USUAL) -> None:
        super().__init__(budget)
        self.weightless = self.threaded = ANY

    def decode(self, inbound: Message) -> object:
        """None, and the file in `inbound.parsed`."""
        body = whole(inbound)
        size = len(body) if isinstance(body, bytes) else body.size
        content_type = inbound.headers.get(b'content-type', b'').decode('latin-1')
        inbound.parsed = (FilePart(name=BODY, filename='', content_type=content_type, headers={}, start=0, size=size),)
        return None


def whole(inbound: Message) -> bytes | Body:
    """The body, of which any part can be read: one in a content coding has none until it is decoded."""
    body = inbound.body
    if not isinstance(body, bytes) and not body.seekable:
        body = inbound.body = body.read()
    return body
