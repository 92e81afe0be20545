"""Mail with the event's picture, by any SMTP server; smtplib in a thread."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage

from agent.errors import TransientError
from agent.server.notify import MailSettings, Note

TIMEOUT_S = 30.0


class Mail:
    """One connection a mail."""

    def __init__(self, settings: MailSettings, password: str) -> None:
        self._settings = settings
        self._password = password

    @property
    def label(self) -> str:
        return f"mail to {self._settings.to}"

    async def send(self, note: Note) -> None:
        try:
            await asyncio.to_thread(self._send, self._message(note))
        except (smtplib.SMTPException, OSError, UnicodeError) as e:  # smtplib sends logins and names in ASCII only
            raise TransientError(f"{self._settings.host}: {type(e).__name__}") from None

    def _message(self, note: Note) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = note.title.replace("\n", " ")
        message["From"], message["To"] = self._settings.sender, self._settings.to
        message["Message-ID"] = f"<{note.id}@camera-agent.invalid>"
        message.set_content(note.text)
        if note.picture is not None:
            message.add_attachment(note.picture, "image", "jpeg", filename="picture.jpg")
        return message

    def _send(self, message: EmailMessage) -> None:
        s = self._settings
        context = ssl.create_default_context()
        smtp = smtplib.SMTP_SSL(s.host, s.port, timeout=TIMEOUT_S, context=context) if s.security == "tls" else None
        with smtp or smtplib.SMTP(s.host, s.port, timeout=TIMEOUT_S) as connection:
            if s.security == "starttls":
                connection.starttls(context=context)
            if s.user:
                connection.login(s.user, self._password)
            connection.send_message(message)
