"""Paths at work on text: what each is worth to the right next token, and predictions that show it."""

from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from skiptrace.circuits.factored import PANEL
from skiptrace.circuits.paths import Path, contributions, label, path_outputs, path_pattern, paths
from skiptrace.composition.tables import EXAMPLE_TEXTS, EXAMPLES, PATHS, PATTERNS
from skiptrace.config.composition import CompositionParams
from skiptrace.models.transformer import Transformer

Contributions = Float[Tensor, "contexts n"]
Logits = dict[Path, Contributions]
BATCH = 8  # contexts whose patterns are held at once
READ, WORDS = 12, 0.5  # of so many tokens before a prediction, the least share of words in a sentence


@torch.no_grad()
def to_next_token(model: Transformer, windows: Int[Tensor, "contexts width"]) -> Logits:
    """The logit that every path adds to the token that does come next, less its mean over all tokens.

    At positions from 1 on: nothing is predicted from BOS alone.
    """
    found: dict[Path, list[Tensor]] = {path: [] for path in paths(model.n_layers, model.n_heads)}
    mean = model.W_U.mean(1)
    for batch in windows.split(BATCH):
        tokens, patterns = batch[:, :-1], model.patterns(batch[:, :-1])
        towards = model.W_U.T[batch[:, 2:]] - mean
        for path, parts in found.items():
            parts.append((path_outputs(model, tokens, patterns, path)[:, 1:] * towards).sum(-1))
    return {path: torch.cat(parts) for path, parts in found.items()}


def path_table(logits: Logits) -> pd.DataFrame:
    """`logit`: mean contribution to the right next token, ± `se` over contexts; `size`: mean absolute contribution."""
    rows = []
    for path, values in logits.items():
        each = values.double().mean(1)
        error = each.std().item() / len(each) ** 0.5
        rows.append((label(path), len(path), each.mean().item(), error, values.double().abs().mean(1).mean().item()))
    return PATHS.frame(rows)


def in_sentences(windows: Int[Tensor, "contexts width"], token: pd.Series) -> Bool[Tensor, "contexts n"]:
    """Where a whole word comes next, in text of which at least half is whole words, at positions from 1 on.

    Code has sentences too, in its comments: a reader follows an example there at once.
    """
    word = torch.tensor([text.startswith(" ") and text[1:].isalpha() for text in token])[windows]
    before = torch.nn.functional.pad(word, (READ, 0)).unfold(1, READ, 1).double().mean(-1)[:, :-1]
    return (word & (before >= WORDS))[:, 2:]


class Place(NamedTuple):
    """A position of a window, from which the next token is predicted."""

    window: int
    position: int


def best_places(
    logits: Float[Tensor, "contexts n"],
    sure: Float[Tensor, "contexts n"],
    spoken: Bool[Tensor, "contexts n"],
    count: int,
) -> list[Place]:
    """Where the contribution is largest among the right and sure predictions, one place per window, sentences first."""
    right, places = logits.masked_fill(sure < 0.5, -torch.inf), dict[int, Place]()
    for allowed in (right.masked_fill(~spoken, -torch.inf), right):
        best = allowed.max(1)
        for window in best.values.argsort(descending=True, stable=True).tolist():
            if best.values[window] > -torch.inf:
                # Contributions begin at position 1.
                places.setdefault(window, Place(window, int(best.indices[window]) + 1))
    return list(places.values())[:count]


@torch.no_grad()
def examples(
    model: Transformer,
    windows: Int[Tensor, "contexts width"],
    logits: Logits,
    sure: Contributions,
    spoken: Bool[Tensor, "contexts n"],
    params: CompositionParams,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Right predictions in which a path of each order counts most, with every path's contribution, ranked.

    `sure` is what the model gives the token that does come next, as `probability` has it; those `spoken` come first.
    The second table holds all tokens before each prediction. `source_back` is how many tokens before the last one
    the token stands that most of a path's contribution comes from.
    """
    rows, texts, count = [], [], 0
    for order in range(model.n_layers + 1 if logits else 0):
        largest = torch.stack([v for p, v in logits.items() if len(p) == order]).amax(0)
        for window, position in best_places(largest, sure, spoken, params.examples):
            tokens, out = windows[window, :-1], int(windows[window, position + 1])
            ranked = contributions(model, tokens, position, out)
            for rank, found in enumerate(ranked, 1):
                source = int(tokens[found.source])
                back = position - found.source
                given = float(sure[window, position - 1])
                row = (count, order, given, out, rank, label(found.path), found.logit, back, source)
                rows.append((*row, found.source_logit))
            texts += [(count, i, int(tokens[i])) for i in range(position + 1)]
            count += 1
    return (
        EXAMPLES.frame(rows),
        EXAMPLE_TEXTS.frame(texts),
    )


@torch.no_grad()
def probability(model: Transformer, windows: Int[Tensor, "contexts width"]) -> Float[Tensor, "contexts n"]:
    """What the model gives the token that does come next, at positions from 1 on."""
    found = []
    for batch in windows.split(BATCH):
        x, following = model.residual(batch[:, :-1])[:, 1:], batch[:, 2:]
        rows, targets = x.flatten(0, 1), following.flatten()[:, None]
        for places in torch.arange(len(rows)).split(max(1, PANEL // model.d_vocab)):
            logprob = model.logits(rows[places]).log_softmax(-1)
            found.append(logprob.gather(1, targets[places])[:, 0].exp())
    return torch.cat(found).unflatten(0, (len(windows), -1))


@torch.no_grad()
def shown_patterns(
    model: Transformer,
    windows: Int[Tensor, "contexts width"],
    chosen: dict[str, tuple[Path, Contributions]],
    sure: Contributions,
    spoken: Bool[Tensor, "contexts n"],
    params: CompositionParams,
) -> pd.DataFrame:
    """A^h₁, A^h₂ and A^h₂A^h₁ of pairs of heads on the text where the given contribution is largest.

    `chosen`: why a pair is shown, the pair, and the contributions that choose its text. The last
    `example_tokens` tokens are kept.
    """
    tables = []
    for why, (pair, logits) in chosen.items():
        for window, position in best_places(logits, sure, spoken, 1):
            tokens = windows[window : window + 1, : position + 1]
            patterns = model.patterns(tokens)
            last = slice(max(0, position + 1 - params.example_tokens), position + 1)
            values = {
                "first": path_pattern(patterns, pair[:1]),
                "then": path_pattern(patterns, pair[1:]),
                "virtual": path_pattern(patterns, pair),
            }
            at = torch.arange(position + 1)[last]
            destination, source = (x.flatten() for x in torch.meshgrid(at, at, indexing="ij"))
            columns = {"destination": destination, "source": source}
            columns |= {f"{k}_id": tokens[0, v] for k, v in columns.items()}
            columns |= {k: v[0, last, last].flatten() for k, v in values.items()}
            frame = pd.DataFrame({k: v.numpy() for k, v in columns.items()})
            tables.append(frame.assign(name=label(pair), why=why))
    if not tables:
        return PATTERNS.frame()
    return PATTERNS.frame(pd.concat(tables, ignore_index=True))
