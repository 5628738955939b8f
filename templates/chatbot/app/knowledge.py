"""Finds the training examples that answer a question, by BM25 over their questions and answers."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.assistant import Example
from app.words import content_words

K1, B = 1.4, 0.6
"""BM25: how soon a repeated word stops to count, and how much a long text is held against it."""

ANSWER_WEIGHT = 0.4
"""A word that stands only in an answer says less about the question that it answers."""

ENOUGH = 0.3
"""Share of a question's meaning that an example must cover to be its answer."""

NEAR_BEST = 0.6
"""Share of the best example's score that a further one must reach."""

TYPO_WEIGHT = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    example: Example
    score: float
    """Share of the question's meaning that the example covers, 0 to 1."""
    rank: float

    @property
    def is_answer(self) -> bool:
        return self.score >= ENOUGH


class Knowledge:
    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples
        self._questions = [Counter(content_words(example.question)) for example in examples]
        self._answers = [Counter(content_words(example.answer)) for example in examples]
        self._postings: dict[str, list[int]] = {}
        for number, (question, answer) in enumerate(zip(self._questions, self._answers, strict=True)):
            for word in question.keys() | answer.keys():
                self._postings.setdefault(word, []).append(number)
        self._typos = _typo_index(self._postings)
        lengths = [question.total() for question in self._questions]
        self._mean_length = max(1.0, sum(lengths) / max(1, len(lengths)))

    def search(self, text: str, limit: int = 4) -> list[Hit]:
        """The nearest examples, best first; those that do not answer the question too (`is_answer`)."""
        wanted = [(word, *self._known(word)) for word in dict.fromkeys(content_words(text))]
        meaning = sum(self._weight(known) for _, known, _ in wanted)
        if not meaning:
            return []
        candidates = {number for _, known, _ in wanted for number in self._postings.get(known, ())}
        hits = [self._hit(number, wanted, meaning) for number in candidates]
        return sorted(hits, key=lambda hit: (-hit.rank, hit.example.question))[:limit]

    def answers(self, text: str, limit: int = 4) -> list[Hit]:
        """Those that answer the question, best first; none that is far behind the best."""
        hits = [hit for hit in self.search(text, limit) if hit.is_answer]
        return [hit for hit in hits if hit.score >= NEAR_BEST * hits[0].score]

    def _hit(self, number: int, wanted: Iterable[tuple[str, str, float]], meaning: float) -> Hit:
        question, answer = self._questions[number], self._answers[number]
        covered = rank = 0.0
        for _, word, trust in wanted:
            weight = self._weight(word) * trust
            place = 1.0 if word in question else ANSWER_WEIGHT if word in answer else 0.0
            covered += weight * place
            rank += weight * (self._saturation(question, word) + ANSWER_WEIGHT * min(1, answer[word]))
        # Of two questions that hold the same words, the one that asks for little else is meant.
        focus = 0.1 * covered / max(1.0, sum(self._weight(word) for word in question))
        return Hit(example=self.examples[number], score=min(1.0, covered / meaning), rank=rank + focus)

    def _saturation(self, counts: Counter[str], word: str) -> float:
        count = counts[word]
        return count * (K1 + 1) / (count + K1 * (1 - B + B * counts.total() / self._mean_length))

    def _weight(self, word: str) -> float:
        """Inverse document frequency; a word that no example holds counts as one that a single example holds."""
        count = max(1, len(self._postings.get(word, ())))
        return math.log(1 + (len(self.examples) - count + 0.5) / (count + 0.5)) + 0.1

    def _known(self, word: str) -> tuple[str, float]:
        """The word itself, or the known word that it is one slip away from; and how far that is to be trusted."""
        if word not in self._postings and len(word) >= 4:
            for shorter in _one_left_out(word):
                if shorter in self._typos:
                    return self._typos[shorter], TYPO_WEIGHT
        return word, 1.0


def _typo_index(vocabulary: Iterable[str]) -> dict[str, str]:
    """Every known word with one character left out → the word: a slip in a word leaves one of these in common."""
    return {shorter: word for word in sorted(vocabulary) if len(word) >= 4 for shorter in _one_left_out(word)}


def _one_left_out(word: str) -> list[str]:
    return [word, *(word[:place] + word[place + 1 :] for place in range(len(word)))]
