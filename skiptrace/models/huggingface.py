"""What the checkpoints of the library transformers share, whatever the family."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from skiptrace.errors import InputError
from skiptrace.models.config import Activation, Positions
from skiptrace.models.foreign import Foreign, Source, because, check
from skiptrace.models.original import LayerNorm, Original, OriginalLayer, OriginalMLP
from skiptrace.models.tensors import Tensors

Positive = Annotated[float, Field(gt=0)]
ROPE = "rope"  # what errors call the angles, whatever the mapping that a config has them in

# What every config of transformers has, whatever the model.
GENERAL: dict[str, str] = (
    because(
        "where the model came from, or how it is wrapped",
        "_name_or_path architectures transformers_version name_or_path _commit_hash torchscript return_dict "
        "output_attentions output_hidden_states use_cache output_past use_return_dict chunk_size_feed_forward "
        "gradient_checkpointing _attn_implementation_autoset",
    )
    | because("the precision it ran in; here all runs in float32", "dtype torch_dtype use_bfloat16")
    | because(
        "of models that classify, whose tensors are refused",
        "id2label label2id num_labels problem_type finetuning_task summary_type summary_use_proj summary_activation "
        "summary_proj_to_labels summary_first_dropout summary_hidden_size classifier_dropout",
    )
    | because(
        "how text becomes tokens, which tokenizers.<corpus> says",
        "bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id tokenizer_class prefix",
    )
    | because("how text is drawn from the logits", "task_specific_params temperature top_k top_p typical_p "
        "num_beams num_beam_groups diversity_penalty do_sample early_stopping max_length min_length length_penalty "
        "repetition_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences "
        "output_scores return_dict_in_generate forced_bos_token_id forced_eos_token_id remove_invalid_values "
        "exponential_decay_length_penalty suppress_tokens begin_suppress_tokens")
    | because("dropout, of training alone", "resid_pdrop embd_pdrop attn_pdrop")
    | because("how the weights were drawn before training", "initializer_range")
    | because("of encoders and decoders", "tie_encoder_decoder cross_attention_hidden_size is_decoder")
)  # fmt: skip


class Rope(Foreign):
    """The keys that say by which angles queries and keys are turned: of `rope_parameters` or `rope_scaling`."""

    rope_type: Literal["default", "linear", "llama3"] = "default"
    rope_theta: Positive = 10_000.0
    partial_rotary_factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    factor: Positive = 1.0
    low_freq_factor: Positive = 1.0
    high_freq_factor: Positive = 4.0
    original_max_position_embeddings: Annotated[int, Field(ge=1)] | None = None

    OTHERWISE: ClassVar = {"type": "rope_type"}
    WHY: ClassVar = {
        "rope_type": "only default, linear and llama3 can be run here: others change with the length of the text"
    }

    def frequencies(self, d_head: int, source: Source) -> list[float]:
        """Radians per place of every plane, in single precision as transformers computes them.

        Raises:
            InputError: a key of this kind of scaling is missing.
        """
        dim = int(d_head * self.partial_rotary_factor)
        plain = 1.0 / (self.rope_theta ** (torch.arange(0, dim, 2).float() / dim))
        if self.rope_type == "default":
            return plain.tolist()
        if self.rope_type == "linear":
            return (plain / self.factor).tolist()
        if self.original_max_position_embeddings is None:
            raise InputError(f"{source.said}: original_max_position_embeddings: missing, which rope_type llama3 needs")
        # Long waves are slowed down, short ones stay, and between them one passes into the other.
        waves = self.original_max_position_embeddings * plain / (2 * torch.pi)
        smooth = (waves - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        return torch.lerp(plain / self.factor, plain, smooth.clamp(0, 1)).tolist()


def rope(config: Foreign, usual: dict[str, float], source: Source) -> Rope:
    """The angles that a config says, in one mapping or as older files have them: some keys of their own.

    `usual` are the values of keys that are not there.

    Raises:
        InputError: a key is unknown, contradicts another, or has a value that cannot be run here; names it.
    """
    own = {key: getattr(config, key) for key in ("rope_theta", "partial_rotary_factor")}
    found = {key: value for key, value in own.items() if value is not None}
    for name in ("rope_parameters", "rope_scaling"):
        for key, value in (getattr(config, name) or {}).items():
            if found.get(key, value) != value:
                raise InputError(f"{source.said}: {name}.{key} and {key} contradict each other; remove one")
            found[key] = value
    return check(Rope, usual | found, source.inside(ROPE))


def heads_of(weight: Tensor, heads: int) -> Tensor:
    """A linear layer's weight or bias, outputs first, as [heads, d_model, d_head] or [heads, d_head]."""
    each = weight.unflatten(0, (heads, -1))
    return each.mT.contiguous() if each.dim() == 3 else each.clone()


