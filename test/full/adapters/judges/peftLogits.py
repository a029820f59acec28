"""Last logits of sequences by PEFT's own loader, for every adapter folder.

    python peftLogits.py BASE SEQUENCES FOLDER...

SEQUENCES: JSON, lists of token ids of one length. Prints JSON by the folders' names, and "base": logits
[sequences, vocabulary] with the adapter, with it merged and with the merge undone, the number of
adapted modules, their scaling, and whether PEFT takes them for DoRA. All in fp32.
"""

import json
import pathlib
import sys
import warnings

import peft
import torch
import transformers

base, sequences, *folders = sys.argv[1:]
ids = torch.tensor(json.loads(sequences))
# PEFT only warns of tensors that it did not find.
warnings.filterwarnings("error", message=".*adapter keys.*")


def load():
    return transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


@torch.no_grad()
def logits(model):
    return model(ids).logits[:, -1].tolist()


result = {"base": {"logits": logits(load())}}
for folder in map(pathlib.Path, folders):
    model = peft.PeftModel.from_pretrained(load(), folder).eval()
    layers = [m for m in model.modules() if isinstance(m, peft.tuners.lora.LoraLayer)]
    facts = {
        "logits": logits(model),
        "modules": len(layers),
        "scaling": [layer.scaling["default"] for layer in layers],
        "dora": any(layer.use_dora.get("default", False) for layer in layers),
    }
    model.merge_adapter()
    facts["merged"] = logits(model)
    model.unmerge_adapter()
    facts["unmerged"] = logits(model)
    result[folder.name] = facts
print(json.dumps(result))
