import re
import time
from collections.abc import Callable, Iterator
from functools import reduce
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from skiptrace.config import pipeline
from skiptrace.config.base import Params, load
from skiptrace.config.models import ModelParams
from skiptrace.config.pipeline import load_pipeline, require_tracked
from skiptrace.errors import InputError
from stages.check import check_dictionaries
from tests.pipeline.conftest import default_params

DEFAULT = Path(__file__).parents[2] / "docs/measured/params.yaml"  # params.yaml itself is the user's


@pytest.fixture
def changed(tmp_path):
    """Write params.yaml with one dotted key set, or removed when the value is `...`."""

    def change(key: str, value: object) -> Path:
        content = default_params()
        *folders, last = key.split(".")
        place = content
        for folder in folders:
            place = place[folder]
        if value is ...:
            del place[last]
        else:
            place[last] = value
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return change


def test_the_default_parameters_are_well_formed():
    pipeline = load_pipeline(DEFAULT)
    assert pipeline.models["two"].n_layers == 2
    assert pipeline.corpora["prose"].kind == "packages"
    assert pipeline.dictionaries["one"].model == "one"


def test_every_key_has_a_comment():
    """The first time that a key appears, its line says what it is."""
    seen = set()
    for line in DEFAULT.read_text().splitlines():
        key = re.match(r" +([a-z_A-Z]+):(.*)", line)
        if key and key[1] not in seen:
            seen.add(key[1])
            named = (
                key[1] in {"prose", "code", "planted", "one", "two", "toy"} or "{" in key[2]
            )  # own names; rules, told above
            assert named or "#" in key[2], line
    assert len(seen) > 30


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("features.models", {"on": "prose"}, r"features\.models\.on: no such model; there is "),
        ("features.models", {"zero": "prose"}, r"features\.models\.zero: it has no heads that read features"),
        ("features.models", {"one": "code"}, r"features\.models\.one: the model reads corpus prose, not 'code'"),
        ("rules.models", {"zero": "prose", "on": "prose"}, r"rules\.models\.on: no such model; there is "),
        ("rules.models", {"two": "prose"}, r"rules\.models\.two: the model reads corpus code, not 'prose'"),
        ("features.k", 512, r"features: k must be below entries, 512, not 512"),
        ("superposition.five.n_hidden", 7, r"superposition\.five: n_hidden 7 exceeds n_features 5"),
        ("superposition.five.n_hidden", 3, r"superposition\.five: n_hidden must be 2, so that features can be drawn"),
        ("superposition.norms.small.n_hidden", 21, r"superposition\.norms\.small: n_hidden 21 exceeds n_features 20"),
        ("superposition.geometry.n_hidden", 401, r"superposition\.geometry: n_hidden 401 exceeds n_features 400"),
        ("superposition.five.sparsities", [0.5, 1.2], r"superposition\.five\.sparsities\.1: .*less than or equal to 1"),
        ("superposition.five.sparsities", [-0.1], r"superposition\.five\.sparsities\.0: .*greater than or equal to 0"),
        ("superposition.five.sparsities", [1.0], r"superposition\.five: sparsities: a feature of sparsity 1 never"),
        ("superposition.five.sparsities", [], r"superposition\.five\.sparsities: "),
        ("superposition.absolute.large.sparsities", [1.0], r"superposition\.absolute\.large: sparsities: a feature"),
        ("superposition.phase.seeds", 0, r"superposition\.phase\.seeds: input should be greater than or equal to 1"),
        ("superposition.phase.lowest_density", 0.0, r"superposition\.phase\.lowest_density: .*greater than 0"),
        ("superposition.pairs.n_features", 5, r"superposition\.pairs: n_features must be even for features in pairs"),
        ("superposition.widths.widths", [21], r"superposition\.widths: widths: 21 exceeds n_hidden 20"),
        ("superposition.larger.active", [32], r"superposition\.larger: active: 32 must be below n_features 32"),
        ("superposition.sensing.measurements", [61], r"superposition\.sensing: measurements: 61 exceeds n 60"),
        ("superposition.sensing.active", [61], r"superposition\.sensing: active: 61 exceeds n 60"),
        ("superposition.vectors.epsilons", [1.0], r"superposition\.vectors\.epsilons\.0: input should be less than 1"),
        ("superposition.six", {}, r"superposition\.six: unknown key"),
        ("dictionaries.toy.kind", "tory", r"dictionaries\.toy\.kind: expected toy or model, got 'tory'"),
        ("dictionaries.toy.shown", 0.7, r"dictionaries\.toy: shown 0\.7 is none of penalties 0\.5, 1, 2"),
        ("dictionaries.one.shown", 10, r"dictionaries\.one: shown 10 is none of k 8, 16, 32"),
        ("dictionaries.one.entries", 32, r"dictionaries\.one: k must be below entries, 32, not 32"),
        ("dictionaries.one.penalties", [0.0], r"dictionaries\.one\.penalties\.0: input should be greater than 0"),
        ("modles", {}, r"modles: unknown key; there is corpora, tokenizers, models, "),
        ("models.one.n_head", 4, r"models\.one\.n_head: unknown key"),
        ("mining.topp", 4, r"mining\.topp: unknown key"),
        ("models.one.n_heads", "four", r"models\.one\.n_heads: input should be a valid integer, got 'four'"),
        ("models.one.n_heads", 4.5, r"models\.one\.n_heads: input should be a valid integer, got 4\.5"),
        ("models.one.n_heads", True, r"models\.one\.n_heads: input should be a valid integer"),
        ("models.one.n_heads", 0, r"models\.one: n_heads and d_head must be at least 1"),
        ("models.one.d_head", 200, r"models\.one: d_head 200 exceeds d_model 128"),
        ("models.one.d_model", 33, r"models\.one: d_model must be even"),
        ("models.zero.n_heads", 4, r"models\.zero: n_heads and d_head have no meaning"),
        ("models.one.corpus", "cod", r"models\.one\.corpus: no corpus 'cod'; there is code, planted, prose"),
        ("models.one.warmup_steps", 10_000, r"models\.one: warmup_steps 10000 must be below"),
        ("models.one.lr_embedding", -1.0, r"models\.one\.lr_embedding: input should be greater than 0, got -1\.0"),
        ("models.one.steps", ..., r"models\.one\.steps: missing"),
        (
            "models.theirs",
            {"corpus": "prose", "path": "x"},
            r"yaml: models\.theirs\.path: unknown key; .* more$",
        ),
        ("models.a/b", {}, r"models\.a/b: a name is at most 100 letters, digits, _ and -"),
        ("models." + "a" * 101, {}, r"models\.a+\.\.\.a+: a name is at most 100 letters"),
        ("corpora.planted.copies.rate", 1e30, r"corpora\.planted\.copies\.rate: .*less than or equal to 1000"),
        ("corpora.planted.kind", [["x"] * 99] * 99, r"corpora\.planted\.kind: expected .{0,500}$"),
        ("dictionaries.toy.kind", [["x"] * 99] * 99, r"dictionaries\.toy\.kind: expected .{0,500}$"),
        ("scoring.seed", [["x"] * 99] * 99, r"scoring\.seed: .{0,500}$"),
        ("expansion.heads", ["nope"] * 99, r"and \d+ more$"),
        ("models", {}, r"models: expected at least one named entry"),
        ("models", ..., r"models: missing"),
        ("corpora.prose.kind", "web", r"corpora\.prose\.kind: expected packages or files or .*, got 'web'"),
        ("corpora.prose.kind", ["packages"], r"corpora\.prose\.kind: expected packages or files or "),
        ("corpora.planted.words", 100, r"corpora\.planted: words must be at least 2\d\d for these rules"),
        ("corpora.planted.length", 20, r"corpora\.planted: length must be at least 26 for a distance of 24"),
        (
            "corpora.planted.copies.distance",
            [3, 2],
            r"corpora\.planted\.copies: distance must be \[shortest, longest\]",
        ),
        ("corpora.planted.decoy_share", 1.0, r"corpora\.planted\.decoy_share: input should be less than 1"),
        ("tokenizers.prose.vocab_size", None, r"tokenizers\.prose: vocab_size: missing"),
        ("tokenizers.planted.vocab_size", 300, r"tokenizers\.planted: vocab_size has no meaning for words"),
        ("models.one.n_ctx", 8, r"models\.one\.n_ctx: 8 is too short for scoring\.repeats = 4.*it takes 9"),
        ("scoring.seed", 2**70, r"scoring\.seed: input should be less than 4294967296"),
        ("corpora.prose.packages", ["sympy"], r"corpora\.prose\.packages: each package must read name==version"),
        ("corpora.prose.packages", [], r"corpora\.prose\.packages: "),
        ("corpora.prose.valid_share", 1.0, r"corpora\.prose\.valid_share: input should be less than 1, got 1\.0"),
        ("corpora.more", {"kind": "files", "path": "x", "valid_share": 0.1}, r"tokenizers\.more: missing"),
        ("tokenizers.prose.vocab_size", 100, r"tokenizers\.prose\.vocab_size: .*greater than or equal to 257"),
        ("tokenizers.other", {"vocab_size": 300}, r"tokenizers\.other: no such corpus; there is code, planted, prose"),
    ],
    ids=lambda v: v if isinstance(v, str) and "\\" not in v else None,
)
def test_a_wrong_key_is_named_in_one_line(changed, key, value, message):
    with pytest.raises(InputError, match=message) as caught:
        load_pipeline(changed(key, value))
    assert "params.yaml: " in str(caught.value)


