"""Recomputes the headlines of a pipeline run in plain NumPy from its files, importing nothing of skiptrace.

`python -m tests.referee.referee [FOLDER]` prints every claim with what was recomputed; it fails if they disagree. What
the pipeline draws at random (contexts, random matrices) is drawn again, otherwise, and compared within its errors.
Models that were trained elsewhere are left out: they bring layer norm and MLPs.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from safetensors.numpy import load_file
from scipy import stats

BOS = 0
SAMPLE = 24  # rows of a table that are counted in the corpus, and checked on the model
CONTEXTS = 64  # contexts of each of those
LOSS_CONTEXTS = 256  # contexts that the validation loss is recomputed on
ERRORS = 4.0  # standard errors within which two samples of the same quantity agree
LEARNED_NATS = 0.25  # fall of log p(output) without the source from which a model has learned a rule
BOUND_PLACES = 4096  # places of the validation text that the bound of unsupported rows is measured at


class Claim(NamedTuple):
    """What a file says, what was recomputed, and how far apart the two may be."""

    what: str
    told: float
    found: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the two are the same within the tolerance; NaN agrees with NaN alone."""
        if math.isnan(self.told) or math.isnan(self.found):
            return math.isnan(self.told) and math.isnan(self.found)
        return abs(self.told - self.found) <= self.tolerance


