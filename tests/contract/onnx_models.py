"""Tiny ONNX models in the layout of a model cache, so that `fastembed` runs without a download."""

from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_WORDS = [
    "caroline",
    "adopted",
    "a",
    "grey",
    "dog",
    "called",
    "biscuit",
    "the",
    "quarterly",
    "tax",
    "report",
    "is",
    "due",
    "in",
    "april",
    "which",
    "was",
    "when",
    "number",
    "wir",
    "wandern",
]
_CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation + "她喜欢喝绿茶"
VOCABULARY = list(
    dict.fromkeys([*_SPECIAL, *_WORDS, *_CHARACTERS, *(f"##{c}" for c in _CHARACTERS)])
)


def write_dense_model(cache: Path, source: str, file_name: str, dimensions: int) -> None:
    """Write a model whose token vectors are fixed random rows."""
    table = np.random.default_rng(7).standard_normal((len(VOCABULARY), dimensions))
    _write(cache, source, file_name, table)


def write_sparse_model(cache: Path, source: str, file_name: str) -> None:
    """Write a model whose logits are 1 for the token that stands there, else 0."""
    _write(cache, source, file_name, np.eye(len(VOCABULARY)))


def write_cross_encoder(cache: Path, source: str, file_name: str) -> None:
    """Write a model whose logit is the share of the word "dog" among the tokens, a hundredfold."""
    table = np.full((len(VOCABULARY), 1), -1.0)
    table[VOCABULARY.index("dog")] = 100.0
    _write(cache, source, file_name, table, pooled=True)


def _write(
    cache: Path, source: str, file_name: str, table: np.ndarray, *, pooled: bool = False
) -> None:
    repository = cache / f"models--{source.replace('/', '--')}"
    folder = repository / "snapshots" / "0"
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0")
    names = ("input_ids", "attention_mask", "token_type_ids")
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["hidden"])]
    output, shape = "hidden", ["batch", "length", "width"]
    if pooled:
        nodes.append(helper.make_node("ReduceMean", ["hidden"], ["logits"], axes=[1], keepdims=0))
        output, shape = "logits", ["batch", "width"]
    graph = helper.make_graph(
        nodes,
        "lookup",
        [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "length"]) for n in names],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(table.astype(np.float32), "table")],
    )
    opset = [helper.make_opsetid("", 13)]
    (folder / file_name).parent.mkdir(exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / file_name)
    _tokenizer().save(str(folder / "tokenizer.json"))
    for name, content in {
        "config.json": {"pad_token_id": 0},
        "tokenizer_config.json": {"model_max_length": 128, "pad_token": "[PAD]"},
        "special_tokens_map.json": {"unk_token": "[UNK]", "pad_token": "[PAD]"},
    }.items():
        (folder / name).write_text(json.dumps(content))


def _tokenizer() -> Tokenizer:
    vocabulary = {token: i for i, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer
