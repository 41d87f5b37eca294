"""The tables of the toy models."""

from skiptrace.tables import Column, Table

SPARSITY = Column("sparsity", "float64", "S, the probability that a feature is absent")
DENSITY = Column("density", "float64", "1 − S, the probability that a feature is present")
SEED = Column("seed", "int64", "number of the model among those of the same setting")
LOSS = Column("loss", "float32", "squared error weighted by importance, per input")
MODEL = [SPARSITY, SEED, LOSS, Column("best", "bool", "the model of least loss of its sparsity")]
FEATURE = Column("feature", "int64", "number of the feature, from 0")
NEURON = Column("neuron", "int64", "number of the neuron, from 0")
NORM = Column("norm", "float32", "‖W_i‖ of the feature")
BIAS = Column("bias", "float32", "the feature's output bias")
DIMENSIONALITY = Column("dimensionality", "float32", "D_i, the share of a dimension that the feature has")
INTERFERENCE = Column("interference", "float32", "Σ_{j≠i} (Ŵ_i·W_j)², what the others write along its direction")
SHARE = Column("share", "float32", "share of the neuron's squared weights that its strongest feature has")
SEMANTICS = Column("semantics", "string", "monosemantic, polysemantic or dead")
SIZE = Column("size", "string", "small or large, as in params.yaml")
PLACE = [Column("x", "float32", "first component of W_i"), Column("y", "float32", "second component of W_i"), BIAS]
ARRANGEMENT = Column("arrangement", "string", "what the represented features of the model form")
TRIALS = Column("trials", "int64", "vectors that were tried")
ACTIVE = Column("k", "int64", "nonzero entries of each vector")
TRANSITION = Column("expected", "float64", "measurements per unknown at which recovery sets in (Amelunxen et al. 2014)")
ABSOLUTE = Table(
    "superposition/absolute",
    "Neurons of models of y = |x|; a row is a neuron of a model.",
    [*MODEL, NEURON, SHARE, SIZE, SEMANTICS],
)
COMPUTED = Table(
    "superposition/computed",
    "What models of y = |x| compute; a row is a feature of a model.",
    [
        *MODEL,
        FEATURE,
        Column("positive", "float32", "rise of its output when it goes from 0 to 1; 1 is exact"),
        Column("negative", "float32", "rise of its output when it goes from 0 to −1; 1 is exact"),
        SIZE,
    ],
)
DISTORTION = Table(
    "superposition/distortion",
    "Random projections of random points; a row is a number of dimensions.",
    [
        Column("m", "int64", "dimensions of the projection"),
        Column("rms", "float64", "root mean square relative error of squared distances"),
        Column("expected", "float64", "√(2/m), the same for a Gaussian projection"),
        Column("worst", "float64", "largest relative error of a pair"),
        Column("epsilon", "float64", "ε whose Johnson–Lindenstrauss size is m; null where m is too small"),
    ],
)
DSTAR = Table(
    "superposition/dstar",
    "Hidden dimensions per represented feature, against density; a row is a model.",
    [DENSITY, SEED, Column("dstar", "float32", "D* = m / ‖W‖²_F"), LOSS],
)
FIVE = Table(
    "superposition/five",
    "Features in two dimensions; a row is a feature of a model.",
    [*MODEL, ARRANGEMENT, FEATURE, *PLACE, Column("activation", "string", "of the output: relu or linear")],
)
GEOMETRY = Table(
    "superposition/geometry",
    "Dimensionality of equally important features, against density; a row is a feature of a model.",
    [DENSITY, SEED, FEATURE, NORM, DIMENSIONALITY],
)
HOSTS = Table(
    "superposition/hosts",
    "The features of the models of larger; a row is a feature of a model.",
    [*MODEL, FEATURE, NORM, DIMENSIONALITY, BIAS],
)
LARGER = Table(
    "superposition/larger",
    "Models beside the larger ones that they simulate; a row is a model and a number of active features.",
    [
        *MODEL,
        Column("active", "int64", "features that are active together"),
        Column("interference", "float32", "mean squared interference over the represented features"),
        Column("predicted", "float32", "its expectation by theory"),
        Column("difference", "float32", "mean squared difference of the outputs of both models"),
        Column("explained", "float32", "share of the variance of the larger model's outputs that is reproduced"),
    ],
)
LEVELS = Table(
    "superposition/levels",
    "Whether dimensions stay at certain values while density falls; a row is a value.",
    [
        Column("measure", "string", "D* of models or D_i of features"),
        Column("name", "string", "the geometry that has the value"),
        Column("level", "float64", "the value"),
        Column("within", "float64", "how near to it counts"),
        Column("found", "int64", "models, or features of one model, at it"),
        Column("null", "float64", "as many by chance"),
        Column("needed", "int64", "the fewest that count"),
        Column("passes", "bool", "found reaches needed and exceeds null"),
    ],
)
NEURONS = Table(
    "superposition/neurons",
    "Hidden layers with and without a ReLU; a row is a neuron of a model.",
    [
        *MODEL,
        Column("kept", "int64", "features that the model represents"),
        NEURON,
        SHARE,
        Column("hidden", "string", "activation of the hidden layer: relu or linear"),
        SEMANTICS,
    ],
)
NORMS = Table(
    "superposition/norms",
    "Which features are represented, by sparsity; a row is a feature of a model.",
    [*MODEL, FEATURE, NORM, INTERFERENCE, BIAS, SIZE, Column("n_hidden", "int64", "hidden dimensions")],
)
OWN_WEIGHTS = Table(
    "superposition/own_weights",
    "Compressed sensing by the weights of toy models; a row is a model and a number of active features.",
    [
        Column("m", "int64", "hidden dimensions"),
        Column("n", "int64", "features that the model represents"),
        ACTIVE,
        TRIALS,
        Column("toy", "float64", "share that basis pursuit recovers from Wx"),
        Column("gaussian", "float64", "the same of a Gaussian matrix of its shape"),
        TRANSITION,
        SPARSITY,
    ],
)
PAIRS = Table(
    "superposition/pairs",
    "Pairs of features that are present together or never together; a row is a feature of a model.",
    [*MODEL, ARRANGEMENT, FEATURE, *PLACE, Column("grouping", "string", "independent, correlated, anticorrelated")],
)
PHASE = Table(
    "superposition/phase",
    "Phase diagrams beside the exact optimum; a row is a cell.",
    [
        Column("n", "int64", "features, in n − 1 dimensions"),
        Column("density", "float32", "1 − S, the probability that a feature is present"),
        Column("importance", "float32", "importance of the last feature; that of the others is 1"),
        Column("loss", "float32", "loss of the best of the seeds"),
        Column("norm", "float32", "its ‖W_i‖ of the last feature"),
        Column("interference", "float32", "its interference at the last feature"),
        Column("trained", "string", "the configuration that it found"),
        Column("expected", "string", "the configuration of least loss by theory"),
        Column("expected_loss", "float32", "loss of that configuration"),
        Column("agrees", "bool", "both are the same"),
        Column("ideal", "string", "configuration of least loss with ideal weights, which are fixed"),
        Column("ideal_loss", "float32", "loss of that configuration"),
    ],
)
SENSING = Table(
    "superposition/sensing",
    "Compressed sensing by Gaussian matrices; a row is a number of measurements and of nonzero entries.",
    [
        Column("n", "int64", "entries of each vector"),
        Column("m", "int64", "measurements"),
        ACTIVE,
        TRIALS,
        Column("recovered", "float64", "share that basis pursuit recovers"),
        TRANSITION,
    ],
)
TOGETHER = Table(
    "superposition/together",
    "What becomes of pairs of features; a row is a pair of a model.",
    [
        *MODEL,
        Column("pair", "int64", "number of the pair, from 0"),
        Column("cosine", "float32", "cosine between its two features"),
        Column("least", "float32", "the smaller of their norms"),
        Column("became", "string", "antipodal, orthogonal, collapsed, in between, or one or both left out"),
        Column("grouping", "string", "independent, correlated or anticorrelated"),
    ],
)
VECTORS = Table(
    "superposition/vectors",
    "How many almost-orthogonal vectors fit; a row is a number of dimensions and an ε.",
    [
        Column("d", "int64", "dimensions"),
        Column("epsilon", "float64", "largest |cosine| allowed"),
        Column("optimised", "int64", "most vectors found by descent"),
        Column("drawn", "int64", "random vectors kept one after the other"),
        Column("largest", "int64", "most that were looked for"),
        Column("exponential", "float64", "e^{dε²/4}, where random vectors succeed"),
        Column("johnson_lindenstrauss", "float64", "points whose Johnson–Lindenstrauss size is d"),
        Column("welch", "float64", "most that Welch's bound allows; ∞ where it allows any number"),
    ],
)
WIDTHS = Table(
    "superposition/widths",
    "One task at several widths; a row is a model.",
    [
        SPARSITY,
        Column("width", "int64", "hidden dimensions"),
        SEED,
        LOSS,
        Column("unexplained", "float32", "loss over that of predicting the mean"),
        Column("kept", "int64", "features that the model represents"),
        Column("interference", "float32", "mean interference of these features"),
        Column("dimensionality", "float32", "mean D_i of all features"),
        Column("parameters", "int64", "weights and biases"),
        Column("multiplications", "int64", "multiplications per input"),
    ],
)
