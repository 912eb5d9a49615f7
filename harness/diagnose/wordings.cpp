#include "harness/diagnose/wordings.hpp"

namespace drought {
namespace {

constexpr auto begins = Wording::Effect::begins;
constexpr auto grows = Wording::Effect::grows;
constexpr auto harmless = Wording::Effect::harmless;

constexpr Wording kWordings[] = {
    {"TensorFlow", "ran out of memory trying to allocate {*} The caller indicates that this is not a failure",
     harmless},
    // What begins a refusal.
    {"PyTorch", "CUDA out of memory. Tried to allocate {requested}{torch!}", begins},
    {"PyTorch ROCm", "HIP out of memory. Tried to allocate {requested}{torch!}", begins},
    {"PyTorch, wrapped lines", "^Tried to allocate {requested}{torch!}", begins},
    {"PyTorch cudaMallocAsync", "would exceed allowed memory{async_pool!}{refused!}", begins},
    {"TensorFlow 2, XLA", "ran out of memory trying to allocate {*} (rounded to {requested})", begins},
    {"TensorFlow 1", "ran out of memory trying to allocate {requested}", begins},
    {"XLA", "Out of memory while trying to allocate {requested}", begins},
    {"XLA", "Out of memory allocating {requested}", begins},
    {"llama.cpp", ": allocating {requested} on device {*}: cudaMalloc failed: out of memory", begins},
    {"llama.cpp", "CUDA error: out of memory{refused!}", begins},
    {"llama.cpp 2023", "CUDA error 2 at {*}: out of memory{refused!}", begins},
    {"vLLM",
     "Free memory on device {*}({free:GiB}/{total:GiB}) on startup is less than desired GPU memory "
     "utilization ({*}, {requested:GiB}{at_start!}",
     begins},
    {"vLLM", "No available memory for the cache blocks{refused!}", begins},
    {"vLLM",
     "({requested:GiB} KV cache is needed, which is larger than the available KV cache memory "
     "({limit:GiB}",
     begins},
    {"FlashInfer",
     "Buffer overflow when allocating memory for {*} with size {requested} and alignment {*}, but "
     "only {workspace_left} available in AlignedAllocator",
     begins},
    {"RMM log", "[A][Stream {*}][Upstream {requested}][FAILURE", begins},
    {"RMM 24.12", "aximum pool size exceeded (failed to allocate {requested})", begins},
    {"RMM", "Maximum pool size exceeded{refused!}", begins},
    {"RMM", "Exceeded memory limit (failed to allocate {requested})", begins},
    {"RMM 24.12", "CUDA error (failed to allocate {requested})", begins},
    {"spark-rapids",
     "Device allocation of {requested} failed, device store has {*}. Total RMM allocated is "
     "{live}",
     begins},
    {"ONNX Runtime", "Failed to allocate memory for requested buffer of size {requested}", begins},
    {"ONNX Runtime", "Available memory of {free} is smaller than requested bytes of {requested}", begins},
    {"SGLang", "leak detected!{leak_reported!}", begins},
    {"inference-sim", "KV cache full: cannot allocate {requested:blocks} new blocks", begins},
    {"ninfer", "preparation consumed {device_delta}, exceeding the planned allowance of {allowance}", begins},
    {"drought", "figure.requested={requested}", begins},
    {"drought", "out of memory: {*} ({requested})", begins},
    // What tells more of it.
    {"PyTorch to 2.0",
     "(GPU {*}; {total} total capacity; {live} already allocated; {free} free; {reserved} "
     "reserved in total by PyTorch"},
    {"PyTorch to 1.3",
     "(GPU {*}; {total} total capacity; {live} already allocated; {free} free; {idle} cached"},
    {"PyTorch to 2.0 with a memory fraction",
     "(GPU {*}; {total} total capacity; {live} already allocated; "
     "{free} free; {limit} allowed; {reserved} reserved"},
    {"PyTorch 2.1", "total capac{*}ty of {total} of which {free} is free"},
    {"PyTorch 2.1", "Process {*} has {peer+} memory in use"},
    {"PyTorch 2.1", "this process has {process} memory in use"},
    {"PyTorch 2.1", "memory in use. {limit} allowed; Of the allocated memory"},
    {"PyTorch 2.1", "Of the allocated memory {live} is allocated by PyTorch"},
    {"PyTorch 2.1", "and {idle} is reserved by PyTorch but unallocated"},
    {"PyTorch cudaMallocAsync", "Currently allocated : {live}"},
    {"PyTorch cudaMallocAsync", "Currently allocated: {live}"},
    {"PyTorch cudaMallocAsync", "Requested : {requested}"},
    {"PyTorch cudaMallocAsync", "Requested: {requested}"},
    {"PyTorch cudaMallocAsync", "Device limit : {total}"},
    {"PyTorch cudaMallocAsync", "Device limit: {total}"},
    {"PyTorch cudaMallocAsync", "Free (according to CUDA): {free}"},
    {"TensorFlow", "^Limit: {limit}"},
    {"TensorFlow", "^InUse: {live}"},
    {"TensorFlow", "] Free at {*} of size {idle+}"},
    {"TensorFlow", "] Free at {*} of size {hole^}"},
    {"llama.cpp", "failed to allocate {*} buffer of size {requested}"},
    {"llama.cpp", "compute capability {*}, VRAM: {total}"},
    {"llama.cpp", "using device {*} - {free} free"},
    {"SGLang", "available_size={slots_available:tokens}"},
    {"SGLang 0.4", "max_total_num_token={slots_max:tokens}"},
    {"SGLang", "max_total_num_tokens={slots_max:tokens}"},
    {"SGLang", "total_size={slots_max:tokens}"},
    {"SGLang", "protected_size={slots_protected:tokens}"},
    {"SGLang", "evictable_size={slots_evictable:tokens}"},
    // What tells of the time before.
    {"vLLM 1", "Available KV cache memory: {sized}"},
    {"vLLM 0", "the rest of the memory reserved for KV Cache is {sized}"},
    {"TensorRT-LLM", "Allocate {sized} for k/v cache"},
    {"vLLM", "freed {*} memory, {residual} memory is still in use"},
    {"vLLM", "freed {*} GiB, {residual} memory is still in use"},
    {"PyTorch", ", in destroy_process_group{teardown!}"},
    {"ONNX Runtime", "Extended allocation by {growth_step}. Total allocated bytes: {reserved}", grows},
    {"drought", "of cudaHostRegister's {call_limit}"},
};

}  // namespace

std::span<const Wording> wordings() { return kWordings; }

}  // namespace drought
