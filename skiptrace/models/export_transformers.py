"""Writing a model in the format of the library transformers: what reads a family, read backwards."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from skiptrace.errors import InputError
from skiptrace.files import atomic_folder, write_json, write_tensors, write_text
from skiptrace.models.as_gpt2 import as_gpt2
from skiptrace.models.foreign import Source
from skiptrace.models.formats import TRANSFORMERS, Family, Reader
from skiptrace.models.original import Original
from skiptrace.models.tensors import Tensors
from skiptrace.models.transformer import Transformer
from skiptrace.models.unfolding import settle, unfolded

NEAR = 1e-5  # how far what is read again may be from what was to be written


def to_transformers(model: Transformer, folder: Path, tokenizer: Tokenizer | None = None) -> str:
    """Write model.safetensors and config.json into `folder`, for `from_pretrained`; returns the class there.

    An imported model of a family of transformers is written as one of that family, others as a GPT-2 where that can
    compute the same. What was folded stays folded: layer norms have weights of 1, and what circuits take for 1/std is
    not written. Token ids are those of data/tokens, whose `tokenizer` goes with the model.

    Raises:
        InputError: no format of transformers has a place for the model; says what it has no place for.
    """
    family = TRANSFORMERS.get(model.config.imported_from or "")
    if family is not None and family.architecture is None:
        raise InputError(f"models of the family {model.config.imported_from} are not written for transformers")
    content, wanted = as_gpt2(model) if family is None else _as_it_was(model, family)
    family = TRANSFORMERS[content["model_type"]]
    assert family.architecture is not None
    tensors = _backwards(family.read, content, wanted)
    content |= {"architectures": [family.architecture], "bos_token_id": 0, "eos_token_id": 0}
    with atomic_folder(folder) as partial:
        write_tensors(partial / "model.safetensors", tensors)
        write_json(partial / "config.json", content)
        if tokenizer is not None:
            write_text(partial / "tokenizer.json", tokenizer.to_str(pretty=True))
            first = tokenizer.id_to_token(0)
            named = {"bos_token": first, "eos_token": first, "model_max_length": model.n_ctx}
            write_json(partial / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"} | named)
    return family.architecture


class _Asked(Tensors):
    """Stands for a checkpoint that holds whatever it is asked for, all of it 1, and keeps what it was asked for."""

    def __init__(self) -> None:
        super().__init__(({}, lambda name: torch.empty(0)), "export")
        self.taken: dict[str, Tensor] = {}

    def __contains__(self, name: str) -> bool:
        return True

    def __len__(self) -> int:
        return 2**31

    def take(self, name: str, *shape: int) -> Tensor:
        """A tensor of ones, through which gradients go."""
        self.taken[name] = torch.ones(shape, requires_grad=True)
        return self.taken[name]

    def done(self, *buffers: str) -> None:
        """Nothing is left over."""


def _parts(whole: Any) -> list[Tensor]:
    """The tensors of a model as it was trained, in the order of its fields."""
    if isinstance(whole, Tensor):
        return [whole]
    if is_dataclass(whole):
        whole = [getattr(whole, f.name) for f in fields(whole)]
    return [part for each in whole for part in _parts(each)] if isinstance(whole, list | tuple) else []


def _backwards(read: Reader, content: dict[str, Any], wanted: Original) -> dict[str, Tensor]:
    """The tensors that a reader makes this model of.

    Every weight that it gives is one stored number, times a constant s, and a stored number may be several weights (of
    a group's keys): y = s x. By the transpose of that, x is the sum of s y over the sum of s².

    Raises:
        InputError: what is then read is another model, since the format has no place for a part of it.
    """
    asked = _Asked()
    s = _parts(read(content, asked, Source("export")))
    y = _parts(wanted)
    names, stored = list(asked.taken), list(asked.taken.values())

    def transposed(weights: Sequence[Tensor]) -> list[Tensor]:
        placed = [(scale, w) for scale, w in zip(s, weights, strict=True) if scale.requires_grad]
        outputs, given = [scale for scale, _ in placed], [w for _, w in placed]
        return list(torch.autograd.grad(outputs, stored, given, retain_graph=True, materialize_grads=True))

    sums, squares = transposed(y), transposed([scale.detach() for scale in s])
    found = {n: torch.where(q == 0, 0, x / q) for n, x, q in zip(names, sums, squares, strict=True)}
    again = _parts(read(content, Tensors.of_state(found, "export"), Source("export")))
    for one, other, scale in zip(y, again, s, strict=True):
        near = torch.allclose(one, other, rtol=NEAR, atol=NEAR) if scale.requires_grad else not one.any()
        if not near:
            raise InputError(f"{content['model_type']} of transformers has no place for a part of this model")
    return found


def _as_it_was(model: Transformer, family: Family) -> tuple[dict[str, Any], Original]:
    """The config of the family that a model was imported from, and its weights as that has places for them."""
    c = model.config
    if c.imported_config is None:
        raise InputError("imported before configs were kept: reproduce its training, and export it again")
    sizes = {key: c.n_ctx for key in family.reach if key in c.imported_config}
    content = c.imported_config | sizes | {"vocab_size": c.d_vocab, "tie_word_embeddings": False}
    wanted = unfolded(model)
    # Of ones, a reader makes zeros where the format has no tensor.
    there = family.read(content, _Asked(), Source("export"))
    if there.ln_final is None:  # without weights: what was folded is nothing
        wanted.ln_final = None
        for layer in wanted.layers:
            layer.ln = None
            if layer.mlp is not None:
                layer.mlp.ln = None
    settle(wanted, there, c, content.get("num_key_value_heads") or c.n_heads)
    return content, wanted
