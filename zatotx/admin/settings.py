"""Settings of the web admin, from config/admin.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from zatotx.model.errors import StartError

DEFAULT_LISTEN = 'tcp:8183:interface=127.0.0.1'


class WebSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The [web] section: what browsers connect to."""

    listen: Annotated[str, Meta(min_length=1)] = DEFAULT_LISTEN  # a Twisted endpoint; ssl:… for HTTPS
    hosts: tuple[str, ...] = ()  # names in URLs by which browsers may call it, beside addresses and localhost
    is_behind_https: bool = False  # a proxy in front of it terminates TLS: cookies are Secure
    read_only: bool = False  # reject all changes


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The [cluster] section: what the admin administers."""

    name: Annotated[str, Meta(min_length=1)]
    servers: Annotated[tuple[str, ...], Meta(min_length=1)]  # URLs of servers, or of the load balancer; tried in order
    timeout: Annotated[float, Meta(gt=0)] = 30.0  # seconds per call
    ca: str = ''  # file with the CA of https:// servers, relative to config/; '' = the system's CAs


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings."""

    cluster: ClusterSettings
    web: WebSettings = WebSettings()


def load_settings(path: Path) -> AdminSettings:
    """Read the settings. Raises StartError with one sentence."""
    try:
        settings = msgspec.toml.decode(path.read_bytes(), type=AdminSettings)
    except FileNotFoundError:
        raise StartError(f'{path} is missing: it needs a section [cluster] with name and servers.') from None
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise StartError(f'{path} is not valid: {error}.') from None
    for url in settings.cluster.servers:
        parts = urlsplit(url)
        if parts.scheme not in ('http', 'https') or not parts.netloc or parts.path not in ('', '/'):
            raise StartError(f'{path}: [cluster] servers: {url!r} must have the form http://host:port.')
    return settings
