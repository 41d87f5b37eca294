"""What `import skiptrace` offers: from a model in memory to tables, without DVC.

Every function takes a model, most also the vocabulary of the text it was trained on, and gives a DataFrame. Parameters
of a group of params.yaml are keyword arguments under the same names and with the same defaults, as in
`mine_skip_trigrams(model, vocabulary, min_count=5)`; docs/parameters.md lists them.
"""

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int, Integer
from torch import Tensor

from skiptrace.arithmetic import sqrt
from skiptrace.circuits.attention import Attention
from skiptrace.circuits.attention import explain_attention as why
from skiptrace.circuits.factored import (
    AT_OFFSET,
    Circuit,
    chosen,
    head_name,
    heads,
    kind_of,
    named,
    names,
    names_among,
    pairs,
    refuse_unknown,
)
from skiptrace.circuits.paths import contributions
from skiptrace.circuits.scores import score_heads as score
from skiptrace.config.base import P, check
from skiptrace.config.directions import DirectionsParams
from skiptrace.config.expansion import ExpansionParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.config.verification import VerificationParams
from skiptrace.directions.study import copying_of, readout, shares_of, split
from skiptrace.errors import InputError
from skiptrace.evidence.verification import Streams, verify
from skiptrace.expansion import writer
from skiptrace.exploration.neighbours import VIEWS, Neighbours, neighbours
from skiptrace.mining import skip_trigrams
from skiptrace.mining import vocabulary as vocabularies
from skiptrace.mining.scan import Request, scan
from skiptrace.mining.vocabulary import Vocabulary
from skiptrace.models import checkpoint
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import spread_windows

Stream = Integer[np.ndarray, " n"]
Folder = str | PathLike[str]
PATHS = ("path", "logit", "source", "tokens_back", "source_logit")
TERMS = ("destination", "source", "score", "above", "destination_token", "source_token")
ENDS = ("group", "size", "value", "share", "copying", "role", "pole", "rank", "token_id", "token", "loading")
NEIGHBOURS = ("role", "head", "circuit", "across", "rank", "token_id", "token", "count", "centred", "value")


def load_model(folder: Folder) -> Transformer:
    """Read a model of the pipeline, `data/models/<m>`, or one imported by it.

    Raises:
        InputError: a file is unreadable, or a tensor is missing, misshapen or not finite; names it.
    """
    return checkpoint.load(Path(folder))


def load_vocabulary(folder: Folder, model: Transformer, ngrams: Folder | None = None) -> Vocabulary:
    """Read the texts and frequencies of the tokens of a model's corpus, `data/tokens/<c>`.

    With `ngrams`, `data/ngrams/<c>`, also what follows each of them, as the pipeline has it when it mines.

    Raises:
        InputError: a file is unreadable, or vocab.parquet has another number of tokens than the model.
    """
    pairs = None if ngrams is None else Path(ngrams) / "bigrams.parquet"
    return vocabularies.load(Path(folder) / "vocab.parquet", model.d_vocab, pairs)


def count_vocabulary(texts: Iterable[str], stream: Stream) -> Vocabulary:
    """The vocabulary of a model in memory: the text of every token id, and how often each occurs in a stream of ids.

    Id 0 is the token that starts a document; it appears in no table.

    Raises:
        InputError: the stream is empty, or has an id without a text.
    """
    texts, stream = list(texts), np.asarray(stream)
    if not len(stream) or stream.min() < 0 or stream.max() >= len(texts):
        found = f"ids from {stream.min()} to {stream.max()}" if len(stream) else "no ids"
        raise InputError(f"count_vocabulary: {found} in the stream, but {len(texts)} texts; give one text for each id")
    count = np.bincount(stream, minlength=len(texts))
    probability = torch.tensor(count / count.sum(), dtype=torch.float32)
    return Vocabulary(pd.Series(texts, name="token"), pd.Series(count, name="count"), probability)


def circuit(model: Transformer, name: str) -> Circuit:
    """A circuit by its name: `direct`, `qk L0H3`, `ov L0H3`, `virtual_ov L0H3 L1H1`, `k_composition L0H3 L1H1`.

    It is held as two thin factors, V × rank and rank × V. `qk` and `k_composition` are attention scores, destination ×
    source; the others are logits, source × output token. Of a model with rotary positions `qk` is the mean over
    distances, and `qk_at_4 L0H3` the circuit for a source four tokens before its destination.

    Raises:
        InputError: the model has no such circuit; names those that it has.
    """
    kind = name.partition(" ")[0]
    asked = kind.removeprefix(AT_OFFSET)
    offsets = [int(asked)] if asked != kind and asked.isdecimal() and 0 < int(asked) < model.n_ctx else []
    known = {" ".join([each.circuit, *each.heads]): each for each in names_among(model, pairs(model), offsets)}
    if name not in known:
        some = ", ".join(list(known)[:7])
        raise InputError(f"circuit {name!r}: no such circuit; there is {some}{', …' if len(known) > 7 else ''}")
    return named(model, known[name])


