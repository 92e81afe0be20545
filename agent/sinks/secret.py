"""Addresses and secrets of sinks: taken apart, so that messages never show what must not be seen."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from agent.errors import ConfigError, PermanentError
from agent.exits import PERMISSION
from agent.pins import PIN


def label_of(url: str) -> str:
    """`scheme://host[:port]`: what messages may show of an address."""
    parts = urlsplit(url)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ":?"
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def bare(url: str) -> str:
    """The address without user and password, and without a slash at its end."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}{query}"


def pin_of(url: str) -> str:
    """The key by which the address says that its server is known (`#sha256//…`); "" for none."""
    return urlsplit(url).fragment


def check_pin(url: str) -> None:
    """Raises ConfigError for something else than a key behind the address, and for a key where there is no TLS."""
    parts = urlsplit(url)
    if parts.fragment and not PIN.fullmatch(parts.fragment):
        raise ConfigError("url: after # may stand the server's key alone: sha256// and 44 letters of Base64")
    if parts.fragment and parts.scheme not in ("wss", "https"):
        raise ConfigError("url: a key after # is for wss:// and https://")


def user_of(url: str, username: str) -> str:
    return username or unquote(urlsplit(url).username or "")


def secret(label: str, value: str, file: str | None, url: str) -> str:
    """The password or token: from its file's first line, else as given, else from the address.

    Raises PermanentError when the file cannot be read.
    """
    if not file:
        return value or unquote(urlsplit(url).password or "")
    try:
        return Path(file).read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "not UTF-8 text"
        raise PermanentError(f"{label}: {file}: {why}", PERMISSION) from None


def token_of(label: str, value: str, file: str | None, url: str, camera: str) -> str:
    """The camera's token at a camera server; `{camera}` in `file` is its name, for a token is good for one camera only.

    Raises PermanentError when the file cannot be read.
    """
    return secret(label, value, file.replace("{camera}", camera) if file else None, url)


def check_scheme(url: str, *schemes: str, key: str = "url") -> None:
    """Raises ConfigError that names `key`: an address of another kind, without a host or with an impossible port."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in schemes and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"{key}: expected {' or '.join(f'{s}://host[:port]' for s in schemes)}")
