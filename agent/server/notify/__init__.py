"""Telling people that something moved: the notifiers, their settings, and what all of them are given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

from agent.errors import ConfigError
from agent.schema import at_least, at_most, matches, max_letters, min_letters
from agent.sinks.secret import check_scheme


@dataclass(frozen=True, slots=True)
class Note:
    """One thing to tell. `body` is a CloudEvent as JSON; `id` stays the same with each try; `picture` a JPEG."""

    id: str
    title: str
    text: str
    body: str
    picture: bytes | None = None


class Notifier(Protocol):
    """One way of telling. It tries once; the courier tries again."""

    @property
    def label(self) -> str:
        """Names it in logs, without secrets."""
        ...

    async def send(self, note: Note) -> None:
        """Raises TransientError with a reason in words."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """POSTs the CloudEvent to `url`, signed with `secret` (Standard Webhooks) when there is one."""

    type: Literal["webhook"]
    url: Annotated[str, matches(r"^https?://.+$"), max_letters(2000)]
    secret_file: str | None = None

    def __post_init__(self) -> None:
        check_scheme(self.url, "http", "https")


@dataclass(frozen=True, slots=True, kw_only=True)
class MailSettings:
    """Sends a mail with the picture. `security`: `tls` from the first byte, `starttls`, or `none`."""

    type: Literal["mail"]
    host: Annotated[str, min_letters(1)]
    port: Annotated[int, at_least(1), at_most(65535)] = 587
    security: Literal["tls", "starttls", "none"] = "starttls"
    sender: Annotated[str, matches(r"^[^\r\n@]+@[^\r\n]+$")]
    to: Annotated[str, matches(r"^[^\r\n@]+@[^\r\n]+$")]
    user: str | None = None
    password_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppriseSettings:
    """SMS, chats and a hundred more by the apprise package (extra `notify`); its URLs, one a line, are in a file."""

    type: Literal["apprise"]
    urls_file: str


Settings = WebhookSettings | MailSettings | AppriseSettings


def secret(path: str | None) -> str:
    """The secret in a file, "" for none; raises ConfigError that names the file."""
    if path is None:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}") from None


def create(settings: WebhookSettings | MailSettings | AppriseSettings) -> Notifier:
    """The notifier for these settings; raises ConfigError when a secret's file cannot be read."""
    if isinstance(settings, WebhookSettings):
        from agent.server.notify.webhook import Webhook

        return Webhook(settings.url, secret(settings.secret_file))
    if isinstance(settings, MailSettings):
        from agent.server.notify.mail import Mail

        return Mail(settings, secret(settings.password_file))
    from agent.server.notify.apprise import Apprise

    return Apprise(secret(settings.urls_file))
