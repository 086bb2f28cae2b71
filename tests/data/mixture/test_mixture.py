from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl import Task
from mtl.data import Tokenizer, mix, records
from mtl.data.mixture.mixture import cache_folder
from mtl.heads import Classification, MaskedLM, Regression, Tagging
from tests.tiny import Bag

LETTERS = "abcdefghij"


@pytest.fixture(scope="module")
def encoder():
    return Bag(30, tokenizer=Tokenizer.learn("character", [LETTERS]))


def letters(number, seed=0, longest=9):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(LETTERS), rng.integers(1, longest + 1))) for _ in range(number)]


def moods(number, seed=0):
    rows = [{"text": f"{t}", "mood": "up" if t[0] in "abcde" else "down"} for t in letters(number, seed)]
    return records(rows, label="mood", fractions=None)


def lengths(number, seed=1):
    rows = [{"text": t, "length": len(t)} for t in letters(number, seed)]
    return records(rows, label="length", fractions=None)


def two_tasks(first=40, second=20):
    return [Task("mood", Classification(), moods(first)), Task("length", Regression(), lengths(second))]


def rows_of(dataset):
    """Every row: its ids without padding, and its targets and weights."""
    result = []
    for x, y, w in dataset.as_numpy_iterator():
        for i in range(len(x["token_ids"])):
            size = int(x["padding_mask"][i].sum())
            result.append((tuple(x["token_ids"][i][:size].tolist()), {t: (y[t][i], w[t][i]) for t in y}))
    return result


def test_an_epoch_from_a_step_on(encoder):
    def batches(dataset):
        return [[each.tolist() for each in (*x.values(), *y.values(), *w.values())] for x, y, w in dataset.as_numpy_iterator()]

    settings: dict[str, Any] = {"batch_size": 8, "temperature": 2.0, "steps": 6, "seed": 5, "cache_dir": None}
    whole = mix(two_tasks(), encoder, **settings)
    epochs = [batches(whole) for _ in range(4)]
    mixture = mix(two_tasks(), encoder, **settings).mixture
    rest = mixture.at(2, 4)
    assert int(rest.cardinality()) == 2 and batches(rest) == epochs[2][4:] != epochs[1][4:]
    assert mixture.epoch == 3 and batches(mixture.at(3, 0)) == epochs[3]
    assert batches(mixture.at(1, 6)) == batches(mixture.at(1, 7)) == []


def test_an_epoch_holds_every_example_once_with_its_own_label(encoder):
    tasks = two_tasks()
    rows = rows_of(mix(tasks, encoder, batch_size=8, cache_dir=None))
    assert len(rows) == 60
    expected = sorted(tuple(encoder.tokenizer.encode([t])[0].token_ids.tolist()) for t in letters(40) + letters(20, 1))
    assert sorted(ids for ids, _ in rows) == expected
    id_of = {encoder.tokenizer.id(letter): letter for letter in LETTERS}
    for ids, labels in rows:
        mood, length = labels["mood"], labels["length"]
        assert (mood[1], length[1]) in {(1.0, 0.0), (0.0, 1.0)}
        if mood[1]:
            assert tasks[0].head.labels[mood[0]] == ("up" if id_of[ids[0]] in "abcde" else "down")
    of_length = [(len(ids), labels["length"][0]) for ids, labels in rows if labels["length"][1]]
    order = np.corrcoef(np.array(of_length, float).T)[0, 1]
    assert len(of_length) == 20 and order == pytest.approx(1.0)  # Standardised inside, so equal but for scale.


def test_padding_is_marked_and_filled(encoder):
    for x, _, _ in mix(two_tasks(), encoder, batch_size=8, cache_dir=None).as_numpy_iterator():
        assert ((x["token_ids"] != encoder.tokenizer.pad_id) == (x["padding_mask"] == 1)).all()
        assert (x["padding_mask"].sum(axis=1) >= 1).all()


def test_buckets_leave_little_padding(encoder):
    tasks = [Task("mood", Classification(), moods(800))]
    many = mix(tasks, encoder, batch_size=16, buckets=9, cache_dir=None).mixture
    one = mix(tasks, encoder, batch_size=16, buckets=1, cache_dir=None).mixture
    assert one.buckets == [9] and one.realised()["padding"] == pytest.approx(4 / 9, abs=0.03)
    assert many.realised()["padding"] < 0.05  # Nine buckets for nine lengths; only the last batches mix lengths.
    seen = {x["token_ids"].shape[1] for x, _, _ in mix(tasks, encoder, batch_size=16, buckets=3, cache_dir=None)}
    assert len(seen) == 3


