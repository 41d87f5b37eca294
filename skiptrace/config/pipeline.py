"""The whole of params.yaml: every group checked, and the groups against each other."""

import re
import reprlib
from pathlib import Path
from typing import Any, NamedTuple

from skiptrace.config.account import AccountParams
from skiptrace.config.base import Params, check, read_yaml
from skiptrace.config.budget import BudgetParams
from skiptrace.config.composition import CompositionParams
from skiptrace.config.control import ControlParams
from skiptrace.config.corpora import Corpus, check_corpus
from skiptrace.config.dictionaries import ModelDictionaryParams, ToyDictionaryParams, check_dictionary
from skiptrace.config.directions import DirectionsParams
from skiptrace.config.expansion import ExpansionParams
from skiptrace.config.exploration import ExplorationParams
from skiptrace.config.features import FeaturesParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.models import AnyModel, ModelParams, check_model
from skiptrace.config.report import ReportParams
from skiptrace.config.rules import RulesParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.config.superposition import SuperpositionParams
from skiptrace.config.tokenizers import TokenizerParams
from skiptrace.config.verification import VerificationParams
from skiptrace.errors import InputError

SINGLE: dict[str, type[Params]] = {
    "budget": BudgetParams,
    "scoring": ScoringParams,
    "expansion": ExpansionParams,
    "mining": MiningParams,
    "verification": VerificationParams,
    "composition": CompositionParams,
    "control": ControlParams,
    "superposition": SuperpositionParams,
    "account": AccountParams,
    "directions": DirectionsParams,
    "features": FeaturesParams,
    "rules": RulesParams,
    "exploration": ExplorationParams,
    "report": ReportParams,
}
KEYED = ("corpora", "tokenizers", "models", "dictionaries")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class Pipeline(NamedTuple):
    """Every group of params.yaml that has one entry per key."""

    corpora: dict[str, Corpus]
    tokenizers: dict[str, TokenizerParams]
    models: dict[str, AnyModel]
    dictionaries: dict[str, ToyDictionaryParams | ModelDictionaryParams]


def load_pipeline(path: Path = Path("params.yaml")) -> Pipeline:
    """Read and check all of params.yaml.

    Raises:
        InputError: a key is unknown, missing or wrong, or one group names what another lacks.
    """
    content = read_yaml(path)
    for group in content:
        if group not in (*KEYED, *SINGLE):
            raise InputError(f"{path}: {group}: unknown key; there is {', '.join([*KEYED, *SINGLE])}")
    for group in (*KEYED, *SINGLE):
        if group not in content:
            raise InputError(f"{path}: {group}: missing")
    for group, kind in SINGLE.items():
        check(kind, content[group], group, path)
    found = {group: entries(content[group], group, path) for group in KEYED}
    pipeline = Pipeline(
        {k: check_corpus(v, f"corpora.{k}", path) for k, v in found["corpora"].items()},
        {k: check(TokenizerParams, v, f"tokenizers.{k}", path) for k, v in found["tokenizers"].items()},
        {k: check_model(v, f"models.{k}", path) for k, v in found["models"].items()},
        {k: check_dictionary(v, f"dictionaries.{k}", path) for k, v in found["dictionaries"].items()},
    )
    _agree(pipeline, content, path)
    return pipeline


def tracked(stages: Path) -> dict[str, list[str]]:
    """The keys within a group, such as expansion.heads, that stages of a dvc.yaml depend on; for each, those stages.

    Raises:
        InputError: the file is not a readable YAML mapping.
    """
    found: dict[str, list[str]] = {}
    for name, stage in read_yaml(stages).get("stages", {}).items():
        for key in stage.get("do", stage).get("params", []):
            if isinstance(key, str) and "." in key and "${" not in key:
                found.setdefault(key, []).append(name)
    return found


def require_tracked(path: Path, stages: Path) -> None:
    """Check that params.yaml has each key that DVC looks up by itself: it does not know the defaults.

    Raises:
        InputError: one is left out.
    """
    content = read_yaml(path)
    for key, names in tracked(stages).items():
        value: Any = content
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise InputError(
                    f"{path}: {key}: missing; {stages} tracks it by itself for {', '.join(names)}, so it has to be "
                    f"given even where it is the default, which docs/parameters.md states"
                )
            value = value[part]


