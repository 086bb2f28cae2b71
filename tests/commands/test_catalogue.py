import re
import types
from pathlib import Path

import keras
import pytest

import mtl
from mtl.balancing import CRMOGM, PCGrad
from mtl.commands.catalogue import KINDS, check, construct, names_of
from mtl.commands.recipe_file import Document


def document(value: object, folder: Path = Path("/recipes")) -> Document:
    return Document({"part": value}, {("part",): 1}, str(folder / "r.yaml"))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"callback"}))
def test_names_stand_for_public_objects_of_their_kind(kind: str) -> None:
    names = names_of(kind)
    assert names and KINDS[kind].base.rpartition(".")[2] not in names
    for name, each in names.items():
        assert not name.startswith("_") and callable(each)


def test_what_is_no_source_is_none() -> None:
    assert {"csv", "conll", "unique", "peoples_daily"} <= set(names_of("source"))
    assert not {"mix", "Tokenizer", "Example", "Source", "split_of"} & set(names_of("source"))
    assert names_of("optimizer")["AdamW"] is keras.optimizers.AdamW and "get" not in names_of("optimizer")
    assert {"adamw", "ScaledAdamW"} <= set(names_of("optimizer"))
    assert not {"freeze", "Warmup", "Features"} & set(names_of("optimizer"))


def test_known_arguments_are_listed_once() -> None:
    with pytest.raises(ValueError, match="line 1: Unknown argument of Recurrent 'zzzzz'") as raised:
        check(document({"Recurrent": {"zzzzz": 1}}), ("part",), "encoder")
    known = re.findall(r"\w+", str(raised.value).rpartition("'zzzzz'")[2])
    assert (known.count("name"), known.count("dtype")) == (1, 1)


@pytest.mark.parametrize("argument", ["model", "steps"])
def test_what_the_training_gives_is_not_for_the_file(argument: str) -> None:
    check(document("adamw"), ("part",), "optimizer")
    with pytest.raises(ValueError, match=f"line 1: adamw gets '{argument}' from the training itself. Leave it out."):
        check(document({"adamw": {argument: 3}}), ("part",), "optimizer")


@pytest.mark.parametrize(
    ("argument", "value", "expected"),
    [
        ("units", "many", "a whole number from 1"),
        ("units", True, "a whole number from 1"),
        ("units", 8.0, "a whole number from 1"),
        ("dropout", "0,1", "a number from 0 to below 1"),
        ("skip", 1, "true or false"),
        ("pooling", 3, "a text"),
        ("max_length", "long", "a whole number from 1 or null"),
    ],
)
def test_values_of_plain_types(argument: str, value: object, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"line 1: '{argument}' of Recurrent is {expected}; got {value!r}.")):
        check(document({"Recurrent": {argument: value}}), ("part",), "encoder")
    fine = {"units": 8, "dropout": 0, "skip": True, "max_length": None, "embedding_matrix": 3, "pooling": "max"}
    check(document({"Recurrent": fine}), ("part",), "encoder")


def test_lists_of_plain_types_are_no_plain_types() -> None:
    check(document({"ScaledAdamW": {"no_decay": ["bias$"]}}), ("part",), "optimizer")


def test_objects_within_objects() -> None:
    value = {
        "AdamW": {"learning_rate": {"ExponentialDecay": {"initial_learning_rate": 1.0, "decay_steps": 2, "decay_rate": 0.5}}}
    }
    described = document(value)
    check(described, ("part",), "optimizer")
    made = construct(described, ("part",), "optimizer")
    # After two steps the rate has halved once.
    assert float(made._learning_rate(2)) == pytest.approx(0.5)


def test_balancers_by_the_names_that_models_take() -> None:
    described = document({"crmogm": {"balancer": "pc-grad", "momentum": 0.5}})
    check(described, ("part",), "balancer")
    made = construct(described, ("part",), "balancer")
    assert isinstance(made, CRMOGM) and isinstance(made.balancer, PCGrad) and made.momentum == 0.5


