"""What an app says that it was built from: `/build/info`, and `/build-info.js` for a front end."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

PATIENCE_SECONDS = 5.0
"""For all pages of one app together: it may answer whatever it likes, and for as long as it likes."""
MAX_BYTES = 100_000
PAGES = {
    "/build/info": {"git_commit": "git_commit", "build_date": "build_date", "cache_bust": "cache_bust"},
    "/build-info.js": {"gitCommit": "git_commit", "buildDate": "build_date", "cacheBust": "cache_bust"},
}
"""Page → its names of what we pass to a build."""
FACTS = {"git_commit": "GIT_COMMIT", "build_date": "BUILD_DATE", "cache_bust": "CACHE_BUST"}
"""What a page says → the build argument that it comes from."""
_SAYS_NOTHING = frozenset({"", "unknown", "none", "null", "undefined", "dev", "local"})
_SHORTEST_COMMIT = 4
_SCRIPT_PAIR = re.compile(
    r"""["']?\b(gitCommit|buildDate|cacheBust)["']?\s*:\s*(?:"([^"\n]*)"|'([^'\n]*)'|`([^`\n]*)`)"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    page: str
    fact: str
    """`git_commit`, `build_date` or `cache_bust`."""
    said: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Word:
    """What the app's pages say, beside what they should."""

    compared: int = 0
    disagreements: tuple[Disagreement, ...] = ()

    @property
    def is_ok(self) -> bool | None:
        """None where the app has no such page, or nothing on it that can be compared."""
        return not self.disagreements if self.compared else None


def ask(addresses: Collection[str], wanted: Mapping[str, Collection[str]]) -> Word:
    """At the first address that has such a page. `wanted`: fact → the values that are right; none: not compared."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    for address in addresses:
        found = list(_compared(address, wanted, deadline))
        if found:
            return Word(len(found), tuple(one for one in found if one is not None))
    return Word()


def _compared(address: str, wanted: Mapping[str, Collection[str]], deadline: float) -> Iterator[Disagreement | None]:
    """For each fact that can be compared none, or how it differs."""
    for page, names in PAGES.items():
        for fact, said in _facts(page, _read(f"{address}{page}", deadline), names).items():
            right = [value for value in wanted.get(fact, ()) if value]
            if not right or said.lower() in _SAYS_NOTHING:
                continue
            is_same = any(_is_same(fact, said, value) for value in right)
            yield None if is_same else Disagreement(page=page, fact=fact, said=said, wanted=right[0])


def _facts(page: str, text: str, names: Mapping[str, str]) -> dict[str, str]:
    if page.endswith(".js"):
        # A front end that answers every path with its own page says nothing here.
        found = _SCRIPT_PAIR.findall(text) if "BUILD_INFO" in text else []
        return {names[name]: "".join(quoted) for name, *quoted in found}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {fact: document[name] for name, fact in names.items() if isinstance(document.get(name), str)}


def _is_same(fact: str, said: str, wanted: str) -> bool:
    if fact == "git_commit":
        said, wanted = said.removesuffix("-dirty").lower(), wanted.removesuffix("-dirty").lower()
        shorter = min(len(said), len(wanted))
        return shorter >= _SHORTEST_COMMIT and said[:shorter] == wanted[:shorter]
    if fact == "build_date":
        return said == wanted or _instant(said) == (_instant(wanted) or "no time")
    return said == wanted


def _instant(text: str) -> float | None:
    """Seconds since the epoch; an app may write the time that it was given in another form."""
    try:
        at = datetime.fromisoformat(text)
        return at.timestamp() if at.tzinfo else None
    except ValueError:
        return None


def _read(url: str, deadline: float) -> str:
    """The page, "" where there is none. Never through the machine's own proxy."""
    import httpx

    content = bytearray()
    left = deadline - time.monotonic()
    if left <= 0:
        return ""
    try:
        # All addresses are plain HTTP: no authorities need be loaded, which takes longer than the call.
        with (
            httpx.Client(trust_env=False, verify=False, timeout=left) as client,  # noqa: S501
            client.stream("GET", url) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                return ""
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > MAX_BYTES or time.monotonic() > deadline:
                    return ""
    except httpx.HTTPError:
        return ""
    return content.decode("utf-8", "replace")
