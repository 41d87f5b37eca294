"""What a model is built from, and what config.json holds of it."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Size = Annotated[int, Field(ge=1, lt=2**31)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Activation = Literal["gelu", "gelu_new", "relu", "silu"]
# standard: part of the residual stream | shortformer: read by queries and keys alone | none: W_pos is zero
# rotary: no vectors, but queries and keys turned by an angle that grows with the place (Su et al. 2021)
# relative: no vectors, but a number for each head and distance added to its scores (ALiBi, Press et al. 2021; T5)
Positions = Literal["none", "relative", "rotary", "shortformer", "standard"]
# token: W_E | effective: W_E and what the first layer's MLP makes of it alone
Embedding = Literal["token", "effective"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class ModelConfig:
    """What config.json holds: the shape of a model and the conventions it follows.

    The second half is written of imported models alone. `d_normed` dimensions go through layer norm, what
    is left of it being `RMSPre`, with `eps`; `imported_config` are the keys of a config of transformers that matter,
    `processing` says what was done to the weights, `approximate` what circuits leave out. Blocks have a constant b_O
    unless the model is `linear`.

    `rotary_frequencies` are the angles in radians per place of the planes that queries and keys are turned in: plane i
    of n is spanned by dimensions i and n + i of a head. `attention_windows` say for every layer how many tokens up to
    the destination its heads see, None for all. `parallel_attn_mlp`: heads and MLP of a layer read the same stream;
    `gated_mlp`: MLPs have a second input matrix, W_gate; `use_qk_norm`: queries and keys are divided by their root mean
    square.

    `attention_soft_cap` and `logits_soft_cap` are c of c · tanh(x/c), which attention scores and logits go through;
    `use_attention_sinks`: a number of each head stands among the scores of every destination, and takes its part of
    the attention.

    `embedding` and `norm_scales` say how circuits read the model, and change nothing of what it predicts: what layers
    after the first read of each token, and what 1/std of the layer norm before every layer and the unembedding stands
    for, None for 1.
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
    gated_mlp: bool = False
    parallel_attn_mlp: bool = False
    use_qk_norm: bool = False
    attention_soft_cap: Annotated[float, Field(gt=0)] | None = None
    logits_soft_cap: Annotated[float, Field(gt=0)] | None = None
    use_attention_sinks: bool = False
    rotary_frequencies: list[float] | None = None
    attention_windows: list[Size | None] | None = None
    embedding: Embedding = "token"
    norm_scales: list[float] | None = None
    imported_from: str | None = None
    imported_config: dict[str, Any] | None = None
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
        if self.attn_only and (self.gated_mlp or self.parallel_attn_mlp):
            raise ValueError("gated_mlp and parallel_attn_mlp have no meaning where attn_only is true")
        if self.use_qk_norm and self.eps is None:
            raise ValueError("use_qk_norm needs the eps of normalization_type")
        if self.rotary != (self.rotary_frequencies is not None):
            raise ValueError("rotary positions and rotary_frequencies come together")
        planes = len(self.rotary_frequencies or [])
        if 2 * planes > self.d_head:
            raise ValueError(f"rotary_frequencies: {planes} planes exceed d_head {self.d_head}")
        if self.attn_only and self.embedding == "effective":
            raise ValueError("embedding: effective has no meaning where attn_only is true")
        if self.norm_scales is not None and (self.eps is None or len(self.norm_scales) != self.n_layers + 1):
            raise ValueError("norm_scales: expected one for each layer norm before a layer, and that before W_U")
        if self.attention_windows is not None and len(self.attention_windows) != self.n_layers:
            raise ValueError(f"attention_windows: expected one for each of {self.n_layers} layers")

    @property
    def linear(self) -> bool:
        """Whether the logits are the sum over all paths once the patterns are given, and scores over all terms.

        Neither layer norm nor MLPs, soft caps or sinks.
        """
        bent = self.attention_soft_cap or self.logits_soft_cap or self.use_attention_sinks
        return self.normalization_type is None and self.attn_only and not bent

    @property
    def readings(self) -> dict[str, str]:
        """How circuits of an imported model read it, for the metadata of tables: `embedding` and `layer_norm`."""
        if self.imported_from is None:
            return {}
        norm = "none" if self.eps is None else "left out" if self.norm_scales is None else "mean over validation text"
        return {"embedding": self.embedding, "layer_norm": norm}

    @property
    def rotary(self) -> bool:
        """Whether attention scores depend on the distance of two tokens by a rotation."""
        return self.positional_embedding_type == "rotary"

    @property
    def by_distance(self) -> bool:
        """Whether attention scores depend on the distance of two tokens, and on no position vectors."""
        return self.positional_embedding_type in ("relative", "rotary")

    def window(self, layer: int) -> int | None:
        """How many tokens the heads of a layer see, up to and with the destination; None for all."""
        return None if self.attention_windows is None else self.attention_windows[layer]

    @property
    def standard_positions(self) -> bool:
        """Whether positions are part of the residual stream, and not added to what queries and keys read alone."""
        return self.positional_embedding_type == "standard"
