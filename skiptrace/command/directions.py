"""`skiptrace directions`: what heads read and write, direction by direction.

Reads   params.yaml  models.<m>
        data/directions/<m>/, data/tokens/<corpus of m>/vocab.parquet
"""

import pandas as pd
import typer
from rich.text import Text

from skiptrace.command.models import check_heads, in_pipeline, made
from skiptrace.command.output import Form, console, print_csv, print_json, table
from skiptrace.config.models import load_model
from skiptrace.directions.tables import ENDS, GROUPS, ROLES
from skiptrace.layout import DIRECTIONS, PARAMS, TOKENS
from skiptrace.report.rendering.tokens import visible
from skiptrace.tokens.tables import VOCAB

KEY = ["circuit", "layer", "head", "name", "group"]
COLUMNS = ("model", *GROUPS.names, "role", "pole", "rank", "token_id", "token", "loading")
SHOWN = 5  # tokens of an end on the terminal


def answer(model: str, head: list[str], circuits: list[str], most: int, printed: Form) -> None:
    """Print the first directions of the heads and circuits asked for.

    Raises:
        InputError: there is no such model or head, or the stage has not run.
    """
    in_pipeline()
    corpus = load_model(model, PARAMS).corpus
    folder = made(DIRECTIONS / model)
    groups, ends = GROUPS.read(folder), ENDS.read(folder)
    token = VOCAB.read(made(TOKENS / corpus), ["token"])["token"]
    check_heads(model, groups["name"].drop_duplicates().tolist(), head)
    kept = groups[groups["circuit"].isin(circuits) & (groups["group"] <= most)]
    kept = kept[kept["name"].isin(head)] if head else kept
    if printed is Form.TABLE:
        _print(kept, ends, token)
        return
    rows = kept.merge(ends, on=KEY, how="inner")
    rows = rows.assign(model=model, token=token.reindex(rows["token_id"]).to_numpy())[list(COLUMNS)]
    records = [{k: None if pd.isna(v) else v for k, v in row.items()} for row in rows.to_dict("records")]
    if printed is Form.JSON:
        print_json({"model": model, "directions": records})
    else:
        print_csv(records, COLUMNS)


def _print(groups: pd.DataFrame, ends: pd.DataFrame, token: pd.Series) -> None:
    out = console()
    for (name, circuit), rows in groups.groupby(["name", "circuit"], sort=False):
        read, written = ROLES[str(circuit)]
        heading = ("", "share", "copying", read, written, "loss without it")
        lines = table(f"{circuit} {name}", *heading, right=("share", "copying", "loss without it"))
        for row in rows.itertuples():
            mine = ends[(ends["name"] == name) & (ends["circuit"] == circuit) & (ends["group"] == row.group)]
            loss = "" if pd.isna(row.loss) else f"{row.loss:+.4f} ± {row.loss_se:.4f} ({row.random_loss:+.4f})"
            number = str(row.group) if row.size == 1 else f"{row.group}, {row.size} directions"
            said = [number, f"{row.share:.0%}", f"{row.copying:+.2f}"]
            for _, tokens in mine.groupby("pole", sort=False):
                sides = [_tokens(tokens.loc[tokens["role"] == role, "token_id"], token) for role in (read, written)]
                lines.add_row(*said, *sides, loss)
                said, loss = ["", "", ""], ""
        out.print(lines)
    typer.echo(
        "Sources raise output tokens (ov), destinations attend to sources (qk). The two lines of a direction are its\n"
        "poles; directions that cannot be told apart are read as one, which has none. share: of the squares of the\n"
        "circuit, tokens weighed. copying: 1 raises what it reads, −1 lowers it. loss: rise on held-out text, in nats\n"
        "per token, and in brackets without a random direction of the same circuit."
    )


def _tokens(ids: pd.Series, token: pd.Series) -> Text:
    return Text("  ").join(Text(visible(token.iloc[each]), style="bold") for each in ids.head(SHOWN))
