"""The forward pass of a BERT sentence encoder in numpy: tokens in, unit vectors out.

Sentences are padded to the longest of their batch. Padding takes no part: masked in every attention, left out of
the mean over tokens. So a sentence has the same vector whatever company it keeps.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

MAX_TOKENS = 256
BATCH = 32


class Encoder:
    def __init__(self, folder: Path):
        config = json.loads((folder / "config.json").read_text())
        self._heads = config["num_attention_heads"]
        self._layers = config["num_hidden_layers"]
        self._epsilon = config["layer_norm_eps"]
        self._weights = load_file(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding(pad_id=config["pad_token_id"], pad_token="[PAD]")

    def encode(self, sentences: list[str]) -> tuple[np.ndarray, int]:
        """One unit vector a sentence, and the number of tokens read."""
        vectors: list = [None] * len(sentences)
        tokens = 0
        # Neighbours of like length waste little on padding.
        order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            encodings = self._tokenizer.encode_batch([sentences[index] for index in chosen])
            ids = np.array([each.ids for each in encodings])
            mask = np.array([each.attention_mask for each in encodings], dtype=np.float32)
            tokens += int(mask.sum())
            for index, vector in zip(chosen, self._pool(self._forward(ids, mask), mask), strict=True):
                vectors[index] = vector
        return np.array(vectors, dtype=np.float32), tokens

    def _forward(self, ids, mask):
        w = self._weights
        hidden = (
            w["embeddings.word_embeddings.weight"][ids]
            + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
            + w["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._norm(hidden, "embeddings.LayerNorm")
        hole = (1.0 - mask)[:, None, None, :] * np.float32(-1e9)
        for layer in range(self._layers):
            hidden = self._layer(hidden, hole, f"encoder.layer.{layer}")
        return hidden

    def _layer(self, hidden, hole, at):
        attended = self._linear(self._attend(hidden, hole, at), f"{at}.attention.output.dense")
        hidden = self._norm(hidden + attended, f"{at}.attention.output.LayerNorm")
        widened = gelu(self._linear(hidden, f"{at}.intermediate.dense"))
        return self._norm(hidden + self._linear(widened, f"{at}.output.dense"), f"{at}.output.LayerNorm")

    def _attend(self, hidden, hole, at):
        batch, length, width = hidden.shape

        def heads(name):
            projected = self._linear(hidden, f"{at}.attention.self.{name}")
            return projected.reshape(batch, length, self._heads, -1).transpose(0, 2, 1, 3)

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(width // self._heads)) + hole
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        attention = scores / scores.sum(axis=-1, keepdims=True)
        return (attention @ value).transpose(0, 2, 1, 3).reshape(batch, length, width)

    def _linear(self, x, name):
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, x, name):
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self._epsilon)
        return centred / scale * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]

    @staticmethod
    def _pool(hidden, mask):
        mean = (hidden * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def gelu(x):
    """The exact form, 0.5 x (1 + erf(x / sqrt 2)); erf by a rational approximation good to 1.5e-7."""
    z = np.abs(x) / np.float32(np.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.sign(x) * (1 - series * np.exp(-z * z))
    return 0.5 * x * (1 + erf)
