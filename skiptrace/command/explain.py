"""`skiptrace explain`: one prediction taken apart, path by path.

Reads   params.yaml  models.<m>
        data/models/<m>/, data/tokens/<corpus of m>/tokenizer.json
"""

from typing import Annotated

import torch
import typer

from skiptrace.circuits.paths import contributions, label
from skiptrace.command.models import open_model, token_id
from skiptrace.command.output import AsCsv, AsJson, Form, console, form, print_csv, print_json, table, token
from skiptrace.errors import InputError
from skiptrace.models.windows import BOS_ID
from skiptrace.report.rendering.tokens import visible
from skiptrace.tokens import lookup
from skiptrace.tokens.texts import TokenTexts

COLUMNS = ("path", "logit", "source", "tokens_back", "source_logit")


def explain(
    text: Annotated[str, typer.Argument(help="the text before the prediction")],
    model: Annotated[str, typer.Option(help="a key of models in params.yaml")],
    out: Annotated[
        str | None, typer.Option("--next", help="the token to explain, text or id:123; the likeliest by default")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="paths to print")] = 15,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Rank every path through a model by what it adds to the logit of the next token."""
    printed = form(as_json, as_csv)
    studied = open_model(model)
    ids = lookup.ids(studied.tokenizer, text)
    tokens = torch.tensor([BOS_ID, *ids])
    if not ids:
        raise InputError("explain: the text is empty; give the text before the prediction")
    if len(tokens) > studied.model.n_ctx:
        raise InputError(
            f"explain: the text has {len(ids)} tokens, but models.{model}.n_ctx = {studied.model.n_ctx} holds "
            f"{studied.model.n_ctx - 1} after the start token; shorten it"
        )
    logprob = studied.model(tokens[None])[0, -1].log_softmax(-1)
    wanted = int(logprob.argmax()) if out is None else token_id(studied, out)
    found = contributions(studied.model, tokens, len(tokens) - 1, wanted)
    text_of = TokenTexts(studied.tokenizer)
    texts = [text_of(i) for i in tokens.tolist()]
    values = [(label(c.path), c.logit, texts[c.source], len(tokens) - 1 - c.source, c.source_logit) for c in found]
    rows = [dict(zip(COLUMNS, value, strict=True)) for value in values]
    said = text_of(wanted)
    probability, total = logprob[wanted].exp().item(), sum(c.logit for c in found)
    if printed is Form.JSON:
        print_json({"next": said, "probability": probability, "logit": total, "paths": rows})
    elif printed is Form.CSV:
        print_csv(rows, COLUMNS)
    else:
        heads = ("path", "logit", "mostly from", "back", "its part")
        title = f"{visible(''.join(texts[-12:]))} → {visible(said)}"
        made = table(title, *heads, right=("logit", "back", "its part"))
        for path, logit, source, back, part in values[:most]:
            made.add_row(path, f"{logit:+.3f}", token(source), str(back), f"{part:+.3f}")
        console().print(made)
        typer.echo(
            f"p(next) = {probability:.3f}. Paths: {len(rows)}, which add up to {total:+.3f}, the logit less the mean "
            "logit; those that pull it down come last."
        )