def test_a_word_is_not_always_an_object() -> None:
    described = document({"Tagging": {"name": "unique"}})
    check(described, ("part",), "head")
    assert construct(described, ("part",), "head").name == "unique"


@pytest.mark.parametrize(
    ("path", "absolute"),
    [
        ("a.csv", "/recipes/a.csv"),
        ("/data/a.csv", "/data/a.csv"),
        (["a.csv", "b/*.csv"], ["/recipes/a.csv", "/recipes/b/*.csv"]),
        ({"train": "a.csv", "test": ["b.csv"]}, {"train": "/recipes/a.csv", "test": ["/recipes/b.csv"]}),
    ],
)
def test_paths_are_beside_the_recipe(path: object, absolute: object) -> None:
    described = document({"csv": {"path": path}})
    check(described, ("part",), "source")
    assert described.data["part"]["csv"]["path"] == absolute
    board = document({"TaskBoard": {"log_dir": "logs"}})
    check(board, ("part",), "callback")
    assert board.data["part"]["TaskBoard"]["log_dir"] == "/recipes/logs"


def test_a_preset_is_a_path_only_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "bert").mkdir()
    for preset, expected in (("bert", str(tmp_path / "bert")), ("bert_tiny_en_uncased", "bert_tiny_en_uncased")):
        described = document({"Pretrained": {"preset": preset}}, tmp_path)
        check(described, ("part",), "encoder")
        assert described.data["part"]["Pretrained"]["preset"] == expected


def test_tokenizer() -> None:
    described = document({"Recurrent": {"tokenizer": {"learn": "word", "size": 9}, "units": 2, "embedding": 2}})
    check(described, ("part",), "encoder")
    seen: list[dict] = []

    def tokenizer(value: dict) -> mtl.data.Tokenizer:
        seen.append(value)
        return mtl.data.Tokenizer.learn("word", ["a b"])

    assert construct(described, ("part",), "encoder", tokenizer).tokenizer.vocabulary_size == 7  # Five special tokens, a and b.
    assert seen == [{"learn": "word", "size": 9}]


def test_errors_of_constructors_have_a_place() -> None:
    described = document({"Soft": {"strength": -1}})
    check(described, ("part",), "sharing")
    with pytest.raises(ValueError, match="r.yaml, line 1: Soft expects a strength of at least 0; got -1"):
        construct(described, ("part",), "sharing")


def own_module(**values: object) -> types.ModuleType:
    module = types.ModuleType("own")
    vars(module).update(values)
    return module


class Doubled(mtl.balancing.Balancer):
    def _combine(self, losses, active, training):
        return 2.0 * losses[0]


def forum(path: str, label: str = "topic") -> "mtl.data.Source":
    return mtl.data.records([{"text": path, label: "a"}], label=label)


def test_names_of_modules_of_ones_own() -> None:
    own = own_module(Doubled=Doubled, forum=forum, Balancer=mtl.balancing.Balancer, csv=mtl.data.csv, other=print, Text=str)
    assert names_of("balancer", [own]).keys() - names_of("balancer").keys() == {"Doubled"}
    assert names_of("source", [own]).keys() - names_of("source").keys() == {"forum"}
    made = document({"forum": {"path": "x"}})
    made.modules = (own,)
    check(made, ("part",), "source")
    assert next(iter(construct(made, ("part",), "source").examples("train"))).text == "/recipes/x"
    within = document({"CRMOGM": {"balancer": "doubled"}})
    within.modules = (own,)
    check(within, ("part",), "balancer")
    assert isinstance(construct(within, ("part",), "balancer").balancer, Doubled)


def test_a_name_that_is_taken() -> None:
    with pytest.raises(ValueError, match="The balancer 'pcgrad' of the module 'own' has the name of '.*PCGrad'. Rename it."):
        names_of("balancer", [own_module(pcgrad=Doubled)])


def test_unknown_names_tell_of_imports() -> None:
    with pytest.raises(ValueError, match=r"Unknown head 'Mine'.* A class of your own: --import MODULE, or imports=\[...\] in"):
        check(document("Mine"), ("part",), "head")
