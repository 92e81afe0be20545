"""What the server sees to every second: cameras that end, TLS files that change, what others did to the store."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from agent.errors import UsageError
from agent.server.index import UnavailableError
from agent.server.trouble import Trouble

if TYPE_CHECKING:
    from agent.clock import Clock
    from agent.server.cameras import Cameras
    from agent.server.tls import Tls

log = logging.getLogger(__name__)

MIND_S = 1.0
NOTICE_S = 0.5


async def mind(cameras: Cameras, tls: Tls | None, clock: Clock) -> None:
    """End what is due; take over TLS files that changed. Endless."""
    trouble = Trouble(log)
    while True:
        try:
            await cameras.end_due()
            if tls is not None and tls.reload():
                log.info("the TLS files changed and are read again")
            trouble.over()
        except (OSError, UnavailableError, UsageError) as e:
            trouble.tell(str(e))
        await clock.sleep(MIND_S)


async def notice(cameras: Cameras, clock: Clock) -> None:
    """Take over what another process (`virtual add`, `virtual delete`) has changed in the store. Endless."""
    trouble = Trouble(log)
    while True:
        try:
            await cameras.refresh()
            trouble.over()
        except (OSError, UnavailableError) as e:
            trouble.tell(f"the store's index cannot be read now: {e}")
        await clock.sleep(NOTICE_S)