def test_the_order_is_a_function_of_the_seed_and_the_epoch(encoder):
    def epochs(seed):
        dataset = mix(two_tasks(), encoder, batch_size=8, seed=seed, cache_dir=None)
        return [[ids for ids, _ in rows_of(dataset)] for _ in range(3)]

    first = epochs(0)
    assert first == epochs(0)
    assert first[0] != first[1] and sorted(first[0]) == sorted(first[1])
    assert first != epochs(1)
    late = mix(two_tasks(), encoder, batch_size=8, cache_dir=None)
    late.mixture.epoch = 2
    assert [ids for ids, _ in rows_of(late)] == first[2]


def test_validation_keeps_one_order_and_ignores_sampling(encoder):
    dataset = mix(two_tasks(), encoder, batch_size=8, shuffle=False, sampling="uniform", cache_dir=None)
    first = rows_of(dataset)
    assert len(first) == 60 and [r[0] for r in first] == [r[0] for r in rows_of(dataset)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"sampling": "uniform"}, {"mood": 30, "length": 30}),
        ({"weights": {"mood": 1, "length": 3}}, {"mood": 15, "length": 45}),
        ({"temperature": 2.0}, {"mood": 35, "length": 25}),  # sqrt(40) : sqrt(20) = 35.1 : 24.9
        ({"temperature": 1.0, "cap": 20}, {"mood": 30, "length": 30}),
        ({"sampling": "uniform", "steps": 30}, {"mood": 120, "length": 120}),
    ],
)
def test_realised_shares(encoder, arguments, expected):
    dataset = mix(two_tasks(), encoder, batch_size=8, cache_dir=None, **arguments)
    rows = rows_of(dataset)
    drawn = {task: sum(int(labels[task][1]) for _, labels in rows) for task in expected}
    assert drawn == expected == dataset.mixture.realised()["rows"]


def test_a_group_drawn_less_goes_on_where_it_stopped(encoder):
    dataset = mix(two_tasks(90, 10), encoder, batch_size=10, weights={"mood": 3, "length": 7}, cache_dir=None)
    seen = [ids for _ in range(3) for ids, labels in rows_of(dataset) if labels["mood"][1]]
    assert sorted(seen) == sorted(tuple(encoder.tokenizer.encode([t])[0].token_ids.tolist()) for t in letters(90))


def test_annealed_sampling_moves_from_proportional_towards_uniform(encoder):
    dataset = mix(two_tasks(50, 10), encoder, batch_size=6, sampling="annealed", epochs=3, cache_dir=None)
    drawn = [dataset.mixture.realised(epoch)["rows"]["mood"] for epoch in range(3)]
    assert drawn == [50, 43, 35]  # 60 x 5^p / (5^p + 1) for p = 1, 0.6, 0.2


def test_single_task_batches(encoder):
    dataset = mix(two_tasks(), encoder, batch_size=8, mixed=False, cache_dir=None)
    rows = 0
    for x, _, w in dataset.as_numpy_iterator():
        assert w["mood"].any() != w["length"].any()
        rows += len(x["token_ids"])
    assert rows == 60 and len(dataset) == 5 + 3


def test_static_shapes_when_asked_for(encoder):
    dataset = mix(two_tasks(), encoder, batch_size=8, drop_remainder=True, buckets=[12], cache_dir=None)
    assert dataset.element_spec[0]["token_ids"].shape == (8, 12)
    assert len(list(dataset)) == len(dataset) == 7


def test_one_source_labels_several_tasks_and_several_sources_feed_one(encoder):
    rows = [{"text": t, "mood": "up", "size": len(t) if i % 2 else None} for i, t in enumerate(letters(10))]
    both = records(rows, label=["mood", "size"], fractions=None)
    tasks = [Task("mood", Classification(["up", "down"]), [both, moods(6, 5)]), Task("size", Regression(), both)]
    dataset = mix(tasks, encoder, batch_size=16, cache_dir=None)
    result = rows_of(dataset)
    assert len(result) == 16
    assert sum(labels["mood"][1] for _, labels in result) == 16 and sum(labels["size"][1] for _, labels in result) == 5
    assert dataset.mixture.realised()["rows"] == {"mood+size": 10, "mood": 6}


