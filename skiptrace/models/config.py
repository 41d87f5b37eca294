"""What a model is built from, and what config.json holds of it."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Size = Annotated[int, Field(ge=1, lt=2**31)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Activation = Literal["gelu", "gelu_new", "relu"]
# standard: part of the residual stream | shortformer: read by queries and keys alone | none: W_pos is zero
Positions = Literal["none", "shortformer", "standard"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class ModelConfig:
    """What config.json holds: the shape of a model and the conventions it follows.

    The second half is written of imported models alone. `d_normed` dimensions go through layer norm, what
    is left of it being `RMSPre`, with `eps`; `processing` says what was done to the weights, `approximate`
    what circuits leave out. Blocks have a constant b_O unless the model is `linear`.
    """

    n_layers: Count
    n_heads: Count
    d_model: Size
    d_head: Count
    n_ctx: Size
    d_vocab: Size
    attn_only: bool = True
    normalization_type: Literal["RMSPre"] | None = None
    positional_embedding_type: Positions = "shortformer"
    eps: Annotated[float, Field(gt=0)] | None = None
    d_normed: Size | None = None
    d_mlp: Size | None = None
    act_fn: Activation | None = None
    imported_from: str | None = None
    d_model_imported: Size | None = None
    processing: list[str] | None = None
    approximate: list[str] | None = None

    def __post_init__(self) -> None:
        if (self.normalization_type is None) != (self.eps is None) or (self.eps is None) != (self.d_normed is None):
            raise ValueError("normalization_type, eps and d_normed come together")
        if (self.d_mlp is None) != self.attn_only or (self.act_fn is None) != self.attn_only:
            raise ValueError("a model that is not attn_only has d_mlp and act_fn")
        if self.d_normed is not None and self.d_normed > self.d_model:
            raise ValueError(f"d_normed {self.d_normed} exceeds d_model {self.d_model}")

    @property
    def linear(self) -> bool:
        """Whether the logits are the sum over all paths once the patterns are given: neither layer norm nor MLPs."""
        return self.normalization_type is None and self.attn_only

    @property
    def standard_positions(self) -> bool:
        """Whether positions are part of the residual stream, and not added to what queries and keys read alone."""
        return self.positional_embedding_type == "standard"