class Run:
    """The files of one model in a folder where the pipeline was reproduced."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.params = yaml.safe_load((folder / "params.yaml").read_text())
        self.corpus = self.params["models"][name]["corpus"]
        self.metrics = json.loads((folder / "reports/metrics.json").read_text())["models"][name]
        place = folder / "data/models" / name
        self.config = json.loads((place / "config.json").read_text())
        self.weights = {key: w.astype(np.float64) for key, w in load_file(place / "model.safetensors").items()}
        self.layers, self.heads = self.config["n_layers"], self.config["n_heads"]
        self.ctx, self.d_head = self.config["n_ctx"], self.config["d_head"]
        self.E, self.U = self.weights["embed.W_E"], self.weights["unembed.W_U"]
        self.pos = self.weights["pos_embed.W_pos"]
        tokens = folder / "data/tokens" / self.corpus
        self.vocab = pd.read_parquet(tokens / "vocab.parquet")
        self.train, self.valid = (np.load(tokens / f"{split}.npy").astype(np.int64) for split in ("train", "valid"))

    def table(self, path: str) -> pd.DataFrame:
        """A table of the model, such as `tables/heads`."""
        room, file = path.split("/")
        return pd.read_parquet(self.folder / "data" / room / self.name / f"{file}.parquet")

    def head(self, matrix: str, layer: int, head: int) -> np.ndarray:
        """W_Q, W_K, W_V or W_O of one head."""
        return self.weights[f"blocks.{layer}.attn.{matrix}"][head]

    def each(self) -> list[tuple[int, int]]:
        """(layer, head) of all heads."""
        return [(layer, head) for layer in range(self.layers) for head in range(self.heads)]

    def pattern(self, x: np.ndarray, layer: int, head: int) -> np.ndarray:
        """A = softmax*((x + pos) W_Q W_Kᵀ (x + pos)ᵀ/√d_head)."""
        y = x + self.pos[: x.shape[1]]
        query, key = y @ self.head("W_Q", layer, head), y @ self.head("W_K", layer, head)
        return softmax_causal(query @ key.transpose(0, 2, 1) / math.sqrt(self.d_head))

    def written(self, x: np.ndarray, pattern: np.ndarray, layer: int, head: int) -> np.ndarray:
        """A x W_V W_O."""
        return pattern @ x @ self.head("W_V", layer, head) @ self.head("W_O", layer, head)

    def forward(self, tokens: np.ndarray, cut: tuple[int, int, np.ndarray] | None = None) -> tuple[np.ndarray, dict]:
        """The final residual stream and every pattern; `cut` = (layer, head, sources not attended from the end)."""
        x, patterns = self.E[tokens], {}
        for layer in range(self.layers):
            added = np.zeros_like(x)
            for head in range(self.heads):
                pattern = self.pattern(x, layer, head)
                if cut is not None and cut[:2] == (layer, head):
                    row = np.where(cut[2], 0, pattern[:, -1])
                    pattern[:, -1] = row / np.maximum(row.sum(1, keepdims=True), 1e-30)
                patterns[layer, head] = pattern
                added += self.written(x, pattern, layer, head)
            x = x + added
        return x, patterns

    def losses(self, x: np.ndarray, windows: np.ndarray) -> np.ndarray:
        """The loss at every position but BOS, in nats."""
        return -log_p(x[:, 1:] @ self.U, windows[:, 2:])

    def qk(self, layer: int, head: int) -> np.ndarray:
        """Rows are destinations, columns sources; centred per destination by the mean over the corpus."""
        scores = (self.E @ self.head("W_Q", layer, head)) @ (self.E @ self.head("W_K", layer, head)).T
        scores /= math.sqrt(self.d_head)
        return scores - (scores @ self.vocab["probability"].to_numpy())[:, None]

    def ov(self, layer: int, head: int) -> np.ndarray:
        """Rows are sources, columns output tokens; centred per source."""
        raised = self.E @ self.head("W_V", layer, head) @ self.head("W_O", layer, head) @ self.U
        return raised - raised.mean(1, keepdims=True)


def softmax_causal(scores: np.ndarray) -> np.ndarray:
    """Softmax over the sources that each destination may see."""
    n = scores.shape[-1]
    scores = np.where(np.tri(n, dtype=bool), scores, -np.inf)
    weight = np.exp(scores - scores.max(-1, keepdims=True))
    return weight / weight.sum(-1, keepdims=True)


def log_p(logits: np.ndarray, token: np.ndarray) -> np.ndarray:
    """Log probability of one token each."""
    top = logits.max(-1)
    total = top + np.log(np.exp(logits - top[..., None]).sum(-1))
    return np.take_along_axis(logits, token[..., None], -1)[..., 0] - total


def windows(stream: np.ndarray, starts: np.ndarray, ctx: int) -> np.ndarray:
    """BOS, then `ctx` tokens from each start."""
    return np.pad(stream[starts[:, None] + np.arange(ctx)], ((0, 0), (1, 0)), constant_values=BOS)


def spread(run: Run, count: int) -> np.ndarray:
    """Windows at even distances over the validation text."""
    return windows(run.valid, np.linspace(0, len(run.valid) - run.ctx, count).astype(np.int64), run.ctx)


def loss(run: Run) -> Iterator[Claim]:
    """The validation loss on at most `LOSS_CONTEXTS` of its contexts, and the loss by position where these are all."""
    starts = np.arange(0, len(run.valid) - run.ctx + 1, run.ctx - 1)
    most = run.params["scoring"]["loss_contexts"]
    if most < len(starts):
        starts = starts[np.arange(most) * len(starts) // most]
    contexts = len(starts)
    starts = starts[np.unique(np.linspace(0, contexts - 1, min(contexts, LOSS_CONTEXTS)).astype(int))]
    parts = [windows(run.valid, starts[i : i + 16], run.ctx) for i in range(0, len(starts), 16)]
    found = np.concatenate([run.losses(run.forward(w[:, :-1])[0], w) for w in parts])
    told = run.table("tables/losses")["loss"].to_numpy()
    each = found.mean(1)
    error = each.std() / math.sqrt(len(each)) if len(each) < contexts else 0.0
    yield Claim("valid_loss", run.metrics["valid_loss"], each.mean(), ERRORS * error + 1e-4)
    yield Claim("valid_loss, mean over positions", run.metrics["valid_loss"], told.mean(), 1e-5)
    if len(each) == contexts:
        yield Claim("loss by position, largest difference", 0.0, np.abs(told - found.mean(0)).max(), 1e-3)


def scores(run: Run) -> Iterator[Claim]:
    """Copying, attention to the previous token, position alone, prefix matching, and the counts of heads."""
    told, params = run.table("tables/heads").set_index(["layer", "head"]), run.params["scoring"]
    text = spread(run, params["sequences"])[:, :-1]
    _, patterns = run.forward(text)
    generator = np.random.default_rng(1)
    d = len(run.U)
    through = run.U @ run.E
    null = [
        copying(generator.normal(size=(run.d_head, d)) @ through @ generator.normal(size=(d, run.d_head)))
        for _ in range(400)
    ]
    length = min(params["repeated_tokens"], (run.ctx - 1) // params["repeats"])
    span = generator.integers(1, len(run.E), (128, length))
    repeated = np.pad(np.tile(span, (1, params["repeats"])), ((0, 0), (1, 0)), constant_values=BOS)
    _, induced = run.forward(repeated)
    counted = 0
    for (layer, head), row in told.iterrows():
        at = f"L{layer}H{head}"
        core = run.head("W_O", layer, head) @ through @ run.head("W_V", layer, head)
        value = copying(core)
        counted += value > row["copying_null_mean"] + params["null_sd"] * row["copying_null_sd"]
        yield Claim(f"{at} copying", row["copying"], value, 1e-3)
        diagonal = np.diagonal(patterns[layer, head], -1, 1, 2).mean()
        yield Claim(f"{at} previous token", row["previous_token"], diagonal, 1e-4)
        alone = softmax_causal(
            (run.pos @ run.head("W_Q", layer, head))
            @ (run.pos @ run.head("W_K", layer, head)).T
            / math.sqrt(run.d_head)
        )
        at_offset = np.diagonal(alone, -int(row["best_offset"])).mean()
        yield Claim(f"{at} position alone at its best offset", row["best_offset_attention"], at_offset, 1e-4)
        each = prefix_matching(induced[layer, head], length, params["repeats"])
        error = each.std() * math.sqrt(1 / len(each) + 1 / params["sequences"])
        yield Claim(f"{at} prefix matching", row["prefix_matching"], each.mean(), ERRORS * error + 1e-4)
    error = np.std(null) * math.sqrt(1 / params["null_draws"] + 1 / len(null))
    yield Claim("null of copying, mean", told["copying_null_mean"].iloc[0], np.mean(null), ERRORS * error)
    relative = math.sqrt(0.5 / max(1, params["null_draws"] - 1) + 0.5 / len(null))
    spread_of_null = float(np.std(null))
    yield Claim(
        "null of copying, sd", told["copying_null_sd"].iloc[0], spread_of_null, ERRORS * relative * spread_of_null
    )
    yield Claim("copying_heads", run.metrics["copying_heads"], counted, 0)
    positional = (told["position_share"] >= params["positional_share"]) & (
        told["best_offset_attention"] >= params["positional_attention"]
    )
    yield Claim("positional_heads", run.metrics["positional_heads"], positional.sum(), 0)


def copying(core: np.ndarray) -> float:
    """Σλ/Σ|λ|."""
    values = np.linalg.eigvals(core)
    return float(values.real.sum() / np.abs(values).sum())


def prefix_matching(pattern: np.ndarray, length: int, repeats: int) -> np.ndarray:
    """Attention from a repeated token to what followed it before, per sequence."""
    found = np.zeros(len(pattern))
    for destination in range(length + 1, 1 + length * repeats):
        sources = np.arange(destination - length + 1, 1, -length)
        found += pattern[:, destination, sources].sum(1)
    return found / (length * (repeats - 1))


def mined(run: Run) -> Iterator[Claim]:
    """Every value of the mined table, and the rows that the published rule selects, from the whole V × V matrices."""
    told, params = run.table("tables/skip_trigrams"), run.params["mining"]
    p = run.vocab["probability"].to_numpy() ** params["frequency_power"]
    eligible = np.flatnonzero(run.vocab["count"].to_numpy() >= params["min_count"])
    eligible = eligible[eligible != BOS]
    largest = dict.fromkeys(("qk", "ov", "score"), 0.0)
    selected: set[tuple[int, ...]] = set()
    for layer, head in run.each():
        qk, ov = run.qk(layer, head), run.ov(layer, head)
        rows = told[(told["layer"] == layer) & (told["head"] == head)]
        a, b, c = (rows[f"{role}_id"].to_numpy() for role in ("source", "destination", "out"))
        values = {"qk": qk[b, a], "ov": ov[a, c]}
        values["score"] = values["qk"] * p[b] * values["ov"] * p[a]
        for key, value in values.items():
            wrong = np.abs(value - rows[key].to_numpy()) / (1 + np.abs(value))
            largest[key] = max(largest[key], float(wrong.max(initial=0.0)))
        few, out = (qk * p[:, None])[np.ix_(eligible, eligible)].T, ov[np.ix_(eligible, eligible)]
        worth = np.maximum(few.max(1), 0) * np.maximum(out.max(1), 0) * p[eligible]
        for source in np.argsort(-worth)[: params["sources"]]:
            for destination in np.argsort(-few[source])[: params["destinations"]]:
                for token in np.argsort(-out[source])[: params["outs"]]:
                    if worth[source] > 0 and few[source, destination] > 0 and out[source, token] > 0:
                        triple = eligible[[source, destination, token]].tolist()
                        selected.add((layer, head, *triple))
    for key, wrong in largest.items():
        yield Claim(f"mined {key}, largest relative difference", 0.0, wrong, 1e-3)
    of_rule = told[told["rank_published"].notna()]
    names = ["layer", "head", "source_id", "destination_id", "out_id"]
    there = set(of_rule[names].astype(int).itertuples(index=False, name=None))
    both = len(there & selected) / max(1, len(there | selected))
    yield Claim("mined rows of the published rule, in common", 1.0, both, 0.01)  # ties may fall either way


def corpus_counts(run: Run) -> Iterator[Claim]:
    """A … B and A … B C of a sample of rows, place by place over the training text."""
    checked = run.table("evidence/skip_trigrams")
    here = np.arange(len(run.train))
    document = np.maximum.accumulate(np.where(run.train == BOS, here, 0))
    wrong = 0.0
    for row in sample(checked, SAMPLE).itertuples():
        latest = np.maximum.accumulate(np.where(run.train == row.source_id, here, -1))
        before = np.concatenate([[-1], latest[:-1]])
        near = (before >= document) & (here - before <= run.ctx - 1)
        places = np.flatnonzero(run.train[:-1] == row.destination_id)
        follows = run.train[places + 1] == row.out_id
        precedes, together = near[places].sum(), (near[places] & follows).sum()
        expected = precedes * follows.mean() if len(places) else 0.0
        wrong += abs(precedes - row.precedes) + abs(together - row.corpus_count)
        wrong += abs(expected - row.corpus_expected) > 1e-6
    yield Claim("corpus counts that differ", 0.0, wrong, 0)


def effects(run: Run) -> Iterator[Claim]:
    """The effect of the cut edge of a sample of rows, in contexts drawn anew from the validation text."""
    checked, ctx = run.table("evidence/skip_trigrams"), min(run.params["verification"]["context_tokens"], run.ctx)
    generator = np.random.default_rng(2)
    near = []
    chosen = sample(checked, SAMPLE)
    for row in chosen.itertuples():
        ends = np.flatnonzero(run.valid == row.destination_id)
        ends = ends[ends >= ctx - 1] if (ends >= ctx - 1).any() else np.arange(ctx - 1, len(run.valid))
        tokens = run.valid[generator.choice(ends, CONTEXTS)[:, None] - np.arange(ctx - 1, -1, -1)]
        tokens[:, 0], tokens[:, -1] = BOS, row.destination_id
        distance = np.exp(generator.random(CONTEXTS) * math.log(ctx - 1)).astype(int).clip(1, ctx - 2)
        tokens[np.arange(CONTEXTS), ctx - 1 - distance] = row.source_id
        edges = tokens == row.source_id
        edges[:, -1] = False
        out = np.full(CONTEXTS, row.out_id)
        intact, cut = (
            log_p(run.forward(tokens, c)[0][:, -1] @ run.U, out) for c in (None, (row.layer, row.head, edges))
        )
        change = intact - cut
        error = math.hypot(change.std(ddof=1) / math.sqrt(CONTEXTS), row.effect_se)
        near.append(abs(change.mean() - row.effect_nats) <= ERRORS * error + 1e-4)
    # A few contexts give errors that are themselves uncertain: one row in ten may be beyond them.
    if near:
        yield Claim("effects of cut edges within their errors, share", 1.0, float(np.mean(near)), 0.1)


def tests_passed(run: Run) -> Iterator[Claim]:
    """The shares of metrics.json and the funnel, from the rows."""
    checked, funnel = run.table("evidence/skip_trigrams"), run.table("evidence/funnel")
    rotated = run.table("evidence/matched").query("heads == 'rotated'")
    if checked.empty:
        return
    least, said = run.params["verification"]["min_p_out"], run.metrics["evidence"]
    recurs = checked["recurs"].isna() | (checked["recurs"] >= 0.5)
    worth = [r["p_out"] * (1 - np.exp(-r["effect_nats"].clip(lower=0))) for r in (checked, rotated)]
    tests = {
        "checked": np.ones(len(checked), dtype=bool),
        "consistent": checked["consistent"],
        "beyond the matched null": worth[0] > (np.quantile(worth[1], 0.95) if len(rotated) else 0.0),
        "p(out)": checked["p_out"] >= least,
        "supported": checked["support"] == "supported",
        "recurring": recurs,
    }
    passed = np.ones(len(checked), dtype=bool)
    for step, test in tests.items():
        passed &= np.asarray(test, dtype=bool)
        told = funnel[(funnel["heads"] == "trained") & (funnel["step"] == step)]["rows"]
        yield Claim(f"rows left after: {step}", float(told.iloc[0]), float(passed.sum()), 0)
    shares = {
        "consistent": checked["consistent"].mean(),
        "p_out": tests["p(out)"].mean(),
        "supported": tests["supported"].mean(),
        "contradicted": (checked["support"] == "contradicted").mean(),
        "survives": passed.mean(),
    }
    if len(rotated):
        shares["matched_null"] = rotated["consistent"].mean()
    if checked["recurs"].notna().any():
        shares["recurring"] = (checked["recurs"] >= 0.5).mean()
    for key, share in shares.items():
        yield Claim(f"evidence.{key}", said[key], share, 1e-5)


def twins(run: Run) -> Iterator[Claim]:
    """Recurrence is given where, and only where, there is a twin of another seed."""
    checked = run.table("evidence/skip_trigrams")
    folders = sorted((run.folder / "data/models" / run.name / "twins").glob("*/"))
    told = "recurs" in checked and checked["recurs"].notna().any()
    yield Claim("rows are compared with twins", float(bool(told)), float(bool(folders) and len(checked) > 0), 0)


def bound(run: Run) -> Iterator[Claim]:
    """What the unsupported rows cost at the most: their contributions taken away where the output does not follow."""
    checked = run.table("evidence/skip_trigrams")
    costs = run.table("evidence/costs").set_index("what")["nats"]
    told = float(costs.get("bound: unsupported rows", 0.0))
    ctx = min(run.params["verification"]["context_tokens"], run.ctx)
    last = len(run.valid) - 2
    places = np.unique(np.linspace(ctx - 1, last, min(BOUND_PLACES, last - ctx + 2)).astype(np.int64))
    rows: dict[tuple[int, int], list] = {}
    for row in checked[checked["support"] != "supported"].itertuples():
        rows.setdefault((row.destination_id, row.source_id), []).append(row)
    destinations = {destination for destination, _ in rows}
    saved = 0.0
    # Nothing is taken away where no row has the destination.
    affected = places[np.isin(run.valid[places], list(destinations))]
    for start in range(0, len(affected), 64):
        ends = affected[start : start + 64]
        tokens = run.valid[ends[:, None] - np.arange(ctx - 1, -1, -1)]
        tokens[:, 0] = BOS
        following = run.valid[ends + 1]
        x, patterns = run.forward(tokens)
        logits = x[:, -1] @ run.U
        without = logits.copy()
        for text, context in enumerate(tokens):
            for place, source in enumerate(context[:-1]):
                for row in rows.get((int(context[-1]), int(source)), ()):
                    if row.out_id != following[text]:
                        without[text, row.out_id] -= patterns[row.layer, row.head][text, -1, place] * max(row.ov, 0)
        saved += (log_p(without, following) - log_p(logits, following)).sum()
    yield Claim("bound of unsupported rows, nats", told, saved / len(places), 1e-5 + 1e-3 * abs(told))


def bound_of_all(run: Run) -> Iterator[Claim]:
    """The same over every entry of every head, at few places: those not supported, and those contradicted."""
    costs = run.table("evidence/costs").set_index("what")["nats"]
    if "bound: unsupported entries" not in costs.index:
        return
    params = run.params["verification"]
    ctx, last = min(params.get("context_tokens", 64), run.ctx), len(run.valid) - 2
    most = min(params.get("bound_places", 64), last - ctx + 2)
    places = np.unique(np.linspace(ctx - 1, last, most).astype(np.int64))
    document = np.cumsum(run.train == BOS)
    circuits = {at: run.ov(*at) for at in run.each()}
    saved: dict[str, list[float]] = {"unsupported": [], "contradicted": []}
    for end in places:
        tokens = run.valid[end - np.arange(ctx - 1, -1, -1)]
        tokens[0], following = BOS, run.valid[end + 1]
        x, patterns = run.forward(tokens[None])
        logits = (x[:, -1] @ run.U)[0]
        sources = np.setdiff1d(tokens[1:-1], [BOS])
        raised = np.zeros((len(sources), len(run.E)))
        for at, values in circuits.items():
            attended = np.array([patterns[at][0, -1, :-1][tokens[:-1] == source].sum() for source in sources])
            raised += np.maximum(attended[:, None] * values[sources], 0)
        raised[:, following] = 0
        supported, contradicted = entries_in_text(run, sources, int(tokens[-1]), document, params.get("fdr", 0.05))
        for name, taken in (("unsupported", ~supported), ("contradicted", contradicted)):
            without = logits - (raised * taken).sum(0)
            change = log_p(without[None], np.array([following])) - log_p(logits[None], np.array([following]))
            saved[name].append(change[0])
    for name, values in saved.items():
        told = float(costs[f"bound: {name} entries"])
        yield Claim(f"bound of {name} entries, nats", told, float(np.mean(values)), 1e-4 + 1e-2 * abs(told))


def entries_in_text(
    run: Run, sources: np.ndarray, destination: int, document: np.ndarray, fdr: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which outputs follow source … destination more, and less, often than the destination alone: t-tests by document.

    False discoveries are controlled over all entries together (Benjamini and Hochberg).
    """
    here = np.flatnonzero(run.train[:-1] == destination)
    follows, index = run.train[here + 1], {int(source): i for i, source in enumerate(sources)}
    number = np.full(len(run.E), -1)
    number[list(index)] = list(index.values())
    seen = np.zeros((len(here), len(sources)), dtype=bool)
    for back in range(1, run.ctx):
        rows = np.flatnonzero((here >= back) & (document[np.maximum(here - back, 0)] == document[here]))
        which = number[run.train[here[rows] - back]]
        seen[rows[which >= 0], which[which >= 0]] = True
    alone = np.bincount(follows, minlength=len(run.E)) / max(1, len(here))
    chances = np.ones((2, len(sources), len(run.E)))
    for i in range(len(sources)):
        _, group = np.unique(document[here[seen[:, i]]], return_inverse=True)
        places = np.bincount(group)
        n = len(places)
        if n < 2:
            continue
        # Σ (c − p·places)² over documents, from the few counts c that are not zero.
        pairs, count = np.unique(group * len(run.E) + follows[seen[:, i]], return_counts=True)
        at, out = np.divmod(pairs, len(run.E))
        total, squares, crossed = (np.bincount(out, w, len(run.E)) for w in (count, count**2, count * places[at]))
        away = total - places.sum() * alone
        squared = squares - 2 * alone * crossed + alone**2 * (places**2).sum()
        variance = np.maximum(squared * n / (n - 1), places.sum() * alone * (1 - alone))
        known = variance > 0
        statistic = away[known] / np.sqrt(variance[known])
        chances[:, i, known] = stats.t.sf(statistic, n - 1), stats.t.cdf(statistic, n - 1)
    return tuple(discovered(p.ravel(), fdr).reshape(p.shape) for p in chances)


