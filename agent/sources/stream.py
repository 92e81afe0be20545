"""From an address and a login to a camera's open body: authentication, redirects, and what a refusal means."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from agent.errors import PermanentError, TransientError
from agent.sources.http import Connection, Head, Url, connect
from agent.sources.login import Login

MAX_REDIRECTS = 3
MAX_LOGINS = 2
MAX_CLOCK_S = 3.0
NO_CAMERA = 66
PERMISSION = 77
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_VIDEO = frozenset(("", "image/jpeg", "image/jpg", "application/octet-stream"))


class NoSuchPath(PermanentError):
    """The camera is there, but at this path are no pictures (404, or a page)."""


@dataclass(slots=True)
class Answer:
    """A 200 whose body waits for `connection.read`; the caller closes the connection."""

    url: Url
    connection: Connection
    head: Head


async def get(url: Url, login: Login, timeout_s: float) -> Answer:
    """Ask until the camera gives a body: two more tries after a 401 (the nonce was stale), three redirects in the host.

    Raises TransientError and PermanentError (77 not permitted, NoSuchPath 66) that name the address.
    """
    redirects = logins = 0
    while True:
        try:
            answer = await _ask(url, login, timeout_s)
        except TransientError as e:
            raise TransientError(f"{url.label}: {e}") from None
        except PermanentError as e:
            raise PermanentError(f"{url.label}: {e}", e.exit_code) from None
        status = answer.head.status
        if status == 200:
            return answer
        await answer.connection.close()
        if status == 401 and logins < MAX_LOGINS and login.challenged(answer.head.all("www-authenticate")):
            logins += 1
            continue
        if status in _REDIRECTS and answer.head.get("location") and redirects < MAX_REDIRECTS:
            redirects += 1
            url = _redirected(url, answer.head.get("location"))
            continue
        raise _refusal(url, answer.head, login)


async def _ask(url: Url, login: Login, timeout_s: float) -> Answer:
    connection = await connect(url, login.field(url.target), timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            return Answer(url, connection, await connection.head)
    except TimeoutError:
        await connection.close()
        raise TransientError(f"connected, but no answer within {timeout_s:g} s") from None
    except BaseException:
        await connection.close()
        raise


async def look(url: Url, login: Login, timeout_s: float) -> list[str]:
    """What `check` remarks on a camera that works: its clock, and whether it asks for a login at all."""
    remarks = []
    answer = await get(url, login, timeout_s)
    await answer.connection.close()
    if (ahead_s := _clock_ahead_s(answer.head)) is not None and abs(ahead_s) > MAX_CLOCK_S:
        remarks.append(f"its clock is {abs(ahead_s):.0f} s {'ahead' if ahead_s > 0 else 'behind'}")
    if login.given:
        try:
            open_to_all = await get(url, Login("", ""), timeout_s)
            await open_to_all.connection.close()
            remarks.append("shows its pictures without a login, too")
        except PermanentError:
            remarks.append(f"lets in by {login.way}")
    return remarks


def _clock_ahead_s(head: Head) -> float | None:
    """By the answer's Date field, which is in whole seconds; None where it has none."""
    try:
        return parsedate_to_datetime(head.get("date")).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


def _redirected(url: Url, location: str) -> Url:
    try:
        return url.join(location)
    except ValueError as e:
        raise PermanentError(f"{url.label}: redirects {e}") from None


def _refusal(url: Url, head: Head, login: Login) -> TransientError | PermanentError:
    status = head.status
    if status == 401:
        why = "refuses this user or password" if login.given else "asks for a user and password"
        return PermanentError(f"{url.label}: the camera {why} (401)", PERMISSION)
    if status == 403:
        return PermanentError(f"{url.label}: the camera does not allow this (403)", PERMISSION)
    if status in (404, 410):
        return NoSuchPath(f"{url.label}: the camera has nothing there ({status})", NO_CAMERA)
    if status in _REDIRECTS:
        return PermanentError(f"{url.label}: redirects more than {MAX_REDIRECTS} times, or to nowhere ({status})")
    text = f"{url.label}: the camera answers {status} {printable(head.reason)}".rstrip()
    return TransientError(text) if status >= 500 or status in (408, 425, 429) else PermanentError(text)


def printable(text: str) -> str:
    """What a stranger sent, fit for one line: printable, at most 80 characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:80])


def refuse_other_media(answer: Answer) -> None:
    """Raises NoSuchPath when the body is not what a camera sends as video or picture."""
    kind = answer.head.media_type
    if kind in _VIDEO or kind.startswith("multipart/"):
        return
    raise NoSuchPath(f"{answer.url.label}: answers with {printable(kind)} instead of video", NO_CAMERA)