def test_labels_that_tokens_cannot_express_are_reported(encoder, caplog, tmp_path):
    tokenizer = Tokenizer.learn("bpe", ["北京", "天安门"] * 9, size=285)
    rows: list[dict[str, Any]] = [
        {"text": "北京天安门", "place": [(0, 5, "LOC")]},
        {"text": "北京", "place": [(1, 2, "LOC")]},
        {"text": "好", "place": []},
    ]
    source = records({"train": rows, "validation": rows[:1]}, label="place")
    task = Task("place", Tagging(), source)
    for _ in range(2):  # The second time from what was kept.
        caplog.clear()
        data = mix([task], Bag(tokenizer.vocabulary_size, tokenizer=tokenizer), "train", cache_dir=tmp_path)
        (sentence,) = data.mixture.losses()
        assert data.mixture.lost == {"place": 1} and sentence in caplog.text
        assert sentence.startswith("1 labels of 'place' in split 'train' do not come back from their tokens: ")
    assert mix([task], encoder, "validation").mixture.losses() == []


def test_token_labels_line_up(encoder):
    rows = [{"text": list(t), "tags": ["X" if letter in "aeiou" else "Y" for letter in t]} for t in letters(12)]
    task = Task("tags", Tagging(level="word", scheme=None), records(rows, label="tags", fractions=None))
    tagged = 0
    for x, y, w in mix(task, encoder, batch_size=5, cache_dir=None).as_numpy_iterator():
        assert (w["tags"] == x["padding_mask"]).all()
        for i, j in zip(*np.nonzero(w["tags"]), strict=True):
            vowel = encoder.tokenizer.token(int(x["token_ids"][i, j])) in "aeiou"
            assert task.head.labels and task.head.labels[y["tags"][i, j]] == ("X" if vowel else "Y")
            tagged += 1
    assert tagged == sum(len(t) for t in letters(12))


def test_bad_settings(encoder):
    tasks = two_tasks()
    with pytest.raises(ValueError, match="expects an encoder that has a tokenizer"):
        mix(tasks, Bag())
    with pytest.raises(ValueError, match="`batch_size` as a whole number from 1; got 0"):
        mix(tasks, encoder, batch_size=0)
    with pytest.raises(ValueError, match="Unknown task in the sampling weights 'modo'; did you mean 'mood'"):
        mix(tasks, encoder, weights={"modo": 1}, cache_dir=None)
    with pytest.raises(ValueError, match="one for each task; 'length' has none"):
        mix(tasks, encoder, weights={"mood": 1}, cache_dir=None)
    with pytest.raises(ValueError, match="`temperature` as a finite number above 0 or None; got 0"):
        mix(tasks, encoder, temperature=0, cache_dir=None)
    with pytest.raises(ValueError, match="`cap` as a whole number from 1 or None; got 0"):
        mix(tasks, encoder, cap=0, cache_dir=None)
    with pytest.raises(ValueError, match="temperature belongs to sampling='temperature'; got it with sampling='uniform'"):
        mix(tasks, encoder, sampling="uniform", temperature=9.0, cache_dir=None)
    with pytest.raises(ValueError, match="epochs belongs to sampling='annealed'; got it with sampling='proportional'"):
        mix(tasks, encoder, epochs=3, cache_dir=None)
    with pytest.raises(ValueError, match="expects a temperature, a cap or both; got neither"):
        mix(tasks, encoder, sampling="temperature", cache_dir=None)
    with pytest.raises(ValueError, match="`max_length` as a whole number from 1 or None; got 0"):
        mix(tasks, encoder, max_length=0, cache_dir=None)
    with pytest.raises(ValueError, match="Batches of 1000 rows and drop_remainder leave nothing of"):
        mix(tasks, encoder, batch_size=1000, drop_remainder=True, cache_dir=None)
    with pytest.raises(ValueError, match="expects epochs="):
        mix(tasks, encoder, sampling="annealed", cache_dir=None)
    with pytest.raises(ValueError, match="longest bucket must hold the longest text: 9 tokens; got buckets \\[4\\]"):
        mix(tasks, encoder, buckets=[4], cache_dir=None)
    with pytest.raises(ValueError, match="'length' has no source with a split 'train'"):
        mix([tasks[0], Task("length", Regression(mean=0.0, scale=1.0))], encoder, cache_dir=None)
    with pytest.raises(ValueError, match="has a split 'test'"):
        mix(tasks, encoder, "test", cache_dir=None)


