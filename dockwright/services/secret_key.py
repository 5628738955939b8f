"""The key that secrets are encrypted with: a file that its owner alone may read, made when it is first needed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from dockwright.errors import SecretKeyUnusable

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

REMEDY = "Put back the file with which the secrets were stored, or set SECRET_KEY_FILE to it; or delete the secrets"


def load(path: Path, *, may_make: bool) -> Fernet:
    """Makes the file only where nothing is encrypted yet. Raises `SecretKeyUnusable`."""
    from cryptography.fernet import Fernet

    if may_make:
        _make(path, Fernet.generate_key())
    try:
        return Fernet(path.read_bytes().strip())
    except FileNotFoundError as error:
        raise SecretKeyUnusable(f"The key of the secrets is not there: {path}", remedy=REMEDY) from error
    except (OSError, ValueError) as error:
        raise SecretKeyUnusable(f"The key of the secrets cannot be used: {path}: {error}", remedy=REMEDY) from error


def _make(path: Path, key: bytes) -> None:
    """Whole or not at all, and never over another: of two servers that start at once, one makes it."""
    if path.exists():
        return
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)
    except FileExistsError:
        return  # another server was quicker
    except OSError as error:
        raise SecretKeyUnusable(
            f"The key of the secrets cannot be written: {path}: {error.strerror}",
            remedy="Let the server write there, or set SECRET_KEY_FILE to another file",
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def wrong(path: Path) -> SecretKeyUnusable:
    return SecretKeyUnusable(f"The secrets were encrypted with another key than that in {path}", remedy=REMEDY)