@pytest.mark.parametrize("address", ["https://me:topsecret@host/x.txt", "s3://key:topse/cret@bucket/x"])
def test_a_password_in_an_address_is_refused_without_being_shown(changed, address):
    corpus = {"kind": "files", "path": address, "valid_share": 0.1}
    with pytest.raises(InputError, match=r"corpora\.code: path: the address holds a password") as caught:
        load_pipeline(changed("corpora.code", corpus))
    assert "topse" not in str(caught.value)
    for other in ("ssh://me@host:22/x", "s3://bucket/a:b@c"):
        load_pipeline(changed("corpora.code", corpus | {"path": other}))


@pytest.mark.parametrize(
    "text", ["", "- a\n", "a: [", "\x00", "models: {one: {n_layers: !!python/object:os.system x}}"]
)
def test_a_file_that_is_no_mapping_is_an_error(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"params\.yaml: "):
        load_pipeline(path)


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(InputError, match=r"models\.three: no such key; there is zero, one, two"):
        load(ModelParams, "models.three", DEFAULT)


@pytest.mark.parametrize("key", ["expansion.heads", "expansion.virtual_heads", "expansion.store", "mining.outs"])
def test_what_dvc_tracks_by_itself_has_to_be_given_and_the_rest_has_not(changed, key):
    """DVC refuses a key that is absent, in the middle of a run; it tracks the other groups as a whole."""
    path, stages = changed(key, ...), DEFAULT.parents[2] / "dvc.yaml"
    load_pipeline(path)
    if key.endswith("heads"):
        stage = {"expansion.heads": "mine", "expansion.virtual_heads": "mine, compose"}[key]
        with pytest.raises(InputError, match=f"{key}: missing; .*dvc.yaml tracks it by itself for {stage}, so"):
            require_tracked(path, stages)
    else:
        require_tracked(path, stages)


