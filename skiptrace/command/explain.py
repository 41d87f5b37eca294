"""`skiptrace explain`: one prediction taken apart, path by path, or one attention score, term by term.

Reads   params.yaml  models.<m>
        data/models/<m>/, data/tokens/<corpus of m>/tokenizer.json
"""

from dataclasses import asdict
from typing import Any

import torch
import typer
from jaxtyping import Int
from rich.text import Text
from rich.tree import Tree
from torch import Tensor

from skiptrace import api
from skiptrace.circuits.attention import POSITION, TOKEN, Term, explain_attention
from skiptrace.circuits.factored import head_name, heads
from skiptrace.circuits.paths import MOST, deepest
from skiptrace.command.models import Studied, open_model, token_id
from skiptrace.command.output import Form, console, print_csv, print_json, table, token
from skiptrace.errors import InputError
from skiptrace.models.windows import BOS_ID
from skiptrace.report.rendering.tokens import visible
from skiptrace.tokens import lookup
from skiptrace.tokens.texts import TokenTexts

SHOWN = 0.05  # parts of a term by token are printed from this share of its largest part


def read(text: str, model: str) -> tuple[Studied, Int[Tensor, " ctx"]]:
    """The model and the tokens of `text` after the start token.

    Raises:
        InputError: there is no such model, or the text is empty or longer than the model's context.
    """
    studied = open_model(model)
    ids = lookup.ids(studied.tokenizer, text)
    tokens = [BOS_ID, *ids]
    if not ids:
        raise InputError("explain: the text is empty; give the text before the prediction")
    if len(tokens) > studied.model.n_ctx:
        raise InputError(
            f"explain: the text has {len(ids)} tokens, but models.{model}.n_ctx = {studied.model.n_ctx} holds "
            f"{studied.model.n_ctx - 1} after the start token; shorten it"
        )
    return studied, torch.tensor(tokens)


def answer(text: str, model: str, out: str | None, against: str | None, most: int, printed: Form) -> None:
    """Print every path by what it adds to the logit of the token after `text`, or to its lead over another token.

    Raises:
        InputError: as `read`, or there is no such token.
    """
    studied, ids = read(text, model)
    logprob = studied.model(ids[None])[0, -1].log_softmax(-1)
    explained = int(logprob.argmax()) if out is None else token_id(studied, out)
    other = None if against is None else token_id(studied, against)
    text_of = TokenTexts(studied.tokenizer)
    found = api.paths(studied.model, ids, explained, text_of, other)
    rows = found.to_dict("records")
    said, than = text_of(explained), None if other is None else text_of(other)
    probability, total = logprob[explained].exp().item(), found["logit"].sum()
    if printed is Form.JSON:
        print_json({"next": said, "against": than, "probability": probability, "logit": total, "paths": rows})
    elif printed is Form.CSV:
        print_csv(rows, api.PATHS)
    else:
        columns = ("path", "logit", "mostly from", "back", "its part")
        rather = "" if than is None else f" rather than {visible(than)}"
        title = f"{visible(''.join(map(text_of, ids[-12:].tolist())))} → {visible(said)}{rather}"
        made = table(title, *columns, right=("logit", "back", "its part"))
        for path, logit, source, back, part in found.head(most).itertuples(index=False):
            made.add_row(path, f"{logit:+.3f}", token(source), str(back), f"{part:+.3f}")
        console().print(made)
        frozen = "; 1/std of layer norm is frozen at its values on this text" if studied.model.norm is not None else ""
        deep = deepest(studied.model.n_layers, studied.model.n_heads, MOST)
        cut = (
            f"; no path passes more than {deep} of its heads in turn, and the longest begin with all before them"
            if deep < studied.model.n_layers
            else ""
        )
        less = "the mean logit" if than is None else f"that of {visible(than)}"
        typer.echo(
            f"p(next) = {probability:.3f}. Paths: {len(rows)}, which add up to {total:+.3f}, the logit less {less}; "
            f"those that lower it come last{frozen}{cut}."
        )


def why(text: str, model: str, head: str, back: int, source_back: int | None, most: int, printed: Form) -> None:
    """Print why `head` attends from the token `back` places before the last to the one `source_back` before that.

    Raises:
        InputError: as `read`, or there is no such head or place.
    """
    studied, ids = read(text, model)
    known = {head_name(each): each for each in heads(studied.model)}
    if head not in known:
        raise InputError(f"--why {head}: model {model} has {', '.join(known) or 'no heads'}")
    destination = len(ids) - 1 - back
    source = None if source_back is None else destination - source_back
    if destination < 0 or (source is not None and source < 0):
        raise InputError(f"--at, --back: give places within the {len(ids)} tokens of the text, start token included")
    found = explain_attention(studied.model, ids, known[head], destination, source)
    text_of = TokenTexts(studied.tokenizer)
    texts = [text_of(each) for each in ids.tolist()]
    if printed is Form.JSON:
        print_json(asdict(found) | {"head": head, "tokens": texts, "terms": [as_json(t) for t in found.terms]})
        return
    rows = api.terms(found, texts)
    if printed is Form.CSV:
        print_csv(rows.to_dict("records"), api.TERMS)
        return
    end, start = visible(texts[found.destination]), visible(texts[found.source])
    far = found.destination - found.source
    tree = Tree(Text(f"\n{head} attends from {end} to {start}, {far} back, with {found.attention:.3f}", "bold"))
    for term in found.terms[:most]:
        branch = tree.add(Text(f"{term.above:+7.3f}  {term.destination} × {term.source}  (score {term.score:+.3f})"))
        if {term.destination, term.source} <= {POSITION, TOKEN}:
            continue
        for each in term.tokens:
            if abs(each.score) < SHOWN * abs(term.tokens[0].score):
                continue
            ends = (f"{visible(texts[i])}[{i}]" for i in (each.destination_place, each.source_place))
            branch.add(Text(f"{each.score:+7.3f}  {' × '.join(ends)}"))
    console().print(tree)
    above = sum(term.above for term in found.terms)
    typer.echo(
        f"What the destination holds × what the source holds, in attention scores less their mean over the "
        f"{found.destination + 1} tokens in view. {len(found.terms)} terms add up to {above:+.3f}; less the normaliser "
        f"{found.normaliser:.3f}, that is log {found.attention:.3f}."
    )


def as_json(term: Term) -> dict[str, Any]:
    """A term with names for its parts."""
    return term._asdict() | {"tokens": [each._asdict() for each in term.tokens]}
