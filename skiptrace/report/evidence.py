"""The sections that say which mined rows are true."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skiptrace.report import figures
from skiptrace.report.document import Cell, Example, Examples, Figure, Section, Table, numbers, words
from skiptrace.report.inputs import ModelResult, Settings

LEADING = (50, 200, 1000)  # rows of a ranking that are compared


def evidence(name: str, model: ModelResult, settings: Settings, folder: Path) -> Section:
    """The best rows with their evidence, and the rankings compared by what survives."""
    checked, params = model.evidence, settings.verification
    if checked.empty:
        text = "No row was mined, so none was checked."
        return Section(f"{name}-evidence", f"{name}: which skip-trigrams are true", [text], [])
    matched = model.matched.groupby("heads")["consistent"].mean()
    support = checked["support"].value_counts(normalize=True)
    text = (
        f"{len(checked):,} mined rows were checked in {params.contexts} planted contexts each: held-out text that ends "
        "in the destination, with the source written in before it. The effect is the change in log p(output) when the "
        "head may not attend from the destination to the source (edge ablation). A row is causally consistent when its "
        f"effect is above zero and above that of {params.null_rows} random rows per head of similar frequency (false-"
        f"discovery rate {params.fdr:.0%}): {checked['consistent'].mean():.1%} are. That alone says little, since "
        "mined "
        "rows are the largest entries of the product that the model computes: of rows mined by the same rule "
        "from heads "
        f"whose weights are rotated at random {matched.get('rotated', np.nan):.1%} are consistent too, from Gaussian "
        f"heads {matched.get('gaussian', np.nan):.1%}. The training text supports {support.get('supported', 0):.1%} of "
        f"the rows (A … B C comes more often than B C alone predicts, errors clustered by document), contradicts "
        f"{support.get('contradicted', 0):.1%}, and is too rare to say of the others: that the model does something is "
        f"no sign that its text shows it. The effect exceeds that at each of {params.other_destinations} other "
        f"destinations of similar frequency for {checked['specific'].mean():.0%} of the rows (chance "
        f"{1 / (1 + params.other_destinations):.0%}); a row whose destination does not matter is a skip-bigram."
    )
    best = checked.sort_values("rank_evidence").head(settings.report.bigrams)
    table = Table(
        "The best rows by evidence: p(out) times the share of it that the edge brings. Effect and replaced: change in "
        "log p(out), in nats, ± standard error, when the edge is cut and when the source is replaced by a token of "
        "similar frequency. Random rows: mean effect ± standard deviation. Lift: count over expected count, with "
        "its 95 % "
        "interval.",
        (
            *words("Head", "Skip-trigram"),
            *numbers("Effect", "Replaced", "Random rows", "p(out)", "A … B C", "Expected", "Lift"),
            *words("Corpus", "Survives"),
        ),
        [_row(r) for r in best.to_dict("records")],
    )
    path = folder / f"effects_{name}.svg"
    figures.effects(path, checked)
    drawn = Figure(
        path,
        "Effect against lift",
        "Rows to the right do what the weights say; rows above the dashed line are what the corpus says. "
        "Rows never seen in the corpus are left out.",
    )
    return Section(
        f"{name}-evidence",
        f"{name}: which skip-trigrams are true",
        [text],
        [_funnel(model, params.min_p_out), table, _rankings(checked), drawn],
    )


def _row(row: dict[str, Any]) -> tuple[Cell, ...]:
    worked = Examples((Example(row["source"], "…", (row["destination"], row["out"])),))
    lift = f"{row['corpus_lift']:.1f} [{row['lift_low']:.1f}, {row['lift_high']:.1f}]"
    return (
        f"L{row['layer']}H{row['head']}",
        worked,
        f"{row['effect_nats']:+.2f} ± {row['effect_se']:.2f}",
        f"{row['replaced_nats']:+.2f} ± {row['replaced_se']:.2f}",
        f"{row['null_mean']:.2f} ± {row['null_sd']:.2f}",
        f"{row['p_out']:.2f}",
        f"{row['corpus_count']:,}",
        f"{row['corpus_expected']:,.0f}",
        lift if np.isfinite(row["corpus_lift"]) else "–",
        row["support"],
        "yes" if row["survives"] else "no",
    )


def _funnel(model: ModelResult, min_p_out: float) -> Table:
    """How many rows are left after each test, of the trained heads and of their stand-ins."""
    steps = model.funnel["step"].drop_duplicates().tolist()
    labels = {"p(out)": f"p(output) ≥ {min_p_out:.0%}"}
    if model.evidence["recurs"].isna().all():
        labels["recurring"] = "recurring (no twin was trained)"
    rows: list[tuple[Cell, ...]] = []
    for step in steps:
        each = model.funnel[model.funnel["step"] == step].set_index("heads")
        cells = (f"{each.loc[h, 'rows']:,} ({each.loc[h, 'share']:.1%})" for h in ("trained", "rotated", "gaussian"))
        rows.append((labels.get(step, step), *cells))
    return Table(
        "Rows left after each test, in this order. Beyond the matched null: the edge adds more probability to the "
        "output token than the edges of 95 % of the rows mined from rotated heads. Recurring: mined, in any head, from "
        "a twin model that differs in its seed alone. Rotated heads keep the spectra of W_QK and W_OV and lose their "
        "directions.",
        (*words("Test"), *numbers("Trained heads", "Rotated heads", "Gaussian heads")),
        rows,
    )


def _rankings(checked: pd.DataFrame) -> Table:
    rankings = {"published rule": "rank_published", "expected gain": "rank_expected", "by evidence": "rank_evidence"}
    rows: list[tuple[Cell, ...]] = []
    for label, column in rankings.items():
        shares = []
        for leading in LEADING:
            top = checked[checked[column] <= leading]
            kept = [top["support"] == "supported", top["survives"].astype(bool)]
            shares += [f"{each.mean():.0%}" if len(top) else "–" for each in kept]
        rows.append((label, *shares))
    heads = [f"{what}, first {n:,}" for n in LEADING for what in ("Supported", "Survive")]
    return Table(
        "The rankings compared by what survives among their first rows. Ranking by evidence comes after the check.",
        (*words("Ranking"), *numbers(*heads)),
        rows,
    )


def bugs(name: str, model: ModelResult, settings: Settings) -> Section:
    """Crossed skip-trigrams, their probabilities and their cost."""
    anchor, title = f"{name}-bugs", f"{name}: skip-trigram bugs"
    text = (
        "A head adds a function of source and destination times a function of source and output, so two true "
        "skip-trigrams of one source force their crossings (if A … B → C and A … D → E hold, the head also raises "
        "A … B → E). Removing every checked row that the corpus does not support, where its output token does not "
        f"follow, saves {model.bill:.5f} nats per token of held-out text: a bound for these rows alone, out of a loss "
        f"of {model.valid_loss:.3f}."
    )
    found = model.bugs.head(settings.report.bigrams // 2)
    if found.empty:
        return Section(anchor, title, [text, "No crossed pair was found among the checked rows."], [])
    rows: list[tuple[Cell, ...]] = []
    for r in found.to_dict("records"):
        right, crossed = (
            Examples(
                tuple(Example(r["source"], "…", (r[f"destination_{cell[0]}"], r[f"out_{cell[1]}"])) for cell in cells)
            )
            for cells in (("11", "22"), ("12", "21"))
        )
        said = [f"{r[f'model_{c}']:.3f} / {r[f'corpus_{c}']:.3f}" for c in ("11", "22", "12", "21")]
        costs = [
            f"{r[f'cost_{c}']:+.4f} ± {r[f'cost_se_{c}']:.4f} (n = {r[f'positions_{c}']:,})"
            if r[f"positions_{c}"] > 1
            else "–"
            for c in ("12", "21")
        ]
        head = f"L{r['layer']}H{r['head']}"
        rows.append((head, right, "; ".join(said[:2]), crossed, "; ".join(said[2:]), "; ".join(costs)))
    table = Table(
        f"{len(model.bugs)} crossed pairs were found; both rows of a pair are consistent and supported, neither "
        "crossing is supported. Probabilities of the out: in the model / in the corpus. Cost: change in "
        "loss, in nats, where the "
        "crossing applies in validation text, when its contribution alone is added; n places.",
        words("Head", "True", "Model / corpus", "Forced", "Model / corpus", "Cost of each"),
        rows,
    )
    return Section(anchor, title, [text], [table])


def truth(name: str, model: ModelResult) -> Section:
    """Precision and recall against the planted truth, beside the baselines."""
    rows: list[tuple[Cell, ...]] = []
    for (kind, ranking), scores in model.truth.groupby(["kind", "ranking"], sort=False):
        by_k = {int(r.k // r.planted): r for r in scores.itertuples()}
        first = by_k[1]
        false = f"{first.false_forced} / {first.false_real} / {first.false_wrong}" if kind == "skip_trigrams" else "–"
        recalls = [f"{by_k[f].recall:.2f}" if f in by_k else "–" for f in (1, 2, 5, 20)]
        rows.append((kind.replace("_", "-"), ranking, str(first.planted), f"{first.precision:.2f}", *recalls, false))
    table = Table(
        "K is the number planted. False rows among the first K: crossings that the factored form forces / other rows "
        "that the running model does do, by the check below / rows that it does not do, or that were not checked.",
        (
            *words("Kind", "Ranking"),
            *numbers("Planted", "Precision at K", "Recall at K", "at 2K", "at 5K", "at 20K", "False rows"),
        ),
        rows,
    )
    text = (
        "The corpus of this model was written by a known grammar, so mined tables can be held against the truth: "
        "planted bigrams, skip-trigrams, copies, and the crossings of planted quartets. Three baselines rank "
        "the same rows by "
        "OV alone or QK alone, or rank triples by their pointwise mutual information in the corpus, without any model."
    )
    return Section(f"{name}-truth", f"{name}: mined tables against planted truth", [text], [table])