def bias(tensors: Tensors, name: str, size: int, there: bool) -> Tensor:
    """A bias that the config says is there, or zeros; one that it says is not there is left, and refused as such."""
    return tensors.take(name, size) if there else torch.zeros(size)


def unembedding(W_E: Tensor, tensors: Tensors, name: str, tied: bool) -> tuple[Tensor, list[str]]:
    """W_U, and what is to be said of it: where it is tied to W_E, a file may hold another one."""
    if tied and name not in tensors:
        return W_E.T.clone(), []
    head = tensors.take(name, *W_E.shape)
    if not tied or torch.equal(head, W_E):
        return head.T.clone(), []
    return W_E.T.clone(), [
        f"{name} left out, which differs from the embedding: tie_word_embeddings says that the unembedding is "
        "the embedding; set it to false to use the other"
    ]


def linear(tensors: Tensors, name: str, d_in: int, d_out: int) -> Tensor:
    """The weight of a linear layer, which is stored outputs first, as inputs × outputs."""
    return tensors.take(f"{name}.weight", d_out, d_in).T.clone()


def mlp(
    tensors: Tensors,
    block: str,
    names: tuple[str, str],
    sizes: tuple[int, int],
    activation: Activation,
    ln: LayerNorm | None,
    biased: bool = True,
) -> OriginalMLP:
    """An MLP of two linear layers, `names` in a `block`, of `sizes` d_model and d_mlp."""
    up, down = (f"{block}.{name}" for name in names)
    d, wide = sizes
    b_in, b_out = bias(tensors, f"{up}.bias", wide, biased), bias(tensors, f"{down}.bias", d, biased)
    return OriginalMLP(linear(tensors, up, d, wide), b_in, linear(tensors, down, wide, d), b_out, activation, ln)


def output(tensors: Tensors, name: str, d: int, heads: int) -> Tensor:
    """W_O of every head, from the linear layer that reads them side by side."""
    return linear(tensors, name, d, d).unflatten(0, (heads, -1))


def original(
    tensors: Tensors,
    W_E: Tensor,
    W_pos: Tensor,
    head: str,
    tied: bool,
    positions: Positions,
    eps: float,
    ln_final: LayerNorm | None,
    layers: Iterable[OriginalLayer],
    unembedded: Tensor | None = None,
) -> Original:
    """A model with layer norm whose unembedding is the tensor `head`, or tied to W_E or to what is `unembedded`."""
    W_U, said = unembedding(W_E if unembedded is None else unembedded, tensors, head, tied)
    b_U = W_E.new_zeros(len(W_E))
    return Original(W_E, W_pos, W_U, b_U, list(layers), positions, "LN", eps, ln_final, read_as=said)


def nowhere(n_ctx: int, d_model: int) -> Tensor:
    """The vectors of rotary and relative positions, which are none, for as many places as anyone claims."""
    return torch.zeros(1, d_model).expand(n_ctx, -1)


def divides(source: Source, key: str, count: int, of: int, what: str) -> None:
    """Do nothing where a number of heads divides another number.

    Raises:
        InputError: it does not.
    """
    if of % count:
        raise InputError(f"{source.said}: {key}: {count} does not divide {what} {of}")
