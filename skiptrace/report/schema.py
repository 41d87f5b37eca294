"""The columns that the report needs of each table, so that a table of another version is named at once.

Tables may hold more. `evidence` stands for data/evidence/<m>/skip_trigrams.
"""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from skiptrace.errors import InputError
from skiptrace.files import read_table

TABLES = {
    "heads": (
        "layer head name copying copying_null_mean copying_null_sd copies own_top1 own_top5 own_positive "
        "position_share position_share_null_mean position_share_null_sd positional best_offset best_offset_attention "
        "best_offset_uniform previous_token previous_token_uniform prefix_matching prefix_matching_uniform "
        "bos_attention"
    ),
    "offsets": "layer head offset text position_only uniform",
    "losses": "position loss se contexts",
    "bigrams": "rank token_id token next_id next value model_logprob corpus_count corpus_logprob",
    "agreement": "token_id token observed spearman spearman_unigram",
    "skip_trigrams": (
        "rank layer head source_id source destination_id destination out_id out qk ov score expected rank_published "
        "rank_expected"
    ),
    "positional": "rank layer head source_id source destination out_id out ov score",
    "virtual_ov": "rank name source_id source out_id out ov score",
    "k_composition": "rank name destination_id destination source_id source qk score",
    "copies": "rank layer head source_id source ov own_rank",
}
EVIDENCE = {
    "evidence": (
        "rank layer head source_id source destination_id destination out_id out qk ov score expected rank_published "
        "rank_expected effect_nats effect_se replaced_nats replaced_se p_out n_contexts null_mean null_sd "
        "elsewhere_nats p_value specific consistent precedes corpus_count corpus_expected corpus_lift lift_low "
        "lift_high support rank_evidence beyond_null recurs survives"
    ),
    "bugs": (
        "layer head source_id destination_1_id destination_2_id out_1_id out_2_id model_11 model_12 model_21 model_22 "
        "corpus_11 corpus_12 corpus_21 corpus_22 cost_12 cost_se_12 positions_12 cost_21 cost_se_21 positions_21 "
        "source destination_1 destination_2 out_1 out_2"
    ),
    "matched": "heads layer head source_id destination_id out_id effect_nats p_out consistent support survives",
    "funnel": "heads step rows share",
    "truth": "kind ranking planted k found recall precision false_forced false_real false_wrong",
}
COMPOSED = {
    "composition": (
        "kind from_layer from_head to_layer to_head from to score null_mean null_sd z rotated_mean rotated_sd "
        "rotated_z overlap overlap_null_mean overlap_null_sd overlap_z closest impossible_max significant below"
    ),
    "deletion": (
        "head writer dimensions negative null_mean null_sd z before after after_shuffled cosine cosine_null_mean "
        "cosine_null_sd cosine_z impossible_z impossible_cosine deletes"
    ),
    "directions": "family matrix pairs cosine null_mean null_sd z accuracy accuracy_nearest",
    "example_texts": "example position token_id",
    "examples": "example order probability out_id rank name logit source_back source_id source_logit",
    "formation": "step name score value",
    "identities": "identity error scale",
    "induction": (
        "layer head name prefix_matching prefix_matching_se prefix_matching_text prefix_matching_text_se "
        "prefix_matching_uniform copying_share copying_share_chance previous_token previous_token_uniform copying "
        "copying_null_mean copying_null_sd earlier k_eigenvalues k_null_mean k_null_sd k_own_top1 in_corner"
    ),
    "knockouts": "from to via intact without change change_se",
    "overlaps": "writer other overlap null_mean null_sd z",
    "paths": "name order logit se size",
    "patterns": "name why destination source destination_id source_id first then virtual",
    "plane": "family token_id pair side x y",
    "terms": "scope order name paths added added_se removed removed_se",
    "virtual_heads": (
        "name copying copying_null_mean copying_null_sd copies own_top1 own_top5 k_eigenvalues k_null_mean k_null_sd "
        "k_own_top1 chance_top1"
    ),
    "virtual_weights": "writer reader score null_mean null_sd z impossible_max significant below",
    "writers": "name norm rank effective_rank dimensions weights_effective_rank null_mean null_sd",
}
EXPLORED = {
    "entries": "name role token_id rank partner_id value",
    "texts": "text position token_id guess_ids probabilities",
    "patterns": "text name attention",
    "corners": "circuit layer head row_id column_id value",
    "layers": "layer own_top1 own_top5 own_positive",
    "direct": "token_id next_id corpus model",
}
SUPERPOSITION = {
    "absolute": "sparsity seed loss best neuron share size semantics",
    "computed": "sparsity seed loss best feature positive negative size",
    "distortion": "m rms expected worst epsilon",
    "dstar": "density seed dstar loss",
    "five": "sparsity seed loss best arrangement feature x y bias activation",
    "geometry": "density seed feature norm dimensionality",
    "hosts": "sparsity seed loss best feature norm dimensionality bias",
    "larger": "sparsity seed loss best active interference predicted difference explained",
    "levels": "measure name level within found null needed passes",
    "neurons": "sparsity seed loss best kept neuron share hidden semantics",
    "norms": "sparsity seed loss best feature norm interference bias size n_hidden",
    "own_weights": "m n k trials toy gaussian expected sparsity",
    "pairs": "sparsity seed loss best arrangement feature x y bias grouping",
    "phase": "n density importance loss norm interference trained expected expected_loss agrees ideal ideal_loss",
    "sensing": "n m k trials recovered expected",
    "together": "sparsity seed loss best pair cosine least became grouping",
    "vectors": "d epsilon optimised drawn largest exponential johnson_lindenstrauss welch",
    "widths": "sparsity width seed loss unexplained kept interference dimensionality parameters multiplications",
}
DICTIONARY = {
    "sweep": (
        "site penalty l0 variance_explained dead_fraction loss original_loss mean_loss loss_recovered "
        "token_mean_recovered pca_explained "
        "pca_recovered"
    ),
    "densities": "site penalty feature density",
    "features": "site feature density activation out_ids outs logits head head_share",
    "contexts": "site feature rank activation before token_id token after head distance source_id source",
    "toy_sweep": (
        "sparsity seed penalty mmcs matched one_entry features l0 variance_explained dead_fraction random_mmcs"
    ),
}
CURVE = "step tokens train_loss valid_loss"
CORPUS = {
    "vocab": "token_id token count probability",
    "bigrams": "token_id next_id count",
}


def read(path: Path, columns: str) -> pd.DataFrame:
    """A table that has at least these columns, named with blanks between.

    Raises:
        InputError: the file is missing or damaged, or lacks a column; names both.
    """
    table = read_table(path)
    require(path, table.column_names, columns.split())
    return table.to_pandas()


def require(path: Path, names: Collection[str], needed: Collection[str]) -> None:
    """Raise InputError if one of the needed names is not among those of the file."""
    missing = [name for name in needed if name not in names]
    if missing:
        raise InputError(f"{path}: {', '.join(missing)} missing; it is of another version: reproduce its stage")
