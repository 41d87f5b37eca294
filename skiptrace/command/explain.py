"""`skiptrace explain`: one prediction taken apart, path by path.

Reads   params.yaml  models.<m>
        data/models/<m>/, data/tokens/<corpus of m>/tokenizer.json
"""

import torch
import typer

from skiptrace import api
from skiptrace.command.models import open_model, token_id
from skiptrace.command.output import Form, console, print_csv, print_json, table, token
from skiptrace.errors import InputError
from skiptrace.models.windows import BOS_ID
from skiptrace.report.rendering.tokens import visible
from skiptrace.tokens import lookup
from skiptrace.tokens.texts import TokenTexts


def answer(text: str, model: str, out: str | None, most: int, printed: Form) -> None:
    """Print every path by what it adds to the logit of the token after `text`.

    Raises:
        InputError: there is no such model or token, or the text is empty or longer than the model's context.
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
    logprob = studied.model(torch.tensor([tokens]))[0, -1].log_softmax(-1)
    explained = int(logprob.argmax()) if out is None else token_id(studied, out)
    text_of = TokenTexts(studied.tokenizer)
    found = api.paths(studied.model, torch.tensor(tokens), explained, text_of)
    rows = found.to_dict("records")
    said = text_of(explained)
    probability, total = logprob[explained].exp().item(), found["logit"].sum()
    if printed is Form.JSON:
        print_json({"next": said, "probability": probability, "logit": total, "paths": rows})
    elif printed is Form.CSV:
        print_csv(rows, api.PATHS)
    else:
        heads = ("path", "logit", "mostly from", "back", "its part")
        title = f"{visible(''.join(map(text_of, tokens[-12:])))} → {visible(said)}"
        made = table(title, *heads, right=("logit", "back", "its part"))
        for path, logit, source, back, part in found.head(most).itertuples(index=False):
            made.add_row(path, f"{logit:+.3f}", token(source), str(back), f"{part:+.3f}")
        console().print(made)
        frozen = "; 1/std of layer norm is frozen at its values on this text" if studied.model.norm is not None else ""
        typer.echo(
            f"p(next) = {probability:.3f}. Paths: {len(rows)}, which add up to {total:+.3f}, the logit less the mean "
            f"logit; those that lower it come last{frozen}."
        )
