"""Small models of every family of the library transformers, and the logits that it computes for them.

`python -m tests.models.families` writes families.json: the config that the library saves, the shape of every tensor,
and the logits of `CONTEXTS` under weights that `drawn` draws again anywhere.
"""

import json
import warnings
from pathlib import Path

import torch
from torch import Tensor

EXPECTED = Path(__file__).with_name("families.json")
CONTEXTS = torch.randint(0, 23, (1, 7), generator=torch.Generator().manual_seed(4))
SIZES = {"vocab_size": 23, "hidden_size": 12, "num_hidden_layers": 2, "max_position_embeddings": 9, "pad_token_id": 0}
LLAMA = SIZES | {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "intermediate_size": 10}
SLIDING = ["full_attention", "sliding_attention"]
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
# The name of a case, its class of the library, and the arguments of its config.
CASES: dict[str, tuple[str, dict]] = {
    "gpt_neo": ("GPTNeo", {"vocab_size": 23, "hidden_size": 12, "num_layers": 2, "num_heads": 3, "window_size": 3,
                           "max_position_embeddings": 9, "attention_types": [[["global", "local"], 1]]}),
    "opt": ("OPT", SIZES | {"num_attention_heads": 3, "ffn_dim": 10, "word_embed_proj_dim": 12}),
    "opt-bare": ("OPT", SIZES | {"num_attention_heads": 3, "ffn_dim": 10, "enable_bias": False,
                                 "layer_norm_elementwise_affine": False, "tie_word_embeddings": False}),
    "gpt_neox": ("GPTNeoX", SIZES | {"num_attention_heads": 2, "intermediate_size": 10, "rotary_pct": 0.67}),
    "gpt_neox-in-turn": ("GPTNeoX", SIZES | {"num_attention_heads": 2, "intermediate_size": 10, "attention_bias": False,
                                             "use_parallel_residual": False, "hidden_act": "gelu_new"}),
    "bloom": ("Bloom", {"vocab_size": 23, "hidden_size": 12, "n_layer": 2, "n_head": 3}),
    "mpt": ("Mpt", {"vocab_size": 23, "d_model": 12, "n_layers": 2, "n_heads": 3, "max_seq_len": 9}),
    "llama": ("Llama", LLAMA),
    "llama-biased": ("Llama", LLAMA | {"attention_bias": True, "mlp_bias": True, "rope_parameters": LLAMA3,
                                       "tie_word_embeddings": True}),
    "mistral": ("Mistral", LLAMA | {"sliding_window": 3}),
    "qwen2": ("Qwen2", SIZES | {
        "num_attention_heads": 3, "num_key_value_heads": 1, "intermediate_size": 10, "use_sliding_window": True,
        "sliding_window": 2, "layer_types": SLIDING,
        "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0}}),
    "qwen3": ("Qwen3", LLAMA),
}  # fmt: skip


def drawn(shapes: dict[str, tuple[int, ...]], seed: int = 3) -> dict[str, Tensor]:
    """Random weights, biases among them; those of norms lie around one."""
    generator = torch.Generator().manual_seed(seed)
    found = {name: torch.randn(tuple(shape), generator=generator) * 0.4 for name, shape in shapes.items()}
    return {name: t + 1 if ("norm" in name or ".ln_" in name) and "weight" in name else t for name, t in found.items()}


def original(case: str) -> torch.nn.Module:
    """The library's model of a case, with the weights that `drawn` gives."""
    import transformers

    name, arguments = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = getattr(transformers, f"{name}Config")(**arguments, bos_token_id=0, eos_token_id=0)
        model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    parameters = {n: t for n, t in model.named_parameters()}
    with torch.no_grad():
        for n, values in drawn({n: tuple(t.shape) for n, t in parameters.items()}).items():
            parameters[n].copy_(values)
    return model


def content(model: torch.nn.Module) -> dict:
    """The config.json of a model of the library."""
    return json.loads(model.config.to_json_string(use_diff=True))


@torch.no_grad()
def main() -> None:
    """Write families.json."""
    found = {}
    for case in CASES:
        model = original(case)
        logits = model(CONTEXTS).logits
        found[case] = {
            "config": content(model),
            "shapes": {name: list(t.shape) for name, t in model.named_parameters()},
            "logits": [[[round(v, 5) for v in row] for row in rows] for rows in logits.tolist()],
        }
    lines = ",\n".join(f"{json.dumps(case)}: {json.dumps(each)}" for case, each in found.items())
    EXPECTED.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
