"""Attention in PyTorch at drought_bench's shapes, by the GPU's own clock, with nothing of it in the L2 cache."""
import re
import statistics

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

TOKENS, COLUMNS = 16384, 2048
CACHE_BYTES = 256 << 20  # Several times the 50 MB of L2 that an H100 and an H200 have.
COLD_BYTES = 512 << 20  # Of the caches that decode calls take in turn.
CALLS, WARM, SAMPLES = 20, 3, 21
BACKENDS = (("cudnn", SDPBackend.CUDNN_ATTENTION), ("fa2", SDPBackend.FLASH_ATTENTION))


def random(*extents):
    return torch.randn(*extents, device="cuda", dtype=torch.bfloat16)


def median(enqueue, before=lambda: None):
    """Microseconds of what `enqueue` enqueues, `before` each time something that does not count."""
    spent = []
    for _ in range(WARM + SAMPLES):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before()
        begin.record()
        enqueue()
        end.record()
        end.synchronize()
        spent.append(begin.elapsed_time(end) * 1e3)
    return statistics.median(spent[WARM:])


def packed_calls(kind, dim, heads, kv_heads, causal, length):
    """Sequences of one length; (backend, call) for each way to run them."""
    value_dim = 128 if dim == 192 else dim
    sizes = ((heads, dim), (kv_heads, dim), (kv_heads, value_dim))
    q, k, v = (random(TOKENS // length, length, *size).transpose(1, 2) for size in sizes)
    for name, backend in BACKENDS:
        def call(backend=backend):
            with sdpa_kernel(backend):
                return scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=heads != kv_heads)
        yield name, call
    if kind == "vision" and length <= 64:
        rows = [x.transpose(1, 2).reshape(TOKENS, heads, dim) for x in (q, k, v)]
        starts = torch.arange(0, TOKENS + 1, length, device="cuda", dtype=torch.int32)
        yield "fa2-varlen", lambda: torch.ops.aten._flash_attention_forward(
            *rows, starts, starts, length, length, 0.0, False, False)


def decode_calls(batch, tokens):
    """One query token, 32 heads on 8 KV heads of 128, contiguous. Replayed from a CUDA graph, so that nothing but
    the GPU is measured, over as many caches as make each call's cold."""
    turns = min(16, COLD_BYTES // (2 * batch * 8 * tokens * 128 * 2) + 1)
    q = random(batch, 32, 1, 128)
    caches = [[random(batch, 8, tokens, 128) for _ in range(2)] for _ in range(turns)]

    def calls(count):
        for i in range(count):
            scaled_dot_product_attention(q, *caches[i % turns], enable_gqa=True)

    for name, backend in BACKENDS:
        def replay(backend=backend):
            with sdpa_kernel(backend):
                stream = torch.cuda.Stream()
                stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(stream):
                    calls(3)
                torch.cuda.current_stream().wait_stream(stream)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    calls(CALLS)
            return graph.replay
        yield name, replay


def packed_times(kind, dim, heads, kv_heads, mask, length):
    dim = int(dim)
    heads = int(heads or (16 if kind == "vision" else COLUMNS // (128 if dim == 192 else dim)))
    cache = torch.empty(CACHE_BYTES, device="cuda", dtype=torch.int8)
    calls = packed_calls(kind, dim, heads, int(kv_heads or heads), mask == "causal", int(length))
    return times((backend, lambda call=call: median(call, cache.zero_)) for backend, call in calls)


def decode_times(batch, tokens):
    calls = decode_calls(int(batch), int(tokens))
    return times((backend, lambda replay=replay: median(replay()) / CALLS) for backend, replay in calls)


def times(measurements):
    found = {}
    for backend, measurement in measurements:
        try:
            found[backend] = measurement()
        except RuntimeError:
            pass  # No kernel of this backend takes the shape.
    return found


def measure(name):
    """Microseconds of each backend that takes the shape of a benchmark called `name`."""
    packed = re.search(r"/(prefill|vision)/\w+/D(\d+)(?:h(\d+)k(\d+))?/(full|causal)/(\d+)$", name)
    decode = re.search(r"/decode/bf16/B(\d+)/N(\d+)$", name)
    found = packed_times(*packed.groups()) if packed else decode_times(*decode.groups()) if decode else {}
    torch.cuda.empty_cache()
    return found