def entries(value: Any, group: str, path: Path) -> dict[str, Any]:
    """The entries of a group that has one per key, each under a name that is fit for a folder, stage and partition.

    Raises:
        InputError: there is none, or a name is not text, too long, or has other characters.
    """
    if not isinstance(value, dict) or not value:
        raise InputError(f"{path}: {group}: expected at least one named entry")
    for name in value:
        if not isinstance(name, str):
            raise InputError(f'{path}: {group}.{name}: a name is text; quote it, as "{name}":')
        if not NAME.fullmatch(name):
            shown = reprlib.repr(name)[1:-1]
            raise InputError(f"{path}: {group}.{shown}: a name is at most 100 letters, digits, _ and -")
    return value


def _agree(pipeline: Pipeline, content: dict[str, Any], path: Path) -> None:
    corpora = ", ".join(pipeline.corpora)
    for name in pipeline.corpora:
        if name not in pipeline.tokenizers:
            raise InputError(f"{path}: tokenizers.{name}: missing; each corpus needs its tokenizer")
    for name in pipeline.tokenizers:
        if name not in pipeline.corpora:
            raise InputError(f"{path}: tokenizers.{name}: no such corpus; there is {corpora}")
    scoring = check(ScoringParams, content["scoring"], "scoring", path)
    check(CompositionParams, content["composition"], "composition", path)
    _check_heads(pipeline, check(ExpansionParams, content["expansion"], "expansion", path), path)
    for name, model in pipeline.models.items():
        attends = not isinstance(model, ModelParams) or model.n_layers > 0
        if attends and model.n_ctx is not None and model.n_ctx < 1 + 2 * scoring.repeats:
            raise InputError(
                f"{path}: models.{name}.n_ctx: {model.n_ctx} is too short for scoring.repeats = {scoring.repeats} "
                f"spans of two tokens after the first; it takes {1 + 2 * scoring.repeats}"
            )
        if model.corpus not in pipeline.corpora:
            raise InputError(f"{path}: models.{name}.corpus: no corpus {model.corpus!r}; there is {corpora}")
    features = check(FeaturesParams, content["features"], "features", path).models
    for name in features:
        named = pipeline.models.get(name)
        if isinstance(named, ModelParams) and named.n_layers == 0:
            raise InputError(f"{path}: features.models.{name}: it has no heads that read features; take it out")
    _check_named(pipeline, "features", features, path)
    _check_named(pipeline, "rules", check(RulesParams, content["rules"], "rules", path).models, path)


def _check_named(pipeline: Pipeline, group: str, named: dict[str, str], path: Path) -> None:
    """Check that models which a group names exist, and read the corpus that it says."""
    for name, corpus in named.items():
        key, model = f"{path}: {group}.models.{name}", pipeline.models.get(name)
        if model is None:
            raise InputError(f"{key}: no such model; there is {', '.join(pipeline.models)}")
        if model.corpus != corpus:
            raise InputError(f"{key}: the model reads corpus {model.corpus}, not {corpus!r}")


def _check_heads(pipeline: Pipeline, expansion: ExpansionParams, path: Path) -> None:
    if expansion.only is None or not all(isinstance(model, ModelParams) for model in pipeline.models.values()):
        return  # what heads an imported model has, its checkpoint knows
    shapes = [(m.n_layers, m.n_heads) for m in pipeline.models.values() if isinstance(m, ModelParams)]
    # A number of layers may be any number: beyond these none is named one by one.
    few = [(min(layers, 200), min(heads, 200)) for layers, heads in shapes]
    there = sorted({f"L{i}H{h}" for layers, heads in few for i in range(layers) for h in range(heads)})
    for head in expansion.only or ():
        if head not in there:
            raise InputError(f"{path}: expansion.heads: no model has {head}; there is {', '.join(there) or 'none'}")
