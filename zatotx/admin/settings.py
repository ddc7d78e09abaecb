"""The settings of the web admin in config/admin.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from zatotx.model.errors import StartError
from zatotx.wire.http.host_names import is_loopback

DEFAULT_LISTEN = 'tcp:8183:interface=127.0.0.1'


class WebSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings in the section [web], which configure the listener for browsers."""

    listen: Annotated[str, Meta(min_length=1)] = DEFAULT_LISTEN  # a Twisted endpoint; ssl:… for HTTPS
    hosts: tuple[str, ...] = ()  # names in URLs by which browsers may call it, beside addresses and localhost
    is_behind_https: bool = False  # a proxy in front of it terminates TLS: cookies are Secure
    read_only: bool = False  # reject all changes


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings in the section [cluster], which configure the connection to the cluster."""

    name: Annotated[str, Meta(min_length=1)]
    servers: Annotated[tuple[str, ...], Meta(min_length=1)]  # URLs of servers, or of the load balancer; tried in order
    timeout: Annotated[float, Meta(gt=0)] = 30.0  # seconds per call
    ca: str = ''  # file with the CA of https:// servers, relative to the component's directory; '' = the system's CAs


class LoadBalancerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings in the section [load_balancer], which configure the connection to the load balancer's agent. File
    names are relative to the component's directory."""

    agent: str = ''  # its URL; '' = there is no load balancer
    certificate: str = 'tls/web-admin-cert.pem'  # of this admin, for an agent at https://
    key: str = 'tls/web-admin-priv-key.pem'
    ca: str = 'tls/web-admin-ca-certs.pem'  # that signs the agent's certificate


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of the web admin."""

    cluster: ClusterSettings
    web: WebSettings = WebSettings()
    load_balancer: LoadBalancerSettings = LoadBalancerSettings()


def load_settings(path: Path) -> AdminSettings:
    """Load the settings file. Raises StartError, whose message is one sentence."""
    try:
        settings = msgspec.toml.decode(path.read_bytes(), type=AdminSettings)
    except FileNotFoundError:
        raise StartError(f'{path} is missing: it needs a section [cluster] with name and servers.') from None
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise StartError(f'{path} is not valid: {error}.') from None
    urls = [('[cluster] servers', url) for url in settings.cluster.servers]
    urls += [('[load_balancer] agent', settings.load_balancer.agent)] if settings.load_balancer.agent else []
    for name, url in urls:
        if not _is_server_url(url):
            raise StartError(f'{path}: {name}: {url!r} must have the form http://host:port.')
    return settings


def plaintext_warning(settings: WebSettings, host: str) -> str:
    """Return a warning if passwords cross the network unencrypted, otherwise ''. `host`: the address that it listens
    on."""
    is_tcp = settings.listen.removeprefix('haproxy:').startswith('tcp')
    if not is_tcp or settings.is_behind_https or is_loopback(host):
        return ''
    return (f'Passwords are sent unencrypted to {settings.listen!r}: set [web] listen to an ssl: endpoint, '
            'or is_behind_https if a proxy terminates TLS.')  # fmt: skip


def _is_server_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_complete = parts.scheme in ('http', 'https') and bool(parts.hostname) and parts.port != 0
        return is_complete and parts.path in ('', '/')
    except ValueError:
        return False