def test_parameters_are_frozen():
    params = load(ModelParams, "models.one", DEFAULT)
    with pytest.raises(ValueError, match="frozen"):
        params.steps = 1


def test_numbers_are_read_as_dvc_writes_them(changed):
    path = changed("models.one.weight_decay", 0.5)
    path.write_text(path.read_text().replace("weight_decay: 0.5", "weight_decay: 1e-05"))
    assert load_pipeline(path).models["one"].weight_decay == 1e-5


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "source",
            "data/models/on",
            r"source: no model at 'data/models/on'; there is data/models/one,",
        ),
        ("source", "models/one", r"source: no model at 'models/one'; there is"),
        ("source", "data/models/zero", r"source: model zero has no heads to take apart"),
        ("data", "data/tokens/planted", r"data: model one reads data/tokens/prose, not 'data/tokens/planted'"),
    ],
)
def test_a_dictionary_names_what_the_pipeline_makes(changed, key, value, message):
    with pytest.raises(InputError, match=rf"^params\.yaml: dictionaries\.one\.{message}"):
        check_dictionaries(load_pipeline(changed(f"dictionaries.one.{key}", value)))


def test_the_default_dictionaries_are_made_of_what_is_there():
    check_dictionaries(load_pipeline(DEFAULT))


def floats(value: object, key: str = "") -> Iterator[str]:
    """The dotted keys of params.yaml that hold a number which is not whole."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from floats(part, f"{key}.{name}".removeprefix("."))
    elif isinstance(value, list):
        for part in value[:1]:
            yield from floats(part, key)
    elif isinstance(value, float):
        yield key


FLOATS = list(floats(default_params()))


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -float("inf")])
def test_no_number_is_infinite_or_none(monkeypatch, value):
    content = default_params()
    monkeypatch.setattr(pipeline, "read_yaml", lambda path: content)
    for key in FLOATS:
        *folders, last = key.split(".")
        place = reduce(dict.__getitem__, folders, content)
        before = place[last]
        place[last] = [value] if isinstance(before, list) else value
        with pytest.raises(InputError, match=re.escape(key)):
            load_pipeline(DEFAULT)
        place[last] = before
    assert load_pipeline(DEFAULT)


def test_every_float_of_every_group_is_finite():
    """Whatever the default file leaves out."""
    assert len(FLOATS) > 35
    kinds = [Params]
    for kind in kinds:
        kinds += kind.__subclasses__()
        assert kind.model_config["allow_inf_nan"] is False, kind


@pytest.mark.parametrize("name", [3, 2.5, True, None], ids=str)
def test_a_name_that_yaml_takes_for_something_else_is_to_be_quoted(tmp_path, name):
    content = yaml.safe_load(DEFAULT.read_text())
    content["models"][name] = content["models"]["one"]
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=rf'models\.{name}: a name is text; quote it, as "{name}":'):
        load_pipeline(path)
    content["models"]["3"] = content["models"].pop(name)
    path.write_text(yaml.safe_dump(content))
    assert "3" in load_pipeline(path).models


LETTERS = "abcdefghij"


def doubling(first: str, link: Callable[[str], str]) -> str:
    """Nine levels, each of which names the one before nine times."""
    levels = [f"{name}: &{name} {link(','.join([f'*{before}'] * 9))}" for before, name in pairwise(LETTERS)]
    return "\n".join([f"a: &a {first}", *levels])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (doubling("[x, x]", "[{}]".format), "its aliases .* unfold to more than 100,000 values"),
        (doubling("{x: 1}", "{{<<: [{}]}}".format), "its aliases .* unfold to more than 100,000 values"),
        ("a: &a [*a]", "its aliases .* unfold to more than 100,000 values"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("scoring: " + "[" * 300 + "]" * 300, "corpora: missing"),
        ("x: " + "y" * 4_000_001, "larger than 4 MB"),
    ],
    ids=["laughs", "merges", "a cycle", "depth", "less depth", "size"],
)
def test_a_file_that_would_unfold_without_end_is_refused_at_once(tmp_path, text, message):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(InputError, match=message) as raised:
        load_pipeline(path)
    assert time.process_time() - started < 10 and len(str(raised.value)) < 600


def test_a_few_aliases_are_as_good_as_what_they_stand_for(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(DEFAULT.read_text().replace("  one:", "  one: &one", 1))
    assert load_pipeline(path) == load_pipeline(DEFAULT)
