"""Every section of the report, a line each, under the question that it helps to answer, in the order of the page.

The folder of a section says what it is made for (`contents.SUBJECTS`): the run, every model, the toy models, every
dictionary.
"""

from collections.abc import Callable
from typing import NamedTuple

from skiptrace.report.inputs import Study
from skiptrace.report.published import FRAMEWORK, INDUCTION, MONOSEMANTIC, TOYS
from skiptrace.report.rendering.document import Section
from skiptrace.report.sections.dictionaries import features as entries
from skiptrace.report.sections.dictionaries import language, toy
from skiptrace.report.sections.models import (
    account,
    bigrams,
    bugs,
    circuits,
    composition,
    control,
    cutoffs,
    directions,
    evidence,
    feature_rows,
    features,
    formation,
    heads,
    induction,
    paths,
    positional,
    rules,
    skip_trigrams,
    stream,
    terms,
    truth,
    virtual,
)
from skiptrace.report.sections.run import corpora, imports, limits, methods, provenance, summary, tools
from skiptrace.report.sections.superposition import (
    absolute,
    five,
    geometry,
    larger,
    neurons,
    norms,
    pairs,
    phase,
    sensing,
    vectors,
    widths,
)


class Part(NamedTuple):
    """A part of the page and its sections.

    A part with a `title` is a question, introduced by `lead`: its sections are shown for one model at a time, of those
    with at least `layers` layers the first. `folded` parts open at a click. `control`: for models of planted text
    alone; all other parts leave these out.
    """

    sections: tuple[Callable[[Study], Section | None], ...]
    anchor: str = ""
    title: str = ""
    lead: str = ""
    layers: int = 0
    folded: bool = False
    control: bool = False


BIGRAMS = Part(
    (bigrams.direct,),
    "zero-layers",
    "What do zero layers know?",
    "A transformer without attention sees one token. The best it can do is to know how often each token follows "
    f"another, and {FRAMEWORK.link} shows that W_E W_U then comes close to the bigram log-likelihood.",
)
ATTENTION = Part(
    (
        account.account,
        terms.terms,
        rules.rules,
        paths.expansion,
    ),
    "attention",
    "What does attention add?",
    f"The logits are a sum over paths through the model ({FRAMEWORK.link}). Here each part of attention is replaced by "
    "an average, or by its largest entries alone, and the loss on held-out text says what the part is worth.",
    layers=1,
)
SKIP_TRIGRAMS = Part(
    (
        skip_trigrams.skip_trigrams,
        evidence.evidence,
        bugs.bugs,
    ),
    "which-skip-trigrams",
    "Which skip-trigrams?",
    "A head that attends from a destination to a source raises output tokens that depend on the source: "
    f"“source … destination → out”, the skip-trigram of {FRAMEWORK.link}.",
    layers=1,
)
HEADS = Part(
    (
        heads.heads,
        positional.positional,
        cutoffs.cutoffs,
        circuits.circuits,
    ),
    "which-heads",
    "Which heads?",
    f"{FRAMEWORK.link} finds heads that copy what they attend to and heads that attend by position. Every score below "
    "stands beside what random heads or uniform attention give.",
    layers=1,
)
DIRECTIONS = Part(
    (directions.directions,),
    "what-heads-read",
    "What does a head read and write?",
    "A list of skip-trigrams names single tokens. The singular directions of a head's circuits say which tokens it "
    "treats alike, and removing one from the running model says whether it matters.",
    layers=1,
)
COMPOSITION = Part(
    (
        induction.induction,
        formation.formation,
        composition.composition,
        virtual.virtual,
        stream.residual,
    ),
    "how-heads-compose",
    "How do heads compose?",
    "A later head can read what an earlier one wrote. Composition through keys makes induction heads, which repeat "
    f"what came next last time ({FRAMEWORK.link}; {INDUCTION.link}).",
    layers=2,
)
FEATURES = Part(
    (
        language.language,
        entries.features,
        feature_rows.feature_rows,
        features.features,
    ),
    "how-features-share-space",
    "How do features share space?",
    f"A model may hold more features than it has dimensions ({TOYS.link}). A sparse autoencoder tries to take them "
    f"apart ({MONOSEMANTIC.link}).",
)
CONTROL = Part(
    (
        control.control_study,
        truth.truth,
        *(
            make
            for part in (SKIP_TRIGRAMS, ATTENTION, HEADS, DIRECTIONS, BIGRAMS, COMPOSITION)
            for make in part.sections
        ),
        features.features,
    ),
    "control",
    "Control: are planted skip-trigrams found?",
    "The text of this model was written by a known grammar, so what is read from its weights can be compared with "
    "what was planted.",
    folded=True,
    control=True,
)
SUPERPOSITION = Part(
    (
        five.five,
        norms.norms,
        phase.phase,
        geometry.geometry,
        pairs.pairs,
        neurons.neurons,
        absolute.absolute,
        vectors.vectors,
        sensing.sensing,
        larger.larger,
        widths.widths,
        toy.toy,
    ),
    "superposition",
    "Toy models of superposition",
    f"The experiments of {TOYS.link}, each beside exact theory or a null.",
    folded=True,
)
PARTS = (
    Part((summary.summary, tools.explorer)),
    BIGRAMS,
    ATTENTION,
    SKIP_TRIGRAMS,
    Part((tools.all_skip_trigrams,)),
    HEADS,
    DIRECTIONS,
    Part((tools.cards, tools.maps, tools.patterns)),
    COMPOSITION,
    FEATURES,
    CONTROL,
    SUPERPOSITION,
    Part(
        (
            summary.losses,
            corpora.corpora,
            imports.imports,
            limits.limits,
            methods.methods,
            methods.glossary,
            provenance.provenance,
        )
    ),
)
