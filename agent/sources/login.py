"""The Authorization field: Basic at once, Digest (RFC 7616: MD5 and SHA-256, qop absent or auth) when asked."""

import base64
import hashlib
import re
import secrets

_FIELD = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_SCHEMES = re.compile(r"(?i)(?:^|,\s*)(basic|digest)\b")
_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


class Login:
    """One camera's credentials and what it asked for last; kept for a run, so that nonces are used again.

    `eager` sends Basic before anybody asks; without it the first request goes without a password.
    """

    def __init__(self, username: str, password: str, eager: bool = True) -> None:
        self._username = username
        self._password = password
        self._basic = eager
        self._digest: dict[str, str] = {}
        self._uses = 0

    def __repr__(self) -> str:
        return f"Login({self._username!r})"

    @property
    def given(self) -> bool:
        return bool(self._username or self._password)

    @property
    def way(self) -> str:
        """In a word, how the camera wanted it the last time."""
        return f"Digest {self._digest.get('algorithm', 'MD5')}" if self._digest else "Basic"

    def field(self, target: str) -> str:
        """The value to send with the next GET of `target`; empty without credentials."""
        if not self.given:
            return ""
        if self._digest:
            return self._digest_field(target)
        if not self._basic:
            return ""
        pair = f"{self._username}:{self._password}".encode()
        return "Basic " + base64.b64encode(pair).decode()

    def challenged(self, challenges: list[str]) -> bool:
        """After a 401: whether another try, with what the camera asks for now, makes sense."""
        if not self.given:
            return False
        wanted = _best_digest(challenges)
        if not wanted:
            asked, self._basic = not self._basic and not self._digest and _asks_basic(challenges), True
            return asked
        again = bool(self._digest)
        stale = wanted.get("stale", "").lower() == "true" and self._digest.get("nonce") != wanted.get("nonce")
        self._digest, self._uses = wanted, 0
        return not again or stale

    def _digest_field(self, target: str) -> str:
        d = self._digest
        algorithm = d.get("algorithm", "MD5").upper()

        def digest(text: str) -> str:
            return _HASHES[algorithm.removesuffix("-SESS")](text.encode()).hexdigest()

        self._uses += 1
        count, cnonce = f"{self._uses:08x}", secrets.token_hex(8)
        realm, nonce = d.get("realm", ""), d.get("nonce", "")
        ha1 = digest(f"{self._username}:{realm}:{self._password}")
        if algorithm.endswith("-SESS"):
            ha1 = digest(f"{ha1}:{nonce}:{cnonce}")
        ha2 = digest(f"GET:{target}")
        qop = "auth" in re.split(r"[,\s]+", d.get("qop", "").lower())
        middle = f"{nonce}:{count}:{cnonce}:auth" if qop else nonce
        fields = [f'username="{_quoted(self._username)}"', f'realm="{realm}"', f'nonce="{nonce}"', f'uri="{target}"']
        fields.append(f'response="{digest(f"{ha1}:{middle}:{ha2}")}"')
        if "algorithm" in d:
            fields.append(f"algorithm={d['algorithm']}")
        if "opaque" in d:
            fields.append(f'opaque="{d["opaque"]}"')
        if qop:
            fields += ["qop=auth", f"nc={count}"]
        if qop or algorithm.endswith("-SESS"):
            fields.append(f'cnonce="{cnonce}"')
        return "Digest " + ", ".join(fields)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _asks_basic(challenges: list[str]) -> bool:
    return any(m[1].lower() == "basic" for text in challenges for m in _SCHEMES.finditer(text))


def _best_digest(challenges: list[str]) -> dict[str, str]:
    """The strongest Digest challenge that can be answered, else nothing."""
    best: dict[str, str] = {}
    for text in challenges:
        starts = [m for m in _SCHEMES.finditer(text)]
        for i, m in enumerate(starts):
            if m[1].lower() != "digest":
                continue
            part = text[m.end() : starts[i + 1].start() if i + 1 < len(starts) else None]
            fields = {k.lower(): q or plain for k, q, plain in _FIELD.findall(part)}
            name = fields.get("algorithm", "MD5").upper().removesuffix("-SESS")
            qop = fields.get("qop", "auth").lower()
            usable = name in _HASHES and "nonce" in fields and "auth" in re.split(r"[,\s]+", qop)
            if usable and (not best or name == "SHA-256"):
                best = fields
    return best
