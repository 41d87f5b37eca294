"""Everything a report is made from, as read from the pipeline's outputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from skiptrace.budget import Plan
from skiptrace.config.composition import CompositionParams
from skiptrace.config.corpora import Corpus
from skiptrace.config.dictionaries import ModelDictionaryParams, ToyDictionaryParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.models import ModelShape
from skiptrace.config.report import ReportParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.config.verification import VerificationParams
from skiptrace.corpora.card import Card, Survival
from skiptrace.dictionary.tables import Kind
from skiptrace.evidence.support import Positions
from skiptrace.models.config import ModelConfig


@dataclass(frozen=True)
class Split:
    """Size of one split of a corpus."""

    documents: int
    characters: int
    tokens: int


@dataclass(frozen=True)
class CorpusResult:
    """A corpus: its parameters, sizes, vocabulary and the losses that need no attention (nats)."""

    params: Corpus
    tokenizer: TokenizerParams
    train: Split
    valid: Split
    unigram_loss: float
    bigram_loss: float
    ngram_losses: list[float]  # of smoothed n-grams of one token, two, and so on
    vocabulary: pd.DataFrame
    bigrams: pd.DataFrame
    card: Card | None = None
    survival: Survival | None = None


@dataclass(frozen=True)
class Composition:
    """The tables of data/compose/<m>, each under the name of its file."""

    identities: pd.DataFrame
    paths: pd.DataFrame
    examples: pd.DataFrame
    example_texts: pd.DataFrame
    terms: pd.DataFrame
    composition: pd.DataFrame
    virtual_heads: pd.DataFrame
    patterns: pd.DataFrame
    induction: pd.DataFrame
    knockouts: pd.DataFrame
    formation: pd.DataFrame
    virtual_weights: pd.DataFrame
    writers: pd.DataFrame
    overlaps: pd.DataFrame
    deletion: pd.DataFrame
    directions: pd.DataFrame
    plane: pd.DataFrame


@dataclass(frozen=True)
class Exploration:
    """The tables of data/explore/<m>, each under the name of its file."""

    entries: pd.DataFrame
    texts: pd.DataFrame
    patterns: pd.DataFrame
    score_terms: pd.DataFrame
    guess_paths: pd.DataFrame
    corners: pd.DataFrame
    layers: pd.DataFrame
    direct: pd.DataFrame


@dataclass(frozen=True)
class Directed:
    """The tables of data/directions/<m>, each under the name of its file."""

    spectra: pd.DataFrame
    groups: pd.DataFrame
    ends: pd.DataFrame
    twins: pd.DataFrame


@dataclass(frozen=True)
class Featured:
    """The tables of data/features/<m>, each under the name of its file."""

    rungs: pd.DataFrame
    curve: pd.DataFrame
    features: pd.DataFrame
    rows: pd.DataFrame
    kinds: pd.DataFrame


@dataclass(frozen=True)
class Accounted:
    """The tables of data/account/<m>, each under the name of its file."""

    ladder: pd.DataFrame
    curve: pd.DataFrame
    entries: pd.DataFrame
    skip_bigrams: pd.DataFrame
    skip_trigrams: pd.DataFrame
    rows: pd.DataFrame
    examples: pd.DataFrame
    formed: pd.DataFrame
    confirmed: pd.DataFrame
    overlaps: pd.DataFrame
    headlines: pd.DataFrame


@dataclass(frozen=True)
class ModelResult:
    """A model: its parameters and its tables.

    `featured` is there for those that `features.models` names, `rules` for those of `rules.models`.
    """

    params: ModelShape
    heads: pd.DataFrame
    offsets: pd.DataFrame
    losses: pd.DataFrame
    spreads: pd.DataFrame
    curve: pd.DataFrame
    bigrams: pd.DataFrame
    agreement: pd.DataFrame
    skip_trigrams: pd.DataFrame
    positional: pd.DataFrame
    copies: pd.DataFrame
    virtual_ov: pd.DataFrame
    k_composition: pd.DataFrame
    evidence: pd.DataFrame
    matched: pd.DataFrame
    funnel: pd.DataFrame
    bugs: pd.DataFrame
    costs: pd.DataFrame
    truth: pd.DataFrame
    composed: Composition
    explored: Exploration
    accounted: Accounted
    directed: Directed
    d_vocab: int
    config: ModelConfig | None = None
    featured: Featured | None = None
    rules: pd.DataFrame | None = None

    def cost(self, what: str) -> pd.Series | None:
        """The estimate of that name in data/evidence/<m>/costs; None where there was nothing to measure."""
        rows = self.costs[(self.costs["what"] == what) & self.costs["nats"].notna()]
        return None if rows.empty else rows.iloc[0]

    @property
    def planted(self) -> bool:
        """Whether its text was written by a known grammar, so that its tables can be compared with what was planted."""
        return len(self.truth) > 0

    @property
    def valid_loss(self) -> float:
        """Mean loss on the validation stream, nats per token."""
        return float(self.losses["loss"].mean())


@dataclass(frozen=True)
class DictionaryResult:
    """A dictionary: its parameters and tables; a toy model's has no text, a language model's no `hybrid`."""

    params: ToyDictionaryParams | ModelDictionaryParams
    sweep: pd.DataFrame
    densities: pd.DataFrame
    features: pd.DataFrame
    contexts: pd.DataFrame
    hybrid: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def shown(self) -> pd.DataFrame:
        """The rows of the sweep that are looked into: a toy model's at a penalty, a language model's at a k."""
        if isinstance(self.params, ToyDictionaryParams):
            at = (self.sweep["penalty"] == self.params.shown) & (self.sweep["entries"] == self.params.entries)
        else:
            at = (self.sweep["kind"] == Kind.TOP_K) & (self.sweep["k"] == self.params.shown)
        return self.sweep[at]


@dataclass(frozen=True)
class Results:
    """All corpora and models, by name, in the order of params.yaml; the tables of the toy models and of the control."""

    corpora: dict[str, CorpusResult]
    models: dict[str, ModelResult]
    superposition: dict[str, pd.DataFrame] = field(default_factory=dict)
    dictionaries: dict[str, DictionaryResult] = field(default_factory=dict)
    control: dict[str, pd.DataFrame] = field(default_factory=dict)


class Settings(NamedTuple):
    """The parameters that the report's text mentions."""

    scoring: ScoringParams
    mining: MiningParams
    verification: VerificationParams
    composition: CompositionParams
    report: ReportParams


class Provenance(NamedTuple):
    """Where a run's numbers come from: files under revision, files of data, and parameters as lines `a.b.c: value`."""

    revisioned: list[Path]
    inputs: list[Path]
    parameters: list[str]


@dataclass(frozen=True)
class Study:
    """A run, its settings, and what of it a section is about.

    `limited` has the plan of every study of each model (`budget.plans`). `subject` is that in words, as in the
    section's title; `name` is the model or the dictionary, and `site` the site of the dictionary; all are empty in a
    section about the whole run. `held_out` has the validation text of each corpus.
    """

    results: Results
    settings: Settings
    provenance: Provenance
    subject: str = ""
    name: str = ""
    site: str = ""
    held_out: Mapping[str, Positions] = field(default_factory=dict, repr=False)
    limited: Mapping[str, Mapping[str, Plan]] = field(default_factory=dict)

    @property
    def model(self) -> ModelResult:
        """The model that the section is about."""
        return self.results.models[self.name]

    @property
    def corpus(self) -> CorpusResult:
        """The corpus of that model."""
        return self.results.corpora[self.model.params.corpus]

    @property
    def dictionary(self) -> DictionaryResult:
        """The dictionary that the section is about."""
        return self.results.dictionaries[self.name]
