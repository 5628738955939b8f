"""What a user may do: each role may do all that those before it may."""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["viewer", "member", "owner", "admin"]
"""`viewer` reads, `member` builds and deploys, `owner` keeps users and secrets of the client, `admin` stands above
clients."""

ROLES: tuple[Role, ...] = get_args(Role)


def is_at_least(role: Role, needed: Role) -> bool:
    return ROLES.index(role) >= ROLES.index(needed)
