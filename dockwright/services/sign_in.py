"""Signing in with e-mail address and password, a limited number of times.

Attempts are counted in the database, so for all servers together, and before the password is looked at, so that many at
once do not slip through. Three counts within 15 minutes: an e-mail address from one network address, where guessing
ends early; one network address, whichever users it tries; and an e-mail address from everywhere, which ends guessing
from many machines, but never where its user has signed in before: nobody is locked out by others' guesses there.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple, cast

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from dockwright.db.stored import storable
from dockwright.db.tables import AccessToken, LoginFailure, User, now
from dockwright.domain.roles import Role
from dockwright.errors import SignInNeeded, TooManyAttempts
from dockwright.services import audit, passwords, tokens
from dockwright.services.state import State
from dockwright.services.tokens import Identity

WINDOW = timedelta(minutes=15)
MOST_OF_BOTH = 5
MOST_OF_ADDRESS = 30
MOST_OF_EMAIL = 50
_LOCK = 0x0D0C4E59
"""Number of the advisory lock under which PostgreSQL counts attempts, one after another; see also `db.queue`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A session that has begun; `token` is shown this once."""

    token: str
    identity: Identity

    def __repr__(self) -> str:
        return f"SignedIn(identity={self.identity!r})"


def sign_in(state: State, email: str, password: str, address: str | None) -> SignedIn:
    """Raises `SignInNeeded` or `TooManyAttempts`, neither of which tells whether there is such a user."""
    user = check_password(state, email, password, address)
    with state.session() as session:
        value, token = tokens.issue(session, user.user_id, "session", address=address)
        tokens.forget_old(session, user.user_id)
        actor = audit.Someone(user.email, client_id=user.client_id, user_id=user.user_id, address=address)
        audit.record(session, actor, "login")
    return SignedIn(token=value, identity=replace(user, token_id=token.id))


def check_password(state: State, email: str, password: str, address: str | None) -> Identity:
    """Whose it is (`token_id` is nought); counted and refused as a sign-in is."""
    email = storable(email.strip().lower())[:255]
    attempt = _begin(state, email, address)
    with state.session() as session:
        user = session.scalar(select(User).where(User.email == email, User.is_active))
    if not passwords.is_right(password, user.password_hash if user else None):
        _tell_failure(state, email, user, address)
        raise SignInNeeded("The e-mail address or the password is wrong", remedy="Check both, and try again")
    assert user is not None
    _forget(state, attempt)
    return Identity(
        token_id=0, user_id=user.id, email=user.email, role=cast("Role", user.role), client_id=user.client_id
    )


def change_password(state: State, identity_email: str, current: str, new: str, address: str | None) -> SignedIn:
    """Ends all sessions of the user, and begins a new one. Raises as `sign_in` does, and `UsageError`."""
    new_hash = passwords.hash_of(new)
    user = check_password(state, identity_email, current, address)
    with state.session() as session:
        session.execute(update(User).where(User.id == user.user_id).values(password_hash=new_hash))
        tokens.end_sessions(session, user.user_id)
        actor = audit.Someone(user.email, client_id=user.client_id, user_id=user.user_id, address=address)
        audit.record(session, actor, "user.password", "user", user.user_id)
    return sign_in(state, user.email, new, address)


def _tell_failure(state: State, email: str, user: User | None, address: str | None) -> None:
    known = {"client_id": user.client_id, "user_id": user.id} if user else {}
    audit.write(state, audit.Someone(email, address=address, **known), "login.failed")


# --- counting ------------------------------------------------------------------------------------------------------


class _Limit(NamedTuple):
    key: str
    most: int


class _Attempt(NamedTuple):
    email: str
    limits: tuple[_Limit, ...]
    rows: tuple[int, ...]
    """Of `login_failures`, one for each limit: a failure until it is known to be none."""


def _limits(email: str, address: str | None) -> tuple[_Limit, ...]:
    network = _network(address)
    both = hashlib.sha256(f"{network} {email}".encode()).hexdigest()
    return (
        _Limit(f"both:{both}", MOST_OF_BOTH),
        _Limit(f"address:{network}", MOST_OF_ADDRESS),
        _Limit(f"email:{email}", MOST_OF_EMAIL),
    )


def _network(address: str | None) -> str:
    """What one machine can call itself: of IPv6 it has a whole /64."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if parsed.version == 4:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def _begin(state: State, email: str, address: str | None) -> _Attempt:
    """Counts the attempt; raises `TooManyAttempts`, and then it does not count."""
    limits = _limits(email, address)
    with state.session() as session:
        if session.get_bind().dialect.name == "postgresql":
            # Row numbers are given before they are committed: whoever has a higher one must see all lower ones.
            session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        session.execute(delete(LoginFailure).where(LoginFailure.at < now() - WINDOW))
        rows = [LoginFailure(key=limit.key) for limit in limits]
        session.add_all(rows)
        session.flush()
        attempt = _Attempt(email, limits, tuple(row.id for row in rows))
    with state.session() as session:
        waits = list(_waits(session, attempt, address))
        if waits:
            session.execute(delete(LoginFailure).where(LoginFailure.id.in_(attempt.rows)))
    if waits:
        raise _too_many(max(waits))
    return attempt


def _waits(session: Session, attempt: _Attempt, address: str | None) -> Iterator[float]:
    """For each limit that is reached, the seconds until it is not."""
    since = now() - WINDOW
    for limit, row_id in zip(attempt.limits, attempt.rows, strict=True):
        earlier = select(LoginFailure.at).where(
            LoginFailure.key == limit.key, LoginFailure.at >= since, LoginFailure.id < row_id
        )
        times = session.scalars(earlier.order_by(LoginFailure.id.desc()).limit(limit.most)).all()
        if len(times) < limit.most:
            continue
        if limit.key.startswith("email:") and _was_here_before(session, attempt.email, address):
            continue
        yield (times[-1] - since).total_seconds()


def _was_here_before(session: Session, email: str, address: str | None) -> bool:
    known = select(func.count()).select_from(AccessToken).join(User, User.id == AccessToken.user_id)
    return bool(session.scalar(known.where(User.email == email, AccessToken.address == address)))


def _too_many(seconds: float) -> TooManyAttempts:
    minutes = math.ceil(seconds / 60)
    error = TooManyAttempts(
        "There were too many wrong passwords",
        remedy=f"Try again in {minutes} minute{'' if minutes == 1 else 's'}, or from where you have signed in before",
    )
    error.retry_after = max(1, math.ceil(seconds))
    return error


def _forget(state: State, attempt: _Attempt) -> None:
    """The password was right: neither this attempt nor those before it from here count any more."""
    with state.session() as session:
        session.execute(delete(LoginFailure).where(LoginFailure.id.in_(attempt.rows)))
        session.execute(delete(LoginFailure).where(LoginFailure.key == attempt.limits[0].key))
