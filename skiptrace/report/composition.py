"""The sections on how heads work together: composition and virtual heads."""

from pathlib import Path

import pandas as pd

from skiptrace.report import composition_figures as figures
from skiptrace.report import induction, paths, stream
from skiptrace.report.document import Figure, Section, Table, Tokens, numbers, words
from skiptrace.report.failures import attempt
from skiptrace.report.inputs import CorpusResult, ModelResult, Settings

SHOWN = 12  # rows of the longer tables


def sections(name: str, model: ModelResult, corpus: CorpusResult, settings: Settings, folder: Path) -> list[Section]:
    """All of them, or what of them applies to a model of this depth."""
    texts = corpus.vocabulary["token"]
    found: list[Section] = []
    if model.params.n_layers > 0:
        found += attempt(name, paths.expansion, name, model, texts, folder)
        if not model.composed.terms.empty:
            found += attempt(name, paths.terms, name, model, folder)
    if model.params.n_layers > 1:
        found += attempt(name, _composition, name, model, settings, folder)
        if not model.composed.virtual_heads.empty:
            found += attempt(name, _virtual, name, model, settings, texts, folder)
        found += attempt(name, induction.induction, name, model, settings, folder)
    else:
        text = (
            "Not applicable: composition, virtual heads and induction heads take two heads in different layers, and "
            f"this model has {('no attention layer', 'one layer')[model.params.n_layers]}."
        )
        found.append(Section(f"{name}-composition", f"{name}: composition of heads", [text], []))
    if model.params.n_layers > 0:
        found += attempt(name, stream.residual, name, model, settings, folder)
    found += attempt(name, stream.features, name, model, settings, texts, folder)
    return found


def _composition(name: str, model: ModelResult, settings: Settings, folder: Path) -> Section:
    table, params = model.composed.composition, settings.composition
    found = table[table["significant"]].assign(above=lambda t: t["score"] - t["null_mean"])
    counts = ", ".join(f"{(found['kind'] == kind).sum()} {kind}" for kind in "QKV")
    text = (
        "A later head composes with an earlier one when its queries (Q), keys (K) or values (V) read the directions "
        "that the earlier one writes. Of "
        f"{len(table)} pairs and kinds, {len(found)} lie {params.null_sd:g} standard deviations above both nulls "
        f"({counts}): random matrices of the same shapes, and these very weights turned at random, which keeps how "
        "unevenly each matrix uses its directions."
    )
    if len(found):
        best = found.loc[found["above"].idxmax()]
        text += (
            f" The strongest is {best['kind']}-composition of {best['to']} with {best['from']}: "
            f"{best['score']:.3f} where chance gives {best['null_mean']:.3f}."
        )
    rows = [
        (
            r["kind"],
            f"{r['from']} → {r['to']}",
            f"{r['score']:.3f}",
            f"{r['null_mean']:.3f} ± {r['null_sd']:.3f}",
            f"{r['z']:+.1f}",
            f"{r['rotated_mean']:.3f} ± {r['rotated_sd']:.3f}",
            _z(r["rotated_z"]),
            f"{r['overlap']:.2f}",
            f"{r['overlap_null_mean']:.2f} ± {r['overlap_null_sd']:.2f}",
            f"{r['closest']:.2f}",
        )
        for r in found.nlargest(SHOWN, "above").to_dict("records")
    ]
    told = Table(
        "The significant pairs, strongest first. Score: ‖W_QK W_OV‖/(‖W_QK‖‖W_OV‖) and its kin; random and turned: "
        f"{params.null_draws} draws, ± standard deviation. Overlap: mean squared cosine of the principal angles "
        "between what is written and what is read, which no scale enters; closest: the largest cosine.",
        (
            *words("Kind", "Heads"),
            *numbers("Score", "Random", "z", "Turned", "z", "Overlap", "By chance", "Closest"),
        ),
        rows,
    )
    heat, edges = folder / f"composition_{name}.svg", folder / f"composition_graph_{name}.svg"
    figures.composition(heat, table)
    figures.graph(edges, table)
    return Section(
        f"{name}-composition",
        f"{name}: composition of heads",
        [text],
        [
            Figure(heat, "Composition scores", "Score less the mean of random matrices; framed cells are significant. "
                   "Look for a row that stands out under K: that earlier head feeds the keys of later ones."),
            Figure(edges, "Significant compositions", "An edge for every framed cell, as wide as it is strong."),
            told,
        ],
    )  # fmt: skip


def _z(value: float | None) -> str:
    return "n/a" if value is None or pd.isna(value) else f"{value:+.1f}"


