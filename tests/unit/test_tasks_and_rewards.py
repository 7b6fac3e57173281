"""Tasks are the same each time and well formed for verl; rewards are for the right number."""

import json

import pytest

from harness.errors import ConfigError
from harness.inside import prepare
from harness.inside.rewards import exact, graded, last_number, reasoning_gym
from harness.paths import MADE_FROM


def score(reward, text, truth="7"):
    return reward(data_source="chain_sum", solution_str=text, ground_truth=truth, extra_info=None)


@pytest.mark.parametrize(("text", "number"), [("12", 12), ("3 + 4 = 7", 7), ("-5", -5), ("none", None), ("", None)])
def test_last_number_is_the_answer(text, number):
    assert last_number(text) == number


def test_exact_reward_is_accuracy():
    assert score(exact, "7") == {"score": 1.0, "acc": 1.0}
    assert score(exact, "8") == {"score": 0.0, "acc": 0.0}
    assert score(exact, "seven") == {"score": 0.0, "acc": 0.0}


def test_graded_reward_prefers_right_to_near_and_near_to_far_and_far_to_silence():
    right, near, far, silent = (score(graded, text) for text in ("7", "8", "70", "?"))
    assert right["score"] == 1.0
    assert right["score"] > near["score"] > far["score"] == silent["score"] == 0.0
    assert [answer["acc"] for answer in (right, near, far, silent)] == [1.0, 0.0, 0.0, 0.0]


def test_both_rewards_always_give_the_same_keys():
    for reward in (exact, graded):
        assert len({tuple(score(reward, text)) for text in ("7", "8", "?")}) == 1


def test_an_asset_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "task").mkdir()
    assert prepare.prepare("task", "chain_sum", tmp_path / "task") is False
    assert list((tmp_path / "task").iterdir()) == []


def test_an_asset_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def fails(folder, **_):
        (folder / "half").write_text("")
        raise ConfigError("cannot be made here")

    monkeypatch.setattr(prepare, "maker_of", lambda kind, name: fails)
    with pytest.raises(ConfigError, match="cannot be made here"):
        prepare.prepare("policy", "half", tmp_path / "half")
    assert list(tmp_path.iterdir()) == []


def test_task_files_are_what_verl_reads(tmp_path):
    pytest.importorskip("reasoning_gym")
    parquet = pytest.importorskip("pyarrow.parquet")
    from harness.inside.tasks import CHAIN_SUM, write

    write(CHAIN_SUM, tmp_path)
    rows = parquet.read_table(tmp_path / "test.parquet").to_pylist()
    assert len(rows) == CHAIN_SUM.sizes["test"]
    assert rows == CHAIN_SUM.rows("test")
    for row in rows:
        first, sign, second, _ = row["prompt"][0]["content"].split()
        assert int(row["reward_model"]["ground_truth"]) == int(first) + int(f"{sign}{second}")


def test_any_dataset_of_reasoning_gym_is_made_and_scored_by_its_own_rule(tmp_path):
    pytest.importorskip("reasoning_gym")
    parquet = pytest.importorskip("pyarrow.parquet")
    options = {"dataset": "spell_backward", "options": {"max_word_len": 5}, "sizes": {"train": 3, "test": 2}}
    assert prepare.prepare("task", "reasoning_gym", tmp_path / "task", options) is True
    assert json.loads((tmp_path / "task" / MADE_FROM).read_text()) == options
    rows = parquet.read_table(tmp_path / "task" / "train.parquet").to_pylist()
    assert [row["data_source"] for row in rows] == ["reasoning_gym/spell_backward"] * 3

    def score(row, text):
        return reasoning_gym(
            data_source=row["data_source"],
            solution_str=text,
            ground_truth=row["reward_model"]["ground_truth"],
            extra_info=row["extra_info"],
        )

    for row in rows:
        truth = row["reward_model"]["ground_truth"]
        assert score(row, f"I think <answer>{truth}</answer>") == {"score": 1.0, "acc": 1.0, "answered": 1.0}
        assert score(row, truth) == {"score": 0.0, "acc": 0.0, "answered": 0.0}
        assert score(row, "<answer>?</answer>")["score"] < 1


@pytest.mark.parametrize(
    ("dataset", "options", "sentence"),
    [
        ("chain_sums", None, "task.dataset: reasoning-gym has no 'chain_sums'; did you mean chain_sum?"),
        ("chain_sum", {"max_term": 2}, "task.options: reasoning-gym's chain_sum refuses {'max_term': 2}"),
        ("chain_sum", {"max_terms": 0}, "task.options: reasoning-gym's chain_sum refuses {'max_terms': 0}"),
    ],
)
def test_a_dataset_that_reasoning_gym_does_not_have_is_refused(tmp_path, dataset, options, sentence):
    pytest.importorskip("reasoning_gym")
    with pytest.raises(ConfigError) as caught:
        prepare.prepare(
            "task", "reasoning_gym", tmp_path / "task", {"dataset": dataset, "options": options, "sizes": {"train": 1, "test": 1}}
        )
    assert sentence in str(caught.value)
    assert list(tmp_path.iterdir()) == []
