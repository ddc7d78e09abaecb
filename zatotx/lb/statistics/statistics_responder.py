"""Serves the load balancer's statistics and metrics pages, which require credentials."""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence

from attrs import define
from zope.interface import implementer

from zatotx.interfaces.load_balancer import ILocalResponder, LocalResponse
from zatotx.lb.config.model import Stats
from zatotx.lb.statistics.metrics import DEFINITIONS, sample_metrics
from zatotx.lb.statistics.statistics_page import CONTENT_SECURITY_POLICY, render_statistics_page
from zatotx.lb.statistics.statistics_source import ReadSnapshot
from zatotx.metrics.definitions import register_kind_metrics
from zatotx.metrics.exposition import render_sample

_METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
_PRIVATE = (
    (b'Cache-Control', b'no-store'), (b'X-Content-Type-Options', b'nosniff'), (b'Referrer-Policy', b'no-referrer'),
)  # fmt: skip
_PAGE_FIELDS = ((b'Content-Security-Policy', CONTENT_SECURITY_POLICY.encode()), *_PRIVATE)
_CHALLENGE = LocalResponse(
    401, 'text/plain; charset=utf-8', b'The statistics of the load balancer need credentials: see [stats] in lb.toml\n',
    ((b'WWW-Authenticate', b'Basic realm="zato-lb-stats", charset="UTF-8"'), *_PRIVATE),
)  # fmt: skip


@implementer(ILocalResponder)
@define(eq=False, kw_only=True)
class StatisticsResponder:
    """Implements ILocalResponder. It responds to requests to frontends with `stats = true`. `settings` is replaced when
    the configuration changes; `read` returns the statistics, and `facts` returns the information about the process."""

    settings: Stats
    read: ReadSnapshot
    facts: Callable[[], Sequence[tuple[str, str]]]
    title: str

    def respond(self, method: str, path: bytes, query: bytes, headers: Mapping[bytes, bytes]) -> LocalResponse | None:
        """See ILocalResponder."""
        settings = self.settings
        if not settings.password or path not in (settings.path.encode(), settings.metrics_path.encode()):
            return None
        if method not in ('GET', 'HEAD'):
            return LocalResponse(405, 'text/plain', b'', ((b'Allow', b'GET, HEAD'),))
        if not self._is_authorized(headers.get(b'authorization', b'')):
            return _CHALLENGE
        if path == settings.metrics_path.encode():
            return LocalResponse(200, _METRICS_TYPE, render_sample(sample_metrics(self.read())), _PRIVATE)
        page = render_statistics_page(self.read(), title=self.title, facts=self.facts(), refresh=settings.refresh)
        return LocalResponse(200, 'text/html; charset=utf-8', page, _PAGE_FIELDS)

    def _is_authorized(self, field: bytes) -> bool:
        scheme, _, value = field.partition(b' ')
        try:
            given = b64decode(value.strip(), validate=True)
        except ValueError:
            given = b''
        expected = f'{self.settings.username}:{self.settings.password}'.encode()
        return scheme.lower() == b'basic' and hmac.compare_digest(given, expected)


def prepare_metrics() -> None:
    """Register the metrics, and import the modules that render them. Otherwise the first scrape would wait for the
    import."""
    import prometheus_client.exposition  # noqa: F401

    register_kind_metrics(DEFINITIONS)
