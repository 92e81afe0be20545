"""The page, its files, and the few forms that work without a script: set-up, login, logout, links."""

from __future__ import annotations

import hashlib
import html
import mimetypes
from collections.abc import Awaitable, Callable
from pathlib import Path
from string import Template

from aiohttp import web

from agent.server.accounts import MIN_PASSWORD, OWNER, Account, Accounts, Who
from agent.server.web import auth
from agent.server.web.access import Access, Routes, in_time

HERE = Path(__file__).parent
INDEX, SETTINGS = "index.html", "settings.html"


def _template(name: str) -> Template:
    return Template((HERE / "templates" / f"{name}.html").read_text(encoding="utf-8"))


class Static:
    """The files under static/ and `more`, read once: they are few and small."""

    def __init__(self, more: dict[str, bytes]) -> None:
        self._files = {p.name: p.read_bytes() for p in (HERE / "static").iterdir() if p.is_file()} | more
        self._tags = {name: hashlib.sha256(data).hexdigest()[:16] for name, data in self._files.items()}

    async def handle(self, request: web.Request) -> web.Response:
        return self.answer(request, request.match_info["name"])

    def answer(self, request: web.Request, name: str) -> web.Response:
        if name not in self._files:
            raise web.HTTPNotFound
        tag = self._tags[name]
        headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache"}
        if any(e.value == tag for e in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        text = kind.startswith("text/") or kind in ("application/javascript", "application/manifest+json")
        headers["Content-Type"] = kind + ("; charset=utf-8" if text else "")
        return web.Response(body=self._files[name], headers=headers)


class Pages:
    """`cookie` names the session's cookie; `temporary`: entered by links only, there is no owner."""

    def __init__(
        self,
        sessions: auth.Sessions,
        accounts: Accounts,
        links: auth.Links,
        throttle: auth.Throttle,
        *,
        cookie: str,
        temporary: bool,
        secure: bool,
        on_setup: Callable[[], None],
        on_logout: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self._sessions = sessions
        self._accounts = accounts
        self._links = links
        self._throttle = throttle
        self._cookie = cookie
        self._temporary = temporary
        self._secure = secure
        self._on_setup = on_setup
        self._on_logout = on_logout
        self._head = _template("head")
        self._frame = _template("frame")
        self._forms = {n: _template(n) for n in ("login", "setup", "invite", "password")}
        self._static = Static(
            {INDEX: self._whole("index", "Cameras", "app"), SETTINGS: self._whole("settings", "Settings", "settings")}
        )

    def add_to(self, routes: Routes) -> None:
        routes.add("GET", "/", Access.VIEWER, self._index)
        routes.add("GET", "/settings", Access.ACCOUNT, self._settings)
        routes.add("GET", "/static/{name}", Access.OPEN, self._static.handle)
        routes.add("GET", "/favicon.ico", Access.OPEN, self._icon)
        routes.add("GET", "/j/{code}", Access.OPEN, self._join)
        routes.add("GET", "/setup/{code}", Access.OPEN, self._setup_form)
        routes.add("POST", "/setup/{code}", Access.OPEN, self._setup)
        routes.add("GET", "/invite/{code}", Access.OPEN, self._invite_form)
        routes.add("POST", "/invite/{code}", Access.OPEN, self._invite)
        routes.add("GET", "/password/{code}", Access.OPEN, self._password_form)
        routes.add("POST", "/password/{code}", Access.OPEN, self._password)
        routes.add("GET", "/login", Access.OPEN, self._login_form)
        routes.add("POST", "/login", Access.OPEN, self._login)
        routes.add("POST", "/logout", Access.VIEWER, self._logout)

    def session(self, request: web.Request) -> auth.Session | None:
        return self._sessions.find(request.cookies.get(self._cookie))

    def holder(self, request: web.Request) -> Callable[[], Who | None]:
        """Says at each call who is logged in with this browser."""
        return self._sessions.holder(request.cookies.get(self._cookie))

    def who(self, request: web.Request) -> Who | None:
        return self.holder(request)()

    def role(self, request: web.Request) -> str | None:
        who = self.who(request)
        return who.role if who else None

    async def log_out(self, account: int) -> None:
        """End all sessions of an account, and what they look at."""
        for key in await self._sessions.close_all(account):
            await self._on_logout(key)

    def message(self, status: int, text: str) -> web.Response:
        """A page with one sentence."""
        body = f'<p>{html.escape(text)}</p><p><a href="/">To the cameras</a></p>'
        return self.page(status, "Not here" if status == 404 else "That did not work", body)

    def page(self, status: int, title: str, body: str) -> web.Response:
        """A page of its own around `body`, which is HTML."""
        title = html.escape(title)
        text = self._head.substitute(title=title, more="") + self._frame.substitute(title=title, body=body)
        return web.Response(status=status, text=text, content_type="text/html")

    def _whole(self, name: str, title: str, script: str) -> bytes:
        """A page that its script fills."""
        more = f'<script type="module" src="/static/{script}.js"></script>\n'
        return (self._head.substitute(title=title, more=more) + _template(name).substitute()).encode()

    def _form(self, name: str, title: str, user: str = "", error: str = "", status: int = 200) -> web.Response:
        """`user`: what stands in the field for the name."""
        note = f'<p class="error" role="alert">{html.escape(error)}</p>' if error else ""
        return self.page(
            status, title, self._forms[name].substitute(error=note, least=MIN_PASSWORD, user=html.escape(user))
        )

    async def _index(self, request: web.Request) -> web.Response:
        return self._static.answer(request, INDEX)

    async def _settings(self, request: web.Request) -> web.Response:
        return self._static.answer(request, SETTINGS)

    async def _icon(self, request: web.Request) -> web.Response:
        return self._static.answer(request, "icon.svg")

    async def _join(self, request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response()
        if not self._links.use(request.match_info["code"]):
            if self.session(request):
                raise web.HTTPSeeOther("/")
            return self.page(410, "This link is used up", _LINK_USED)
        return await self._enter(request, 0)

    async def _enter(self, request: web.Request, account: int) -> web.Response:
        token = await self._sessions.open(account)
        response = web.Response(status=303, headers={"Location": "/"})
        life_s = (auth.LIFE_NS if account else auth.GUEST_LIFE_NS) // 10**9
        secure = self._secure or request.secure
        response.set_cookie(
            self._cookie, token, max_age=life_s, path="/", httponly=True, samesite="Strict", secure=secure
        )
        return response

    def _may_set_up(self, request: web.Request) -> None:
        if self._temporary or self._accounts.owned or not self._links.is_setup(request.match_info["code"]):
            raise web.HTTPGone(text="This set-up link is used up.")

    async def _setup_form(self, request: web.Request) -> web.Response:
        self._may_set_up(request)
        return self._form("setup", "Welcome", OWNER)

    async def _setup(self, request: web.Request) -> web.Response:
        self._may_set_up(request)
        form = await self._read(request)
        try:
            account = await self._accounts.create(form["user"] or OWNER, _chosen(form), OWNER)
        except ValueError as e:
            return self._form("setup", "Welcome", form["user"], str(e), 400)
        self._on_setup()
        return await self._enter(request, account.id)

    async def _read(self, request: web.Request) -> dict[str, str]:
        """A form's fields; a missing one is empty. Raises 400 for what is no form."""
        if request.content_type != "application/x-www-form-urlencoded":
            raise web.HTTPBadRequest(text="that is no form of ours")
        try:
            form = await in_time(request.post())
        except (ValueError, LookupError, RuntimeError):
            raise web.HTTPBadRequest(text="that is no form") from None
        return {k: str(form.get(k, "")) for k in ("user", "password", "again")}

    async def _invite_form(self, request: web.Request) -> web.Response:
        if not await self._accounts.invited(request.match_info["code"]):
            raise web.HTTPGone(text="This invitation is used up. Ask for a new one.")
        return self._form("invite", "You are invited")

    async def _invite(self, request: web.Request) -> web.Response:
        form, code = await self._read(request), request.match_info["code"]
        account = None
        try:
            if await self._accounts.invited(code):
                known = self._accounts.named(form["user"])
                account = await (self._take_up if known else self._accept)(request, code, form)
        except ValueError as e:
            return self._form("invite", "You are invited", form["user"], str(e), 400)
        if account is None:
            raise web.HTTPGone(text="This invitation is used up. Ask for a new one.")
        return await self._enter(request, account.id)

    async def _accept(self, request: web.Request, code: str, form: dict[str, str]) -> Account | None:
        return await self._accounts.accept(code, form["user"], _chosen(form))

    async def _take_up(self, request: web.Request, code: str, form: dict[str, str]) -> Account | None:
        """Who has an account already gets more with it; guessing meets the patience of the login."""
        if wait_s := self._throttle.wait_s(address := request.remote or ""):
            raise web.HTTPTooManyRequests(text="too many wrong passwords", headers={"Retry-After": str(wait_s)})
        self._throttle.failed(address)
        account = await self._accounts.check(form["user"], form["password"])
        if account is None:
            raise ValueError("That name is taken. If it is yours, the password is another.")
        self._throttle.succeeded(address)
        return await self._accounts.take_up(code, account)

    async def _password_form(self, request: web.Request) -> web.Response:
        account = await self._accounts.forgetful(request.match_info["code"])
        if account is None:
            raise web.HTTPGone(text=_PASSWORD_USED)
        return self._form("password", "A new password", account.name)

    async def _password(self, request: web.Request) -> web.Response:
        form, code = await self._read(request), request.match_info["code"]
        if (known := await self._accounts.forgetful(code)) is None:
            raise web.HTTPGone(text=_PASSWORD_USED)
        try:
            account = await self._accounts.remind(code, _chosen(form))
        except ValueError as e:
            return self._form("password", "A new password", known.name, str(e), 400)
        if account is None:
            raise web.HTTPGone(text=_PASSWORD_USED)
        await self.log_out(account.id)
        return await self._enter(request, account.id)

    async def _login_form(self, request: web.Request) -> web.Response:
        if self._temporary:
            return self.page(200, "Open your link", _LINK_NEEDED)
        if not self._accounts.owned:
            return self.page(200, "Not set up yet", _SETUP_NEEDED)
        return self._form("login", "Log in")

    async def _login(self, request: web.Request) -> web.Response:
        address = request.remote or ""
        if wait_s := self._throttle.wait_s(address):
            response = self._form("login", "Log in", "", f"Too many attempts: try again in {wait_s} s.", 429)
            response.headers["Retry-After"] = str(wait_s)
            return response
        self._throttle.failed(address)  # counted before the slow check, so that parallel guesses count too
        form = await self._read(request)
        account = await self._accounts.check(form["user"] or OWNER, form["password"])
        if account is None:
            return self._form("login", "Log in", form["user"], "That is not the right name and password.", 403)
        self._throttle.succeeded(address)
        return await self._enter(request, account.id)

    async def _logout(self, request: web.Request) -> web.Response:
        session = self.session(request)
        if session is not None:
            await self._sessions.close(session)
            await self._on_logout(session.hash)
        response = web.Response(status=303, headers={"Location": "/login"})
        response.del_cookie(self._cookie, path="/")
        return response


def _chosen(form: dict[str, str]) -> str:
    if form["password"] != form["again"]:
        raise ValueError("The two passwords differ.")
    return form["password"]


_PASSWORD_USED = "This link is used up. Make a new one on the server's machine: camera-agent password"
_LINK_USED = (
    "<p>It opens once, and only for five minutes. Ask for a new one: in the terminal of "
    "<code>camera-agent watch</code> press <kbd>r</kbd>.</p>"
)
_LINK_NEEDED = (
    "<p>These cameras are watched for a while only, and the page opens by a link. It stands in the terminal "
    "where <code>camera-agent watch</code> runs; press <kbd>r</kbd> there for a new one.</p>"
)
_SETUP_NEEDED = (
    "<p>This camera server has no owner yet. Open the set-up link that stands in its log "
    "(<code>journalctl -u camera-agent</code>, or the terminal it was started in).</p>"
)
