"""Codecs of HTML forms and file uploads. A file is never read into memory as a whole."""

from __future__ import annotations

from zope.interface import implementer

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.errors import BadRequest
from zatotx.model.message import Body, Message
from zatotx.pipeline.codecs.data_formats import CHECK_THRESHOLD, UNLIMITED, JsonCodec, RawCodec
from zatotx.rules.limits.concurrency_limit import DEFAULT_BUDGET, MessageContentLimits
from zatotx.wire.http import urlencoded
from zatotx.wire.http.multipart import FilePart, Malformed, MultipartLimits, parse_boundary, parse_multipart
from zatotx.wire.json_codec import estimate_memory


@implementer(ICodec)
class FormCodec(RawCodec):
    """Decodes application/x-www-form-urlencoded bodies, and encodes replies as JSON."""

    text_type = b''

    def __init__(self, budget: MessageContentLimits = DEFAULT_BUDGET) -> None:
        super().__init__(budget)
        self.check_threshold = CHECK_THRESHOLD

    def check_size(self, body: bytes) -> None:
        """See ICodec. The number of fields is checked while decoding."""

    def estimate_memory(self, body: bytes) -> int:
        return estimate_memory(body)

    def decode(self, message: Message) -> object:
        """Return a dict of field name -> text, or a list of texts for repeated fields. Raises BadRequest."""
        try:
            # The pipeline has read spooled bodies into memory.
            return urlencoded.decode_form(message.body, self._budget.form_fields)  # type: ignore[arg-type]
        except urlencoded.Malformed as error:
            raise BadRequest(message.cid, f'Malformed form: {error}') from None


@implementer(ICodec)
class NamedFormCodec(FormCodec):
    """Decodes the bodies that a JSON channel receives with the content type of a form. Depending on its content, such a
    body is decoded as a form or as JSON."""

    def __init__(self, budget: MessageContentLimits = DEFAULT_BUDGET) -> None:
        super().__init__(budget)
        self._json = JsonCodec(budget)
        self.check_threshold = self._json.check_threshold

    def check_size(self, body: bytes) -> None:
        if urlencoded.looks_like_json(body):
            self._json.check_size(body)

    def decode(self, message: Message) -> object:
        """Decode a form or JSON, whichever the body is. Raises BadRequest."""
        if urlencoded.looks_like_json(message.body):  # type: ignore[arg-type]
            return self._json.decode(message)
        return super().decode(message)


BODY_FILE_NAME = 'body'  # name of the file that is the whole body
_CHUNK_SIZE = 256 * 1024  # bytes read at a time
_THREAD_THRESHOLD = 64 * 1024  # bytes of a form above which it is decoded in a thread


@implementer(ICodec)
class MultipartCodec(JsonCodec):
    """Decodes multipart/form-data. The payload is a dict of the fields, and `Message.parsed` is a tuple of the files
    (`FilePart`). Replies are encoded as JSON."""

    reads_stream = True

    def __init__(self, budget: MessageContentLimits = DEFAULT_BUDGET) -> None:
        super().__init__(budget)
        self._limits = MultipartLimits(parts=budget.form_fields)
        self.check_threshold = UNLIMITED
        self.thread_threshold = _THREAD_THRESHOLD

    def decode(self, message: Message) -> object:
        """Return a dict of field name -> text, or a list of texts for repeated fields. Raises BadRequest."""
        body = seekable_body(message)
        try:
            boundary = parse_boundary(message.headers.get(b'content-type', b''))
            if isinstance(body, bytes):
                form = parse_multipart([body], lambda start, size: body[start : start + size], boundary, self._limits)
            else:
                form = parse_multipart(body.iter_chunks(_CHUNK_SIZE), body.read_at, boundary, self._limits)
        except Malformed as error:
            raise BadRequest(message.cid, f'Malformed multipart form: {error}') from None
        message.parsed = form.files
        return form.fields


@implementer(ICodec)
class FileCodec(JsonCodec):
    """Accepts any body as one uploaded file. `Message.parsed` contains the file, and the payload is None. Replies are
    encoded as JSON."""

    reads_stream = True

    def __init__(self, budget: MessageContentLimits = DEFAULT_BUDGET) -> None:
        super().__init__(budget)
        self.check_threshold = self.thread_threshold = UNLIMITED

    def decode(self, message: Message) -> object:
        """Return None, and store the file in `message.parsed`."""
        body = seekable_body(message)
        size = len(body) if isinstance(body, bytes) else body.size
        content_type = message.headers.get(b'content-type', b'').decode('latin-1')
        message.parsed = (
            FilePart(name=BODY_FILE_NAME, filename='', content_type=content_type, headers={}, start=0, size=size),
        )
        return None


def seekable_body(message: Message) -> bytes | Body:
    """Return a body that supports random access. A body with a content coding is decoded first."""
    body = message.body
    if not isinstance(body, bytes) and not body.seekable:
        body = message.body = body.read()
    return body
