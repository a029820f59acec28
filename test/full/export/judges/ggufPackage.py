"""Reads GGUF files with the gguf package: python ggufPackage.py FILE... Prints one JSON object a file."""

import json
import sys

import gguf
import numpy as np

for file in sys.argv[1:]:
    reader = gguf.GGUFReader(file)
    finite = all(np.isfinite(gguf.dequantize(t.data, t.tensor_type)).all() for t in reader.tensors)
    print(
        json.dumps(
            {
                "architecture": reader.fields["general.architecture"].contents(),
                "tokens": len(reader.fields["tokenizer.ggml.tokens"].contents()),
                "types": sorted({t.tensor_type.name for t in reader.tensors}),
                "tensors": len(reader.tensors),
                "finite": bool(finite),
            }
        )
    )
