"""The models, heads and tokens that a question may name."""

import re
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from skiptrace.circuits.factored import Head, head_name, heads
from skiptrace.config.models import load_model
from skiptrace.errors import InputError
from skiptrace.files import read_json
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
    in_pipeline()
    corpus = load_model(name, PARAMS).corpus
    model, tokens = made(MODELS / name), made(TOKENS / corpus)
    digest = read_json(tokens / "sizes.json").get("tokenizer_sha256")
    return Studied(name, checkpoint.load(model), corpus, load_tokenizer(tokens / "tokenizer.json", digest))


def in_pipeline() -> None:
    """Do nothing in the folder of a pipeline.

    Raises:
        InputError: there is no params.yaml here.
    """
    if not PARAMS.exists():
        raise InputError(
            f"{PARAMS}: not here; run this in the folder of a pipeline that was reproduced (make report), or use the "
            "functions of `import skiptrace` with a model of your own"
        )


def made(folder: Path) -> Path:
    """The folder.

    Raises:
        InputError: it has not been reproduced yet.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: not there yet; run dvc repro, or dvc checkout if it was reproduced before")
    return folder


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
    check_heads(studied.name, list(known), asked)
    return [known[name] for name in asked] if asked else list(known.values())


def check_heads(model: str, known: list[str], asked: list[str]) -> None:
    """Do nothing if the model has the heads named.

    Raises:
        InputError: it has no such head; lists those it has.
    """
    for name in asked:
        if name not in known:
            raise InputError(f"--head {name}: model {model} has {', '.join(known) or 'none'}")
