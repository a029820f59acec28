"""Logits of a base model with a native adapter, of the merged folder and of the conversion to LoRA.

    python reference.py BASE ADAPTER MERGED LORA INPUT.json OUT

INPUT: {"ids": [...]}. Writes OUT/{base,adapter,merged,lora}.f32, fp32 [tokens, vocabulary]. All models
run in fp32; the native adapter is loaded by the load_adapter.py of its own folder.
"""

import importlib.util
import json
import pathlib
import sys

import peft
import torch
import transformers

base, adapter, merged, lora, inputs, out = sys.argv[1:7]
ids = torch.tensor([json.loads(pathlib.Path(inputs).read_text())["ids"]])


def load(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def write(name, model):
    pathlib.Path(out, f"{name}.f32").write_bytes(model(ids).logits[0].float().numpy().tobytes())


spec = importlib.util.spec_from_file_location("load_adapter", pathlib.Path(adapter) / "load_adapter.py")
loader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(loader)
write("base", load(base))
write("adapter", loader.apply_adapter(load(base)))
write("merged", load(merged))
write("lora", peft.PeftModel.from_pretrained(load(base), lora).eval())
print(json.dumps({"transformers": transformers.__version__, "peft": peft.__version__, "torch": torch.__version__}))
