"""Text cut into comparable words, in any script."""

import re
import unicodedata

_STOP_TEXT = """
a about all am an and any are as at be been but by can could did do does for from get had has have how i if in is it its
just me my of on or our please so some tell than that the their them there these they this to up us was we were what
when where which who why will with would you your
"""
STOP_WORDS = frozenset(_STOP_TEXT.split())

_UNSPACED = re.compile("[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Thai, Lao, Khmer, kana and Han: scripts that put no blanks between words."""

_GREETING = re.compile(
    r"\W{0,5}(?:hi|hello|hey|hiya|good (?:morning|afternoon|evening|day)|greetings|howdy)\b[^?]{0,20}", re.IGNORECASE
)
_THANKS = re.compile(
    r"\W{0,5}(?:ok(?:ay)?|great|perfect|many)?\W{0,5}(?:thanks?|thank you|cheers|bye|goodbye)\b[^?]{0,30}",
    re.IGNORECASE,
)

_LATIN = re.compile("[a-z]+")


def words(text: str) -> list[str]:
    """Small letters, no accents, light English stems; pairs of characters for scripts without blanks."""
    found: list[str] = []
    for word in _split(unicodedata.normalize("NFKD", text.casefold())):
        if _UNSPACED.search(word):
            found.extend(word[place : place + 2] for place in range(max(1, len(word) - 1)))
        else:
            found.append(stem(word))
    return found


def content_words(text: str) -> list[str]:
    """Without words that say little; with them where there are no others."""
    every = words(text)
    return [word for word in every if word not in _STOP_STEMS] or every


def _split(text: str) -> list[str]:
    kept = []
    for character in text:
        kind = unicodedata.category(character)
        if "\u0300" <= character <= "\u036f" or character in "'\u2019":
            continue  # an accent, or an apostrophe within a word
        kept.append(character if kind[0] in "LNM" else " ")
    return "".join(kept).split()


def stem(word: str) -> str:
    """Takes the commonest English endings off: refunds, refunded and refunding become refund."""
    if len(word) < 4 or not _LATIN.fullmatch(word):
        return word
    for ending, stays in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", "e"), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            base = word[: -len(ending)] + stays
            return _without_double(base).removesuffix("e") if len(base) > 3 else base
    return word.removesuffix("e") if len(word) > 4 else word


def _without_double(base: str) -> str:
    """shipp, of shipping, is ship; but sell stays."""
    is_double = len(base) > 4 and base[-1] == base[-2] and base[-1] not in "aeiouls"
    return base[:-1] if is_double else base


_STOP_STEMS = frozenset(stem(word) for word in STOP_WORDS) | STOP_WORDS


def is_greeting(text: str) -> bool:
    return bool(_GREETING.fullmatch(text.strip()))


def is_thanks(text: str) -> bool:
    return bool(_THANKS.fullmatch(text.strip()))