def top_entries(
    model: Transformer, vocabulary: Vocabulary, name: str, most: int = 20, min_count: int = 1
) -> pd.DataFrame:
    """The largest centred entries of a whole circuit, exact: `row_id, row, column_id, column, centred, value`.

    Of attention scores, `centred` is the value less the row's mean over sources, weighted by the corpus; of logits, the
    value less the row's mean. Softmax ignores both. Memory is one tile, whatever the vocabulary. `name` is that of
    `circuit`; tokens that the corpus has fewer than `min_count` times are left out.

    Raises:
        InputError: there is no such circuit, the vocabulary is of another size, or no token occurs `min_count` times.
    """
    _same_size(model, vocabulary)
    found, kept = circuit(model, name), vocabulary.eligible_ids(min_count)
    centred = found.centred(vocabulary.probability if kind_of(found.name).scores else None)
    best = scan(centred.restricted(kept, kept), Request(whole=most), threads=torch.get_num_threads()).whole
    assert best is not None
    rows, columns = kept[best.rows.long()], kept[best.columns.long()]
    return pd.DataFrame(
        {
            "row_id": rows.numpy(),
            "row": vocabulary.token.iloc[rows].to_numpy(),
            "column_id": columns.numpy(),
            "column": vocabulary.token.iloc[columns].to_numpy(),
            "centred": best.values.numpy(),
            "value": found.entries(rows, columns).numpy(),
        }
    )


def lookup(
    model: Transformer,
    vocabulary: Vocabulary,
    token: int,
    head: str | None = None,
    most: int = 8,
    min_count: int = 1,
) -> pd.DataFrame:
    """What every head ties a token to: sources it attends to, tokens it raises, and the other way round.

    One row for each token across, with `NEIGHBOURS` for columns, at most `most` of every head and role, the largest
    first. `centred` is as in `top_entries`. `token` is an id; `head` is `L0H3` or `direct`, all by default.

    Raises:
        InputError: there is no such token or head, or the vocabulary is of another size.
    """
    _same_size(model, vocabulary)
    known = {"direct": None} | {head_name(each): each for each in heads(model)}
    if head is not None and head not in known:
        raise InputError(f"head {head!r}: this model has {', '.join(known)}")
    if not 0 <= token < model.d_vocab:
        raise InputError(f"token {token}: no such id; the ids of this model run to {model.d_vocab - 1}")
    asked = list(known.values()) if head is None else [known[head]]
    kept = vocabulary.eligible(min_count)
    found = neighbours(model, token, VIEWS, asked, vocabulary.probability, kept, most)
    rows = [row for each in found for row in neighbour_rows(each, vocabulary)]
    return pd.DataFrame(rows, columns=list(NEIGHBOURS))


def neighbour_rows(found: Neighbours, vocabulary: Vocabulary) -> list[dict[str, object]]:
    """One record for each token across, with `NEIGHBOURS` for keys; `rank` counts from 1 in its row or column."""
    view = found.view
    place = {"role": view.role, "head": found.head, "circuit": view.circuit, "across": view.across}
    return [
        place
        | {"rank": rank, "token_id": i, "token": vocabulary.token.iloc[i], "count": int(vocabulary.count.iloc[i])}
        | {"centred": centred, "value": value}
        for rank, (i, value, centred) in enumerate(found.entries, 1)
    ]


def find_directions(
    model: Transformer, vocabulary: Vocabulary, name: str, most: int = 6, min_count: int = 1, **directions: Any
) -> pd.DataFrame:
    """What a circuit reads and writes: the tokens at both ends of its singular directions, with `ENDS` for columns.

    `name` is that of `circuit`, such as `ov L0H3`. One row for each token, at most `most` of every end; tokens that the
    corpus has fewer than `min_count` times are left out. `value` is the singular value (logits, attention scores),
    `share` the part of the circuit's squares, `copying` u·v; directions that cannot be told apart are one group
    of `size`. The poles 1 and −1 of a direction read and write apart, a group has none. Keyword arguments are those of
    `directions`.

    Raises:
        InputError: a keyword is wrong, there is no such circuit, or the vocabulary is of another size.
    """
    params = _params(DirectionsParams, "directions", directions)
    _same_size(model, vocabulary)
    found = circuit(model, name)
    parts, listed = split(found, vocabulary.probability, params)
    roles = ("destination", "source") if kind_of(found.name).scores else ("source", "out")
    eligible = vocabulary.eligible(min_count)
    rows = []
    for number, group in enumerate(listed[: params.shown], 1):
        said = {"group": number, "size": len(group), "share": shares_of(parts.values, group).item()}
        said["value"] = sqrt(parts.values[list(group)].square().mean()).item()
        said["copying"] = copying_of(parts.values, parts.copying, group).item()
        for each in readout(parts, group, roles, eligible, most):
            rows.append(said | each | {"token": vocabulary.token.iloc[each["token_id"]]})
    return pd.DataFrame(rows, columns=list(ENDS))


