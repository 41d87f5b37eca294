"""The sections on single heads: their scores, and corners of their circuits."""

from pathlib import Path

import pandas as pd
import torch

from skiptrace.circuits import factored
from skiptrace.circuits.scores import OWN_ROWS, OwnRow, own_row, span_length
from skiptrace.config.report import ReportParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.models.transformer import Transformer
from skiptrace.report import figures
from skiptrace.report.document import Cell, Figure, Section, Table, Tokens, numbers, words
from skiptrace.report.inputs import CorpusResult, ModelResult, Weights


def heads(
    name: str, model: ModelResult, scoring: ScoringParams, params: ReportParams, weights: Weights, folder: Path
) -> Section:
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
            _copied(model, weights.models[name]),
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


def _copied(model: ModelResult, transformer: Transformer) -> Table:
    """Copying token by token, for heads and for the sum of each layer's heads, with the best copied tokens."""

    def row(label: str, own: OwnRow, tokens: pd.Series) -> tuple[Cell, ...]:
        shares = (f"{share:.1%}" for share in own)
        return (label, *shares, Tokens(tuple(tokens.head(6))))

    copies, rows = model.copies, []
    for h in model.heads.itertuples():
        best = copies.loc[(copies["layer"] == h.layer) & (copies["head"] == h.head), "source"]
        rows.append(row(h.name, OwnRow(h.own_top1, h.own_top5, h.own_positive), best))
    for layer in range(transformer.n_layers):
        every = [factored.ov(transformer, layer, head) for head in range(transformer.n_heads)]
        rows.append(row(f"L{layer}, all heads", own_row(every), pd.Series(dtype="str")))
    size = transformer.d_vocab
    return Table(
        f"How many tokens of {_of(size)} are first, or among the first five, in their own row of the OV "
        f"circuit, or above the mean of that row (chance: {1 / size:.2%}, {5 / size:.2%}, 50%), and the tokens "
        "copied most.",
        (*words("Head"), *numbers("Own top 1", "Own top 5", "Positive diagonal"), *words("Copied most")),
        rows,
    )


def circuits(
    name: str, model: ModelResult, weights: Weights, corpus: CorpusResult, params: ReportParams, folder: Path
) -> Section:
    """A corner of both circuits of the head that copies most."""
    best = model.heads.loc[model.heads["copying"].idxmax()]
    layer, head = int(best["layer"]), int(best["head"])
    mine = model.skip_trigrams[(model.skip_trigrams["layer"] == layer) & (model.skip_trigrams["head"] == head)]
    side = min(params.corner, len(corpus.vocabulary))
    sources = _leading(mine, "source_id", side, corpus)
    destinations = _leading(mine, "destination_id", side, corpus)
    token, p = (
        corpus.vocabulary["token"],
        torch.tensor(corpus.vocabulary["probability"].to_numpy(), dtype=torch.float32),
    )
    transformer = weights.models[name]
    ov, qk = factored.ov(transformer, layer, head), factored.qk(transformer, layer, head)
    ov_corner = ov.left[sources] @ ov.right[:, sources] - ov.column_means()[sources, None]
    qk_corner = qk.left[destinations] @ qk.right[:, sources] - (qk.left[destinations] @ (qk.right @ p))[:, None]
    names = token.iloc[sources]
    label = f"L{layer}H{head}"
    figures.corner(
        folder / f"ov_{name}.svg",
        pd.DataFrame(ov_corner.numpy(), names, names),
        f"OV of {label}",
        ("source", "out"),
        "logits",
    )
    figures.corner(
        folder / f"qk_{name}.svg",
        pd.DataFrame(qk_corner.numpy(), token.iloc[destinations], names),
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


def _leading(table: pd.DataFrame, column: str, wanted: int, corpus: CorpusResult) -> list[int]:
    """Distinct tokens of a mined column, best first, filled up with the most frequent tokens."""
    best = table.sort_values("rank")[column].tolist()
    frequent = corpus.vocabulary["count"].iloc[1:].nlargest(2 * wanted).index.tolist()
    return [int(t) for t in dict.fromkeys([*best, *frequent])][:wanted]
