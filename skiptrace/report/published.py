"""What the papers report, in one place; the report shows these numbers beside those of a run.

- Framework: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits";
  one and two layers of twelve heads.
- Toy models: Elhage et al. 2022, "Toy Models of Superposition".
"""

from typing import NamedTuple

# Framework, zero-layer transformers and one-layer attention-only transformers.
BIGRAMS = "nearly the bigram log-likelihood"
COPYING_HEADS = "10 of 12"
POSITIONAL_HEADS = "2 of 12"
BUGS = "not measured"

# Framework, two-layer attention-only transformers.
COMPOSITION = "only through keys, with one head of layer 0"
INDUCTION_HEADS = "6 clear ones of 12"
IN_CONTEXT_LEARNING = "loss falls along the context"


class Term(NamedTuple):
    """How much the paths through so many heads lower the loss, in nats per token, and per path where it is given."""

    nats: float
    each: float | None

    def __str__(self) -> str:
        """The number as the report shows it."""
        return f"{self.nats:g}" if self.each is None else f"{self.nats:g} ({self.each:g} each)"


# Framework, "Term Importance Analysis", by the number of heads on a path: 24 heads and 144 virtual heads.
TERMS = {0: Term(1.8, None), 1: Term(5.2, 0.2), 2: Term(0.3, 0.002)}

# Toy models, five features in two dimensions: the arrangement at a sparsity.
FIVE_FEATURES = {0.0: "two orthogonal", 0.8: "two antipodal pairs", 0.9: "pentagon"}
PHASES = "theory and training alike"

# Nguyen: next-token distributions of a transformer trained on TinyStories whose likeliest token is that of the closest
# rule made of n-grams.
RULES = "79%"


class Paper(NamedTuple):
    """A paper: how it is named in a sentence, its title, and its address."""

    name: str
    title: str
    address: str

    @property
    def link(self) -> str:
        """Its name as a link, in the notation of the report's paragraphs."""
        return f"[{self.name}]({self.address})"


FRAMEWORK = Paper(
    "Elhage et al. 2021",
    "A Mathematical Framework for Transformer Circuits",
    "https://transformer-circuits.pub/2021/framework/index.html",
)
INDUCTION = Paper(
    "Olsson et al. 2022",
    "In-context Learning and Induction Heads",
    "https://transformer-circuits.pub/2022/in-context-learning-and-induction-heads/index.html",
)
TOYS = Paper(
    "Elhage et al. 2022",
    "Toy Models of Superposition",
    "https://transformer-circuits.pub/2022/toy_model/index.html",
)
MONOSEMANTIC = Paper(
    "Bricken et al. 2023",
    "Towards Monosemanticity: Decomposing Language Models With Dictionary Learning",
    "https://transformer-circuits.pub/2023/monosemantic-features/index.html",
)
SENSING = Paper(
    "Amelunxen et al. 2014",
    "Living on the edge: phase transitions in convex programs with random data",
    "https://arxiv.org/abs/1303.6672",
)
NGRAMS = Paper("Nguyen 2024", "Understanding Transformers via N-gram Statistics", "https://arxiv.org/abs/2407.12034")
ATTRIBUTION = Paper(
    "Sundararajan et al. 2017", "Axiomatic Attribution for Deep Networks", "https://arxiv.org/abs/1703.01365"
)
PAPERS = (FRAMEWORK, INDUCTION, TOYS, MONOSEMANTIC, SENSING, ATTRIBUTION, NGRAMS)
