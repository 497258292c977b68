"""Table 2 of Huang et al. (2020), cell by cell."""

from __future__ import annotations

import pytest

from skfusion.evaluation import strategy_properties

# Huang et al., npj Digital Medicine 3:136 (2020), Table 2: early, joint, late.
TABLE_2 = {
    "Able to make predictions when not all modalities are present": (0, 0, 1),
    "Able to model interactions between features from different modalities": (1, 1, 0),
    "Able to learn more compatible features from each modality": (0, 1, 0),
    "Does not necessarily require a large amount of training data": (0, 0, 1),
    "Does not require training multiple models": (1, 1, 0),
    "Does not necessarily require meticulous designing efforts": (1, 0, 1),
    "Flexibility to join input at different levels of abstraction": (0, 1, 0),
}


def test_the_table_is_that_of_the_review_cell_by_cell():
    table = strategy_properties()
    assert list(table.index) == list(TABLE_2)
    assert list(table.columns) == ["early", "joint", "late", "footnotes"]
    for name, cells in TABLE_2.items():
        assert table.loc[name, ["early", "joint", "late"]].tolist() == list(cells), name
    assert table[["early", "joint", "late"]].dtypes.eq(bool).all()


def test_the_two_footnotes_are_on_their_cells():
    table = strategy_properties()
    marked = table["footnotes"][table["footnotes"] != ""]
    assert marked.to_dict() == {
        "Able to make predictions when not all modalities are present": "joint: a",
        "Does not require training multiple models": "early: b",
    }
    notes = table.attrs["footnotes"]
    assert set(notes) == {"a", "b"}
    assert "Kawahara" in notes["a"]
    assert "CNN" in notes["b"]


@pytest.mark.parametrize(
    "part", ["3:136, 2020", "10.1038/s41746-020-00341-z", "Lungren"]
)
def test_the_citation_is_complete(part):
    assert part in strategy_properties().attrs["citation"]


def test_a_changed_table_is_not_kept():
    first = strategy_properties()
    first.loc[:, "late"] = True
    first.attrs["footnotes"].clear()
    assert strategy_properties()["late"].tolist() == [1, 0, 0, 1, 0, 1, 0]
    assert len(strategy_properties().attrs["footnotes"]) == 2
