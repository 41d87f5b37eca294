"""The residual stream: who writes, who reads, who deletes."""

from collections.abc import Sequence

import pandas as pd

from skiptrace.composition.tables import WRITERS
from skiptrace.report.inputs import Study
from skiptrace.report.rendering.document import (
    Block,
    Cell,
    Section,
    Table,
    explained,
    numbers,
    prose,
    words,
)
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import (
    DIVERGING,
    canvas,
    head_order,
    matrix,
    symmetric,
)


def residual(study: Study) -> Section | None:
    """Virtual weights, the dimensions that writers use, their overlaps, and deletion."""
    if study.model.params.n_layers == 0:
        return None
    name, model, settings = study.name, study.model, study.settings
    composed, params = model.composed, settings.scoring
    weights, deletion = composed.virtual_weights, composed.deletion
    strongest = weights.loc[weights["z"].idxmax()]
    deleting = deletion[deletion["deletes"]]
    between = weights[weights["impossible_max"].notna()]
    among = "" if between.empty else _between_heads(between, params.null_sd)
    d_model = model.params.d_model
    texts = [
        prose(f"""
            Every part of the model reads from the residual stream and adds to it. The virtual weights of a writer and a
            reader are the product of their matrices; its norm says how strongly the two are connected, against the same
            matrices rotated at random. The strongest: {strongest["writer"]} to {strongest["reader"]}
            ({strongest["score"]:.3f}, chance {strongest["null_mean"]:.3f}, z = {strongest["z"]:+.0f}).
        """)
        + among,
        prose(f"""
            A head can delete what an earlier writer wrote: read it and write its negative. Of {len(deletion)} pairs of
            a head and an earlier writer, {_passing(deleting)} every test: the share of negative eigenvalues lies
            {params.null_sd:g} standard deviations above random heads; on text the output points against what the stream
            holds there, with a cosine as many standard deviations below that of the same outputs at shuffled positions;
            and both are more extreme than in every pair in which the writer is not earlier, so that nothing can be
            deleted.
        """)
        + _strongest(deleting),
    ]
    rows: list[tuple[Cell, ...]] = [
        (
            r.name,
            f"{r.norm:.2f}",
            f"{r.effective_rank:.1f}",
            str(r.dimensions),
            f"{r.weights_effective_rank:.1f}",
            f"{r.null_mean:.1f} ± {r.null_sd:.1f}",
            str(r.rank),
        )
        for r in composed.writers.itertuples(index=False)
    ]
    used = Table(
        prose(f"""
            How much of the {d_model} dimensions each writer uses. Norm: root mean square of what it writes on text.
            Effective rank: exponential of the entropy of the squared singular values, of what it writes on text and of
            its weights, beside Gaussian matrices of the same shape. Dimensions: directions that hold
            {settings.composition.subspace_share:.0%} of what it writes.
        """),
        explained(
            (
                *words("Writer"),
                *numbers(
                    "Norm", "Effective rank", "Dimensions", "Of its weights", "Random weights", "Largest possible"
                ),
            ),
            WRITERS,
            "name norm effective_rank dimensions weights_effective_rank null_mean rank",
        ),
        rows,
    )

    blocks: list[Block] = [
        figure(
            f"virtual_weights_{name}",
            "Virtual weights",
            "Every writer against every reader after it, in standard deviations above chance. Orange: read more than "
            "by chance; purple: read less. Positions are added only to what queries and keys read.",
            draw_virtual_weights,
            weights,
        ),
        used,
    ]
    if len(composed.overlaps):
        blocks.append(
            figure(
                f"overlaps_{name}",
                "Shared subspaces",
                "Mean squared cosine of the principal angles between what two writers write on text, less that of "
                "random subspaces of the same dimensions. Below zero, writers avoid each other's subspaces.",
                draw_overlaps,
                composed.overlaps,
                composed.writers["name"].tolist(),
            )
        )

    blocks.append(
        figure(
            f"deletion_{name}",
            "Deletion",
            "Left: share of negative eigenvalues of W_OV, by size, in the directions in which an earlier writer "
            "writes, about 0.5 by chance. Right: cosine, on text, between the head's output and what the stream holds "
            "in these directions; below zero the head deletes, above zero it adds to what is there.",
            draw_deletion,
            deletion,
        )
    )
    return Section(f"{name}-stream", f"{name}: the residual stream", texts, blocks)