def score_heads(model: Transformer, stream: Stream, **scoring: Any) -> pd.DataFrame:
    """Copying, positional, previous-token and prefix-matching scores, one row per head, each beside its null.

    `stream` is text as token ids, each document after its start token. Keyword arguments are those of `scoring`.

    Raises:
        InputError: a keyword is wrong, or the stream is shorter than a context or has ids beyond the vocabulary.
    """
    params = _params(ScoringParams, "scoring", scoring)
    _check_stream(model, stream, "stream")
    texts = spread_windows(np.asarray(stream), model.n_ctx, params.sequences)[:, :-1]
    return score(model, texts, params)[0]


def mine_skip_trigrams(model: Transformer, vocabulary: Vocabulary, **mining: Any) -> pd.DataFrame:
    """Skip-trigrams, source … destination → output token, of all heads, read off the weights, the best first.

    Columns are those of data/tables/<m>/skip_trigrams.parquet. Keyword arguments are those of `mining`.

    Raises:
        InputError: a keyword is wrong, the vocabulary is of another size, or no token occurs `min_count` times.
    """
    params = _params(MiningParams, "mining", mining)
    _same_size(model, vocabulary)
    return skip_trigrams.of_model(model, vocabulary, params)


def verify_skip_trigrams(
    model: Transformer, mined: pd.DataFrame, train: Stream, valid: Integer[np.ndarray, " m"], **verification: Any
) -> pd.DataFrame:
    """Mined rows with their evidence: the effect of each on the running model, and its frequency in the corpus.

    `mined` are the rows of `mine_skip_trigrams`, of which the best are checked (`rows=2000`), in contexts made of the
    held-out stream `valid`, and counted in `train`. Columns are those of data/evidence/<m>/skip_trigrams.parquet
    but for `beyond_null`, `recurs` and `survives`, which hold the rows against stand-ins and twins. Keyword arguments
    are those of `verification`.

    Raises:
        InputError: a keyword is wrong, or a stream is shorter than a context or has ids beyond the vocabulary.
    """
    params = _params(VerificationParams, "verification", verification)
    for name, stream in (("train", train), ("valid", valid)):
        _check_stream(model, stream, name)
    train, valid = np.asarray(train), np.asarray(valid)
    return verify(model, mined, Streams(train, valid, np.bincount(train, minlength=model.d_vocab)), params)


def expand_circuits(model: Transformer, folder: Folder, **expansion: Any) -> list[str]:
    """Write circuits to Parquet, under `folder`/circuit=…/layer=…/head=…, and return the names of the circuits.

    One record for each row token: `token_id, row_min, row_max` and `values`, V half-precision entries. An expansion
    that was interrupted continues. Keyword arguments are those of `expansion`.

    Raises:
        InputError: a keyword is wrong, the files would exceed `max_bytes` or the free space, or an entry is not finite.
    """
    params = _params(ExpansionParams, "expansion", expansion)
    refuse_unknown(params.kinds)
    found = chosen(names(model, params.virtual_heads, params.offsets), params.kinds, params.only)
    place = Path(folder)
    writer.refuse_too_much(len(found), model.d_vocab, params, place)
    circuits = [named(model, name) for name in found]
    writer.write(circuits, model.d_vocab, str(place.resolve()), params, model.config.readings)
    return [each.label for each in circuits]


def explain(
    model: Transformer,
    vocabulary: Vocabulary,
    tokens: Int[Tensor, " ctx"] | Sequence[int],
    output: int | None = None,
    against: int | None = None,
) -> pd.DataFrame:
    """Every path through the model by what it adds to the logit of the next token, with `PATHS` for columns.

    `logit` is what the path adds, less what it adds to all tokens on average, or to `against`; `source`, `tokens_back`
    and `source_logit` are the token that pushes most in its direction, how far back it stands, and its part. `tokens`
    are ids, the start token first; `output` is the id of the token to explain, the likeliest by default. Attention and
    the 1/std of layer norms are frozen at their values on these tokens, so that the paths add up to the logit; what an
    MLP or the bias of a layer writes begins paths of its own, as in `MLP0 → L1H3`. Of a deep model paths pass few heads
    in turn, and the longest begin with the whole stream before their first head, as in `all before layer 7 → L7H3`.

    Raises:
        InputError: there are no tokens, more than n_ctx, or ids beyond the vocabulary; or the model has too many heads.
    """
    ids = _context(model, vocabulary, tokens, output, against)
    with torch.no_grad():
        explained = int(model(ids[None])[0, -1].argmax()) if output is None else output
    return paths(model, ids, explained, vocabulary.token.iloc.__getitem__, against)


