"""Which rows a reader meets first: what can be read, what they are worth, and where they stand in real text."""

import numpy as np
import pandas as pd
import pytest
import torch

from skiptrace.account import examples, rows
from skiptrace.account.entries import split
from skiptrace.account.examples import first
from skiptrace.account.listing import CHECKED_COLUMNS, listed
from skiptrace.account.readable import readable, whole
from skiptrace.account.study import Text
from skiptrace.account.tables import ROWS
from skiptrace.account.worth import IDS, worth
from skiptrace.config.account import AccountParams
from skiptrace.evidence.support import Positions
from skiptrace.evidence.used import use
from tests.account.test_replaced import seeded


@pytest.mark.parametrize(
    ("said", "reads"),
    [
        ((" either", " word", " or"), True),
        ([" between", " 0", " and"], True),
        ((" rather", " more", " than"), True),
        ((" couldn", "'", "t"), True),
        ((" assert", ")", " =="), True),
        (("try", "\n", "except"), True),
        (("[", "0", "]"), True),
        ((" (", "x", "),"), True),
        (("``", ")", "``"), True),
        (("``", ")", "the"), False),
        (("[", "0", ")"), False),  # closes something else
        ((" x", ",", " y"), False),
        (("\n\n", "\n", "def"), False),
        ((" Examples", "\n", " ======="), False),
        ((" References", " -----", " [1"), False),
        ((" if", ":", "\n    "), False),
        ((" do", "n", "t"), False),
        ((r"\xe2", ",", " the"), False),
        ((".__", "init", "__("), False),
    ],
)
def test_words_and_pairs_of_brackets_are_readable(said, reads):
    assert readable(*said) is reads


def test_a_part_of_a_word_or_of_a_name_is_not_whole():
    assert whole("a", " word", " more") and whole(" ", "word", ", ") and whole("(", "self", "") and whole("", "a", ".")
    assert not whole("a", "word", " ") and not whole(" ", "wo", "rd") and not whole("get", "_name", "(")


def test_worth_of_given_rows_equals_that_of_entries_at_their_destinations(make_model):
    frequency = torch.full((23,), 1 / 23)
    model = make_model(1).float()
    parts = split(model, frequency)
    windows = torch.cat([torch.zeros(9, 1, dtype=torch.long), torch.randint(1, 9, (9, 7), generator=seeded(3))], 1)
    asked = pd.DataFrame(
        [(0, h, s, d, o) for h in range(parts.n_heads) for s in (2, 3) for d in (3, 5, 20) for o in (4, 7)], columns=IDS
    )
    found = worth(parts, asked, windows)
    kept = asked.drop_duplicates(["head", "source_id", "out_id"])
    dense = torch.stack([c.dense() for c in parts.ov])
    at = [kept[name].to_numpy() for name in ("head", "source_id", "out_id")]
    entries = rows.Entries(*at, dense.numpy()[tuple(at)])
    wanted = rows.worth(rows.savings(parts, entries, windows), rows.KEYS, len(windows), windows.shape[1] - 1)
    wanted = asked.merge(wanted, on=rows.KEYS, how="left").fillna(0)
    np.testing.assert_array_equal(found.n, wanted["n"])
    assert (found.n > 0).sum() > 10 > (found.n[asked["destination_id"] == 20] > 0).sum() == 0
    np.testing.assert_allclose(found.nats, wanted["nats"], atol=1e-3)
    np.testing.assert_allclose(found.se, wanted["nats_se"], atol=1e-3)


TOKENS = ["<bos>", " either", " this", " or", " that", " sel", "ect", ",", "\n", " up", " down"]


def stream(*documents: str) -> np.ndarray:
    """Documents of tokens that are written with a bar between them."""
    return np.array([TOKENS.index(t) for text in documents for t in ["<bos>", *text.split("|")]])


def row(source: str, destination: str, out: str, **more) -> dict:
    """A supported and readable row, nothing else of which matters here."""
    said = {"source": source, "destination": destination, "out": out}
    made = dict.fromkeys(ROWS.names, 1) | said | {f"{role}_id": TOKENS.index(t) for role, t in said.items()}
    return made | {"support": "supported", "use": "used", "chosen_use": "used", "readable": True} | more


def test_the_example_is_the_place_where_a_row_stands_closest_in_whole_words():
    text = stream(" up| either| up| down| this| or| that", " that| either|,| this| or| down| up", " either| this| or")
    positions = Positions(text, len(TOKENS), 8)
    found = examples.example(row(" either", " this", " or"), positions, pd.Series(TOKENS))
    assert found == (1, " that", ",", " down up")  # in the last document nothing stands between
    parted = Positions(stream(" sel|ect| up| this| or"), len(TOKENS), 8)
    assert examples.example(row(" sel", " this", " or"), parted, pd.Series(TOKENS)) is None
    assert examples.example(row(" down", " this", " or"), parted, pd.Series(TOKENS)) is None


