"""The tables of sparse autoencoders."""

from enum import StrEnum

from skiptrace.tables import Column, Table


class Kind(StrEnum):
    """What makes an autoencoder of a language model sparse."""

    L1 = "L1"
    TOP_K = "TopK"
    BATCH_TOP_K = "BatchTopK"


KIND = Column("kind", "string", "L1: penalty; TopK: k largest of each input; BatchTopK: k on average over a batch")
PENALTY = Column("penalty", "float64", "λ, the weight of the L1 penalty; 0 without one")
K = Column("k", "int64", "entries that may be active at once, in BatchTopK on average: those that are kept, or all")
SITE = Column(
    "site", "string", "heads: what the last layer's heads together write; residual: the final residual stream"
)
FEATURE = Column("feature", "int64", "number of the entry, from 0")
STATISTICS = [
    Column("l0", "float64", "mean number of entries active at once"),
    Column("variance_explained", "float64", "share of the variance of the activations that is reconstructed"),
    Column("dead_fraction", "float64", "share of entries that are never active"),
]
HOST = [
    Column("sparsity", "float64", "S of the toy model"),
    Column("seed", "int64", "number of the toy model of that sparsity"),
    PENALTY,
]
TOY_SWEEP = Table(
    "dictionary/<d>/sweep",
    "Autoencoders of toy models (`kind: toy`); a row is a toy model at a penalty, with a number of entries.",
    [
        *HOST,
        Column("entries", "int64", "dictionary entries"),
        Column("mmcs", "float64", "mean over true features of the largest cosine with an entry"),
        Column("matched", "float64", "mean cosine of the best one-to-one matching"),
        Column("one_entry", "int64", "features that exactly one entry stands for"),
        Column("features", "int64", "true features that the toy model represents"),
        *STATISTICS,
        Column("random_mmcs", "float64", "mmcs of a random dictionary"),
    ],
)
HYBRID = Table(
    "dictionary/<d>/hybrid",
    "Toy models trained with a penalty on their activations (`kind: toy`); a row is a model and a dictionary of it.",
    [
        Column("activation_penalty", "float64", "weight of ‖h‖₁ in what the toy model minimises; 0 for none"),
        Column("dictionary_steps", "int64", "optimiser steps of the dictionary"),
        Column("sparsity", "float64", "S of the toy model"),
        Column("seed", "int64", "number of the toy model of that sparsity"),
        Column("loss", "float64", "loss of the toy model, the penalty left out: what the hybrid way costs"),
        Column("all", "int64", "features of its inputs"),
        Column("features", "int64", "those that it represents"),
        Column("mmcs", "float64", "mean over these of the largest cosine with an entry"),
        Column("one_entry", "int64", "features that exactly one entry stands for"),
        *STATISTICS,
        Column("random_mmcs", "float64", "mmcs of a random dictionary"),
    ],
)
BEST = Table(
    "dictionary/<d>/best",
    "How well each true feature is recovered (`kind: toy`); a row is a feature of a toy model in a dictionary.",
    [
        *HOST,
        Column("entries", "int64", "dictionary entries"),
        Column("feature", "int64", "number of the represented feature, from 0"),
        Column("cosine", "float32", "its largest cosine with an entry"),
    ],
)
SWEEP = Table(
    "dictionary/<d>/sweep",
    "Autoencoders of a language model (`kind: model`); a row is a site at a penalty or a k.",
    [
        SITE,
        KIND,
        PENALTY,
        K,
        *STATISTICS,
        Column("loss", "float64", "loss with the activations reconstructed", "nats per token"),
        Column("original_loss", "float64", "loss of the model", "nats per token"),
        Column("mean_loss", "float64", "loss with their mean in their place", "nats per token"),
        Column("loss_recovered", "float64", "share of the loss between mean ablation and the model"),
        Column("loss_recovered_low", "float64", "lower end of its 95 % interval, clustered by document"),
        Column("loss_recovered_high", "float64", "upper end of it"),
        Column("token_mean_recovered", "float64", "share of the loss recovered by the mean for the current token"),
        Column("token_mean_explained", "float64", "variance explained by the mean for the current token"),
        Column("pca_explained", "float64", "variance explained by as many principal components as entries are active"),
        Column("pca_recovered", "float64", "share of the loss recovered by as many principal components"),
    ],
)
DENSITIES = Table(
    "dictionary/<d>/densities",
    "How often entries are active; a row is an entry at a site and a penalty or a k.",
    [SITE, KIND, PENALTY, K, FEATURE, Column("density", "float32", "share of positions at which it is active")],
)
FEATURES = Table(
    "dictionary/<d>/features",
    "The entries at the k shown; a row is an entry at a site.",
    [
        SITE,
        FEATURE,
        Column("density", "float32", "share of positions at which it is active"),
        Column("activation", "float32", "mean activation where it is active"),
        Column("out_ids", "list<int64>", "ids of the output tokens that it raises most"),
        Column("outs", "list<string>", "their texts"),
        Column("logits", "list<float64>", "what the mean activation adds to them", "logits"),
        Column("head", "int64", "head that most of its encoder row reads from, −1 for the residual stream"),
        Column("head_share", "float64", "share of the squared norm of W_O e in that head, e the encoder row"),
    ],
)
CONTEXTS = Table(
    "dictionary/<d>/contexts",
    "Where entries are most active; a row is a position of the validation text for an entry.",
    [
        SITE,
        FEATURE,
        Column("rank", "int64", "place by activation, from 0"),
        Column("activation", "float64", "its activation there"),
        Column("before", "list<string>", "texts of the tokens before"),
        Column("token_id", "int64", "id of the token there"),
        Column("token", "string", "its text"),
        Column("after", "list<string>", "texts of the tokens after"),
        Column("head", "int64", "head that contributes most to the activation; −1 without one"),
        Column("distance", "int64", "how far back its source stands", "tokens"),
        Column("source_id", "int64", "id of the source"),
        Column("source", "string", "its text"),
    ],
)