def test_a_label_error_names_task_source_and_example(encoder):
    task = Task("mood", Classification(["up", "flat"]), moods(20))
    with pytest.raises(ValueError, match=r"records, item \d+: task 'mood': .*down"):
        mix(task, encoder, cache_dir=None)


def test_word_marks_come_from_every_source_where_one_task_needs_them(encoder):
    tagged = records([{"text": ["ab", "c"], "tags": ["X", "Y"]}, {"text": ["d"], "tags": ["Y"]}], label="tags", fractions=None)
    plain = records([{"text": "ab cd", "mood": "up"}, {"text": "e", "mood": "down"}], label="mood", fractions=None)
    tasks = [Task("tags", Tagging(level="word", scheme=None, crf=True), tagged), Task("mood", Classification(), plain)]
    words = {}
    for x, _, w in mix(tasks, encoder, batch_size=2, buckets=[5], cache_dir=None).as_numpy_iterator():
        assert sorted(x) == ["padding_mask", "token_ids", "word_mask"]
        for row in range(2):
            text = "".join(encoder.tokenizer.token(int(i)) for i in x["token_ids"][row][x["padding_mask"][row] == 1])
            words[text] = x["word_mask"][row].tolist()
            assert (w["tags"][row] > 0).any() == (text in ("abc", "d"))
    # The character tokenizer drops the space; each word is marked at its first character.
    assert words == {"abc": [1, 0, 1, 0, 0], "d": [1, 0, 0, 0, 0], "abcd": [1, 0, 1, 0, 0], "e": [1, 0, 0, 0, 0]}


def test_an_objective_with_rows_of_its_own_is_mixed_before_there_is_a_model(encoder):
    source = moods(40)
    tasks = [Task("mood", Classification(), source), Task("mlm", MaskedLM(rate=0.5, keep=0.0, random=0.0), source)]
    mask, masked = encoder.tokenizer.mask_id, 0
    dataset = mix(tasks, encoder, batch_size=8, cache_dir=None)
    assert dataset.mixture.realised()["rows"] == {"mood": 40, "mlm": 40}
    for x, y, w in dataset.as_numpy_iterator():
        hidden = w["mlm"] > 0
        assert ((w["mood"] > 0) != hidden.any(axis=1)).all()
        assert ((x["token_ids"] == mask) == hidden).all()
        assert (y["mlm"][hidden] >= 5).all()  # What stood there, which is no special token.
        masked += int(hidden.sum())
    assert masked
    again = [x["token_ids"] for x, _, _ in mix(tasks, encoder, batch_size=8, cache_dir=None).as_numpy_iterator()]
    first = [x["token_ids"] for x, _, _ in mix(tasks, encoder, batch_size=8, cache_dir=None).as_numpy_iterator()]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))


def test_a_user_without_a_home_is_told_of_the_variable(monkeypatch):
    for name in ("MTL_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/mtl")
    monkeypatch.setattr(Path, "expanduser", lambda path: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(FileNotFoundError, match="Set MTL_CACHE_DIR to a folder"):
        cache_folder()


def test_rows_that_only_their_source_labels_are_kept(encoder):
    rows = records([{"text": "ab", "mood": "up"}, {"text": "cd", "mood": "down"}], label="mood", fractions=None)
    texts = records([{"text": "ef"}, {"text": "gh"}, {"text": "ij"}], label=[], fractions=None)
    rows.name, texts.name = "reviews", "letters"
    tasks = [
        Task("mood", Classification(["down", "up"]), rows),
        Task("domain", Classification(), [rows, texts], source_label=True),
    ]
    data = mix(tasks, encoder, batch_size=8, shuffle=False, cache_dir=None)
    ((_, y, weight),) = data.as_numpy_iterator()
    assert sorted(zip(weight["mood"].tolist(), y["domain"].tolist(), strict=True)) == [(0.0, 0)] * 3 + [(1.0, 1)] * 2
    assert weight["domain"].tolist() == [1.0] * 5
