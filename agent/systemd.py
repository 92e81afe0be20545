"""What systemd wants to hear: READY, STATUS, WATCHDOG, STOPPING (sd_notify(3)); silent elsewhere."""

import os
import socket


class Notifier:
    """Sends datagrams to $NOTIFY_SOCKET; does nothing when there is none."""

    def __init__(self, address: str | None = None) -> None:
        self._address = address if address is not None else os.environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]

    @property
    def watchdog_s(self) -> float | None:
        """How often to call `watchdog` (half of what systemd allows), or None when nobody watches."""
        usec = os.environ.get("WATCHDOG_USEC", "")
        pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
        if not self._address or not usec.isdigit() or pid != str(os.getpid()):
            return None
        return int(usec) / 2e6

    def ready(self) -> None:
        self._send("READY=1")

    def status(self, text: str) -> None:
        self._send("STATUS=" + text.replace("\n", " "))

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as s:
                s.sendto(text.encode(), self._address)
        except OSError:
            pass  # a service manager that does not listen must not stop the capture
