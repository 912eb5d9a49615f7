#include "tests/oom_texts.hpp"

namespace drought {
namespace {

std::string repeated(const std::string& line, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += line;
  return text;
}

}  // namespace

const std::vector<OomText>& oom_texts() {
  static const std::vector<OomText> kTexts{
      {"PyTorch12", Shortage::capacity, "missing for 28.12 MiB",
       "RuntimeError: CUDA out of memory. Tried to allocate 28.12 MiB (GPU 0; 10.73 GiB total capacity; "
       "9.80 GiB already allocated; 22.44 MiB free; 8.00 MiB cached)\n"},
      {"PyTorch20BesideANeighbour", Shortage::peer, "other processes hold",
       "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.63 GiB (GPU 0; 44.56 GiB total "
       "capacity; 27.91 GiB already allocated; 565.31 MiB free; 27.93 GiB reserved in total by PyTorch) If "
       "reserved memory is >> allocated memory try setting max_split_size_mb to avoid fragmentation.\n"},
      {"PyTorch20InPieces", Shortage::fragmentation, "compaction would serve it",
       "CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 23.65 GiB total capacity; 12.10 GiB already "
       "allocated; 1.25 GiB free; 21.90 GiB reserved in total by PyTorch)\n"},
      {"PyTorch20WithAFraction", Shortage::fragmentation, "idle in the allocator",
       "CUDA out of memory. Tried to allocate 1.00 GiB (GPU 0; 23.65 GiB total capacity; 8.00 GiB already "
       "allocated; 12.00 GiB free; 11.82 GiB allowed; 10.50 GiB reserved in total by PyTorch)\n"},
      {"PyTorch21WithItsTypingMistake", Shortage::capacity, "missing for 128.00 MiB",
       "OutOfMemoryError: CUDA out of memory. Tried to allocate 128.00 MiB. GPU 0 has a total capacty of "
       "14.56 "
       "GiB of which 111.81 MiB is free. Including non-PyTorch memory, this process has 14.45 GiB memory in "
       "use. Of the allocated memory 14.25 GiB is allocated by PyTorch, and 60.81 MiB is reserved by PyTorch "
       "but unallocated.\n"},
      {"PyTorch2WithPeersByNumber", Shortage::peer, "other processes hold 44.12 GiB of 47.27 GiB",
       "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 42.00 MiB. GPU 0 has a total capacity "
       "of "
       "47.27 GiB of which 9.38 MiB is free. Process 644963 has 5.59 MiB memory in use. Process 3053273 has "
       "29.04 GiB memory in use. Process 3120922 has 14.74 GiB memory in use. Including non-PyTorch memory, "
       "this process has 3.14 GiB memory in use. Of the allocated memory 2.92 GiB is allocated by PyTorch, "
       "and "
       "34.62 MiB is reserved by PyTorch but unallocated.\n"},
      {"PyTorch2InPieces", Shortage::fragmentation, "16.48 GiB are idle",
       "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.00 GiB. GPU 0 has a total capacity "
       "of "
       "79.15 GiB of which 1.20 GiB is free. Including non-PyTorch memory, this process has 77.94 GiB memory "
       "in "
       "use. Of the allocated memory 60.70 GiB is allocated by PyTorch, with 24.00 MiB allocated in private "
       "pools (e.g., CUDA Graphs), and 16.48 GiB is reserved by PyTorch but unallocated.\n"},
      {"PyTorchCudaMallocAsync", Shortage::cached, "25.18 GiB are neither lent nor free",
       "torch.OutOfMemoryError: Allocation on device 0 would exceed allowed memory. (out of memory)\n"
       "Currently allocated     : 54.14 GiB\nRequested               : 686.41 MiB\n"
       "Device limit            : 79.35 GiB\nFree (according to CUDA): 27.19 MiB\n"
       "PyTorch limit (set by user-supplied memory fraction)\n                        : 17179869184.00 "
       "GiB\n"},
      {"PyTorchAtDestroy", Shortage::teardown_order, "taken down",
       "Traceback (most recent call last):\n  File \"distributed_c10d.py\", line 2146, in "
       "destroy_process_group\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 306.00 MiB. GPU "
       "0 "
       "has a total capacity of 23.99 GiB of which 120.00 MiB is free.\n"},
      {"VllmStart", Shortage::peer, "other processes hold",
       "ValueError: Free memory on device (67.24/79.25 GiB) on startup is less than desired GPU memory "
       "utilization (0.9, 71.33 GiB). Decrease GPU memory utilization or reduce GPU memory used by other "
       "processes.\n"},
      {"VllmStartNamesItsDevice", Shortage::peer, "other processes hold",
       "ValueError: Free memory on device cuda:0 (3.25/23.43 GiB) on startup is less than desired GPU memory "
       "utilization (0.96, 22.49 GiB).\n"},
      {"VllmCapture", Shortage::workspace_growth, "the margin did not count it",
       "INFO gpu_worker.py:298] Available KV cache memory: 2.97 GiB\n"
       "INFO kv_cache_utils.py:864] GPU KV cache size: 150,745 tokens\n"
       "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 136.00 MiB. GPU 0 has a total capacity "
       "of "
       "22.36 GiB of which 120.88 MiB is free.\n"},
      {"VllmSleepsTwice", Shortage::leaked_references, "from 4.11 GiB to 11.57 GiB",
       "Sleep mode freed 43.82 GiB memory, 4.11 GiB memory is still in use.\n"
       "Sleep mode freed 36.36 GiB memory, 11.57 GiB memory is still in use.\n"},
      {"VllmLongContext", Shortage::capacity, "compaction could not serve it",
       "ValueError: To serve at least one request with the models's max seq len (131072), (16.00 GiB KV "
       "cache "
       "is needed, which is larger than the available KV cache memory (9.71 GiB). Try increasing\n"},
      {"FlashInfer", Shortage::workspace_growth, "it is the buffer that is too small",
       "RuntimeError: Error in function 'aligned_alloc' at flashinfer/allocator.h:49: Buffer overflow when "
       "allocating memory for batch_prefill_tmp_v with size 536346624 and alignment 16, but only 413138944 "
       "bytes available in AlignedAllocator. Increase the workspace buffer size.\n"},
      {"FlashInferUsedUp", Shortage::workspace_growth, "with 0 B left",
       "Buffer overflow when allocating memory for batch_prefill_tmp_s with size 524288 and alignment 16, "
       "but "
       "only 0 bytes available in AlignedAllocator.\n"},
      {"TensorFlowFull", Shortage::capacity, "923.00 KiB less than the 120.12 MiB",
       "W tensorflow/tsl/framework/bfc_allocator.cc:485] Allocator (GPU_0_bfc) ran out of memory trying to "
       "allocate 120.12MiB (rounded to 125960192)requested by op model/conv2d_21/Relu_1\n"
       "I bfc_allocator.cc:1095] Free  at 7f0000000000 of size 124523520 next 118\n"
       "I bfc_allocator.cc:1095] Free  at 7f0100000000 of size 491520 next 294\n"
       "I bfc_allocator.cc:1114] Stats: \nLimit:                     40231108608\n"
       "InUse:                     40106093568\nMaxInUse:                  40106093568\n"},
      {"TensorFlowInPieces", Shortage::fragmentation, "the largest piece has 532.88 MiB",
       "W bfc_allocator.cc:485] Allocator (GPU_0_bfc) ran out of memory trying to allocate 585.94MiB "
       "(rounded "
       "to 614400000)requested by op _EagerConst\n"
       "I bfc_allocator.cc:1095] InUse at 7f0000000000 of size 491520000 next 5\n"
       "I bfc_allocator.cc:1095] Free  at 7f0020000000 of size 558759936 next 7\n"
       "I bfc_allocator.cc:1095] Free  at 7f0060000000 of size 461373440 next 9\n"
       "I bfc_allocator.cc:1095] Free  at 7f00a0000000 of size 1893618688 next 9\n"
       "Limit:                      3502964736\nInUse:                       589212672\n"
       "I bfc_allocator.cc:1] Allocator (GPU_0_bfc) ran out of memory trying to allocate 585.94MiB (rounded "
       "to "
       "614400000)requested by op _EagerConst\n"
       "I bfc_allocator.cc:1095] Free  at 7f0020000000 of size 558759936 next 7\n"
       "I bfc_allocator.cc:1095] Free  at 7f0060000000 of size 461373440 next 9\n"
       "Limit:                      3502964736\nInUse:                       589212672\n"},
      {"LlamaCpp", Shortage::impossible_request, "no retry and no flush can help",
       "  Device 0: NVIDIA GeForce RTX 3090, compute capability 8.6, VMM: yes, VRAM: 24124 MiB\n"
       "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 279356.51 MiB on device 0: cudaMalloc failed: "
       "out of memory\nggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 292926534144\n"},
      {"RmmStorm", Shortage::unbounded_retry, "215 times",
       repeated("[12][08:24:53:000001][error ] [A][Stream 0][Upstream 220200960B][FAILURE maximum pool size "
                "exceeded]\n",
                215)},
      {"SglangLeak", Shortage::leaked_references, "10300 of 49196 tokens",
       "UserWarning: Warning: available_size=38896, max_total_num_token=49196 KV cache pool leak "
       "detected!\n"},
      {"SglangLeakWithCaches", Shortage::leaked_references, "2048 of 1915816 tokens",
       "ValueError: token_to_kv_pool_allocator memory leak detected! self.max_total_num_tokens=1915816, "
       "available_size=1835128, evictable_size=52280, protected_size=26360\n"},
      {"OnnxRuntime", Shortage::workspace_growth, "to 20.88 GiB",
       repeated("bfc_arena.cc:166 Extend] Extended allocation by 504000000 bytes. Total allocated bytes: "
                "21919005696\n",
                8) +
           "bfc_arena.cc:166 Extend] Extended allocation by 504000000 bytes. Total allocated bytes: "
           "22423005696\n"},
      {"InferenceSim", Shortage::unbounded_retry, "57 blocks",
       repeated("WARN KV cache full: cannot allocate 57 new blocks for req request_0\n", 1000)},
      {"TensorRtLlm", Shortage::no_shortage, "64.75 GiB",
       "[TensorRT-LLM][INFO] Allocate 69524783104 bytes for k/v cache.\n"},
  };
  return kTexts;
}

const std::vector<OomText>& oom_decoys() {
  static const std::vector<OomText> kDecoys{
      {"EightRanksAreNoRetry", Shortage::undecided, "rounded",
       repeated("CUDA out of memory. Tried to allocate 2.00 GiB (GPU 3; 39.39 GiB total capacity; 37.00 GiB "
                "already allocated; 1.99 GiB free; 37.00 GiB reserved in total by PyTorch)\n",
                8)},
      {"MoreLentThanThePoolMayHold", Shortage::undecided, "8.25 MiB lent and 10 B to lend",
       "Allocator (GPU_0_bfc) ran out of memory trying to allocate 3.00GiB (rounded to 3221225472)\n"
       "Limit:                              10\nInUse:                         8650752\n"},
      {"MoreLentThanBorrowed", Shortage::undecided, "12.10 GiB lent and 1.90 GiB to lend",
       "CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 23.65 GiB total capacity; 12.10 GiB already "
       "allocated; 1.25 GiB free; 1.90 GiB reserved in total by PyTorch)\n"},
      {"AWarningOfTensorFlow", Shortage::capacity, "less than the 120.12 MiB",
       "W bfc_allocator.cc:485] Allocator (GPU_0_bfc) ran out of memory trying to allocate 120.12MiB "
       "(rounded "
       "to 125960192)requested by op Relu_1\nLimit:                     40231108608\n"
       "InUse:                     40106093568\n"
       "W bfc_allocator.cc:243] Allocator (GPU_0_bfc) ran out of memory trying to allocate 488.42MiB with "
       "freed_by_count=0. The caller indicates that this is not a failure, but may mean that there could be "
       "performance gains if more memory were available.\n"},
      {"AProcessOfAContainerIsThisOne", Shortage::capacity, "missing for 224.00 MiB",
       "CUDA out of memory. Tried to allocate 224.00 MiB. GPU  has a total capacity of 44.34 GiB of which "
       "160.81 "
       "MiB is free. Process 47694 has 44.17 GiB memory in use. Of the allocated memory 43.78 GiB is "
       "allocated "
       "by PyTorch, and 96.27 MiB is reserved by PyTorch but unallocated.\n"},
      {"MoreIsFreeThanWasAskedFor", Shortage::undecided, "another limit refused it",
       "Allocation on device 0 would exceed allowed memory. (out of memory)\nCurrently allocated     : 0 "
       "bytes\n"
       "Requested               : 384.00 KiB\nDevice limit            : 23.56 GiB\n"
       "Free (according to CUDA): 23.28 GiB\n"},
      {"ASmallRequestNeedsASegment", Shortage::capacity, "missing for 2.00 MiB",
       "CUDA out of memory. Tried to allocate 2.00 MiB (GPU 0; 23.65 GiB total capacity; 22.70 GiB already "
       "allocated; 9.38 MiB free; 22.70 GiB reserved in total by PyTorch)\n"},
      {"APoolThatDoesNotSayItsSize", Shortage::undecided, "what the allocator has lent is not told",
       "[A][Stream 0x7f][Upstream 2139648B][FAILURE maximum pool size exceeded]\n"
       "[A][Stream 0x7e][Upstream 1792768B][FAILURE maximum pool size exceeded]\n"},
      {"ALiveTotalWithoutThePoolsSize", Shortage::undecided, "neither the device's size nor the pool's",
       "Device allocation of 345571976 bytes failed, device store has 0 bytes. Total RMM allocated is "
       "9319438848 "
       "bytes.\n"},
      {"OneSleepIsNoLeak", Shortage::undecided, "no wording of an out of memory",
       "Sleep mode freed 43.82 GiB memory, 4.11 GiB memory is still in use.\n"},
      {"ADeltaWithoutItsOwnPart", Shortage::undecided, "not told",
       "error: CUDA Graph preparation consumed 875819008 bytes, exceeding the planned allowance of 12582912 "
       "bytes\n"},
      {"ACallThatNamesNoSize", Shortage::undecided, "the size of the refused request is not told",
       "CUDA error: out of memory\n  current device: 0, in function alloc at ggml-cuda.cu:460\n"},
      {"WordsWithoutEnoughNumbers", Shortage::undecided, "the size of the refused request is not told",
       "HIP out of memory. Tried to allocate 2.00 GiB (GPU 0; 23.98 GiB total capacity)\n"
       "Tried to allocate 20.00 MiB.\n"
       "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB. this process has 4.00 GiB "
       "memory "
       "in use. 17.18 GiB allowed; Of the allocated memory 3.00 GiB is allocated by PyTorch\n"
       "Currently allocated: 14.60 GiB\nRequested: 567.00 MiB\nDevice limit: 15.57 GiB\n"
       "Allocator (GPU_0_bfc) ran out of memory trying to allocate 2.00GiB.  Current allocation summary "
       "follows.\n"
       "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 4000000000 bytes.\n"
       "RESOURCE_EXHAUSTED: Out of memory allocating 4000000000 bytes.\n"
       "CUDA error 2 at ggml-cuda.cu:5935: out of memory\n"
       "Maximum pool size exceeded (failed to allocate 8.000000 MiB): No room in memory pool\n"
       "RMM failure at: pool_memory_resource.hpp:276: Maximum pool size exceeded\n"
       "Exceeded memory limit (failed to allocate 8.000000 MiB)\n"
       "CUDA error (failed to allocate 8.000000 MiB) at: cuda_memory_resource.hpp:70\n"
       "Failed to allocate memory for requested buffer of size 1073741824\n"
       "Available memory of 1000 is smaller than requested bytes of 1073741824\n"
       "req_to_token_pool memory leak detected! available_size=57, total_size=64\n"
       "INFO the rest of the memory reserved for KV Cache is 20.51GiB.\n"
       "Sleep mode freed 43.82 GiB, 4.11 GiB memory is still in use\n"
       "figure.requested=17\nout of memory: 2.00 GiB (2147483648 B) for 'kv'\n549.9 GB of cudaHostRegister's "
       "512.00 GiB\nINFO No available memory for the cache blocks. Try increasing\n"},
      {"AFreshErrorReplacesTheOneBefore", Shortage::capacity, "missing for 3.00 GiB",
       "CUDA out of memory. Tried to allocate 1.63 GiB (GPU 0; 44.56 GiB total capacity; 27.91 GiB already "
       "allocated; 565.31 MiB free; 27.93 GiB reserved in total by PyTorch)\n"
       "CUDA out of memory. Tried to allocate 3.00 GiB (GPU 0; 23.65 GiB total capacity; 21.90 GiB already "
       "allocated; 1.25 GiB free; 21.95 GiB reserved in total by PyTorch)\n"},
      {"ATeardownOfAnEarlierError", Shortage::capacity, "missing for 3.00 GiB",
       "  File \"distributed_c10d.py\", line 2146, in destroy_process_group\n"
       "Traceback (most recent call last):\n  File \"train.py\", line 7, in forward\n"
       "CUDA out of memory. Tried to allocate 3.00 GiB (GPU 0; 23.65 GiB total capacity; 21.90 GiB already "
       "allocated; 1.25 GiB free; 21.95 GiB reserved in total by PyTorch)\n"},
  };
  return kDecoys;
}

}  // namespace drought
