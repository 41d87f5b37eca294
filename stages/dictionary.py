"""Train sparse autoencoders on toy models or on a language model, and say what their features are.

Reads   params.yaml  dictionaries.<d>
        data/superposition/weights.safetensors, hosts.parquet          (kind toy)
        data/models/<m>/, data/tokens/<corpus of m>/                   (kind model)
Writes  data/dictionary/<d>/autoencoders.safetensors
        data/dictionary/<d>/sweep.parquet       one row per autoencoder, with every measure
        data/dictionary/<d>/best.parquet        toy: the largest cosine of every true feature
        data/dictionary/<d>/hybrid.parquet      toy: models trained for their dictionary, and what it finds
        data/dictionary/<d>/densities.parquet, features.parquet, contexts.parquet   model: by site
"""

from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from skiptrace.config.dictionaries import ModelDictionaryParams, ToyDictionaryParams, load_dictionary
from skiptrace.dictionary import hybrid, language, toy
from skiptrace.dictionary.sites import SITES
from skiptrace.dictionary.tables import BEST, CONTEXTS, DENSITIES, FEATURES, HYBRID, SWEEP, TOY_SWEEP
from skiptrace.files import atomic_folder, read_tensors, read_tokens, write_tensors
from skiptrace.layout import DICTIONARY, PARAMS
from skiptrace.models import checkpoint
from skiptrace.models.loss import ROWS
from skiptrace.superposition.tables import HOSTS
from skiptrace.tables import Table
from skiptrace.tokens.tables import VOCAB
from skiptrace.workers import at_once, side_by_side
from stages import needs, needs_of_studies
from stages.common import asked_for, run, wrote

BOUNDED_BY = "entries, windows and check_windows of the dictionary"


def main() -> None:
    """Take one model apart."""
    name = asked_for("dictionary", __doc__)
    params = load_dictionary(name, PARAMS)
    if isinstance(params, ToyDictionaryParams):
        tables, weights = of_toy(name, params)
    else:
        tables, weights = of_model(name, params)
    with atomic_folder(DICTIONARY / name) as folder:
        for table, rows in tables:
            table.write(folder, rows)
        write_tensors(folder / "autoencoders.safetensors", weights)
    wrote(DICTIONARY / name, f"{len(tables[0][1])} sparse autoencoders")


def of_toy(name: str, params: ToyDictionaryParams) -> tuple[list[tuple[Table, pd.DataFrame]], dict[str, Tensor]]:
    """Dictionaries of the toy models that the superposition stage leaves to be taken apart."""
    hosts = HOSTS.read_file(Path(params.data), ["sparsity", "seed", "feature"])
    each = hosts[hosts["feature"] == 0]
    W = read_tensors(Path(params.source))["larger.W"]
    all_hosts = toy.Hosts(W, each["sparsity"].to_numpy(), each["seed"].to_numpy())
    ways = [hybrid.AFTERWARDS] if params.hybrid is None else [hybrid.AFTERWARDS, hybrid.HYBRID_WAY]
    jobs = [(way, all_hosts, params) for way in ways]
    needed = needs_of_studies.of_toy_dictionaries(params, len(W), W.shape[1], toy.CHECK, at_once(len(jobs)))
    needs.state(f"dictionary {name}", needed, "entries, sizes and penalties of the dictionary", "SKIPTRACE_WORKERS=1")
    (sweep, best, found), *rest = side_by_side(hybrid.taken_apart, jobs, "ways to take toy models apart")
    named = {f"{entries}.{k}": w for entries, one in found.items() for k, w in one.named().items()}
    return [(TOY_SWEEP, sweep), (BEST, best), (HYBRID, rest[0] if rest else HYBRID.frame())], named


def of_model(name: str, params: ModelDictionaryParams) -> tuple[list[tuple[Table, pd.DataFrame]], dict[str, Tensor]]:
    """Dictionaries of the residual stream and of the heads of a language model."""
    tokens, model = Path(params.data), checkpoint.load(Path(params.source))
    needed = needs_of_studies.of_dictionaries(model, params, at_once(len(SITES)), ROWS)
    needs.state(f"dictionary {name}", needed, BOUNDED_BY)
    vocabulary = VOCAB.read(tokens, ["token"])["token"]
    train, valid = (np.asarray(read_tokens(tokens / f"{split}.npy", model.d_vocab)) for split in ("train", "valid"))
    text = language.Text(train, valid, vocabulary)
    parts = side_by_side(
        language.decompose, [(model, text, site, params) for site in SITES], f"sites of {params.model}"
    )
    found = dict(zip(SITES, parts, strict=True))
    tables = [
        (table, pd.concat([getattr(d, table.name) for d in found.values()], ignore_index=True))
        for table in (SWEEP, DENSITIES, FEATURES, CONTEXTS)
    ]
    return tables, {f"{site}.{k}": w for site, d in found.items() for k, w in d.autoencoders.named().items()}


if __name__ == "__main__":
    run(main, BOUNDED_BY)
