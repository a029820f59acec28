/** A loader in Python for the native adapter folder: PyTorch and safetensors are all it needs. */

export const pythonLoaderName = 'load_adapter.py';

export const pythonLoader = `"""Adds this tensor adapter to its base model.

    from transformers import AutoModelForCausalLM
    from load_adapter import apply_adapter

    model = AutoModelForCausalLM.from_pretrained(BASE, dtype="float32")
    apply_adapter(model)            # folder of this file, or apply_adapter(model, FOLDER)
"""

import json
import pathlib

import torch
from safetensors.torch import load_file


def contract(cores, rows, cols):
    """Cores [d_(k-1), i_k, j_k, d_k] -> matrix [rows, cols]; padded entries are dropped."""
    chain = cores[0]
    for core in cores[1:]:
        chain = torch.tensordot(chain, core, dims=([-1], [0]))
    chain = chain.squeeze(0).squeeze(-1)  # i_1 j_1 i_2 j_2 ...
    n = len(cores)
    chain = chain.permute(*range(0, 2 * n, 2), *range(1, 2 * n, 2))
    height = 1
    for core in cores:
        height *= core.shape[1]
    return chain.reshape(height, -1)[:rows, :cols]


def deltas(folder=None):
    """Yields (module path, matrix [out_features, in_features], whether it replaces the weight).

    A matrix that does not replace the weight is added to it.
    """
    folder = pathlib.Path(folder or pathlib.Path(__file__).parent)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["dota"]
    tensors = load_file(str(folder / "adapter_model.safetensors"))
    transposed = config["orientation"] == "in"
    for path, module in config["modules"].items():
        shape = (module["out_features"], module["in_features"])
        rows, cols = reversed(shape) if transposed else shape

        def matrix(name):
            chain = [tensors[f"{path}.{name}.{k}"].float() for k in range(module["cores"])]
            dense = contract(chain, rows, cols)
            return dense.T if transposed else dense

        delta = matrix("mpo_cores")
        if module["initial_cores"]:
            delta = delta - matrix("mpo_initial_cores")
        yield path, delta, config["method"] == "mpop"


@torch.no_grad()
def apply_adapter(model, folder=None):
    """Changes every adapted weight of the model, in place."""
    for path, matrix, replaces in deltas(folder):
        weight = model.get_submodule(path).weight
        matrix = matrix.to(device=weight.device, dtype=weight.dtype)
        weight.copy_(matrix) if replaces else weight.add_(matrix)
    return model
`;
