"""The Klein application of the web admin. It routes requests to the screens, and implements the functions that all
screens share: Host and Origin checks, sessions, CSRF tokens, error pages, and header fields.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial, update_wrapper
from time import time
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from attrs import define, field, frozen
from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException

from zatotx.admin import request_guard as guard
from zatotx.admin.balancer_status import BalancerStatus, IBalancerAgent
from zatotx.admin.break_glass import UNAVAILABLE, BreakGlassAccount, is_local, may_open
from zatotx.admin.cluster_api import ApiError, Caller, IClusterApi
from zatotx.admin.event_writer import EventWriter
from zatotx.admin.form_body import parse_form
from zatotx.admin.invocation_history import InvocationHistory
from zatotx.admin.kept_form import KeptForm, keep_form, read_kept_form
from zatotx.admin.live import LiveFeed
from zatotx.admin.page_request import FormFile, PageRequest, Texts, User
from zatotx.admin.preferences import Preferences, make_preferences
from zatotx.admin.rendering import CONTENT_TYPES, Renderer, load_static_files
from zatotx.admin.responses import SECURITY_HEADERS, EventStream, FileDownload, Page, Redirect, Response
from zatotx.admin.rolling_restart import RollingRestart
from zatotx.admin.settings import WebSettings
from zatotx.admin.type_catalog import CatalogCache
from zatotx.rules.security.roles import ADMIN
from zatotx.wire.malformed import Malformed

Handler = Callable[..., Awaitable[Response]]  # called with a PageRequest and the parameters of the path
SESSION, LOGIN_FORM, PREFERENCES, FLASH = 'session', 'login', 'preferences', 'message'  # cookies
NO_FORM = KeptForm()
KNOWN_USER_AGE = 30.0  # seconds for which the roles of a session are not asked for again
MAX_KNOWN_USERS = 1_000
ONE_YEAR = 31_536_000  # seconds
READ_ONLY = 'This web admin is read-only: [web] read_only in its config/admin.toml.'


@frozen
class ScreenRoute:
    """The route of one URL of a screen. The handler of a POST request may change data, so it runs to completion even if
    the browser disconnects."""

    method: str  # GET or POST
    path: str  # of werkzeug
    handler: Handler
    changes: bool = True  # of a POST: it is rejected in a read-only admin
    redisplays: bool = False  # of a POST: it shows the form again if that has the field of kept_form.REDISPLAY


@define(kw_only=True)
class AdminApplication:
    """The web admin application for one cluster."""

    api: IClusterApi
    cluster: str
    settings: WebSettings
    clock: IReactorTime  # monotonic
    now: Callable[[], float] = time  # Unix time
    routes: Sequence[ScreenRoute]
    balancer: IBalancerAgent | None = None
    break_glass: BreakGlassAccount | None = None
    klein: Klein = field(factory=Klein, init=False)
    _static: Mapping[str, bytes] = field(factory=load_static_files, init=False)
    _renderer: Renderer = field(factory=Renderer, init=False)
    _catalogs: CatalogCache = field(init=False)
    _live: LiveFeed = field(init=False)
    _invocations: InvocationHistory = field(init=False)
    _rolling_restart: RollingRestart = field(init=False)
    _status_of: BalancerStatus | None = field(default=None, init=False)
    _known_users: dict[str, tuple[float, User]] = field(factory=dict, init=False)  # by session token

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._catalogs = CatalogCache(self.api, self.clock)
        self._live = LiveFeed(api=self.api, clock=self.clock)
        self._invocations = InvocationHistory(self.clock, self.now)
        self._rolling_restart = RollingRestart(api=self.api, clock=self.clock)
        add = self.klein.route
        add('/static/<digest>/<name>', methods=['GET'])(self._serve_static)
        for method, public in (('GET', self._show_login), ('POST', self._log_in)):
            self._add_route('/login', method, public, partial(self._serve_public, public))
        for one in self.routes:
            self._add_route(one.path, one.method, one.handler, partial(self._serve, one))
        self.klein.handle_errors(HTTPException)(self._serve_http_error)

    def _add_route(self, path: str, method: str, handler: Callable[..., Any], serve: Callable[..., Any]) -> None:
        named: Any = update_wrapper(serve, handler)  # Klein needs its name
        self.klein.route(path, methods=[method], endpoint=f'{method} {path}')(named)

    # -- requests of everybody

    def _serve_static(self, request: IRequest, digest: str, name: str) -> bytes:
        content = self._static.get(name)
        self._set_headers(request)
        if content is None:
            request.setResponseCode(404)
            return b''
        request.setHeader('Content-Type', CONTENT_TYPES[name.rpartition('.')[2]])
        request.setHeader('Cache-Control', f'public, max-age={ONE_YEAR}, immutable')
        return content

    def _serve_http_error(self, request: IRequest, failure: Any) -> bytes:
        """Serve 404 and 405, which the routing raises."""
        status = failure.value.code or 500
        page = Page('error.html', {'title': 'Not found', 'messages': ['There is no such page.']}, status)
        return self._draw(request, page, user=None)

    def _serve_public(self, handler: Any, request: IRequest) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self._guarded(request, lambda: handler(request)))

    async def _guarded(self, request: IRequest, serve: Callable[[], Awaitable[bytes]]) -> bytes:
        """Serve a request whose Host and Origin are those of this admin."""
        host = request.getHeader('host') or ''
        if error := guard.host_error(host, self.settings.hosts):
            return self._draw(request, _rejection(421, error), user=None)
        if request.method == b'POST':
            error = guard.origin_error(host, request.getHeader('origin'), request.getHeader('sec-fetch-site'))
            if error:
                return self._draw(request, _rejection(403, error), user=None)
        try:
            return await serve()
        except Malformed as error:
            return self._draw(request, _rejection(400, f'The form cannot be read: {error}.'), user=None)
        except CancelledError:
            raise
        except Exception:
            self._log.failure('{method} {path} failed', method=request.method, path=request.path)
            text = 'An error has occurred: the log of the web admin has the traceback.'
            return self._draw(request, _rejection(500, text), user=None)

    async def _show_login(self, request: IRequest) -> bytes:
        if self._session_token(request):
            return self._redirect(request, Redirect('/'))
        return self._login_page(request)

    def _login_page(self, request: IRequest, username: str = '', error: str = '', status: int = 200, *,
                    headers: Mapping[str, str] | None = None, kept: KeptForm = NO_FORM) -> bytes:  # fmt: skip
        secret = self._cookie(request, LOGIN_FORM) or secrets.token_urlsafe(24)
        self._set_cookie(request, LOGIN_FORM, secret)
        values = {'csrf_token': guard.csrf_token(secret), 'username': username, 'error': error,
                  'target': self._target(request), 'kept': kept}  # fmt: skip
        return self._draw(request, Page('login.html', values, status, headers or {}), user=None)

    async def _log_in(self, request: IRequest) -> bytes:
        form, _ = parse_form(request)
        presented = (form.get(guard.CSRF_FIELD) or [''])[0]
        if not guard.is_valid_csrf_token(self._cookie(request, LOGIN_FORM), presented):
            return self._draw(request, _rejection(403, 'This login form is too old: load the page again.'), user=None)
        username, password = ((form.get(name) or [''])[0] for name in ('username', 'password'))
        kept = read_kept_form(form)
        try:
            session = await shield(Deferred.fromCoroutine(
                self._open_session(username, password, Caller(address=client_address(request)))))  # fmt: skip
        except ApiError as error:
            status = error.status if error.status in (401, 429) else 503 if error.status in (0, 503, 504) else 400
            headers = {'Retry-After': error.retry_after} if error.retry_after else {}
            return self._login_page(request, username, login_error(error), status, headers=headers, kept=kept)
        self._set_cookie(request, SESSION, session['token'])
        self._set_cookie(request, LOGIN_FORM, '')
        if session.get('settings'):
            self._set_cookie(request, PREFERENCES, urlencode(session['settings']), max_age=ONE_YEAR)
        if kept.target:
            values = {'kept': kept, 'csrf_token': guard.csrf_token(session['token'])}
            return self._draw(request, Page('continue.html', values), user=None)
        return self._redirect(request, Redirect((form.get('target') or ['/'])[0]))

    async def _open_session(self, username: str, password: str, caller: Caller) -> Mapping[str, Any]:
        """Return a session of the cluster, or a local one if no server answers. Raises ApiError."""
        try:
            session = await self.api.log_in(username, password, caller)
        except ApiError as error:
            if error.status not in UNAVAILABLE or self.break_glass is None:
                raise
            token = await self.break_glass.log_in(username, password, caller.address)
            if token is None:
                raise
            return {'token': token}
        await self._report_local_logins(session, caller)
        return session

    async def _report_local_logins(self, session: Mapping[str, Any], caller: Caller) -> None:
        """Write the logins of the break-glass account to the history, by the session of an administrator."""
        if self.break_glass is None or ADMIN not in session['roles']:
            return
        if logins := self.break_glass.take_pending():
            try:
                reporter = Caller(session['token'], caller.address)
                await self.api.call('zato.admin.record-local-logins', {'logins': logins}, reporter)
            except ApiError as error:
                self.break_glass.put_back(logins)
                self._log.warn('Logins of the break-glass account are not in the history yet: {error}', error=error)

    # -- requests of users

    def _serve(self, route: ScreenRoute, request: IRequest, **parameters: Any) -> Deferred[bytes]:
        serving: Deferred[bytes] = Deferred.fromCoroutine(
            self._guarded(request, lambda: self._serve_user(route, request, parameters))
        )
        return serving if route.method == 'GET' else shield(serving)

    async def _serve_user(self, route: ScreenRoute, request: IRequest, parameters: Mapping[str, Any]) -> bytes:
        token = self._session_token(request)
        if not token:
            return self._redirect_to_login(request)
        is_passive = request.getHeader('X-Passive') == '1'  # an element that is loaded again and again by itself
        caller = Caller(token, client_address(request), is_passive)
        form: Texts = {}
        files: Mapping[str, FormFile] = {}
        user: User | None = None
        try:
            if route.method == 'POST':
                form, files = parse_form(request)
                presented = request.getHeader(guard.CSRF_HEADER) or (form.get(guard.CSRF_FIELD) or [''])[0]
                if not guard.is_valid_csrf_token(token, presented):
                    text = 'This form has no valid CSRF token: load the page again.'
                    return self._draw(request, _rejection(403, text), user=None)
            user = self._local_user(caller) if is_local(token) else await self._user(caller)
            if user.is_local and not may_open(request.path.decode('utf-8', 'replace')):
                return self._leave_local(request, token)
            if route.method == 'POST' and route.changes and self.settings.read_only:
                return self._draw(request, _rejection(403, READ_ONLY), user=user)
            page_request = PageRequest(
                method=route.method, path=request.path.decode(), query=_query(request), form=form, files=files,
                api=self.api, caller=caller, catalogs=self._catalogs, user=user, balancer=self.balancer,
                invocations=self._invocations, preferences=self.preferences(request, user), now=self.now(),
                balancer_status=self._balancer_status(), live=self._live, rolling_restart=self._rolling_restart,
            )  # fmt: skip
            response = await route.handler(page_request, **parameters)
            return await self._respond(request, page_request, response)
        except ApiError as error:
            kept = keep_form(request.path.decode(), form, redisplays=route.redisplays) if form else NO_FORM
            return await self._serve_api_error(request, error, caller, user, kept=kept)

    def _balancer_status(self) -> BalancerStatus | None:
        if self._status_of is None and self.balancer is not None:
            self._status_of = BalancerStatus(self.balancer, self.clock)
        return self._status_of if self.balancer is not None else None

    async def _user(self, caller: Caller) -> User:
        """Return the user of a session. Raises ApiError."""
        known, now = self._known_users.get(caller.token), self.clock.seconds()
        if known is not None and now - known[0] < KNOWN_USER_AGE:
            return known[1]
        try:
            found = await self.api.call('zato.admin.get-session', {}, caller)
        except ApiError as error:
            if known is None or error.status in (401, 403):
                raise
            return known[1]  # the cluster does not answer, which the page itself will say
        user = User(found['username'], frozenset(found['roles']), found.get('settings', {}))
        while len(self._known_users) >= MAX_KNOWN_USERS:
            del self._known_users[next(iter(self._known_users))]
        self._known_users[caller.token] = now, user
        return user

    def _local_user(self, caller: Caller) -> User:
        """Return the user of a session of the break-glass account. Raises ApiError."""
        username = None if self.break_glass is None else self.break_glass.use(
            caller.token, renews=not caller.is_passive
        )
        if username is None:
            raise ApiError(401, ['Your session has ended'])
        return User(username, frozenset((ADMIN,)), is_local=True)

    def _leave_local(self, request: IRequest, token: str) -> bytes:
        """Lead a local session to the load balancer, or end it."""
        if self.break_glass is not None and request.path == b'/logout' and request.method == b'POST':
            self.break_glass.log_out(token)
            return self._redirect(request, Redirect('/login', ends_session=True))
        return self._redirect(request, Redirect('/load-balancer'))

    async def _serve_api_error(
        self, request: IRequest, error: ApiError, caller: Caller, user: User | None, *, kept: KeptForm
    ) -> bytes:
        if error.status == 401:
            self._end_session(request)
            return self._redirect_to_login(request, kept)
        titles = {0: 'The cluster does not answer', 403: 'Not allowed', 404: 'Not found', 409: 'Conflict'}
        messages = [*error.messages, *(f'{name}: {text}' for name, text in error.field_errors.items())]
        values = {'title': titles.get(error.status, 'That did not work'), 'messages': messages}
        return self._draw(request, Page('error.html', values, error.status or 503), user=user)

    def _redirect_to_login(self, request: IRequest, kept: KeptForm = NO_FORM) -> bytes:
        if request.getHeader('HX-Request'):
            request.setHeader('HX-Redirect', '/login')  # htmx would put the login form into the part of the page
            return self._draw(request, _rejection(401, 'Your session has ended: log in again.'), user=None)
        if request.method == b'POST':
            what = 'what you typed is kept' if kept.target else 'then repeat the last step'
            return self._login_page(request, error=f'Your session has ended: log in, {what}.', status=401, kept=kept)
        target = request.uri.decode('ascii', 'replace')
        return self._redirect(request, Redirect('/login' if target == '/' else f'/login?{urlencode({"next": target})}'))

    # -- responses

    async def _respond(self, request: IRequest, page_request: PageRequest, response: Response) -> bytes:
        if isinstance(response, EventStream):
            self._set_headers(request)
            return await EventWriter(request).send(self._live, page_request.caller)
        if isinstance(response, Redirect):
            return self._redirect(request, response)
        if isinstance(response, FileDownload):
            self._set_headers(request)
            request.setHeader('Content-Type', response.content_type)
            name = quote(response.filename, safe='')
            request.setHeader('Content-Disposition', f"attachment; filename*=UTF-8''{name}")
            return response.content
        user = page_request.user
        menu = () if user.is_local else (await page_request.catalog()).menu()
        return self._draw(request, response, user=user, menu=menu)

    def _draw(self, request: IRequest, page: Page, *, user: User | None, menu: Any = ()) -> bytes:
        self._set_headers(request)
        for name, value in page.headers.items():
            request.setHeader(name, value)
        request.setResponseCode(page.status)
        request.setHeader('Content-Type', 'text/html; charset=utf-8')
        token = self._session_token(request)
        values = {
            'cluster': self.cluster, 'user': user, 'menu': menu, 'path': request.path.decode('utf-8', 'replace'),
            'is_read_only': self.settings.read_only, 'has_balancer': self.balancer is not None,
            **self._take_flash(request),
            'csrf_token': guard.csrf_token(token) if token else '', 'title': '', **page.values,
        }  # fmt: skip
        fragment = request.getHeader('HX-Target') or ''
        return self._renderer.page(page.template, values, self.preferences(request, user), fragment=fragment)

    def _redirect(self, request: IRequest, response: Redirect) -> bytes:
        self._set_headers(request)
        target = response.target if guard.is_safe_redirect(response.target) else '/'
        if response.message:
            self._set_cookie(request, FLASH, f'{quote(response.message[:500], safe="")}|{response.undo}')
        if response.ends_session:
            self._end_session(request)
        if response.preferences is not None:
            self._known_users.pop(self._session_token(request), None)
            self._set_cookie(request, PREFERENCES, urlencode(response.preferences), max_age=ONE_YEAR)
        request.setResponseCode(303)
        request.setHeader('Location', target)
        return b''

    def _set_headers(self, request: IRequest) -> None:
        for name, value in SECURITY_HEADERS.items():
            request.setHeader(name, value)
        request.setHeader('Cache-Control', 'no-store')
        if self._is_secure(request):
            request.setHeader('Strict-Transport-Security', f'max-age={ONE_YEAR}')

    # -- cookies

    def _is_secure(self, request: IRequest) -> bool:
        return self.settings.is_behind_https or bool(request.isSecure())

    def _session_token(self, request: IRequest) -> str:
        return self._cookie(request, SESSION)

    def _end_session(self, request: IRequest) -> None:
        """Forget the session of a request here and in the browser."""
        token = self._session_token(request)
        self._known_users.pop(token, None)
        self._invocations.forget(token)
        self._set_cookie(request, SESSION, '')

    def _cookie(self, request: IRequest, purpose: str) -> str:
        name = guard.cookie_name(purpose, self.cluster, is_secure=self._is_secure(request))
        value = request.getCookie(name.encode())
        return '' if value is None else value.decode('latin-1')

    def _set_cookie(self, request: Any, purpose: str, value: str, *, max_age: int | None = None) -> None:
        """Set a cookie until the browser ends, or for `max_age` seconds; '' removes it."""
        is_secure = self._is_secure(request)
        name = guard.cookie_name(purpose, self.cluster, is_secure=is_secure)
        age = None if value and max_age is None else str(max_age if value else 0)
        request.addCookie(name, value, path='/', httpOnly=True, secure=is_secure, sameSite='lax', max_age=age)

    def _take_flash(self, request: IRequest) -> dict[str, str]:
        """Return the message for the top of this page and the revisions that its button takes back, and remove them."""
        cookie = self._cookie(request, FLASH)
        if cookie:
            self._set_cookie(request, FLASH, '')
        message, _, undo = cookie.partition('|')
        return {'flash': unquote(message), 'undo': undo if undo.replace(',', '').isdecimal() else ''}

    def preferences(self, request: IRequest, user: User | None) -> Preferences:
        """Return the choices of a user; those of the last user of this browser if there is none."""
        if user is not None and user.settings:
            return make_preferences(user.settings)
        cookie = parse_qs(self._cookie(request, PREFERENCES))
        return make_preferences({name: values[0] for name, values in cookie.items()})

    def _target(self, request: IRequest) -> str:
        target = (_query(request).get('next') or ['/'])[0]
        return target if guard.is_safe_redirect(target) else '/'


def _rejection(status: int, text: str) -> Page:
    return Page('error.html', {'title': 'Not possible', 'messages': [text]}, status)


def login_error(error: ApiError) -> str:
    """Return the error message for a failed login."""
    if error.status == 429 and error.retry_after:
        return f'Too many wrong passwords: try again in {error.retry_after} seconds.'
    return '; '.join([*error.messages, *error.field_errors.values()]) or 'The login failed.'


def client_address(request: IRequest) -> str:
    """Return the address of the browser."""
    return getattr(request.getClientAddress(), 'host', '') or ''


def _query(request: IRequest) -> dict[str, list[str]]:
    query = urlsplit(request.uri).query.decode('ascii', 'replace')
    return parse_qs(query, keep_blank_values=True, errors='replace')


def shield(deferred: Deferred[Any]) -> Deferred[Any]:
    """Return a Deferred with the same result whose cancellation does not cancel `deferred`. Klein cancels a handler
    when the browser disconnects, but a change must not be interrupted."""
    result: Deferred[Any] = Deferred()
    deferred.addBoth(lambda outcome: None if result.called else result.callback(outcome))
    return result
