"""The tables of a model's losses."""

from skiptrace.tables import Column, Table

CURVE = Table(
    "models/<m>/curve",
    "Losses during training; a row is a step at which they were measured, and an imported model has none.",
    [
        Column("step", "int64", "updates of the weights so far"),
        Column("tokens", "int64", "tokens that training had seen"),
        Column("train_loss", "float64", "mean loss of the batches since the row before", "nats per token"),
        Column("valid_loss", "float64", "loss on a part of the validation text", "nats per token"),
    ],
)
LOSSES = Table(
    "tables/<m>/losses",
    "Loss on the validation text by position; a row is a position in the context.",
    [
        Column("position", "int64", "place of the predicted token, from 1", "tokens"),
        Column("loss", "float64", "mean loss over the contexts", "nats per token"),
        Column("se", "float64", "standard error of loss", "nats per token"),
        Column("contexts", "int64", "contexts that the mean is over, the same at every position"),
        Column("mean_se", "float64", "standard error of the loss over all positions, clustered by document", "nats"),
        Column("learning_se", "float64", "that of the loss late in the context minus the loss early in it", "nats"),
    ],
)
