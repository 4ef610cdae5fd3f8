from __future__ import annotations

import pytest

from longform.data.files import row_checks
from longform.data.readers import read_documents


def test_r04_rows_swallowed_by_a_quote_are_named(tmp_path):
    path = tmp_path / "a.csv"
    # The quote that opens in row 3 closes at the end of a text two rows on, by chance.
    path.write_text('text,label\n一,农业\n二,体育\n"三,农业\n四,体育\n五",农业\n六,体育\n', "utf-8")
    result = read_documents(path)
    assert len(result.documents) == 4
    assert any("look like rows of the file (rows 3)" in note for note in result.report.notes)


@pytest.mark.parametrize("text", ["第一行\n第二行,很长", "农业\n体育", "列表:\n1,2\n3,4"])
def test_r04_texts_of_several_lines_are_fine(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(f'text,label\n一,农业\n"{text}",体育\n', "utf-8")
    assert not read_documents(path).report.notes


@pytest.mark.parametrize(("times", "noted"), [(10, False), (1000, True)])
def test_r04_a_row_that_dwarfs_the_others_is_named(tmp_path, monkeypatch, times, noted):
    monkeypatch.setattr(row_checks, "_LARGE", 5_000)
    path = tmp_path / "a.csv"
    rows = [f"{'短文' * 10},甲\n"] * 5 + [f"{'长文' * 10 * times},甲\n"]
    path.write_text("text,label\n" + "".join(rows), "utf-8")
    notes = read_documents(path).report.notes
    assert any("row 6 holds" in note and "million characters" in note for note in notes) == noted
