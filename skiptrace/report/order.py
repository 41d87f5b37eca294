"""Every section of the report, a line each: the order of these lines is that of the report.

The folder of a section says what it is made for (`contents.SUBJECTS`): the run, every model, the toy models, every
dictionary.
"""

# ruff: noqa: F401, I001

from skiptrace.report.sections.run.summary import summary
from skiptrace.report.sections.run.tools import explorer
from skiptrace.report.sections.run.tools import all_skip_trigrams
from skiptrace.report.sections.run.tools import maps
from skiptrace.report.sections.run.tools import patterns
from skiptrace.report.sections.run.corpora import corpora
from skiptrace.report.sections.run.imports import imports
from skiptrace.report.sections.models.truth import truth
from skiptrace.report.sections.models.bigrams import direct
from skiptrace.report.sections.models.account import account
from skiptrace.report.sections.models.skip_trigrams import skip_trigrams
from skiptrace.report.sections.models.evidence import evidence
from skiptrace.report.sections.models.bugs import bugs
from skiptrace.report.sections.models.positional import positional
from skiptrace.report.sections.models.heads import heads
from skiptrace.report.sections.models.cutoffs import cutoffs
from skiptrace.report.sections.models.circuits import circuits
from skiptrace.report.sections.models.paths import expansion
from skiptrace.report.sections.models.terms import terms
from skiptrace.report.sections.models.composition import composition
from skiptrace.report.sections.models.virtual import virtual
from skiptrace.report.sections.models.induction import induction
from skiptrace.report.sections.models.stream import residual
from skiptrace.report.sections.models.features import features
from skiptrace.report.sections.superposition.five import five
from skiptrace.report.sections.superposition.norms import norms
from skiptrace.report.sections.superposition.phase import phase
from skiptrace.report.sections.superposition.geometry import geometry
from skiptrace.report.sections.superposition.pairs import pairs
from skiptrace.report.sections.superposition.neurons import neurons
from skiptrace.report.sections.superposition.absolute import absolute
from skiptrace.report.sections.superposition.vectors import vectors
from skiptrace.report.sections.superposition.sensing import sensing
from skiptrace.report.sections.superposition.larger import larger
from skiptrace.report.sections.superposition.widths import widths
from skiptrace.report.sections.dictionaries.toy import toy
from skiptrace.report.sections.dictionaries.language import language
from skiptrace.report.sections.dictionaries.features import features as dictionary_features
from skiptrace.report.sections.run.provenance import provenance
