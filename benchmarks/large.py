"""A trained model of GPT-2's vocabulary, from text to checked rows: `python -m benchmarks.large FOLDER`.

Reads   FOLDER/   made where it is not there: a clone of this repository with the parameters below
        FOLDER/imports/gpt2-tokens/   GPT-2's tokenizer, vocab.json and merges.txt or under their first names
Writes  benchmarks/large.json, which `python -m benchmarks --pages` tells of in docs/scaling.md

The pipeline runs there as `make report` runs it, and continues where it was stopped; on two cores it takes about an hour.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import machine

ROOT = Path(__file__).parents[1]
FOUND = Path(__file__).parent / "large.json"
TOKENIZER = "gpt2-tokens"
MODEL: dict[str, Any] = {
    "corpus": "prose",
    "seed": 0,
    "n_layers": 1,
    "n_heads": 8,
    "d_head": 32,
    "d_model": 256,
    "n_ctx": 128,
    "steps": 480,
    "batch_size": 32,
    "warmup_steps": 50,
    "lr_embedding": 0.02,
    "lr_attention": 0.05,
    "weight_decay": 0.0,
}
NAME = "large"
ROWS = 12  # shown
STAGES = ("tokens@prose", *(f"{stage}@{NAME}" for stage in ("train", "score", "mine", "verify", "account")), "document")


def parameters(params: dict[str, Any]) -> dict[str, Any]:
    """The default parameters with this model alone, on the default text in GPT-2's tokens, its circuits not stored."""
    params["corpora"] = {"prose": params["corpora"]["prose"]}
    params["tokenizers"] = {"prose": {"kind": "existing", "path": f"imports/{TOKENIZER}", "bos": "<|endoftext|>"}}
    params["models"] = {NAME: MODEL}
    params["expansion"]["store"] = "none"
    params["dictionaries"] = {k: v for k, v in params["dictionaries"].items() if v["kind"] != "model"}
    params["features"]["models"] = params["rules"]["models"] = {}
    return params


def main() -> None:
    """Make the folder, run its pipeline, and note what it found."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.large FOLDER")
    folder = Path(sys.argv[1])
    if not folder.exists():
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    if not (folder / "imports" / TOKENIZER).exists():
        sys.exit(f"{folder / 'imports' / TOKENIZER}: not found; put GPT-2's vocab.json and merges.txt there")
    params = parameters(yaml.safe_load((ROOT / "params.yaml").read_text()))
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    subprocess.run([sys.executable, "-m", "skiptrace.command.reproduce"], cwd=folder, check=True)
    FOUND.write_text(json.dumps(found(folder), indent=1, ensure_ascii=False) + "\n")


def found(folder: Path) -> dict[str, Any]:
    """The model's metrics, seconds of its stages, and its best rows of whole words."""
    times = {
        stage: json.loads((folder / f"data/scratch/times/{stage}.json").read_text())["seconds"] for stage in STAGES
    }
    asked = [sys.executable, "-m", "skiptrace", "top", "--model", NAME, "--words", "--json", "--most", str(ROWS)]
    rows = json.loads(subprocess.run(asked, cwd=folder, check=True, capture_output=True, text=True).stdout)
    metrics = json.loads((folder / "reports" / "metrics.json").read_text())["models"][NAME]
    sections = json.loads((folder / "data" / "document.json").read_text())["sections"]
    limits = [s["blocks"][0]["rows"] for s in sections if s["anchor"] == "limits"]
    return {
        "machine": machine(),
        "metrics": metrics,
        "left_out": [row[1:] for rows in limits for row in rows],
        "seconds": times,
        "rows": rows["rows"],
        "checked": rows["found"],
    }


def section(noted: dict[str, Any]) -> list[str]:
    """What docs/scaling.md says of it."""
    of, model = noted["metrics"], MODEL
    recovered = {rows: share for rows, share in of["account"]["recovered"].items() if share is not None}
    minutes = ", ".join(
        f"`{stage.partition('@')[0]}` {seconds / 60:.1f}" for stage, seconds in noted["seconds"].items()
    )
    lines = [
        "## One trained model of this vocabulary",
        "",
        f"Measured: GPT-2's tokenizer on the default text; {model['n_layers']} layer, {model['n_heads']} heads of {model['d_head']}, "
        f"d_model {model['d_model']}, {model['steps']} steps of {model['batch_size']} contexts of",
        f"{model['n_ctx']} tokens (`python -m benchmarks.large FOLDER`). Minutes on {noted['machine']}: {minutes}.",
        *noted.get("note", []),
        "",
        "What `budget.minutes` leaves out: "
        + "; ".join(f"of {study}, {kept} of {asked} {what}" for study, what, kept, asked in noted["left_out"])
        + ".",
        "",
        f"Held-out loss {of['valid_loss']:.3f} nats per token; smoothed bigrams {of['bigram_loss']:.3f}, 5-grams "
        f"{of['ngram_loss']:.3f}. On the contexts of the account the model has {of['account']['whole']:.3f},",
        f"without attention {of['account']['direct']:.3f}, with attention by position alone "
        f"{of['account']['positional']:.3f}. Of what attention gains, "
        + ", ".join(f"{share:.0%} is recovered by {int(rows):,} entries" for rows, share in recovered.items())
        + f" of QK and OV, out of {2 * model['n_heads'] * 50_257**2:.1e}.",
        "",
        f"Of {noted['checked']:,} mined rows of whole words that were checked, the {len(noted['rows'])} worth most that the text supports:",
        "",
        "| head | source … destination → output | effect, nats | lift in text | where it stands in held-out text |",
        "|---|---|---|---|---|",
    ]
    for row in noted["rows"]:
        tokens = f"`{row['source']}` … `{row['destination']}` → `{row['out']}`"
        lines.append(
            f"| {row['head']} | {tokens} | {row['effect_nats']:.2f} ± {row['effect_se']:.2f} | "
            f"× {row['corpus_lift']:.0f} | {row['use']} |"
        )
    return [*lines, ""]


if __name__ == "__main__":
    main()
