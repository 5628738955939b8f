"""What looks like a secret: names of variables, shapes of values, names of files.

A name alone is a suspicion, the shape of a value (a private key, a token of a well-known service) a certainty.
"""

from __future__ import annotations

import fnmatch
import re
from itertools import pairwise

_WORDS = frozenset(
    ("PASSWORD", "PASSWD", "PASS", "PASSPHRASE", "SECRET", "SECRETS", "TOKEN", "APIKEY", "CREDENTIAL", "CREDENTIALS")
)
_KEY_WORDS = frozenset(("API", "PRIVATE", "ACCESS", "SECRET", "AUTH", "ENCRYPTION", "SIGNING", "MASTER", "LICENSE"))
"""Before KEY."""
_NOT_THE_SECRET = frozenset(
    (
        *("FILE", "PATH", "DIR", "NAME", "URL", "URI", "HOST", "TTL", "LENGTH", "LIMIT", "EXPIRE", "EXPIRES"),
        *("EXPIRY", "EXPIRATION", "LIFETIME", "ALGORITHM", "ISSUER", "AUDIENCE", "TYPE", "HEADER", "ROTATION"),
        *("ENABLED", "REQUIRED", "PUBLIC", "COUNT", "SIZE", "MIN", "MAX", "ID", "PREFIX", "FIELD", "PARALLELISM"),
        *("TIMEOUT",),
    )
)
"""A word that says that the variable tells something about a secret: where it is, how long it lasts."""
_PUBLIC_PREFIXES = ("VITE_", "NEXT_PUBLIC_", "REACT_APP_", "PUBLIC_", "NUXT_PUBLIC_", "EXPO_PUBLIC_", "GATSBY_")
"""Variables that a front end shows to everybody who asks for the page."""
_NO_VALUE = re.compile(r"|true|false|yes|no|none|null|\d{1,6}|changeme|<.*>|\.\.\.|x{3,}|your[-_ ].*", re.IGNORECASE)
_SHAPES = (
    (re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"), "a private key"),
    (re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}(?![A-Za-z0-9])"), "an AWS access key"),
    (re.compile(r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{50})"), "a GitHub token"),
    (re.compile(r"(?<![A-Za-z0-9])glpat-[\w-]{20}"), "a GitLab token"),
    (re.compile(r"(?<![A-Za-z0-9])xox[abprs]-[\w-]{10}"), "a Slack token"),
    (re.compile(r"(?<![A-Za-z0-9])AIza[\w-]{35}"), "a Google API key"),
    (re.compile(r"(?<![A-Za-z0-9])(?:sk|rk)_live_[A-Za-z0-9]{16}"), "a Stripe key"),
    (re.compile(r"(?<![A-Za-z0-9-])sk-(?:proj-|ant-|svcacct-)?(?=[\w-]*\d)[A-Za-z0-9_-]{32}"), "an API key"),
    (re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30}"), "a Hugging Face token"),
    (re.compile(r"(?<![A-Za-z0-9])npm_[A-Za-z0-9]{36}"), "an npm token"),
    (re.compile(r"(?<![A-Za-z0-9])pypi-[\w-]{50}"), "a PyPI token"),
    (
        re.compile(
            r"://(?P<user>[^\s/:@${}]+):(?!(?:(?P=user)|pass(?:word|wd)?|secret|change[-_]?me|example|dummy|placeholder)@)"
            r"[^\s/:@${}]{3,}@[\w.-]+",
            re.IGNORECASE,
        ),
        "a password in an address",
    ),
)
_IN_FILES = _SHAPES[:-1]
"""Code and its tests are full of addresses with passwords that are none."""
_EXAMPLES = re.compile(r"EXAMPLE|0{16}|x{16}", re.IGNORECASE)
_KEY_STORES = ("*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk")
_SSH_KEYS = ("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519")
_HARMLESS_ENV = re.compile(r"example|sample|template|dist|schema|test", re.IGNORECASE)
_SETTING = re.compile(r"^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*=[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_CREDENTIALS = {
    ".npmrc": re.compile(r"(?m)^[^#;\n]*(?:_authToken|_auth|_password)[ \t]*=[ \t]*(?!\$)\S"),
    ".yarnrc.yml": re.compile(r"(?m)^[ \t]*npmAuthToken:[ \t]*[\"']?(?!\$)[^\s\"'$]"),
    ".pypirc": re.compile(r"(?m)^[ \t]*password[ \t]*[=:][ \t]*\S"),
    ".netrc": re.compile(r"(?m)\bpassword[ \t]+\S"),
    ".git-credentials": re.compile(r"://[^/\s:@]+:[^/\s@]+@"),
    "config.json": re.compile(r'"auths"\s*:\s*\{[^}]*"auth"\s*:\s*"\w'),
    "credentials": re.compile(r"(?m)^[ \t]*aws_secret_access_key[ \t]*=[ \t]*\S"),
}


def is_secret_name(name: str) -> bool:
    """Whether a variable of that name holds a secret: `DB_PASSWORD`, `apiKey`; not `TOKEN_URL`, `MAX_TOKENS`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper().replace("-", "_").split("_")
    if words[-1] in _NOT_THE_SECRET or words[0] in ("PUBLIC", "MAX", "MIN") or is_public_name(name):
        return False
    if any(word in _WORDS for word in words):
        return True
    return any(first in _KEY_WORDS and second == "KEY" for first, second in pairwise(words))


def is_public_name(name: str) -> bool:
    return name.startswith(_PUBLIC_PREFIXES)


def is_value(text: str) -> bool:
    """Whether something stands there that could be a secret: not nothing, a switch, a number, a variable."""
    text = text.strip().strip("\"'")
    return "$" not in text and _NO_VALUE.fullmatch(text) is None


def shape_of(text: str) -> str | None:
    """What a value is, by its shape: "an AWS access key"; none where it is nothing known."""
    return _first_shape(text, _SHAPES)


def _first_shape(text: str, shapes: tuple[tuple[re.Pattern[str], str], ...]) -> str | None:
    for shape, name in shapes:
        if any(not _EXAMPLES.search(match[0]) for match in shape.finditer(text)):
            return name
    return None


def is_env_file(name: str) -> bool:
    """`.env`, `.env.production`, `prod.env`; not `.env.example`. `name` is without its folder."""
    is_env = name == ".env" or name.startswith(".env.") or name.endswith(".env")
    return is_env and not _HARMLESS_ENV.search(name)


def secret_in(name: str, beginning: str) -> str | None:
    """What of a secret a file is or holds: "a private key", "passwords or keys (DB_PASSWORD)"; none where nothing.

    `name` is the file's, without its folder, `beginning` its first characters.
    """
    if any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in _KEY_STORES):
        return "a key store"
    if name in _SSH_KEYS:
        return "a private key"
    if name in _CREDENTIALS and _CREDENTIALS[name].search(beginning):
        return "credentials"
    if is_env_file(name) and (names := secret_settings(beginning)):
        return f"passwords or keys ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
    if name.endswith((".md", ".rst", ".txt", ".html")) and "PRIVATE KEY" not in beginning[:64]:
        return None  # where others are told what such a thing looks like
    return _first_shape(beginning, _IN_FILES)


def secret_settings(text: str) -> list[str]:
    """Names in a file of `NAME=value` lines whose values look like secrets."""
    return [
        name
        for name, value in _SETTING.findall(text)
        if not is_public_name(name)
        and is_value(value)
        and (is_secret_name(name) or re.search(r"(?:^|_)KEY$", name.upper()) or shape_of(value))
    ]
