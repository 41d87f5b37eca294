"""The models, heads and tokens that a question may name."""

import re
from typing import NamedTuple

from tokenizers import Tokenizer

from skiptrace.circuits.factored import Head, head_name, heads
from skiptrace.config.models import load_model
from skiptrace.errors import InputError
from skiptrace.layout import MODELS, PARAMS, TOKENS
from skiptrace.models import checkpoint
from skiptrace.models.transformer import Transformer
from skiptrace.tokens import lookup
from skiptrace.tokens.tokenizer import load as load_tokenizer


class Studied(NamedTuple):
    """A trained model, the name of its corpus, and the corpus's tokenizer."""

    name: str
    model: Transformer
    corpus: str
    tokenizer: Tokenizer


def open_model(name: str) -> Studied:
    """Load a model that params.yaml names and its tokenizer.

    Raises:
        InputError: there is no such model, or it has not been trained yet.
    """
    corpus = load_model(name, PARAMS).corpus
    for made in (MODELS / name, TOKENS / corpus):
        if not made.is_dir():
            raise InputError(f"{made}: not there yet; run dvc repro, or dvc checkout if it was reproduced before")
    return Studied(name, checkpoint.load(MODELS / name), corpus, load_tokenizer(TOKENS / corpus / "tokenizer.json"))


def token_id(studied: Studied, asked: str) -> int:
    """The token that a text is, or that `id:123` numbers.

    Raises:
        InputError: the text is no single token (says which it is), or the number is too large.
    """
    number = re.fullmatch(r"id:(\d{1,18})", asked)
    if not number:
        return lookup.single(studied.tokenizer, asked)
    if int(number[1]) >= studied.model.d_vocab:
        raise InputError(f"{asked}: no such token; the ids of {studied.corpus} run to {studied.model.d_vocab - 1}")
    return int(number[1])


def chosen_heads(studied: Studied, asked: list[str]) -> list[Head | None]:
    """The heads named, all by default; None stands for the direct path.

    Raises:
        InputError: the model has no such head; lists those it has.
    """
    known = {"direct": None} | {head_name(head): head for head in heads(studied.model)}
    for name in asked:
        if name not in known:
            raise InputError(f"--head {name}: model {studied.name} has {', '.join(known)}")
    return [known[name] for name in asked] if asked else list(known.values())
