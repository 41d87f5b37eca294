"""The `skiptrace` command: questions asked of what the pipeline has made.

Run it in the folder of a pipeline; it reads params.yaml and data/ there and writes nothing.
"""

import json
from typing import Annotated, NamedTuple

import torch
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tokenizers import Tokenizer

from skiptrace.circuits.paths import contributions, label
from skiptrace.config.models import load_model
from skiptrace.errors import InputError, run
from skiptrace.models import checkpoint
from skiptrace.models.transformer import Transformer
from skiptrace.models.windows import BOS_ID
from skiptrace.report.tokens import visible
from skiptrace.tokens import lookup
from skiptrace.tokens.tokenizer import load as load_tokenizer
from skiptrace.tokens.tokenizer import token_text
from stages.common import MODELS, PARAMS, TOKENS
from stages.export import export

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
app.command()(export)


@app.callback()
def skiptrace() -> None:
    """Ask questions of a reproduced pipeline."""


class Studied(NamedTuple):
    """A trained model and the tokenizer of its corpus."""

    model: Transformer
    tokenizer: Tokenizer


def open_model(name: str) -> Studied:
    """Load a model that params.yaml names and its tokenizer.

    Raises:
        InputError: there is no such model, or it has not been trained yet.
    """
    params = load_model(name, PARAMS)
    return Studied(checkpoint.load(MODELS / name), load_tokenizer(TOKENS / params.corpus / "tokenizer.json"))


@app.command()
def explain(
    text: Annotated[str, typer.Argument(help="the text before the prediction")],
    model: Annotated[str, typer.Option(help="a key of models in params.yaml")],
    out: Annotated[str | None, typer.Option("--next", help="the token to explain; the likeliest by default")] = None,
    most: Annotated[int, typer.Option(min=1, help="paths to print")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Rank every path through a model by what it adds to the logit of the next token."""
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
    wanted = int(logprob.argmax()) if out is None else lookup.single(studied.tokenizer, out)
    found = contributions(studied.model, tokens, len(tokens) - 1, wanted)
    texts = [token_text(studied.tokenizer, i) for i in tokens.tolist()]
    rows = [(label(c.path), c.logit, texts[c.source], len(tokens) - 1 - c.source, c.source_logit) for c in found]
    said = token_text(studied.tokenizer, wanted)
    probability, total = logprob[wanted].exp().item(), sum(c.logit for c in found)
    if as_json:
        names = ("path", "logit", "source", "tokens_back", "source_logit")
        content = {"next": said, "probability": probability, "logit": total}
        typer.echo(json.dumps(content | {"paths": [dict(zip(names, row, strict=True)) for row in rows]}, indent=2))
        return
    table = Table(title=Text(f"{visible(''.join(texts[-12:]))} → {visible(said)}"), title_justify="left")
    for name in ("path", "logit", "mostly from", "back", "its part"):
        table.add_column(name, justify="left" if name in ("path", "mostly from") else "right")
    for path, logit, source, back, part in rows[:most]:
        table.add_row(path, f"{logit:+.3f}", Text(visible(source)), str(back), f"{part:+.3f}")
    console = Console()
    console.print(table)
    console.print(
        f"p(next) = {probability:.3f}. Paths: {len(rows)}, which add up to {total:+.3f}, the logit less the mean "
        "logit; "
        "those that pull it down come last.",
        highlight=False,
    )


def main() -> None:
    """The entry point: errors are one line, exit code 1; wrong usage is exit code 2."""
    run(app)
