"""Formulas as MathML, from one line of text, without any program or font that is not in the browser.

The notation is what a formula looks like in plain text: `W_OV^h` has an index and an exponent of one word each, which
`{…}` makes longer; everything else stands for itself.
"""

import re

from markupsafe import Markup

WORD = re.compile(r"\{[^{}]*\}|‖|[A-Za-zΑ-ω][A-Za-zΑ-ω₀-₉′*]*|\d+(?:\.\d+)?|\u2003|\S")
UPRIGHT = frozenset({"log", "softmax", "ReLU", "exp"})


def mathml(formula: str) -> Markup:
    """The formula as a block of MathML."""
    return Markup('<math display="block"><mrow>{}</mrow></math>').format(_row(formula))


def _row(text: str) -> Markup:
    words = WORD.findall(re.sub(" {3,}", "\u2003", text))
    made: list[Markup] = []
    while words:
        base = _one(words.pop(0))
        marks: dict[str, Markup] = {}
        while len(words) > 1 and words[0] in "_^":
            mark = words.pop(0)
            marks[mark] = _one(words.pop(0))
        made.append(_marked(base, marks))
    return Markup("").join(made)


def _marked(base: Markup, marks: dict[str, Markup]) -> Markup:
    if len(marks) == 2:
        return Markup("<msubsup>{}{}{}</msubsup>").format(base, marks["_"], marks["^"])
    if "_" in marks:
        return Markup("<msub>{}{}</msub>").format(base, marks["_"])
    return Markup("<msup>{}{}</msup>").format(base, marks["^"]) if marks else base


def _one(word: str) -> Markup:
    if word.startswith("{"):
        return Markup("<mrow>{}</mrow>").format(_row(word[1:-1]))
    if word[0].isdigit():
        return Markup("<mn>{}</mn>").format(word)
    if word[0].isalpha():
        style = Markup(' mathvariant="normal"') if word in UPRIGHT or len(word) > 2 else ""
        return Markup("<mi{}>{}</mi>").format(style, word)
    if word == "\u2003":
        return Markup('<mspace width="1.5em"/>')
    fence = Markup(' stretchy="false"') if word in "()|‖" else ""
    return Markup("<mo{}>{}</mo>").format(fence, word)