def discovered(chances: np.ndarray, fdr: float) -> np.ndarray:
    """The k smallest chances, k the largest number for which the k-th is at most k/n of the rate."""
    ordered = np.sort(chances)
    below = np.flatnonzero(ordered <= fdr * np.arange(1, len(ordered) + 1) / len(ordered))
    return chances <= (ordered[below[-1]] if len(below) else -1.0)


def planted(run: Run) -> Iterator[Claim]:
    """How much of what was planted is in the tables: from the rows, the words of the grammar and the text."""
    truth, scores = run.folder / "data/corpora" / run.corpus / "truth.parquet", run.table("evidence/truth")
    if not truth.exists() or scores.empty:
        return
    ids = dict(zip(run.vocab["token"], run.vocab["token_id"], strict=True))
    known: dict[str, set[tuple[int, ...]]] = {}
    for row in pd.read_parquet(truth).itertuples():
        words = [word for word in (row.source, row.destination, row.out) if isinstance(word, str)]
        if all(word in ids for word in words):
            known.setdefault(row.kind, set()).add(tuple(int(ids[word]) for word in words))
    checked, names = run.table("evidence/skip_trigrams"), ["source_id", "destination_id", "out_id"]
    mined = run.table("tables/skip_trigrams")
    orders = {
        "consistent, by evidence": checked.sort_values("rank_evidence"),
        "weights, expected gain": mined.dropna(subset="rank_expected").sort_values("rank_expected"),
        "weights, published rule": mined.dropna(subset="rank_published").sort_values("rank_published"),
        "OV alone": mined.sort_values("ov", ascending=False, kind="stable"),
        "all that are consistent": checked[checked["consistent"]],
        "all that survive": checked[checked["survives"]],
    }
    for told in scores[scores["ranking"].isin(orders) & scores["kind"].str.contains("skip")].itertuples():
        rows = dict.fromkeys(orders[told.ranking][names].astype(int).itertuples(index=False, name=None))
        found = len(known["skip_trigram"] & set(list(rows)[: told.k]))
        at = f"planted skip-trigrams by {told.ranking} at {told.k}"
        yield Claim(f"{at}, recall", told.recall, found / len(known["skip_trigram"]), 1e-9)
        yield Claim(f"{at}, precision", told.precision, found / told.k, 1e-9)


