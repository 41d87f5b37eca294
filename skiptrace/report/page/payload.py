"""What the page carries for its explorer, packed so that it stays small: one archive per corpus and model."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer

from skiptrace.config.report import ReportParams
from skiptrace.evidence.support import Positions
from skiptrace.report.inputs import CorpusResult, Exploration, ModelResult, Study
from skiptrace.report.page import cards, contexts
from skiptrace.report.page.cards import Card
from skiptrace.report.page.contexts import Places
from skiptrace.report.rendering.document import Report
from skiptrace.report.rendering.failures import attempt
from skiptrace.report.rendering.packing import compressed
from skiptrace.report.rendering.tokens import FORMULA, LONGEST, MARKS, is_word, visible

EXAMPLES = 2  # places in the text per token, and per skip-trigram
IDS = ["source_id", "destination_id", "out_id"]
MINED = ["qk", "ov", "score"]
CHECKED = ["effect_nats", "effect_se", "null_mean", "null_sd", "p_out", "corpus_expected", "corpus_lift"]
CHECKED += ["lift_low", "lift_high"]
SCALE = 100  # numbers of the page are whole hundredths
# What the page's scripts and this module have to agree on.
CONSTANTS = {
    "marks": MARKS,
    "longest": LONGEST,
    "formula": list(FORMULA),
    "left_out": contexts.LEFT_OUT,
    "scale": SCALE,
    "roles": [name.removesuffix("_id") for name in IDS],
}


@dataclass(frozen=True)
class Entries:
    """For each token in turn, the `count` tokens with the largest entries, and these in hundredths."""

    count: int
    ids: list[int]
    values: list[int]


@dataclass(frozen=True)
class HeadEntries:
    """A head, or the direct path, which has no attention scores; the roles are those of `exploration.neighbours`."""

    name: str
    outs: Entries
    sources: Entries
    destinations: Entries | None
    attended: Entries | None


@dataclass(frozen=True)
class Reasons:
    """The largest terms of every attention score of a head, as `exploration.tables.SCORE_TERMS`, in hundredths."""

    terms: list[str]
    which: list[int]
    above: list[int]


@dataclass(frozen=True)
class Paths:
    """The paths that add most to the likeliest next token, what each adds in hundredths, and its place in the text."""

    names: list[str]
    logits: list[int]
    sources: list[int]


@dataclass(frozen=True)
class Text:
    """A text and what the model does on its last tokens; those before them are read, and not shown in patterns.

    `patterns`: per head the lower triangle, row after row, in percent; row i is the destination.
    `guesses` and `chances`: the likeliest next tokens after each of the last ones, and their probabilities in percent.
    `losses` on each of the last tokens, and those of the model without its deepest paths, in hundredths of a nat.
    `reasons`: per head why it attends, None where that is not known; `paths`: those of the likeliest token after each.
    """

    ids: list[int]
    patterns: list[list[int]]
    guesses: list[list[int]]
    chances: list[list[int]]
    losses: list[int | None]
    shallow: list[int | None]
    reasons: list[Reasons | None]
    paths: list[Paths]


@dataclass(frozen=True)
class Corner:
    """Some rows and columns of a circuit, and its entries row after row, in hundredths."""

    row_ids: list[int]
    column_ids: list[int]
    values: list[int]


@dataclass(frozen=True)
class CorpusPayload:
    """Tokens as they are shown, how often they occur in the training text, and places of those looked up.

    `words` says which tokens are words. `shown` are the ids that can be looked up, ascending; `places` stand in
    their order.
    """

    tokens: list[str]
    counts: list[int]
    words: list[bool]
    shown: list[int]
    places: list[list[Places]]


@dataclass(frozen=True)
class Skips:
    """Skip-trigrams by column: those with evidence first, the columns of which are so much shorter.

    Those stand in the order of `account.tables.ROWS`, supported and worth most first; the others as they were mined.
    Numbers are in hundredths; `head` counts from the first head of the first layer, `rank` is the mined order.
    """

    head: list[int]
    rank: list[int]
    ids: dict[str, list[int]]
    mined: dict[str, list[int | None]]
    checked: dict[str, list[int | None]]
    saves: list[int | None]
    corpus_count: list[int]
    consistent: list[bool]
    use: list[str]
    support: list[str]
    survives: list[bool]
    places: list[list[Places]]


@dataclass(frozen=True)
class ModelPayload:
    """A model as the page looks it up; `copies` and `positional` say what kind of head each one is.

    `files` are the paths of the whole tables of skip-trigrams, of which the page has the first rows.
    """

    corpus: str
    files: list[str]
    shown: list[int]
    heads: list[str]
    copies: list[bool]
    positional: list[bool]
    entries: list[HeadEntries]
    skips: Skips
    corners: list[dict[str, Corner]]
    texts: list[Text]
    cards: list[Card]


def packed(value: Any) -> str:
    """A dataclass as JSON, compressed: the same text for the same value."""
    return compressed(json.dumps(value, default=vars, separators=(",", ":"), allow_nan=False).encode())


def carried(
    report: Report,
    study: Study,
    streams: Mapping[str, Integer[np.ndarray, " n"]],
    files: Mapping[str, Sequence[str]],
) -> Report:
    """The report with what its tools look things up in.

    `streams` is the validation text of each corpus, `files` the paths of each model's tables of skip-trigrams. What
    cannot be packed is a box at the end.
    """
    results, corpora, models = study.results, dict[str, str](), dict[str, str]()
    looked_up = {result.params.corpus: shown(result) for result in results.models.values()}

    def explorer_of_corpus(name: str) -> None:
        corpora[name] = packed(corpus(results.corpora[name], looked_up[name], streams[name]))

    def explorer_of_model(name: str) -> None:
        result = results.models[name]
        models[name] = packed(model(result, streams[result.params.corpus], study.settings.report, files[name]))

    failed = [box for name in looked_up for box in attempt(name, explorer_of_corpus, name)]
    with_corpus = [name for name, result in results.models.items() if result.params.corpus in corpora]
    failed += [box for name in with_corpus for box in attempt(name, explorer_of_model, name)]
    return replace(report, sections=[*report.sections, *failed], corpora=corpora, models=models, constants=CONSTANTS)


def corpus(result: CorpusResult, shown: list[int], stream: Integer[np.ndarray, " n"]) -> CorpusPayload:
    """What the page knows of a corpus; `stream` is its validation text."""
    table = result.vocabulary
    positions = Positions(stream, len(table), 0)
    places = [contexts.of_token(positions, token, EXAMPLES) for token in shown]
    return CorpusPayload(
        tokens=[visible(t) for t in table["token"]],
        counts=table["count"].tolist(),
        words=[is_word(t) for t in table["token"]],
        shown=shown,
        places=places,
    )


def model(
    result: ModelResult, stream: Integer[np.ndarray, " n"], params: ReportParams, files: Sequence[str] = ()
) -> ModelPayload:
    """What the page knows of a model; `stream` is the validation text of its corpus."""
    scored, n_ctx = result.heads, result.params.n_ctx
    return ModelPayload(
        corpus=result.params.corpus,
        files=list(files),
        shown=shown(result),
        heads=scored["name"].tolist(),
        copies=scored["copies"].astype(bool).tolist(),
        positional=scored["positional"].astype(bool).tolist(),
        entries=[_entries(name, table) for name, table in result.explored.entries.groupby("name", sort=False)],
        skips=_skips(result, Positions(stream, result.d_vocab, n_ctx - 1), params.explorer_rows),
        corners=[_corners(table) for _, table in result.explored.corners.groupby(["layer", "head"])],
        texts=[
            _text(table, result.explored, scored["name"].tolist()) for _, table in result.explored.texts.groupby("text")
        ],
        cards=cards.of_model(result, params),
    )


def shown(result: ModelResult) -> list[int]:
    """The ids of the tokens that can be looked up, ascending."""
    found: list[int] = result.explored.entries["token_id"].drop_duplicates().sort_values().tolist()
    return found


def _entries(name: str, table: pd.DataFrame) -> HeadEntries:
    roles = {role: _role(rows) for role, rows in table.groupby("role", sort=False)}
    return HeadEntries(name, roles["outs"], roles["sources"], roles.get("destinations"), roles.get("attended"))


def _role(rows: pd.DataFrame) -> Entries:
    return Entries(int(rows["rank"].max()), rows["partner_id"].tolist(), _whole(rows["value"].to_numpy()))


def _text(text: pd.DataFrame, explored: Exploration, heads: list[str]) -> Text:
    number = text["text"].iloc[0]
    patterns, terms, paths = (
        table[table["text"] == number] for table in (explored.patterns, explored.score_terms, explored.guess_paths)
    )
    seen = patterns["attention"]
    side = (math.isqrt(8 * len(seen.iloc[0]) + 1) - 1) // 2  # of the triangle
    last = text.tail(side)
    reasons = {
        row.name: Reasons(list(row.terms), np.asarray(row.which).tolist(), _whole(row.above))
        for row in terms.itertuples(index=False)
    }
    return Text(
        text["token_id"].tolist(),
        [_percent(pattern) for pattern in seen],
        [ids.tolist() for ids in last["guess_ids"]],
        [_percent(chances) for chances in last["probabilities"]],
        _hundredths(last["loss"]),
        _hundredths(last["shallow_loss"]),
        [reasons.get(name) for name in heads],
        [Paths(list(row.paths), _whole(row.logits), np.asarray(row.sources).tolist()) for row in paths.itertuples()],
    )


def _corners(entries: pd.DataFrame) -> dict[str, Corner]:
    def corner(rows: pd.DataFrame) -> Corner:
        values = _whole(rows["value"].to_numpy())
        return Corner(rows["row_id"].unique().tolist(), rows["column_id"].unique().tolist(), values)

    return {str(circuit): corner(rows) for circuit, rows in entries.groupby("circuit")}


def _whole(values: Sequence[float] | Float[np.ndarray, " n"]) -> list[int]:
    found: list[int] = (np.asarray(values) * SCALE).round().astype(int).tolist()
    return found


def _percent(shares: Float[np.ndarray, " n"]) -> list[int]:
    found: list[int] = (shares * 100).round().astype(int).tolist()
    return found


def _skips(result: ModelResult, positions: Positions, most: int) -> Skips:
    key = ["layer", "head", *IDS]
    worth = result.accounted.rows[[*key, "rank", "nats"]].rename(columns={"rank": "listed"})
    checked = result.evidence.merge(worth, on=key, how="left").sort_values(["listed", "rank"]).head(most)
    mined = result.skip_trigrams.sort_values("rank")
    known = pd.MultiIndex.from_frame(checked[key].astype("int64"))
    rest = mined[~pd.MultiIndex.from_frame(mined[key].astype("int64")).isin(known)].head(most - len(checked))
    every = pd.concat([each[[*key, "rank", *MINED]] for each in (checked, rest)], ignore_index=True)
    trigrams = zip(*(checked[name].astype(int).tolist() for name in IDS), strict=True)
    return Skips(
        head=(every["layer"] * result.params.n_heads + every["head"]).astype(int).tolist(),
        rank=every["rank"].astype(int).tolist(),
        ids={name.removesuffix("_id"): every[name].astype(int).tolist() for name in IDS},
        mined={name: _hundredths(every[name]) for name in MINED},
        checked={name: _hundredths(checked[name]) for name in CHECKED},
        saves=_hundredths(checked["nats"]),
        corpus_count=checked["corpus_count"].astype(int).tolist(),
        consistent=checked["consistent"].astype(bool).tolist(),
        use=checked["use"].tolist(),
        support=checked["support"].tolist(),
        survives=checked["survives"].astype(bool).tolist(),
        places=[contexts.of_skip_trigram(positions, a, b, c, EXAMPLES) for a, b, c in trigrams],
    )


def _hundredths(column: pd.Series) -> list[int | None]:
    """Rounded; None where a number is undefined."""
    values = (column.astype(float) * SCALE).round().to_numpy()
    return [int(v) if np.isfinite(v) else None for v in values.tolist()]
