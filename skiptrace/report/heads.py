"""The sections on single heads: their scores, and corners of their circuits."""

from pathlib import Path

import pandas as pd

from skiptrace.circuits.scores import OWN_ROWS, OwnRow, span_length
from skiptrace.config.report import ReportParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.report import figures
from skiptrace.report.document import Cell, Figure, Section, Table, Tokens, numbers, words
from skiptrace.report.inputs import CorpusResult, ModelResult


def heads(name: str, model: ModelResult, scoring: ScoringParams, params: ReportParams, folder: Path) -> Section:
    """The scores of every head beside their nulls, what it copies, and attention by distance."""
    columns = (
        *words("Head"),
        *numbers("Copying", "Random heads", "z"),
        *words("Copies"),
        *numbers("Position share", "Random heads"),
        *numbers("Previous token", "Even", "Prefix matching", "Even", "Attention to start"),
    )
    length = span_length(model.params.n_ctx, scoring.repeated_tokens, scoring.repeats)
    rows = [
        (
            h.name,
            f"{h.copying:+.2f}",
            f"{h.copying_null_mean:z.2f} ± {h.copying_null_sd:.2f}",
            f"{(h.copying - h.copying_null_mean) / h.copying_null_sd:+.1f}",
            "yes" if h.copies else "no",
            f"{h.position_share:.2f}",
            f"{h.position_share_null_mean:.2f} ± {h.position_share_null_sd:.2f}",
            f"{h.previous_token:.2f}",
            f"{h.previous_token_uniform:.2f}",
            f"{h.prefix_matching:.2f}",
            f"{h.prefix_matching_uniform:.2f}",
            f"{h.bos_attention:.2f}",
        )
        for h in model.heads.itertuples()
    ]
    table = Table(
        f"Each score beside its null. Copying: Σλ/Σ|λ| of the OV circuit; a head copies when it lies "
        f"{scoring.null_sd:g} standard deviations above {scoring.null_draws} random heads. Position share: r² of the "
        "position term with the attention scores on text, beside that of random heads. Previous token: mean "
        "attention to the token before, on text. Prefix matching: mean attention to what followed earlier "
        f"occurrences, on {length} random tokens repeated {scoring.repeats} times. Even: the same "
        "for attention spread evenly. Attention to start: the share that rests on the first token of the context.",
        columns,
        rows,
    )
    figures.copying(folder / f"copying_{name}.svg", model, scoring.null_sd)
    figures.offsets(folder / f"offsets_{name}.svg", model, params.offsets)
    return Section(
        f"{name}-heads",
        f"{name}: heads",
        [],
        [
            table,
            _copied(model),
            Figure(
                folder / f"copying_{name}.svg",
                "Copying",
                "Blue heads copy: they lie clearly to the right of the grey band of random heads.",
            ),
            Figure(
                folder / f"offsets_{name}.svg",
                "Attention by distance",
                "Where the dashed line (the position term alone) predicts the solid one (real text), a head attends by "
                "position. A peak at 1 is a previous-token head.",
            ),
        ],
    )


def _of(size: int) -> str:
    return "the whole vocabulary" if size <= OWN_ROWS else f"{OWN_ROWS:,} spread over the vocabulary"


def _copied(model: ModelResult) -> Table:
    """Copying token by token, for heads and for the sum of each layer's heads, with the best copied tokens."""

    def row(label: str, own: OwnRow, tokens: pd.Series) -> tuple[Cell, ...]:
        shares = (f"{share:.1%}" for share in own)
        return (label, *shares, Tokens(tuple(tokens.head(6))))

    copies, rows, size = model.copies, [], model.d_vocab
    for h in model.heads.itertuples():
        best = copies.loc[(copies["layer"] == h.layer) & (copies["head"] == h.head), "source"]
        rows.append(row(h.name, OwnRow(h.own_top1, h.own_top5, h.own_positive), best))
    for each in model.explored.layers.itertuples():
        own = OwnRow(each.own_top1, each.own_top5, each.own_positive)
        rows.append(row(f"L{each.layer}, all heads", own, pd.Series(dtype="str")))
    return Table(
        f"How many tokens of {_of(size)} are first, or among the first five, in their own row of the OV "
        f"circuit, or above the mean of that row (chance: {1 / size:.2%}, {5 / size:.2%}, 50%), and the tokens "
        "copied most.",
        (*words("Head"), *numbers("Own top 1", "Own top 5", "Positive diagonal"), *words("Copied most")),
        rows,
    )


def circuits(name: str, model: ModelResult, corpus: CorpusResult, folder: Path) -> Section:
    """A corner of both circuits of the head that copies most."""
    token, corners = corpus.vocabulary["token"], model.explored.corners
    first = corners.iloc[0]
    label = f"L{first['layer']}H{first['head']}"

    def corner(circuit: str) -> pd.DataFrame:
        entries = corners[corners["circuit"] == circuit]
        rows, columns = entries["row_id"].unique(), entries["column_id"].unique()
        values = entries["value"].to_numpy().reshape(len(rows), len(columns))
        return pd.DataFrame(values, token.iloc[rows], token.iloc[columns])

    ov_corner, qk_corner = corner("ov"), corner("qk")
    side = len(ov_corner)
    figures.corner(
        folder / f"ov_{name}.svg",
        ov_corner,
        f"OV of {label}",
        ("source", "out"),
        "logits",
    )
    figures.corner(
        folder / f"qk_{name}.svg",
        qk_corner,
        f"QK of {label}",
        ("destination", "source"),
        "attention score",
    )
    return Section(
        f"{name}-circuits",
        f"{name}: a corner of two circuits",
        [
            f"{label} copies most strongly. Its {side} leading sources, against themselves as outs, and against the "
            "destinations that look for them."
        ],
        [
            Figure(
                folder / f"ov_{name}.svg",
                f"OV circuit of {label}",
                "An orange diagonal is copying: attending to a token raises that same token.",
            ),
            Figure(
                folder / f"qk_{name}.svg",
                f"QK circuit of {label}",
                "Orange cells are the pairs in which the destination attends to the source, if it stands before.",
            ),
        ],
    )