def _virtual(name: str, model: ModelResult, settings: Settings, texts: pd.Series, folder: Path) -> Section:
    composed = model.composed
    terms = composed.terms.set_index("name")
    copies = composed.virtual_heads[composed.virtual_heads["copies"]]
    text = (
        "Two heads in turn act as one: a virtual head with pattern A^h₂A^h₁ and OV circuit W_E W_OV^h₁ W_OV^h₂ W_U. "
        f"Of the {len(composed.virtual_heads)} strongest, {len(copies)} have the eigenvalues of copying "
        f"({settings.composition.null_sd:g} standard deviations above random heads); of all tokens, at most "
        f"{composed.virtual_heads['own_top1'].max():.1%} are first in their own row. Their K-composition circuits say "
        "instead what the later head "
        "looks for through the earlier one: an induction head looks for its own token, so its diagonal is largest."
    )
    one = composed.virtual_heads.iloc[0]
    rows = []
    for r in composed.virtual_heads.itertuples():
        loss = terms.loc[r.name] if r.name in terms.index else None
        rows.append(
            (
                r.name,
                f"{r.copying:+.2f}",
                "yes" if r.copies else "no",
                f"{r.own_top1:.1%}",
                f"{r.own_top5:.1%}",
                "n/a" if loss is None else f"{loss['removed']:+.4f} ± {loss['removed_se']:.4f}",
                f"{r.k_eigenvalues:+.2f}",
                f"{r.k_own_top1:.1%}",
            )
        )
    scored = Table(
        "Virtual heads, the largest ‖W_OV^h₁ W_OV^h₂‖ first. Copying: Σλ/Σ|λ|, for random heads "
        f"{one['copying_null_mean']:z.2f} ± {one['copying_null_sd']:.2f}; own top: how often a token is among the "
        f"first in its own row of the OV circuit; loss: what the model loses without this path, in nats per token. Of "
        f"the K-composition circuit: Σλ/Σ|λ|, for random heads {one['k_null_mean']:z.2f} ± {one['k_null_sd']:.2f}, "
        f"and how often a token's own column is the largest of its row (chance {one['chance_top1']:.2%}).",
        (
            *words("Virtual head"),
            *numbers("Copying"),
            *words("Copies"),
            *numbers("Own top 1", "Own top 5", "Loss", "K: Σλ/Σ|λ|", "K: own top 1"),
        ),
        rows,
    )
    count = settings.report.sources_per_head
    said = Table(
        "What virtual heads say: the sources they act on most, and their outs. Score: OV, centred, times p(source)^"
        f"{settings.mining.frequency_power:g}.",
        (*words("Virtual head", "Source", "Out"), *numbers("OV", "Score")),
        [
            (r.name, Tokens((r.source,)), Tokens((r.out,)), f"{r.ov:.2f}", f"{r.score:.2f}")
            for r in composed.virtual_outs.drop_duplicates(["name", "source_id"]).head(count).itertuples(index=False)
        ],
    )
    wanted = Table(
        "What later heads look for through earlier ones: the largest entries of the K-composition circuits. A "
        "destination that looks for itself is the first half of induction.",
        (*words("Heads", "Destination", "Looks for"), *numbers("QK", "Score")),
        [
            (r.name, Tokens((r.destination,)), Tokens((r.source,)), f"{r.qk:.2f}", f"{r.score:.2f}")
            for r in composed.wanted.drop_duplicates(["name", "destination_id"]).head(count).itertuples(index=False)
        ],
    )
    return Section(
        f"{name}-virtual",
        f"{name}: virtual heads",
        [text],
        [scored, *_patterns(name, model, texts, folder), wanted, said],
    )


def _patterns(name: str, model: ModelResult, texts: pd.Series, folder: Path) -> list[Figure]:
    """The patterns of two pairs of heads, if the model gets any text right in which they count."""
    table = model.composed.patterns
    if table.empty:
        return []
    path = folder / f"patterns_{name}.svg"
    figures.patterns(path, table, texts)
    shown = table.drop_duplicates("name")
    reasons = "; ".join(f"{pair}, {why}" for pair, why in zip(shown["name"], shown["why"], strict=True))
    drawn = Figure(
        path,
        "Patterns of pairs of heads",
        f"On validation text ({reasons}): the earlier head, the later head, and their product, which says where the "
        "two together move information from. Where a later head attends to what follows an earlier occurrence and the "
        "earlier head to the token before, their product falls on the earlier occurrence itself.",
    )
    return [drawn]
