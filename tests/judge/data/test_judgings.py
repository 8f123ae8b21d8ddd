"""Tables of models x judgings: read once, for `study noise` and for `judge compare`."""

import json

import pytest
from typer.testing import CliRunner

from equiloss.errors import InputError
from judge.cli.main import program
from judge.comparison.compare import compare
from judge.data.judgings import judged_of_table, read_judgings

TABLE = "model,test_loss,run1,run2,run3,mean\na,3.4,10,11,12,11\nb,3.5,8,9,,8.5\nc,3.6,2,2.5,3,2.5\n"


def test_a_table_is_compared_over_its_judgings(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    result = CliRunner().invoke(program, ["compare", "--table", str(path), "--json"])
    found = json.loads(result.stdout)
    assert (found["unit"], found["judge"], found["n_items"], found["n_items_any"]) == ("judgings", "table", 2, 3)
    by_name = {row["name"]: row for row in found["models"]}
    assert [by_name[name]["mean_scored"] for name in "abc"] == [11, 8.5, 2.5]
    first = found["differences"][0]
    assert (first["a"], first["b"], first["difference"], first["n_items"]) == ("a", "b", 2, 2)
    assert found["equal_models"]["n_models"] == 3
    assert ["judgings of the same answers" in warning for warning in found["warnings"]] == [True]
    assert "over judgings alone" in CliRunner().invoke(program, ["compare", "--table", str(path)]).stdout


def test_the_diarys_published_scores_spread_far_more_than_equal_models_would(shared_data):
    found = compare(judged_of_table(shared_data / "diary/ift-judge-runs.csv"), unit="judgings", draws=100)
    assert len(found.models) == 24
    assert found.equal_models is not None
    assert found.equal_models.observed == pytest.approx(32.2, abs=0.1)
    assert found.equal_models.largest < 1  # of judging alone: seeds are not in it


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,mean\na,3\n", "no column `model` and columns run1"),
        ("model,run1\na,good\n", "line 2: a judging that is no number"),
        ("model,run1\na,\n", "line 2: no judging at all"),
        ("model,run1\na,inf\n", "line 2: .*infinite"),
        ("model,run1\na,1\na,2\n", "two rows of 'a'"),
    ],
)
def test_what_is_no_table_of_judgings_is_refused(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        judged_of_table(path)


def test_a_table_or_files_are_compared_and_not_both(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(TABLE)
    assert [row.recipe for row in read_judgings(path)] == ["a", "b", "c"]
    for args in ([], ["x.jsonl", "--table", str(path)]):
        error = CliRunner().invoke(program, ["compare", *args]).exception
        assert isinstance(error, InputError)
        assert "or a table with --table" in str(error)
