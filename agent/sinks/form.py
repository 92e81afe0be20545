"""Ordinary files to a web service as a form: multipart/form-data by POST, field names as it wants them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from agent.errors import ConfigError, PermanentError
from agent.sinks import Feed, naming
from agent.sinks.binder import File, FileRules
from agent.sinks.body import Wrapped
from agent.sinks.filing import Unwanted, deliver
from agent.sinks.httpline import HttpLine
from agent.sinks.put import NEVER, basic
from agent.sinks.secret import bare, check_scheme, label_of


@dataclass(frozen=True, slots=True, kw_only=True)
class FormSink:
    """Files by POST to `url`; the file is the field `file_field`, named by `path`; `fields` are sent beside it.

    Values of `fields` are templates like `path`. The login is Basic.
    """

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str | None = None
    ca_file: str | None = None
    file_field: str = "file"
    fields: Mapping[str, str] = field(default_factory=lambda: {"camera": "{camera}", "event": "{event}"})
    path: str = "{camera}-{date}-{time}-{event}.jpg"
    clips: Literal["films", "pictures"] = "films"
    film_s: float = 60.0
    records: bool = False

    def __post_init__(self) -> None:
        check_scheme(self.url, "http", "https")
        self.rules()
        for name, template in self.fields.items():
            if any(c in name for c in '"\r\n'):
                raise ConfigError(f"fields: '{name}' cannot name a field")
            naming.check_words(template, f"fields.{name}")

    def rules(self) -> FileRules:
        """Raises ConfigError."""
        return FileRules(self.path, self.clips, self.film_s, self.records)

    @property
    def label(self) -> str:
        return label_of(self.url)

    async def run(self, feed: Feed) -> None:
        login = basic(self.label, self.url, self.username, self.password, self.password_file)
        async with HttpLine(self.label, login, self.ca_file) as line:
            answer = await line.ask("OPTIONS", bare(self.url))
            if answer.status == 401 or answer.status >= 502:
                raise line.failed(answer)
            feed.up()
            await deliver(feed, self.rules(), lambda file: self._post(line, file))

    async def _post(self, line: HttpLine, file: File) -> None:
        boundary = secrets.token_hex(16)
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            # The same for a repeat, so that a service that knows this header takes the file once.
            "Idempotency-Key": f'"{file.moment.camera}-{file.path.rpartition("/")[2]}"',
        }
        answer = await line.ask("POST", bare(self.url), headers, self._form(boundary, file))
        if 200 <= answer.status < 300:
            return
        if answer.status in NEVER:
            raise Unwanted(f"the server answers {answer.status}")
        if answer.status in (404, 405, 501):
            raise PermanentError(f"{self.label}: the server does not take POST there ({answer.status})")
        raise line.failed(answer)

    def _form(self, boundary: str, file: File) -> Wrapped:
        """RFC 7578."""
        name = quote(file.path.rpartition("/")[2])
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{naming.fill(text, file.moment)}\r\n'
            for key, text in self.fields.items()
        )
        head += f'--{boundary}\r\nContent-Disposition: form-data; name="{self.file_field}"; filename="{name}"\r\n'
        head += f"Content-Type: {file.media_type}\r\n\r\n"
        return Wrapped(head.encode(), file.body, f"\r\n--{boundary}--\r\n".encode())
