"""How much of a text comes back when it is encoded and decoded again."""

from collections import Counter
from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer

from skiptrace.corpora.card import Survival
from skiptrace.errors import InputError
from skiptrace.tokens.tokenizer import encode, held_back, unknown_id

SAMPLE = 2**21  # characters that are tried
SHOWN = 10  # lost characters that are named


def survival(tokenizer: Tokenizer, texts: Iterable[str], characters: int, what: str) -> Survival:
    """Encode and decode the beginning of every document, the same share of each, `SAMPLE` characters in all.

    A character is lost as often as it stands more often in a document than in what is decoded, without tokens for
    unknown text. `characters` is the length of all the texts.

    Raises:
        InputError: the tokenizer fails on the text; names `what`.
    """
    unknown = unknown_id(tokenizer)
    tried: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    kept = list(_beginnings(texts, characters))
    for text, ids in zip(kept, encode(tokenizer, kept, what), strict=True):
        known = [int(i) for i in ids[1:] if i != unknown]
        with held_back(f"{what}: cannot be decoded"):
            decoded = tokenizer.decode(known, skip_special_tokens=False)
        tried.update(text)
        lost.update(Counter(text) - Counter(decoded))
    spaces, spaces_lost = (sum(n for c, n in counted.items() if c.isspace()) for counted in (tried, lost))
    named = [c for c, _ in sorted(lost.items(), key=lambda item: (-item[1], item[0])) if not c.isspace()]
    return Survival(
        tried=tried.total() - spaces,
        lost=lost.total() - spaces_lost,
        spaces_tried=spaces,
        spaces_lost=spaces_lost,
        most_lost="".join(named[:SHOWN]),
    )


def check(found: Survival, most: float, name: str) -> None:
    """Check that no larger share of the text is lost than `tokenizers.<name>.max_lost` allows.

    Raises:
        InputError: more is; names the characters.
    """
    if found.share_lost > most:
        raise InputError(
            f"tokenizers.{name}: {found.share_lost:.1%} of the characters of corpora.{name} are lost "
            f"when it is encoded and decoded, most often those of {found.most_lost!r}; take another tokenizer, or "
            f"allow it with max_lost (now {most})"
        )


def _beginnings(texts: Iterable[str], characters: int) -> Iterator[str]:
    share = min(1.0, SAMPLE / max(characters, 1))
    for text in texts:
        part = text[: int(len(text) * share)]
        if len(part) < len(text):  # not within a word, which may have become a token as a whole
            part = part[: max(part.rfind(space) for space in " \n\t") + 1] or part
        if part:
            yield part
