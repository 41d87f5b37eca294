"""What stages say of the work before them, and refuse."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from skiptrace import budget
from skiptrace.account.orders import MOST, PATH
from skiptrace.composition.study import IDENTITY_CONTEXTS, IDENTITY_TOKENS
from skiptrace.config.account import AccountParams
from skiptrace.config.base import Params, load
from skiptrace.config.budget import BudgetParams
from skiptrace.config.control import ControlParams
from skiptrace.config.dictionaries import ModelDictionaryParams, ToyDictionaryParams
from skiptrace.config.directions import DirectionsParams
from skiptrace.config.expansion import ExpansionParams
from skiptrace.config.exploration import ExplorationParams
from skiptrace.config.features import FeaturesParams
from skiptrace.config.mining import MiningParams
from skiptrace.config.models import ModelParams
from skiptrace.config.rules import RulesParams
from skiptrace.config.scoring import ScoringParams
from skiptrace.config.verification import VerificationParams
from skiptrace.control.study import WINDOWS
from skiptrace.dictionary.toy import CHECK
from skiptrace.errors import InputError
from skiptrace.evidence.causal import at_once
from skiptrace.memory import Available, available
from skiptrace.models.config import ModelConfig
from skiptrace.models.loss import ROWS
from skiptrace.models.training import config
from skiptrace.models.transformer import Transformer
from skiptrace.rules.estimates import BLOCK
from stages import needs, needs_of_studies
from stages.needs import Needs
from tests.pipeline.conftest import ROOT

PARAMS = ROOT / "params.yaml"
VERIFICATION = load(VerificationParams, "verification", PARAMS)
SCORING = load(ScoringParams, "scoring", PARAMS)
ACCOUNT = load(AccountParams, "account", PARAMS)
CONTROL = load(ControlParams, "control", PARAMS)
DIRECTIONS = load(DirectionsParams, "directions", PARAMS)
FEATURES = load(FeaturesParams, "features", PARAMS)
RULES = load(RulesParams, "rules", PARAMS)
DICTIONARY = load(ModelDictionaryParams, "dictionaries.one", PARAMS)
TOYS = load(ToyDictionaryParams, "dictionaries.toy", PARAMS)
TRAINING = load(ModelParams, "models.two", PARAMS)
PAIRS = 4_000_000
STUDIES: dict[str, type[Params]] = {
    "scoring": ScoringParams,
    "mining": MiningParams,
    "expansion": ExpansionParams,
    "verification": VerificationParams,
    "account": AccountParams,
    "directions": DirectionsParams,
    "exploration": ExplorationParams,
}


@pytest.fixture
def wide() -> Transformer:
    """A model of 60,000 tokens in the default size."""
    import torch

    with torch.device("meta"):
        return Transformer(ModelConfig(d_vocab=60_000, d_model=128, n_ctx=256, n_layers=2, n_heads=4, d_head=32))


def plans(model: Transformer, twins: int = 0) -> dict[str, budget.Plan]:
    """What the studies of a model look at where time is no object, half of its tokens often enough to be mined."""
    half = model.d_vocab // 2
    asked = [load(kind, name, PARAMS) for name, kind in STUDIES.items()]
    counts = pd.Series([100] * half + [1] * (model.d_vocab - half))
    return budget.plans(model.config, counts, budget.Asked(BudgetParams(minutes=1e9), *asked), twins)


def everything(model: Transformer) -> dict[str, Needs]:
    plan = plans(model, 1)
    mined = needs.memory_of_mining(model, 8, 2, PAIRS)
    return {
        "mine": needs.of_mining(plan["mine"], model, 8, 2, PAIRS),
        "score": needs.of_scoring(plan["score"], model, ROWS),
        "verify": needs.of_verification(plan["verify"], model, at_once(model, 64), 8_000_000, mined, VERIFICATION),
        "compose": needs.of_composition(plan["compose"], model, 128, SCORING),
        "account": needs.of_accounting(plan["account"], model, MOST),
        "train": needs.of_training(model, TRAINING, ROWS),
        "directions": needs_of_studies.of_directions(plan["directions"], model, DIRECTIONS, ROWS, 1),
        "dictionary": needs_of_studies.of_dictionaries(model, DICTIONARY, 2, ROWS),
        "features": needs_of_studies.of_features(model, FEATURES, ACCOUNT, len(PATH)),
        "rules": needs_of_studies.of_rules(model, RULES, 41, 8_000_000, BLOCK, ROWS),
    }


def test_a_small_model_says_nothing(make_model, capsys):
    for stage, needed in everything(make_model(2)).items():
        if stage in ("mine", "compose"):
            needs.state(stage, needed, "keys")
    assert capsys.readouterr().err == ""


def test_a_large_vocabulary_says_how_much_and_which_keys_bound_it(wide, capsys):
    for stage, needed in everything(wide).items():
        needs.state(f"{stage} wide", needed, "expansion.heads")
        line = capsys.readouterr().err
        assert line.startswith(f"{stage} wide: at least ") and "; expansion.heads in params.yaml" in line
        assert " GB of memory" in line and line.count("\n") == 1


def test_a_stage_that_needs_more_memory_than_there_is_is_refused(wide, monkeypatch):
    for stage, needed in everything(wide).items():
        for left, refused in ((needed.memory - 1, True), (needed.memory, False)):
            monkeypatch.setattr(needs, "available", lambda left=left: Available(left, "ulimit -v"))
            if refused:
                with pytest.raises(InputError, match=rf"{stage}: .* more than ulimit -v leaves, .*some.key in"):
                    needs.state(stage, needed, "some.key")
            else:
                needs.state(stage, needed, "some.key")


def test_the_default_sizes_fit_four_gigabytes_at_60_000_tokens(wide):
    assert all(2**25 < needed.memory < 2e9 for needed in everything(wide).values())


def test_mining_needs_memory_for_every_head_at_once_and_for_the_pairs_of_the_text(wide):
    one, two, more = (needs.memory_of_mining(wide, 8, *each) for each in ((1, 0), (2, 0), (2, PAIRS)))
    assert two == 2 * one and more == two + 3 * 40 * PAIRS
    # Measured on two processors with four million pairs: 1.5 GB beside the model, most of it panels of full rows.
    assert 1.0e9 < more < 1.7e9


def test_ranking_entries_is_what_an_account_needs_memory_for(wide):
    import torch

    with torch.device("meta"):
        none = Transformer(ModelConfig(d_vocab=60_000, d_model=128, n_ctx=256, n_layers=0, n_heads=0, d_head=0))
    plan, heads = plans(wide)["account"], wide.n_layers * wide.n_heads
    assert needs.of_accounting(plan, wide, MOST).memory == 8 * MOST * (1 + 1 / heads) + 3 * 4 * 256 * 60_000
    assert needs.of_accounting(plan, none, MOST).memory == 3 * 4 * 256 * 60_000


def test_a_document_that_no_memory_holds_encoded_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(needs, "available", lambda: Available(20e9, "what is free on this machine"))
    with pytest.raises(
        InputError,
        match=r"tokens notes: at least 32\.2 GB .*; corpora\.notes\.cut in params.* the length of a\.txt bound it",
    ):
        needs.state("tokens notes", needs.of_encoding(2**27), "corpora.notes.cut", "the length of a.txt")


def test_what_is_held_while_a_model_is_trained(make_model):
    """Seven copies of the weights, and of 3 contexts of 7 tokens what the layers and the logits take."""
    params = TRAINING.model_copy(update={"batch_size": 3, "n_ctx": 7, "steps": 1})
    model = make_model(2)
    weights = sum(w.numel() for w in model.parameters())
    seen = 21 * model.n_layers * (2 * model.n_heads * 7 + 4 * model.d_model) + 2 * 21 * model.d_vocab
    assert needs.of_training(model, params, 512).memory == 4 * (7 * weights + seen)


def at_60_000_tokens(name: str) -> dict[str, Needs]:
    """What each stage of a default model would need there, on two processors, with 8 million tokens of text."""
    import torch

    params = load(ModelParams, f"models.{name}", PARAMS)
    with torch.device("meta"):
        model = Transformer(config(params, 60_000))
    every = model.n_layers * model.n_heads
    pairs = min(16, model.n_heads**2 * (model.n_layers - 1))
    plan = plans(model, params.twins)
    stand_ins = needs.memory_of_mining(model, every * (2 + params.twins), 1, PAIRS)
    batch = at_once(model, min(64, model.n_ctx))
    positions = IDENTITY_CONTEXTS * min(IDENTITY_TOKENS, model.n_ctx)
    return {
        "train": needs.of_training(model, params, ROWS),
        "score": needs.of_scoring(plan["score"], model, ROWS),
        "expand": needs.of_expansion(model, 2, 128),
        "mine": needs.of_mining(plan["mine"], model, every + pairs, 2, PAIRS),
        "verify": needs.of_verification(plan["verify"], model, batch, 8_000_000, stand_ins, VERIFICATION),
        "compose": needs.of_composition(plan["compose"], model, positions, SCORING),
        "explore": needs.of_exploration(plan["explore"], model, 0, PAIRS),
        "account": needs.of_accounting(plan["account"], model, MOST),
        "directions": needs_of_studies.of_directions(plan["directions"], model, DIRECTIONS, ROWS, params.twins),
        "dictionary": needs_of_studies.of_dictionaries(model, DICTIONARY, 2, ROWS),
        "features": needs_of_studies.of_features(model, FEATURES, ACCOUNT, len(PATH)),
        "rules": needs_of_studies.of_rules(model, RULES, 1 + params.checkpoints, 8_000_000, BLOCK, ROWS),
    }


def rows_of_the_page() -> dict[str, str]:
    """The table of docs/integrity.md, a line by the name that it begins with."""
    page = (ROOT / "docs" / "integrity.md").read_text()
    return dict(re.findall(r"^\| `(\w+)` (\|.*)$", page, re.MULTILINE))


def test_the_page_says_what_stages_need():
    found, one, two = rows_of_the_page(), at_60_000_tokens("one"), at_60_000_tokens("two")
    for stage in one:
        said = " | ".join(
            f"{each[stage].memory / 1e9:.1f} GB, {each[stage].operations / needs.RATE / 60:.0f} min"
            for each in (one, two)
        )
        assert found[stage].startswith(f"| {said} |"), f"{stage}: {said}"


def test_counting_grows_with_the_cube_of_the_words():
    def needed(words: int) -> Needs:
        return needs_of_studies.of_control(CONTROL.model_copy(update={"words": words}), 2, len(WINDOWS))

    default = needed(CONTROL.words)
    assert default.operations < needs.LONG and default.memory < 1e9
    places = 2 * CONTROL.documents * (2 * CONTROL.length + 8)
    assert needed(599).memory == 600 * places + 2 * 4 * 32 * 600**3
    with pytest.raises(InputError, match=r"^control: at least .* more than .*; control\.words.* bound it"):
        needs.state("control", needed(60_000), "control.words, documents and length", "SKIPTRACE_WORKERS=1")


def test_the_largest_dictionaries_of_all_toys_are_what_they_need_memory_for():
    one, more = (needs_of_studies.of_toy_dictionaries(TOYS, hosts, 6, CHECK, 1).memory for hosts in (1, 7))
    assert more == 7 * one and one == 4 * (4096 * (2 * 6 + 2 * 128) + 12 * 6 * 128)


def test_a_document_needs_memory_for_the_tokens_and_the_pairs_of_its_corpora():
    few, many = (needs_of_studies.of_document([(60_000, pairs, 400_000)] * 2).memory for pairs in (0, PAIRS))
    assert many == few + 2 * 40 * PAIRS


def of_control_group(root: Path, version: int, most: str, taken: int, cache: int) -> None:
    (root / "proc/self").mkdir(parents=True)
    line = "0::/jobs/one" if version == 2 else "3:cpu,memory:/jobs/one"
    (root / "proc/self/cgroup").write_text(f"1:name=systemd:/x\n{line}\n")
    group = root / "sys/fs/cgroup" / ("" if version == 2 else "memory") / "jobs"
    group.mkdir(parents=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for name, value in zip(names, (most, taken), strict=True):
        (group / name).write_text(f"{value}\n")
    prefix = "" if version == 2 else "total_"
    (group / "memory.stat").write_text(f"anon 1\n{prefix}inactive_file {cache}\n")


@pytest.mark.parametrize("version", [1, 2])
def test_a_control_group_above_limits_what_is_available(tmp_path, version):
    of_control_group(tmp_path, version, "1000", 400, 100)
    assert available(tmp_path) == Available(700, "the memory limit of the control group")


def test_a_control_group_without_a_limit_leaves_what_the_machine_has(tmp_path):
    of_control_group(tmp_path, 2, "max", 400, 100)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 90 kB\nMemAvailable: 20 kB\nSwapFree: 3 kB\n")
    assert available(tmp_path) == Available(23 * 1024, "what is free on this machine")


def test_a_system_that_says_nothing_limits_nothing(tmp_path):
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        assert available(tmp_path).bytes == float("inf")


LIMITED = """
import sys
from skiptrace.errors import run
from skiptrace.memory import available
from skiptrace.models.positions import sinusoids

def main():
    left = available()
    assert left.limit == "ulimit -v" and left.bytes < 2**31, left
    sinusoids(2**24, 2**10)

run(main, "models.one.n_ctx")
"""


def test_an_allocation_that_fails_is_one_line_that_names_what_to_lower():
    command = f"ulimit -v {2 * 2**20}; exec {sys.executable} -c '{LIMITED}'"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: out of memory in models.positions.sinusoids (")
    assert "lower models.one.n_ctx in params.yaml" in done.stderr
