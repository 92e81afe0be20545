"""The fake camera's door: Basic, and Digest after RFC 7616 in the variants that cameras have."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field

from agent.errors import UsageError

LOGINS = {
    "basic": "",
    "digest": "MD5",
    "digest-rfc2069": "MD5",
    "digest-sha256": "SHA-256",
}
_PAIR = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_REALM = "DCS-920"


@dataclass(slots=True)
class Door:
    """Whom the camera lets in. `scheme` is one of LOGINS (`digest-rfc2069` has no qop).

    A nonce is good for `nonce_uses` requests, then the camera calls it stale. `refused` counts wrong tries: a
    password that was sent and is not right, or is of the other scheme.
    """

    username: str
    password: str
    scheme: str = "basic"
    nonce_uses: int = 1 << 30
    refused: int = 0
    _nonces: dict[str, int] = field(default_factory=dict)
    _counts: set[tuple[str, str]] = field(default_factory=set)
    _stale: bool = False

    def __post_init__(self) -> None:
        if self.scheme not in LOGINS:
            raise UsageError(f"no such login: '{self.scheme}' (known: {', '.join(LOGINS)})")

    def admits(self, method: str, target: str, authorization: str) -> bool:
        scheme, _, value = authorization.strip().partition(" ")
        self._stale = False
        wanted = "basic" if self.scheme == "basic" else "digest"
        if scheme.lower() != wanted:
            good = False
        elif wanted == "basic":
            good = value.strip() == base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        else:
            good = self._digest(method, target, {k.lower(): q or p for k, q, p in _PAIR.findall(value)})
        self.refused += bool(scheme) and not good and not self._stale
        return good

    def challenge(self) -> str:
        """The value of WWW-Authenticate after `admits` said no."""
        if self.scheme == "basic":
            return f'Basic realm="{_REALM}"'
        nonce = secrets.token_hex(8)
        self._nonces[nonce] = 0
        fields = [f'realm="{_REALM}"', f'nonce="{nonce}"', 'opaque="camera"']
        if self.scheme != "digest-rfc2069":
            fields += ['qop="auth,auth-int"', f"algorithm={LOGINS[self.scheme]}"]
        if self._stale:
            fields.append("stale=true")
        return "Digest " + ", ".join(fields)

    def _digest(self, method: str, target: str, given: dict[str, str]) -> bool:
        hash_ = hashlib.sha256 if LOGINS[self.scheme] == "SHA-256" else hashlib.md5

        def h(*parts: str) -> str:
            return hash_(":".join(parts).encode()).hexdigest()

        nonce, uri, middle = given.get("nonce", ""), given.get("uri", ""), []
        if self.scheme != "digest-rfc2069":
            middle = [given.get("nc", ""), given.get("cnonce", ""), given.get("qop", "")]
            if given.get("qop") != "auth" or (nonce, middle[0]) in self._counts:
                return False
        want = h(h(self.username, _REALM, self.password), nonce, *middle, h(method, uri))
        if given.get("response") != want or given.get("opaque") != "camera" or uri != target:
            return False
        self._counts.add((nonce, middle[0] if middle else ""))
        uses = self._nonces.get(nonce, self.nonce_uses)
        self._stale = uses >= self.nonce_uses
        self._nonces[nonce] = uses + 1
        return not self._stale
