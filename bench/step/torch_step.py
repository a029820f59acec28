"""The same model, adapter, batch and optimizer in eager PyTorch, driven like bench/step/worker.ts.

Usage: python torch_step.py '{"hidden": 512, ...}'; one command a line on standard input.
"""

import json
import math
import resource
import sys
import time

import torch
import torch.nn.functional as F

options = json.loads(sys.argv[1])
# A GPU only where it is asked for: `bench step` compares processors.
device = "cuda" if options.get("device") == "auto" and torch.cuda.is_available() else "cpu"
if options["threads"] > 0:
    torch.set_num_threads(options["threads"])
torch.set_default_device(device)
torch.manual_seed(0)
D, V, B, S = options["hidden"], options["vocabulary"], options["batch"], options["sequence"]
HEAD, FF = 64, 3 * D
H = D // HEAD
KV = max(1, H // 4)


class MpoLinear(torch.nn.Module):
    """y = x (W_res + MPO(A))^T; rows and columns come out contiguous from one batched product."""

    def __init__(self, out_features, in_features, shapes):
        super().__init__()
        self.register_buffer("residual", torch.randn(out_features, in_features) * 0.02)
        self.cores = torch.nn.ParameterList(
            torch.nn.Parameter(torch.randn(*shape) * 0.05) for shape in shapes
        )

    @staticmethod
    def join(left, right):  # [I1, J1, r] x [I2, r, J2] -> [I1 I2, J1 J2]
        i1, j1, r = left.shape
        i2, _, j2 = right.shape
        product = torch.matmul(left.reshape(i1, 1, j1, r), right.reshape(1, i2, r, j2))
        return product.reshape(i1 * i2, j1 * j2)

    def merged(self):
        cores = list(self.cores)
        cut = len(cores) // 2
        left = cores[0].reshape(cores[0].shape[1:])
        for core in cores[1:cut]:
            e, i, j, d = core.shape
            rows, cols = left.shape[0] * i, left.shape[1] * j
            left = self.join(left, core.permute(1, 0, 2, 3).reshape(i, e, j * d)).reshape(rows, cols, d)
        last = cores[-1]
        right = last.reshape(last.shape[:3]).permute(1, 0, 2)
        for core in reversed(cores[cut:-1]):
            d, i, j, e = core.shape
            rows, cols = i * right.shape[0], j * right.shape[2]
            right = self.join(core.permute(1, 0, 2, 3).reshape(i, d * j, e), right).reshape(rows, d, cols)
        return self.join(left, right)

    def forward(self, x):
        return F.linear(x, self.residual + self.merged())


class LoraLinear(torch.nn.Module):
    """y = x W^T + x A^T B^T with alpha = r."""

    def __init__(self, out_features, in_features, rank):
        super().__init__()
        self.register_buffer("weight", torch.randn(out_features, in_features) * 0.02)
        self.down = torch.nn.Parameter(torch.randn(rank, in_features) * 0.02)
        self.up = torch.nn.Parameter(torch.zeros(out_features, rank))

    def forward(self, x):
        return F.linear(x, self.weight) + F.linear(F.linear(x, self.down), self.up)


class FullLinear(torch.nn.Module):
    def __init__(self, out_features, in_features):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(out_features, in_features) * 0.02)

    def forward(self, x):
        return F.linear(x, self.weight)


def linear(size, shapes):
    method = options["method"]
    if method == "lora":
        return LoraLinear(*size, options["rank"])
    return FullLinear(*size) if method == "full" else MpoLinear(*size, shapes[f"{size[0]}x{size[1]}"])


def norm_weight():
    return torch.nn.Parameter(torch.ones(D), requires_grad=options["method"] == "full")


def rotate(x, cos, sin):
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class Block(torch.nn.Module):
    def __init__(self, shapes):
        super().__init__()
        self.norm1, self.norm2 = norm_weight(), norm_weight()
        sizes = dict(q=(D, D), k=(KV * HEAD, D), v=(KV * HEAD, D), o=(D, D), gate=(FF, D), up=(FF, D), down=(D, FF))
        self.linears = torch.nn.ModuleDict(
            {name: linear(size, shapes) for name, size in sizes.items()}
        )

    def forward(self, x, cos, sin):
        f = self.linears
        h = F.rms_norm(x, (D,), self.norm1, 1e-5)
        heads = lambda y, n: y.reshape(B, S, n, HEAD).transpose(1, 2)
        q, k, v = heads(f["q"](h), H), heads(f["k"](h), KV), heads(f["v"](h), KV)
        y = F.scaled_dot_product_attention(
            rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True, enable_gqa=True
        )
        x = x + f["o"](y.transpose(1, 2).reshape(B, S, D))
        h = F.rms_norm(x, (D,), self.norm2, 1e-5)
        return x + f["down"](F.silu(f["gate"](h)) * f["up"](h))


blocks = torch.nn.ModuleList(Block(options["shapes"]) for _ in range(options["layers"]))
embedding, final_norm = torch.randn(V, D) * 0.02, norm_weight()
angles = torch.arange(S)[:, None] * 10000.0 ** (-2 * torch.arange(HEAD // 2) / HEAD)
cos, sin = angles.cos(), angles.sin()
ids, labels = torch.randint(V, (B, S)), torch.randint(V, (B, S))
parameters = [p for p in blocks.parameters() if p.requires_grad]
if options["method"] == "full":
    embedding = torch.nn.Parameter(embedding)
    parameters += [embedding, final_norm]
optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0, fused=True)


def step():
    started, cpu = time.perf_counter(), time.process_time()
    x = embedding[ids]
    for block in blocks:
        x = block(x, cos, sin)
    logits = F.rms_norm(x, (D,), final_norm, 1e-5) @ embedding.T
    loss = F.cross_entropy(logits.reshape(-1, V), labels.reshape(-1))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if device == "cuda":
        torch.cuda.synchronize()
    return dict(
        seconds=time.perf_counter() - started,
        cpu=time.process_time() - cpu,
        loss=loss.item(),
        rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def reply(value):
    print(json.dumps(value), flush=True)


name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
reply(dict(ready=True, device=name, torch_version=torch.__version__, parameters=sum(p.numel() for p in parameters)))
for line in sys.stdin:
    if line.strip() != "step":
        break
    reply(step())