def _between_heads(weights: pd.DataFrame, null_sd: float) -> str:
    above, below = int(weights["significant"].sum()), int(weights["below"].sum())
    return (
        f" Between heads, {above} of {len(weights)} score {null_sd:g} standard deviations above chance and above every "
        f"pair in which the reader is not later than the writer; {below} score as far below chance."
    )


def _passing(pairs: pd.DataFrame) -> str:
    """How many pairs pass: `none passes`, `one passes`, `3 pass`."""
    return {0: "none passes", 1: "one passes"}.get(len(pairs), f"{len(pairs)} pass")


def _strongest(deleting: pd.DataFrame) -> str:
    """The pair that deletes most, and whether what the stream holds gets smaller; nothing where none passes."""
    if deleting.empty:
        return ""
    one = deleting.loc[deleting["cosine"].idxmin()]
    smaller = (deleting["after"] < deleting["before"]).sum()
    return (
        f" The clearest is {one['head']} on what {one['writer']} wrote (cosine {one['cosine']:+.2f}): the norm of the "
        f"stream there is {one['before']:.2f} before and {one['after']:.2f} after, {one['after_shuffled']:.2f} with "
        "the head's outputs at shuffled positions."
        + (f" {smaller or 'None'} of the {len(deleting)} leave it smaller than before." if len(deleting) > 1 else "")
    )


def draw_virtual_weights(table: pd.DataFrame) -> str:
    """z-scores of every writer with every reader after it."""
    writers, readers = (list(dict.fromkeys(table[side])) for side in ("writer", "reader"))
    readers.sort(key=lambda r: (r == "W_U", r.split()[-1], r == "W_U" or head_order(r.split()[0])))
    values = table.pivot(index="writer", columns="reader", values="z").loc[writers, readers]
    with canvas(2.2 + 0.3 * len(readers), 1.8 + 0.3 * len(writers)) as drawn:
        axes = drawn.subplots()
        image = matrix(axes, values, symmetric(values), DIVERGING, 0 if len(readers) <= 32 else None, 6.5)
        axes.set(xlabel="reader", ylabel="writer")
        drawn.colorbar(image, ax=axes, label="z-score", shrink=0.9)
    return drawn.svg


def draw_overlaps(table: pd.DataFrame, names: Sequence[str]) -> str:
    """Overlap of what every two writers write, less what random subspaces of their dimensions have."""
    above = table.assign(above=table["overlap"] - table["null_mean"])
    wide = above.pivot(index="writer", columns="other", values="above").reindex(index=names[1:], columns=names[:-1])
    with canvas(2.2 + 0.44 * len(names), 1.2 + 0.36 * len(names)) as drawn:
        axes = drawn.subplots()
        image = matrix(axes, wide, symmetric(wide), DIVERGING, 2 if len(names) <= 17 else None, 7.0)
        drawn.colorbar(image, ax=axes, label="overlap above chance", shrink=0.9)
    return drawn.svg


def draw_deletion(table: pd.DataFrame) -> str:
    """Share of negative eigenvalues on each writer's subspace, and the output's cosine with the stream there."""
    heads, writers = (list(dict.fromkeys(table[side])) for side in ("head", "writer"))
    shape = (len(heads), len(writers))
    # The titles need more width than the cells of a model with few heads.
    with canvas(max(7.0, 2.6 + 2 * (0.46 * shape[1] + 0.6)), 1.5 + 0.34 * shape[0]) as drawn:
        left, right = drawn.subplots(1, 2, sharey=True)
        digits = 2 if shape[1] <= 9 else None
        negative, cosine = (table.pivot(index="head", columns="writer", values=v).loc[heads, writers]
                           for v in ("negative", "cosine"))  # fmt: skip
        one = matrix(left, negative, (0.0, 1.0), DIVERGING, digits)
        two = matrix(right, cosine, symmetric(cosine), DIVERGING, digits)
        left.set(ylabel="head that reads and writes", xlabel="subspace of", title="weights: negative share")
        right.set(xlabel="subspace of", title="text: cosine with the stream")
        drawn.colorbar(one, ax=left, shrink=0.9)
        drawn.colorbar(two, ax=right, shrink=0.9)
    return drawn.svg
