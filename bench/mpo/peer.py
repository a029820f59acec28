"""The other side of `npm run bench -- mpo`: numpy and PyTorch on equally sized matrices.

Reads one JSON request a line, answers {"ms": ...} a line; the first line it writes names versions.
"""

import json
import os
import sys
import time

threads = os.environ.get("DOTA_BENCH_THREADS", "2")
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, threads)

import numpy as np

try:
    import torch

    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
except ImportError:
    torch = None

matrices = {}


def tensor(rows, cols, i, j):
    """A Gaussian bulk with a few strong directions, interleaved as (i_1, j_1), (i_2, j_2), .."""
    key = (rows, cols, tuple(i), tuple(j))
    if key not in matrices:
        matrices.clear()
        rng = np.random.default_rng(0)
        w = rng.standard_normal((rows, cols), dtype=np.float32)
        w += 3 * rng.standard_normal((rows, 8), dtype=np.float32) @ rng.standard_normal((8, cols), dtype=np.float32)
        n = len(i)
        matrices[key] = (w, [x for k in range(n) for x in (k, n + k)])
    w, order = matrices[key]
    return np.ascontiguousarray(w.reshape(list(i) + list(j)).transpose(order))


def numpy_tt_svd(t, pairs, r):
    left = 1
    rest = t
    for p in pairs[:-1]:
        u, s, v = np.linalg.svd(rest.reshape(left * p, -1), full_matrices=False)
        left = min(r, s.size)
        rest = s[:left, None] * v[:left]


def torch_tt(t, pairs, r, full):
    """Left to right; svd_lowrank where it is cheaper than a full SVD, as its users do."""
    rest = torch.from_numpy(t)
    left = 1
    for p in pairs[:-1]:
        m = rest.reshape(left * p, -1)
        small = min(m.shape)
        if full or small <= 2 * r:
            u, s, v = torch.linalg.svd(m, full_matrices=False)
            vt = v
        else:
            u, s, v = torch.svd_lowrank(m, q=r + r // 2, niter=2)
            vt = v.T
        left = min(r, s.numel())
        rest = s[:left, None] * vt[:left]


def run(request):
    kind = request["kind"]
    if kind == "eigh":
        n = request["n"]
        b = np.random.default_rng(0).standard_normal((n, n))
        a = b + b.T
        start = time.perf_counter()
        np.linalg.eigh(a)
        return time.perf_counter() - start
    start = time.perf_counter()
    t = tensor(request["rows"], request["cols"], request["i"], request["j"])
    if (request["rows"], request["cols"]) != run.warm:
        # The first call made the matrix; only the permutation counts.
        run.warm = (request["rows"], request["cols"])
        start = time.perf_counter()
        t = tensor(request["rows"], request["cols"], request["i"], request["j"])
    pairs = [a * b for a, b in zip(request["i"], request["j"])]
    if kind == "numpy_tt_svd":
        numpy_tt_svd(t, pairs, request["r"])
    else:
        torch_tt(t, pairs, request["r"], kind == "torch_full")
    return time.perf_counter() - start


run.warm = None
print(json.dumps({"numpy": np.__version__, "torch": torch.__version__ if torch else None}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({"ms": 1000 * run(request)}), flush=True)
