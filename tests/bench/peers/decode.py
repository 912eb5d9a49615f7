# Decode attention through PyTorch's SDPA at the shapes of decode_bench.cpp and under the same names: one query
# token, 32 query heads on 8 KV heads of 128, bf16, contiguous K and V. Calls are replayed from a CUDA graph, so
# that nothing but the GPU is measured, over as many caches as make each call's cold.
import statistics
import torch
import torch.nn.functional as functional
from torch.nn.attention import SDPBackend, sdpa_kernel

COLD_BYTES = 512 << 20
CALLS = 20


def milliseconds(graph, rounds=7):
    spent = []
    for _ in range(rounds):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        spent.append(begin.elapsed_time(end) / CALLS)
    return statistics.median(spent)


def time_decode(batch, tokens, backend):
    kv_bytes = 2 * batch * 8 * tokens * 128 * 2
    turns = min(16, COLD_BYTES // kv_bytes + 1)
    q = torch.randn(batch, 32, 1, 128, device="cuda", dtype=torch.bfloat16)
    caches = [[torch.randn(batch, 8, tokens, 128, device="cuda", dtype=torch.bfloat16) for _ in range(2)]
              for _ in range(turns)]

    def call(i):
        return functional.scaled_dot_product_attention(q, *caches[i % turns], enable_gqa=True)

    with sdpa_kernel(backend):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for i in range(3):
                call(i)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for i in range(CALLS):
                call(i)
    graph.replay()
    return kv_bytes * 1e-6 / milliseconds(graph)


def main():
    for batch, tokens in [(1, 8192), (1, 131072), (16, 8192), (64, 4096), (64, 8192)]:
        for name, backend in [("cudnn", SDPBackend.CUDNN_ATTENTION), ("fa2", SDPBackend.FLASH_ATTENTION)]:
            try:
                said = f"{time_decode(batch, tokens, backend):8.0f} GB/s"
            except RuntimeError as error:
                said = f"refused: {str(error).splitlines()[0]}"
            print(f"decode/bf16/B{batch}/N{tokens} {name:6} {said}", flush=True)
            torch.cuda.empty_cache()


main()
