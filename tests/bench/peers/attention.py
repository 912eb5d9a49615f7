"""Attention in PyTorch at drought_bench's shapes, by the GPU's own clock: the better of cuDNN and FlashAttention 2
through scaled_dot_product_attention, for each name the line "name backend TFLOP/s microseconds".

    python3 tests/bench/peers/attention.py prefill/D128/causal/4096 vision/D80/full/64 ...

Names are KIND/D<head_dim>[h<heads>k<kv_heads>]/<full|causal>/<tokens of a sequence>, 16384 tokens in all; prefill
has 2048 columns of heads, vision 16 heads and, for 64 tokens, FlashAttention 2's packed sequences beside the rest.
"""
import re
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

TOKENS, COLUMNS = 16384, 2048


def microseconds(call, repeats=20):
    for _ in range(3):
        call()
    spent = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(8):
            call()
        end.record()
        torch.cuda.synchronize()
        spent.append(begin.elapsed_time(end) * 1e3 / 8)
    return sorted(spent)[repeats // 2]


def calls(kind, dim, heads, kv_heads, causal, length):
    value_dim = 128 if dim == 192 else dim

    def random(heads, dim):
        packed = torch.randn(TOKENS // length, length, heads, dim, device="cuda", dtype=torch.bfloat16)
        return packed.transpose(1, 2)

    q, k, v = random(heads, dim), random(kv_heads, dim), random(kv_heads, value_dim)
    for name, backend in (("cudnn", SDPBackend.CUDNN_ATTENTION), ("fa2", SDPBackend.FLASH_ATTENTION)):
        def call():
            with sdpa_kernel(backend):
                return scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=heads != kv_heads)
        yield name, call
    if kind == "vision" and length <= 64:
        rows = [x.transpose(1, 2).reshape(TOKENS, heads, dim) for x in (q, k, v)]
        starts = torch.arange(0, TOKENS + 1, length, device="cuda", dtype=torch.int32)
        yield "fa2-varlen", lambda: torch.ops.aten._flash_attention_forward(
            *rows, starts, starts, length, length, 0.0, False, False)


def main():
    for name in sys.argv[1:]:
        parts = re.fullmatch(r"(\w+)/D(\d+)(?:h(\d+)k(\d+))?/(full|causal)/(\d+)", name)
        if not parts:
            print(name, "none - -", flush=True)
            continue
        kind, dim, heads, kv_heads, mask, length = parts.groups()
        dim, length = int(dim), int(length)
        heads = int(heads or (16 if kind == "vision" else COLUMNS // (128 if dim == 192 else dim)))
        kv_heads, causal = int(kv_heads or heads), mask == "causal"
        pairs = TOKENS * length / (2 if causal else 1)
        flops = 2 * pairs * heads * (dim + (128 if dim == 192 else dim))
        best = None
        for backend, call in calls(kind, dim, heads, kv_heads, causal, length):
            try:
                spent = microseconds(call)
            except RuntimeError:
                continue  # No kernel of this backend takes the shape.
            if best is None or spent < best[1]:
                best = backend, spent
        if best:
            print(name, best[0], f"{flops / best[1] * 1e-6:.0f} {best[1]:.1f}", flush=True)
        else:
            print(name, "none - -", flush=True)


main()
