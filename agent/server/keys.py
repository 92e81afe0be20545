"""What is made at random for a virtual camera: its keys, its id, and letters behind a name that is taken."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # no l, o, 0, 1: people type these into cameras


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """What a device needs to upload to `name`, shown once: a token for agents; login and password for cameras."""

    name: str
    token: str
    login: str
    password: str


def new_keys(name: str) -> Keys:
    """A token of 256 bits, a password of 100."""
    return Keys(name, secrets.token_urlsafe(32), f"cam-{letters(8)}", letters(20))


def new_id() -> str:
    return secrets.token_hex(8)


def letters(count: int) -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(count))
