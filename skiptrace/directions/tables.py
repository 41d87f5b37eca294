"""The tables of directions within heads."""

from skiptrace.tables import HEAD, LAYER, Column, Table, chance

# What the rows and the columns of each circuit are: the two ends of a direction.
ROLES = {"ov": ("source", "out"), "qk": ("destination", "source")}
HEADS = "over heads turned at random"
NATS = "nats per token"
CIRCUIT = Column("circuit", "string", "ov (reads a source, raises outputs) or qk (a destination, and sources)")
NAME = Column("name", "string", "the head as L<layer>H<head>")
GROUP = Column("group", "int32", "place of the group of directions in the circuit, from 1, the largest value first")

SPECTRA = Table(
    "directions/<m>/spectra",
    "The singular directions of each circuit as a whole; a row is a circuit of a head.",
    [
        CIRCUIT,
        LAYER,
        HEAD,
        NAME,
        Column("norm", "float64", "√Σ s²: root mean square entry, tokens weighed", "logits, attention scores"),
        Column("effective_rank", "float64", "exp of the entropy of the shares of its directions", "directions"),
        *chance("effective_rank", HEADS, "directions"),
        Column("copying", "float64", "Σ s u·v / Σ s: 1 where every direction raises what it reads"),
        *chance("copying", HEADS),
        Column(
            "copying_directions",
            "float64",
            "exp of the entropy of the parts s u·v above zero: by how many directions it copies",
            "directions",
        ),
        *chance("copying_directions", HEADS, "directions"),
        Column("loss", "float64", "loss on held-out text without this circuit of tokens less with it", NATS),
        Column("loss_se", "float64", "its standard error over contexts", NATS),
        Column("moved", "float64", "qk: attention that moves to other sources without it, 0 to 1, mean over text"),
        Column("moved_se", "float64", "its standard error over contexts"),
    ],
)
GROUPS = Table(
    "directions/<m>/groups",
    "Singular directions of the circuits of heads, near-equal ones together; a row is a group.",
    [
        CIRCUIT,
        LAYER,
        HEAD,
        NAME,
        GROUP,
        Column("first", "int32", "its first direction, from 1"),
        Column("size", "int32", "directions in it: more than one cannot be told apart (`directions.gap`)"),
        Column("value", "float64", "root mean square singular value", "logits, attention scores"),
        Column("share", "float64", "share of the circuit's Σ s² that it carries"),
        *chance("share", f"of the same places {HEADS}"),
        Column("constant", "float64", "share of what it reads that is the same for all tokens, 0 to 1"),
        Column("copying", "float64", "Σ s u·v / Σ s: 1 raises what it reads, −1 lowers it"),
        *chance("copying", f"of the same places {HEADS}"),
        Column("loss", "float64", "loss on held-out text without it less with it; null if not measured", NATS),
        Column("loss_se", "float64", "its standard error over contexts", NATS),
        Column("random_loss", "float64", "the same, mean over as many random directions of the same circuit", NATS),
        Column("random_loss_sd", "float64", "standard deviation over these", NATS),
        Column("moved", "float64", "qk: attention that moves to other sources without it, 0 to 1, mean over text"),
        Column("moved_se", "float64", "its standard error over contexts"),
        Column("random_moved", "float64", "the same, mean over the random directions"),
        Column("random_moved_sd", "float64", "standard deviation over these"),
    ],
)
ENDS = Table(
    "directions/<m>/ends",
    "The tokens at both ends of the first groups; a row is a token.",
    [
        CIRCUIT,
        LAYER,
        HEAD,
        NAME,
        GROUP,
        Column("role", "string", "source and out (ov), destination and source (qk)"),
        Column(
            "pole",
            "int32",
            "1 or −1: the two poles of a direction, which read and write apart; 0: a group, which has none",
        ),
        Column("rank", "int32", "place of the token, from 1"),
        Column("token_id", "int32", "id of the token"),
        Column(
            "loading", "float64", "its part of the end; the squares of all tokens add up to 1 (to size for a group)"
        ),
    ],
)
TWINS = Table(
    "directions/<m>/twins",
    "The heads of twins, models of other seeds, that do the same to tokens; a row is a head and a twin.",
    [
        NAME,
        Column("twin", "int32", "the twin, from 0"),
        Column("match", "string", "its head that the one-to-one pairing gives this one"),
        Column("ov", "float64", "cosine of the two OV circuits, tokens weighed, −1 to 1"),
        Column("qk", "float64", "cosine of the two QK circuits"),
        Column("runner_up", "float64", "mean cosine of the next best pair with either head", "", True),
    ],
)
