"""What a head reads and writes: the singular directions of its circuits."""

import numpy as np
import pandas as pd

from skiptrace.directions.tables import GROUPS, ROLES, SPECTRA
from skiptrace.report.inputs import ModelResult, Study
from skiptrace.report.rendering.document import Section, Table, Tokens, explained, numbers, prose, words
from skiptrace.report.rendering.failures import figure
from skiptrace.report.rendering.figures import COLOURS, GREY, canvas, grid

SHOWN = 3  # groups of each circuit
LISTED = 5  # tokens of an end
BEYOND = 3  # standard deviations
TITLES = {"ov": "OV: what is read is a source", "qk": "QK: what is read is a destination"}


def directions(study: Study) -> Section | None:
    """How many directions each circuit has, what the first read and write, and what the model loses without them."""
    if study.model.directed.spectra.empty:
        return None
    name, model = study.name, study.model
    whole, tokens = model.directed.spectra, study.corpus.vocabulary["token"]
    summary = Table(
        prose("""
            Each circuit as a whole beside the same weights turned at random. Effective rank: directions that it uses.
            Copying: 1 where every direction raises what it reads; for QK, where tokens attend to themselves. Copies by:
            how many directions share what it copies. Loss without it: on held-out text, nats per token, of QK without
            what tokens add to the scores. Attention moved: the share that goes to other sources then.
        """),
        explained(
            (
                *words("Head", "Circuit"),
                *numbers("Effective rank", "Random heads", "Copying", "Random heads", "Copies by", "Random heads"),
                *numbers("Loss without it", "Attention moved"),
            ),
            SPECTRA,
            "name circuit effective_rank effective_rank_null_mean copying copying_null_mean copying_directions "
            "copying_directions_null_mean loss moved",
        ),
        [
            (
                s.name,
                s.circuit.upper(),
                f"{s.effective_rank:.1f}",
                f"{s.effective_rank_null_mean:.1f} ± {s.effective_rank_null_sd:.1f}",
                f"{s.copying:+.2f}",
                f"{s.copying_null_mean:z.2f} ± {s.copying_null_sd:.2f}",
                f"{s.copying_directions:.1f}",
                f"{s.copying_directions_null_mean:.1f} ± {s.copying_directions_null_sd:.1f}",
                measured(s.loss, s.loss_se),
                moved(s.moved, s.moved_se),
            )
            for s in whole.itertuples()
        ],
    )
    found = figure(
        f"directions_{name}",
        "How many directions a circuit has",
        "The share of each circuit that its first directions carry, a line for each head. A line above the dashed one, "
        "the mean over random heads, is a circuit of fewer directions than its weights have to give.",
        draw_shares,
        model,
    )
    return Section(
        f"{name}-directions", f"{name}: what heads read and write", said(whole), [summary, ends(model, tokens), found]
    )


def said(whole: pd.DataFrame) -> list[str]:
    """How to read a direction, how few there are, and whether copying is one of them or many."""
    ranks = {circuit: rows for circuit, rows in whole.groupby("circuit")}
    parts = [
        f"of {circuit.upper()} {_span(rows['effective_rank'])} directions (random heads "
        f"{rows['effective_rank_null_mean'].mean():.1f})"
        for circuit, rows in sorted(ranks.items(), reverse=True)
    ]
    return [
        prose("""
            The circuit of a head is a sum of directions: what one reads of a token, times what it then writes. A
            direction has two poles: a token at one raises (or attends to) what stands at the same pole across from it,
            and lowers what stands at the other. Entries are weighted by how often their tokens occur. Directions with
            singular values too close to tell apart are read as one group, without poles.
        """),
        f"Effective rank: {'; '.join(parts)}. {_copying(ranks['ov'])}",
    ]


def _copying(ov: pd.DataFrame) -> str:
    """Whether the head that copies most does so by one direction or by many."""
    best = ov.loc[((ov["copying"] - ov["copying_null_mean"]) / ov["copying_null_sd"]).idxmax()]
    copying, by = (
        tuple(float(best[f"{name}{part}"]) for part in ("", "_null_mean", "_null_sd"))
        for name in ("copying", "copying_directions")
    )
    beside = f"({copying[0]:+.2f}, random heads {copying[1]:z.2f} ± {copying[2]:.2f})"
    if copying[0] <= copying[1] + BEYOND * copying[2]:
        return f"No head copies beyond chance: {best['name']} comes nearest {beside}."
    many = by[0] > by[1] + BEYOND * by[2]
    verdict = "it copies by many directions, not by one" if many else "no more than by chance"
    return (
        f"{best['name']} lies furthest above random heads in copying {beside}, and the effective number of directions "
        f"that do it is {by[0]:.1f} (random heads {by[1]:.1f} ± {by[2]:.1f}): {verdict}."
    )