def test_blanks_and_copies_wait_and_every_source_and_output_comes_once():
    text = stream(
        " either| up|\n| or| down", " up|,|\n| down", " that| up| this| either", " up|,| this| up", " this|,| up| that"
    )
    asked = [
        row(" this", " up", " that", chosen_use="no effect seen"),  # comes after what is used
        row(" either", "\n", " or"),
        row(" either", " this", " down"),  # the same source
        row(" up", "\n", " down"),  # a second blank: waits for four rows
        row(" that", " this", " either", nats=0.5),
    ]
    asked = pd.DataFrame(asked).assign(used_places=9)
    found = first(asked, Positions(text, len(TOKENS), 8), pd.Series(TOKENS))
    assert found["source"].tolist() == [" either", " that", " this"] and found["rank"].tolist() == [1, 2, 3]
    assert found["before"].tolist() == ["", "", ""] and found["between"].tolist() == [" up", " up", ","]
    unseen = first(asked[:1], Positions(text, len(TOKENS), 8), pd.Series(TOKENS))
    assert unseen["chosen_use"].tolist() == ["no effect seen"]


def test_edges_are_decided_on_one_text_and_measured_on_another_once_for_all_their_outputs(make_model, monkeypatch):
    model, generator = make_model(n_layers=1, n_heads=2, d_vocab=11), np.random.default_rng(0)
    asked = [
        row(" either", " this", " or", head=1),
        row(" either", " this", " up", head=1),
        row(" this", " up", " that", head=0, readable=False),
        row(" this", " up", " that", head=0, support="contradicted"),
        row(" that", " or", " up", head=0),
    ]
    rows = pd.DataFrame(asked).assign(layer=0).drop(columns="chosen_use")
    train, valid = generator.integers(0, 11, 4000), generator.integers(0, 11, 900)
    text = Text(train, valid, torch.full((11,), 1 / 11), pd.Series(TOKENS))
    monkeypatch.setattr(examples, "use", lambda *given: use(*given).assign(use=decide))
    decide = "used"
    found, counted = examples.tested(model, rows, text, AccountParams(), 7, 0.05)
    assert found["source"].tolist() == [" either", " either", " that"]
    assert found["used_nats"].nunique() == 2 and (found["used_places"] > 9).all()
    alone = use(model, rows.iloc[[0]].drop(columns="use"), valid, 7, AccountParams().edge_places, 0.05)
    np.testing.assert_allclose(found["used_nats"].iloc[:2], alone["used_nats"].iloc[0], rtol=1e-5)
    assert counted[["tested", "used", "measured", "confirmed"]].to_numpy().tolist() == [[2, 2, 2, 2], [1, 1, 1, 1]]
    decide = "no effect seen"  # on training text: nothing is measured
    found, counted = examples.tested(model, rows, text, AccountParams(), 7, 0.05)
    assert found["used_nats"].isna().all() and set(found["chosen_use"]) == set(found["use"]) == {decide}
    assert counted[["tested", "used", "measured"]].to_numpy().tolist() == [[2, 0, 0], [1, 0, 0]]
    nothing = examples.tested(model, rows[2:4], text, AccountParams(), 7, 0.05)
    assert nothing.rows.empty and nothing.confirmed["tested"].tolist() == [0, 0]


def test_what_training_text_decides_no_held_out_text_changes(make_model):
    model, generator = make_model(n_layers=1, n_heads=2, d_vocab=11), np.random.default_rng(1)
    asked = [row(" either", " this", " or", head=0), row(" that", " or", " up", head=1)]
    rows = pd.DataFrame(asked).assign(layer=0).drop(columns="chosen_use")
    texts = [generator.integers(0, 11, 3000) for _ in range(3)]
    frequency = torch.full((11,), 1 / 11)
    one, other = (
        examples.tested(model, rows, Text(texts[0], valid, frequency, pd.Series(TOKENS)), AccountParams(), 7, 0.5)
        for valid in texts[1:]
    )
    assert one.rows["chosen_use"].tolist() == other.rows["chosen_use"].tolist()
    assert one.confirmed[["tested", "used"]].equals(other.confirmed[["tested", "used"]])


def test_supported_rows_come_first_by_what_they_save_or_else_by_counts(make_model):
    text = np.random.default_rng(0).integers(1, 23, 300).astype(np.uint16)
    frequency = torch.full((23,), 1 / 23)
    said = ["supported", "too rare to say", "supported", "contradicted"]
    checked = pd.DataFrame(
        {"layer": 0, "head": [0, 1, 2, 0], "source_id": [3, 4, 5, 6], "destination_id": 7, "out_id": 8,
         "source": "either", "destination": "a", "out": "or", "consistent": True, "use": "used", "support": said,
         "p_out": 0.1, "corpus_count": [2, 9, 7, 0], "corpus_lift": [3.0, 9.0, 2.0, 0.0], "mined": True}
    )  # fmt: skip
    words = Text(text, text, frequency, pd.Series(["t"] * 23))
    plain = listed(checked, None, words, 0)
    assert plain["source_id"].tolist() == [5, 3, 4, 6] and plain["rank"].tolist() == [1, 2, 3, 4]
    assert plain["corpus_nats"].tolist() == pytest.approx(
        [1000 / 300 * n for n in (7 * np.log(2), 2 * np.log(3), 9 * np.log(9), 0)]
    )
    assert plain["nats"].isna().all() and plain["readable"].all()
    measured = listed(checked, split(make_model(1).float(), frequency), words, 0)
    assert set(measured["support"][:2]) == {"supported"} and measured["nats"].notna().all()
    assert set(CHECKED_COLUMNS) < set(ROWS.names)
