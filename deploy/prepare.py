#!/opt/venv/bin/python
"""Before the platform's first start, as root: the state folder for those who run it, and the registry's password file.

Harmless at any later start. Reads DOCKWRIGHT_HOME, DOCKER_REGISTRY_USERNAME and DOCKER_REGISTRY_PASSWORD.
"""

import ctypes
import os
import secrets
import string
from pathlib import Path

OWNER = 10001
REGISTRY = Path("/registry")


def main() -> None:
    home = Path(os.environ["DOCKWRIGHT_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o750)
    os.chown(home, OWNER, OWNER)
    write_password_file(os.environ["DOCKER_REGISTRY_USERNAME"], os.environ["DOCKER_REGISTRY_PASSWORD"])


def write_password_file(username: str, password: str) -> None:
    file = REGISTRY / "htpasswd"
    known = file.read_text(encoding="ascii").strip() if file.exists() else ""
    name, _, hashed = known.partition(":")
    if name != username or bcrypt(password, hashed) != hashed:
        salt = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(21))
        file.write_text(f"{username}:{bcrypt(password, f'$2b$10${salt}O')}\n", encoding="ascii")


def bcrypt(password: str, setting: str) -> str:
    """The registry takes this kind of hash alone; the C library of the system has it."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    hashed: bytes | None = crypt(password.encode(), setting.encode())
    return (hashed or b"").decode("ascii")


if __name__ == "__main__":
    main()
