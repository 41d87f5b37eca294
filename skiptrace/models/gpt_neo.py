"""Reading checkpoints of GPT-Neo, as which TinyStories is published, in the format of the library transformers."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from skiptrace.errors import InputError
from skiptrace.models.foreign import Count, Foreign, Size, Source, activation, because, check, enough, layer_norm
from skiptrace.models.huggingface import GENERAL, divides, heads_of, mlp, original, output
from skiptrace.models.original import Original, OriginalLayer
from skiptrace.models.tensors import Tensors

BUFFERS = ("attn.attention.bias", "attn.attention.masked_bias")
Reach = Literal["global", "local"]


class GPTNeoConfig(Foreign):
    """The keys of a GPT-Neo config.json that are used; a value that cannot be run here is an error."""

    model_type: Literal["gpt_neo"]
    vocab_size: Size
    max_position_embeddings: Size
    hidden_size: Size
    num_layers: Count
    num_heads: Size
    attention_types: list[Any] | None = None
    attention_layers: list[Reach] | None = None
    window_size: Size = 256
    intermediate_size: Size | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: Annotated[float, Field(gt=0)] = 1e-5
    tie_word_embeddings: bool = True
    is_encoder_decoder: Literal[False] = False

    OTHERWISE: ClassVar = {"num_hidden_layers": "num_layers", "num_attention_heads": "num_heads"}
    IRRELEVANT: ClassVar = GENERAL | because(
        "dropout, of training alone", "attention_dropout embed_dropout resid_dropout"
    )


def read(content: dict[str, Any], tensors: Tensors, source: Source) -> Original:
    """A model in the format of GPT-Neo, whose local layers see `window_size` tokens.

    Raises:
        InputError: a key of its config or a tensor is not as it has to be; names it.
    """
    c = check(GPTNeoConfig, content, source)
    enough(tensors, c.num_layers, source)
    divides(source, "num_heads", c.num_heads, c.hidden_size, "hidden_size")
    d, before = c.hidden_size, "transformer." if "transformer.wte.weight" in tensors else ""
    W_E = tensors.take(f"{before}wte.weight", c.vocab_size, d)
    made = original(
        tensors,
        W_E,
        tensors.take(f"{before}wpe.weight", c.max_position_embeddings, d),
        "lm_head.weight",
        c.tie_word_embeddings,
        "standard",
        c.layer_norm_epsilon,
        layer_norm(tensors, f"{before}ln_f", d, "weight", "bias"),
        (_layer(c, tensors, f"{before}h.{index}", source) for index in range(c.num_layers)),
    )
    made.windows = [c.window_size if reach == "local" else None for reach in _reaches(c, source)]
    tensors.done(*BUFFERS)
    return made


def _reaches(c: GPTNeoConfig, source: Source) -> list[Reach]:
    """Whether each layer sees everything: `attention_types` are [kinds, how often] in turn.

    Raises:
        InputError: they are not written so, contradict `attention_layers`, or are of another number of layers.
    """
    found: list[Reach] = []
    for group in c.attention_types or ([] if c.attention_layers else [[["global", "local"], c.num_layers // 2]]):
        kinds, times = group if isinstance(group, list) and len(group) == 2 else ([], -1)
        known = isinstance(kinds, list) and all(kind in ("global", "local") for kind in kinds)
        if not known or not isinstance(times, int) or not 0 <= times <= c.num_layers:
            raise InputError(f"{source.said}: attention_types: expected [[kinds, times], …], got {group!r}")
        found += kinds * times
    found = found or list(c.attention_layers or [])
    if c.attention_layers not in (None, found):
        raise InputError(f"{source.said}: attention_types and attention_layers contradict each other; remove one")
    if len(found) != c.num_layers:
        raise InputError(f"{source.said}: attention_types: of {len(found)} layers, not of num_layers {c.num_layers}")
    return found


def _layer(c: GPTNeoConfig, tensors: Tensors, block: str, source: Source) -> OriginalLayer:
    d, wide, n = c.hidden_size, c.intermediate_size or 4 * c.hidden_size, c.num_heads
    attn = f"{block}.attn.attention"
    Q, K, V = (heads_of(tensors.take(f"{attn}.{x}_proj.weight", d, d), n) for x in "qkv")
    zero = Q.new_zeros(n, d // n)
    act, ln = activation(c.activation_function, "activation_function", source), f"{block}.ln_2"
    after = mlp(
        tensors, f"{block}.mlp", ("c_fc", "c_proj"), (d, wide), act, layer_norm(tensors, ln, d, "weight", "bias")
    )
    return OriginalLayer(
        Q * (d // n) ** 0.5,  # its scores are not divided by √d_head
        K,
        V,
        output(tensors, f"{attn}.out_proj", d, n),
        zero,
        zero.clone(),
        zero.clone(),
        tensors.take(f"{attn}.out_proj.bias", d),
        layer_norm(tensors, f"{block}.ln_1", d, "weight", "bias"),
        after,
    )
