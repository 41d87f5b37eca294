"""Read skip-trigrams between features of what the heads of a last layer read, and measure what they recover.

Reads   params.yaml  features, account, mining, verification
        data/models/<m>/, data/tokens/<corpus of m>/
Writes  data/features/<m>/rungs.parquet      the loss with features in the place of the stream
        data/features/<m>/curve.parquet      what kept entries recover, beside random features and tokens
        data/features/<m>/features.parquet   what each feature is of
        data/features/<m>/rows.parquet       skip-trigrams of features, of random ones, and random rows, edges cut
        data/features/<m>/kinds.parquet      these kinds of rows side by side
"""

import numpy as np

from skiptrace.account.entries import splits
from skiptrace.account.orders import PATH
from skiptrace.account.study import Text
from skiptrace.config.account import AccountParams
from skiptrace.config.base import load
from skiptrace.config.features import FeaturesParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.models import load_model
from skiptrace.config.verification import VerificationParams
from skiptrace.errors import InputError
from skiptrace.features import tables
from skiptrace.features.study import study
from skiptrace.files import atomic_folder, read_tokens
from skiptrace.layout import FEATURED, MODELS, PARAMS, TOKENS
from skiptrace.mining import vocabulary
from skiptrace.models import checkpoint
from skiptrace.tables import made, write_all
from skiptrace.tokens.tables import VOCAB
from stages import needs, needs_of_studies
from stages.common import asked_for, run, wrote

BOUNDED_BY = "features.entries, features.windows and features.selection"


def main() -> None:
    """Study one model."""
    name = asked_for("model", __doc__)
    params = load(FeaturesParams, "features", PARAMS)
    account = load(AccountParams, "account", PARAMS)
    corpus = load_model(name, PARAMS).corpus
    model = checkpoint.load(MODELS / name)
    if not splits(model):
        raise InputError(
            f"{PARAMS}: features.models.{name}: its heads read more than a sum of features and positions (layer norm, "
            "MLPs, biases, or positions in the stream), or it has none; take it out"
        )
    made(**model.config.readings)
    needs.state(f"features {name}", needs_of_studies.of_features(model, params, account, len(PATH)), BOUNDED_BY)
    words = vocabulary.load(VOCAB.file(TOKENS / corpus), model.d_vocab)
    train, valid = (
        np.asarray(read_tokens(TOKENS / corpus / f"{part}.npy", model.d_vocab)) for part in ("train", "valid")
    )
    found = study(
        model,
        Text(train, valid, words.probability, words.token),
        words,
        params,
        account,
        load(MiningParams, "mining", PARAMS),
        load(VerificationParams, "verification", PARAMS).fdr,
    )
    with atomic_folder(FEATURED / name) as folder:
        write_all(folder, tables, found._asdict())
    wrote(FEATURED / name, f"{len(found.features)} features, {len(found.rows)} rows of {len(found.kinds)} kinds")


if __name__ == "__main__":
    run(main, BOUNDED_BY)