def control(folder: Path) -> Iterator[Claim]:
    """The control's average precision from the places of its rules, and metrics.json from its tables."""
    place = folder / "data/control"
    names = ("rules", "rankings", "accepted")
    rules, rankings, accepted = (pd.read_parquet(place / f"{name}.parquet") for name in names)
    best = rankings[rankings["best"] & (rankings["kind"] == "planted")]
    lifts = rules[rules["kind"].isin(["skip_trigram", "incoherent", "two_sources"])]
    for told in best.itertuples():
        here = lifts[lifts["grammar"] == told.grammar]
        ranks = np.sort(here.loc[here[told.of] > 0, told.of].to_numpy())
        found = (np.arange(1, len(ranks) + 1) / ranks).sum() / len(here)
        at = f"grammar {told.grammar}, {told.of}"
        yield Claim(f"{at}: average precision", told.average_precision, found, 1e-9)
        yield Claim(f"{at}: recall at K", told.recall_at_k, (ranks <= len(here)).sum() / len(here), 1e-9)
        taken = accepted[(accepted["grammar"] == told.grammar) & (accepted["of"] == told.of)]
        learned = (here["model_nats"] >= LEARNED_NATS).sum()
        yield Claim(f"{at}: rules learned", float(taken["learned"].iloc[0]), float(learned), 0)
        wrong = taken[[c for c in taken.columns if c.startswith("false_")]].sum(1) + taken["found"] - taken["rows"]
        yield Claim(f"{at}: accepted rows not accounted for", 0.0, float(wrong.abs().max()), 0)
    every = json.loads((folder / "reports/metrics.json").read_text())["models"]
    reported = accepted[(accepted["grammar"] != accepted["grammar"].min()) & accepted["best"]]
    for name, numbers in every.items():
        if "average_precision" not in (said := numbers.get("skip_trigrams", {})):
            continue
        for of, keys in (
            ("weights", ("recall", "precision")),
            ("counts", ("best_baseline", "best_baseline_precision")),
        ):
            mine = reported[reported["of"] == of]
            shares = (mine["found"] / mine["planted"], mine["found"] / mine["rows"])
            for key, share in zip(keys, shares, strict=True):
                yield Claim(f"{name}: skip_trigrams.{key}", said.get(key, math.nan), share.mean(), 1e-5)