def explain_attention(
    model: Transformer,
    vocabulary: Vocabulary,
    tokens: Int[Tensor, " ctx"] | Sequence[int],
    head: str,
    destination: int = -1,
    source: int | None = None,
) -> pd.DataFrame:
    """Why a head (as `L0H1`) attends from one place of `tokens` to another: `TERMS`, the largest first.

    A term is what a path into the head's layer wrote at the destination times what one wrote at the source, in
    attention scores; `above` is its `score` less its mean over all sources in view. The last two columns are the two
    tokens that most of it comes from. Σ `above` less `attrs["normaliser"]` is the logarithm of `attrs["attention"]`.
    Places count from 0, or back from the last as -1; the source is by default where the head attends most.

    Raises:
        InputError: as `explain`, or there is no such head or place.
    """
    ids = _context(model, vocabulary, tokens)
    known = {head_name(each): each for each in heads(model)}
    if head not in known:
        raise InputError(f"{head}: no such head; the model has {', '.join(known) or 'none'}")
    end = destination + len(ids) if destination < 0 else destination
    start = source + len(ids) if source is not None and source < 0 else source
    found = why(model, ids, known[head], end, start)
    text = vocabulary.token.iloc.__getitem__
    return terms(found, [text(each) for each in ids.tolist()])


def paths(
    model: Transformer,
    tokens: Int[Tensor, " ctx"],
    output: int,
    text_of: Callable[[int], str],
    against: int | None = None,
) -> pd.DataFrame:
    """The table of `explain` for the last of `tokens`; `text_of` gives the text of a token id."""
    last, ids = len(tokens) - 1, tokens.tolist()
    rows = [
        (c.name, c.logit, text_of(ids[c.source]), last - c.source, c.source_logit)
        for c in contributions(model, tokens, last, output, against)
    ]
    return pd.DataFrame(rows, columns=list(PATHS))


def terms(found: Attention, texts: Sequence[str]) -> pd.DataFrame:
    """The table of `explain_attention`; `texts` are those of the tokens."""
    rows = [(*t[:4], texts[t.tokens[0].destination_place], texts[t.tokens[0].source_place]) for t in found.terms]
    made = pd.DataFrame(rows, columns=list(TERMS))
    names = ("destination", "source", "attention", "score", "normaliser")
    made.attrs = {name: getattr(found, name) for name in names}
    return made


def _context(
    model: Transformer, vocabulary: Vocabulary, tokens: Int[Tensor, " ctx"] | Sequence[int], *others: int | None
) -> Int[Tensor, " ctx"]:
    _same_size(model, vocabulary)
    ids = torch.as_tensor(tokens, dtype=torch.int64)
    if not 0 < len(ids) <= model.n_ctx:
        raise InputError(f"explain: {len(ids)} tokens; give from 1 to n_ctx = {model.n_ctx}")
    beyond = [i for i in [*ids.tolist(), *others] if i is not None and not 0 <= i < model.d_vocab]
    if beyond:
        raise InputError(f"token {beyond[0]}: no such id; the ids of this model run to {model.d_vocab - 1}")
    return ids


def _params(kind: type[P], group: str, given: dict[str, Any]) -> P:
    return check(kind, given, group, Path("keyword arguments"))


def _same_size(model: Transformer, vocabulary: Vocabulary) -> None:
    if len(vocabulary.token) != model.d_vocab:
        raise InputError(
            f"the vocabulary has {len(vocabulary.token)} tokens, the model d_vocab = {model.d_vocab}; give the one "
            "that the model was trained with"
        )


def _check_stream(model: Transformer, stream: Stream, name: str) -> None:
    stream = np.asarray(stream)
    if len(stream) <= model.n_ctx:
        raise InputError(f"{name}: {len(stream)} tokens; give more than n_ctx = {model.n_ctx}")
    if stream.min() < 0 or stream.max() >= model.d_vocab:
        raise InputError(
            f"{name}: ids from {stream.min()} to {stream.max()}, but those of the model run to {model.d_vocab - 1}"
        )
