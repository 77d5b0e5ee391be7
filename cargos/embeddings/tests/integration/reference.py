"""Makes `reference.json`: `python reference.py MODEL_FOLDER`, where `torch` and `transformers` are installed."""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertModel

TEXTS = [
    "cat",
    "The quick brown fox jumps over the lazy dog.",
    "Ünïcödé naïve 東京 don't e-mail #tags 😀",
    "Archipelag: an open compute network of strangers' machines. " * 12,
    "word " * 400,
]


def main(folder: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertModel.from_pretrained(folder).eval()
    found = {}
    for text in TEXTS:
        asked = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            mean = model(**asked).last_hidden_state[0].mean(0)
        vector = torch.nn.functional.normalize(mean, dim=0)
        found[text] = [round(value, 8) for value in vector[:16].tolist()]
    said = json.dumps(found, indent=1, ensure_ascii=False)
    Path(__file__).with_name("reference.json").write_text(said + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