def composition(run: Run) -> Iterator[Claim]:
    """‖W_OV W_QK‖/(‖W_OV‖‖W_QK‖) and the like for every pair of heads, beside the null's mean."""
    told = run.table("compose/composition")
    if told.empty:
        return
    qk = {at: run.head("W_Q", *at) @ run.head("W_K", *at).T for at in run.each()}
    ov = {at: run.head("W_V", *at) @ run.head("W_O", *at) for at in run.each()}
    norm = np.linalg.norm
    largest = 0.0
    for row in told.itertuples():
        write, read = (row.from_layer, row.from_head), (row.to_layer, row.to_head)
        product = {"Q": lambda w, r: ov[w] @ qk[r], "K": lambda w, r: ov[w] @ qk[r].T, "V": lambda w, r: ov[w] @ ov[r]}
        reader = ov[read] if row.kind == "V" else qk[read]
        score = norm(product[row.kind](write, read)) / (norm(ov[write]) * norm(reader))
        largest = max(largest, abs(score - row.score))
    yield Claim("composition, largest difference", 0.0, largest, 1e-4)
    generator = np.random.default_rng(3)
    d, null = len(run.U), []
    for _ in range(200):
        first, second = (
            generator.normal(size=(d, run.d_head)) @ generator.normal(size=(run.d_head, d)) for _ in range(2)
        )
        null.append(norm(first @ second) / (norm(first) * norm(second)))
    draws = run.params["scoring"]["null_draws"]
    error = np.std(null) * math.sqrt(1 / draws + 1 / len(null))
    yield Claim("null of composition, mean", told["null_mean"].mean(), np.mean(null), ERRORS * error)