def _span(values: pd.Series) -> str:
    low, high = f"{values.min():.1f}", f"{values.max():.1f}"
    return low if low == high else f"{low} to {high}"


def ends(model: ModelResult, token: pd.Series) -> Table:
    """The first groups of every circuit: a line for each pole."""
    groups, every = model.directed.groups, dict(list(model.directed.ends.groupby(["name", "circuit", "group"])))
    rows = []
    for g in groups[groups["group"] <= SHOWN].itertuples():
        mine = every.get((g.name, g.circuit, g.group))
        if mine is None:
            continue
        for pole, tokens in mine.groupby("pole", sort=False):
            sides = (tokens.loc[tokens["role"] == role, "token_id"].head(LISTED) for role in ROLES[g.circuit])
            rows.append(
                (
                    g.name,
                    g.circuit.upper(),
                    f"{g.group}{POLES[int(pole)]}" if g.size == 1 else f"{g.group} ({g.size} as one)",
                    *(Tokens(tuple(token.iloc[ids])) for ids in sides),
                    f"{g.share:.1%}",
                    f"{g.share_null_mean:.1%} ± {g.share_null_sd:.1%}",
                    f"{g.copying:+.2f}",
                    measured(g.loss, g.loss_se),
                    measured(g.random_loss, g.random_loss_sd),
                    moved(g.moved, g.moved_se),
                )
            )
    return Table(
        prose("""
            The first directions of each circuit, a line for each pole: sources and the output tokens that they raise
            (OV), destinations and the sources that they attend to (QK). Share: of the circuit. Loss without it: on
            held-out text with the direction removed from the head, ± standard error over contexts; beside it, without
            random directions of the same circuit, ± standard deviation over these.
        """),
        explained(
            (
                *words("Head", "Circuit", "Direction", "Reads", "Raises, or attends to"),
                *numbers("Share", "Random heads", "Copying", "Loss without it", "Random directions", "Attention moved"),
            ),
            GROUPS,
            "name circuit - - - share share_null_mean copying loss random_loss moved",
        ),
        rows,
    )


POLES = {1: " +", -1: " −", 0: ""}


def measured(value: float, error: float) -> str:
    """A number with its error; a dash where it was not measured."""
    return "–" if np.isnan(value) else f"{value:+.4f} ± {error:.4f}"


def moved(share: float, error: float) -> str:
    """A share of attention with its error; a dash where it was not measured."""
    return "–" if np.isnan(share) else f"{share:.2f} ± {error:.2f}"


def draw_shares(model: ModelResult) -> str:
    """The share of each circuit that its first directions carry, beside random heads."""
    with canvas(8.4, 3.2) as drawn:
        for axes, (circuit, title) in zip(grid(drawn, 2, 2, shared=True), TITLES.items(), strict=True):
            groups = model.directed.groups[model.directed.groups["circuit"] == circuit]
            for number, (name, rows) in enumerate(groups.groupby("name", sort=False)):
                places, shares = _cumulative(rows, "share")
                style = "-" if number < len(COLOURS) else "--"
                axes.plot(places, shares, color=COLOURS[number % len(COLOURS)], lw=1.4, ls=style, label=str(name))
            chance = [np.interp(places, *_cumulative(rows, "share_null_mean")) for _, rows in groups.groupby("name")]
            axes.plot(places, np.mean(chance, 0), color=GREY, lw=2, ls="--", label="random heads")
            axes.set_title(title)
            axes.set(ylim=(0, 1.02), xlabel="first directions")
        drawn.axes[0].set_ylabel("share of the circuit")
        drawn.axes[1].legend(loc="lower right", fontsize=7, ncols=2)
    return drawn.svg


def _cumulative(rows: pd.DataFrame, share: str) -> tuple[np.ndarray, np.ndarray]:
    """Directions so far, and the share that they carry, from none to all."""
    sizes, shares = rows["size"].cumsum().to_numpy(), rows[share].cumsum().to_numpy()
    return np.concatenate([[0], sizes]), np.concatenate([[0.0], shares])
