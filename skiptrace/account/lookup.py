"""A one-layer model as tables: additive parts and kept entries, which run without the weights of its heads."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from skiptrace.account.entries import Running, Split, causal_softmax
from skiptrace.account.study import entries_of
from skiptrace.account.tables import ENTRIES
from skiptrace.errors import InputError
from skiptrace.files import read_tensors, write_tensors

LARGEST = 2**26  # numbers of the additive tables: 256 MB


@dataclass(frozen=True)
class Tables:
    """The additive parts of a one-layer model, each a table.

    `salience[h, s]` is what a source draws whatever the destination, `by_place[h, d, j]` what the token at the
    destination adds for place j, `from_place[h, i, s]` what the place of the destination adds for a source,
    `places[h, i, j]` what the two places add; all in attention score. `mean_output` is in logits.
    """

    salience: Float[Tensor, "n_heads d_vocab"]
    by_place: Float[Tensor, "n_heads d_vocab n_ctx"]
    from_place: Float[Tensor, "n_heads n_ctx d_vocab"]
    places: Float[Tensor, "n_heads n_ctx n_ctx"]
    mean_output: Float[Tensor, " d_vocab"]
    W_E: Float[Tensor, "d_vocab d_model"]
    W_U: Float[Tensor, "d_model d_vocab"]

    @property
    def n_heads(self) -> int:
        """How many heads there are."""
        return len(self.salience)

    @property
    def d_vocab(self) -> int:
        """How many tokens there are."""
        return len(self.W_E)

    def scores(self, tokens: Int[Tensor, " ctx"]) -> Float[Tensor, "n_heads ctx ctx"]:
        """The additive attention scores of a context."""
        ctx = len(tokens)
        found: Tensor = (
            self.salience[:, None, tokens]
            + self.by_place[:, tokens, :ctx]
            + self.from_place[:, :ctx][:, :, tokens]
            + self.places[:, :ctx, :ctx]
        )
        return found

    def logits(
        self, tokens: Int[Tensor, " ctx"], composed: Float[Tensor, "ctx d_model"] | None = None
    ) -> Float[Tensor, "ctx d_vocab"]:
        """The direct path and the mean output of every head; one layer has nothing `composed`."""
        stream = self.W_E[tokens] if composed is None else self.W_E[tokens] + composed
        return stream @ self.W_U + self.mean_output

    def attend(
        self, tokens: Int[Tensor, " ctx"], scores: Float[Tensor, "n_heads ctx ctx"]
    ) -> Float[Tensor, "n_heads ctx ctx"]:
        """The softmax of the scores."""
        return causal_softmax(scores)

    def composed(self, tokens: Int[Tensor, " ctx"], pattern: Float[Tensor, "n_heads ctx ctx"]) -> None:
        """Nothing: one layer reads no other."""


def fits(split: Split) -> bool:
    """Whether the additive tables of a model are small enough to be written."""
    return split.n_heads * split.d_vocab * split.model.n_ctx * 2 <= LARGEST


@torch.no_grad()
def of_split(split: Split) -> Tables:
    """The tables of a split model."""
    return Tables(
        (split.query_mean @ split.key.transpose(1, 2))[:, 0],
        split.query @ split.key_place.transpose(1, 2),
        split.query_place @ split.key.transpose(1, 2),
        split.query_place @ split.key_place.transpose(1, 2),
        split.mean_output,
        split.model.W_E.detach(),
        split.model.W_U.detach(),
    )


def save(path: Path, tables: Tables) -> None:
    """Write the additive parts."""
    write_tensors(path, {name: tensor.contiguous() for name, tensor in vars(tables).items()})


def load(folder: Path, entries: int | None = None, split: Split | None = None) -> Running:
    """The model that the first `entries` rows of QK and of OV make with the additive parts: all of them by default.

    A model of one layer runs without the weights of its heads. What later layers do with what earlier ones wrote is no
    table: of a model of several layers the rows stand in the place of the circuits of its `split`, which has the rest.

    Raises:
        InputError: the account of this model has no tables, since it is more than its circuits or too large.
    """
    if split is None and not (folder / "additive.safetensors").exists():
        raise InputError(
            f"{folder}/additive.safetensors is missing: tables that run alone are made for one-layer models without "
            "layer norm and MLP, whose d_vocab · n_ctx is small enough; `dvc repro` writes them; for more layers pass "
            "split=skiptrace.account.entries.split(model, frequency)"
        )
    table = ENTRIES.read(folder)
    additive = Tables(**read_tensors(folder / "additive.safetensors")) if split is None else split
    per_layer = additive.n_heads if split is None else split.model.n_heads
    qk, ov = (entries_of(table, circuit, per_layer) for circuit in ("qk", "ov"))
    n = len(table) if entries is None else entries
    return Running(additive, qk.first(n), ov.first(n))