def terms(run: Run) -> Iterator[Claim]:
    """What direct path, heads and virtual heads take off the loss, the patterns of the whole model kept."""
    text = spread(run, run.params["scoring"]["sequences"])
    orders = np.zeros((len(text), run.layers + 2))
    orders[:, 0] = math.log(len(run.E))
    for start in range(0, len(text), 8):
        part = text[start : start + 8]
        tokens = part[:, :-1]
        _, patterns = run.forward(tokens)
        before = [np.zeros(1) for _ in range(run.layers)]
        for order in range(run.layers + 1):
            x, outputs = run.E[tokens], []
            for layer in range(run.layers):
                each = (run.written(x, patterns[layer, head], layer, head) for head in range(run.heads))
                outputs.append(sum(each))
                x = x + before[layer]
            orders[start : start + 8, order + 1] = run.losses(x, part).mean(1)
            before = outputs
    added = (orders[:, :-1] - orders[:, 1:]).mean(0)
    for key, value in zip(("direct", "heads", "virtual_heads"), added, strict=False):
        yield Claim(f"term_nats.{key}", run.metrics["term_nats"][key], value, 1e-3)


def sample(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` rows at even distances."""
    return table.iloc[np.unique(np.linspace(0, len(table) - 1, min(count, len(table))).astype(int))]


CHECKS: tuple[Callable[[Run], Iterator[Claim]], ...] = (
    scores, mined, corpus_counts, effects, tests_passed, twins, bound, bound_of_all, planted, composition, terms,
)  # fmt: skip


def models(folder: Path) -> list[str]:
    """The models of a run that were trained there."""
    params = yaml.safe_load((folder / "params.yaml").read_text())["models"]
    return [name for name, model in params.items() if "import" not in model]


def claims(folder: Path, name: str) -> Iterator[Claim]:
    """Every claim about one model."""
    run = Run(folder, name)
    yield from loss(run)
    for check in CHECKS if run.layers else ():
        yield from check(run)


def main() -> int:
    """Check the run in the folder that the command line names, or here."""
    folder, wrong = Path(sys.argv[1] if len(sys.argv) > 1 else "."), 0
    parts = [(name, claims(folder, name)) for name in models(folder)] + [("control", control(folder))]
    for name, found in parts:
        for claim in found:
            wrong += not claim.agrees
            verdict = "agrees" if claim.agrees else "DISAGREES"
            print(f"{name}: {claim.what}: {claim.told:.6g}, recomputed {claim.found:.6g}: {verdict}", flush=True)
    print(f"{wrong} claims disagree" if wrong else "all claims agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
