"""Logits of a model folder in transformers, and ids of texts in tokenizers.

    python logits.py FOLDER INPUT.json OUT.f32

INPUT: {"ids": [...], "texts": [...]}. Writes fp32 [tokens, vocabulary] of the model in fp32; prints
{"texts": [[ids]]}, by the folder's tokenizer.json, without tokens around a text.
"""

import json
import pathlib
import sys

import tokenizers
import torch
import transformers

folder, inputs, out = sys.argv[1:4]
data = json.loads(pathlib.Path(inputs).read_text())
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
with torch.no_grad():
    logits = model(torch.tensor([data["ids"]])).logits[0]
pathlib.Path(out).write_bytes(logits.float().numpy().tobytes())
tokenizer = tokenizers.Tokenizer.from_file(str(pathlib.Path(folder) / "tokenizer.json"))
texts = [tokenizer.encode(text, add_special_tokens=False).ids for text in data["texts"]]
print(json.dumps({"texts": texts}))
