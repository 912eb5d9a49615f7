// A shared library under the name of CUDA's runtime: what memory managers call of it, each call passed on
// to the device that drought has made current. A function that is not here is told when a user's library
// is loaded, by name. It is compiled by itself and knows nothing of drought but one table.
#include "harness/device/standin.hpp"

namespace {

constexpr int kSuccess = 0, kInvalidValue = 1, kInitializationError = 3, kInvalidDevice = 101;

/// Null until drought has loaded the library.
const DroughtRuntime* runtime = nullptr;

template <typename Asked>
int ask(Asked&& asked) {
  return runtime ? asked(*runtime) : kInitializationError;
}

template <typename Out>
int ask_for(Out* out, int (*DroughtRuntime::*call)(Out*)) {
  return out ? ask([&](const DroughtRuntime& all) { return (all.*call)(out); }) : kInvalidValue;
}

}  // namespace

extern "C" {

void drought_set_runtime(const DroughtRuntime* table) { runtime = table; }

int cudaMalloc(void** out, std::size_t bytes) {
  return out ? ask([&](auto& all) { return all.malloc(out, bytes); }) : kInvalidValue;
}
int cudaFree(void* block) {
  return ask([&](auto& all) { return all.free(block); });
}
int cudaMallocAsync(void** out, std::size_t bytes, void* stream) {
  return out ? ask([&](auto& all) { return all.malloc_async(out, bytes, stream); }) : kInvalidValue;
}
int cudaFreeAsync(void* block, void* stream) {
  return ask([&](auto& all) { return all.free_async(block, stream); });
}
int cudaMallocManaged(void** out, std::size_t bytes, unsigned) {
  return out ? ask([&](auto& all) { return all.malloc_managed(out, bytes); }) : kInvalidValue;
}
int cudaMallocHost(void** out, std::size_t bytes) {
  return out ? ask([&](auto& all) { return all.malloc_host(out, bytes); }) : kInvalidValue;
}
int cudaHostAlloc(void** out, std::size_t bytes, unsigned) { return cudaMallocHost(out, bytes); }
int cudaFreeHost(void* block) {
  return ask([&](auto& all) { return all.free_host(block); });
}
int cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  if (!free_bytes || !total_bytes) return kInvalidValue;
  return ask([&](auto& all) { return all.mem_info(free_bytes, total_bytes); });
}

int cudaMemsetAsync(void* to, int value, std::size_t bytes, void* stream) {
  return ask([&](auto& all) { return all.memset(to, value, bytes, stream); });
}
int cudaMemset(void* to, int value, std::size_t bytes) { return cudaMemsetAsync(to, value, bytes, nullptr); }
int cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, int, void* stream) {
  return ask([&](auto& all) { return all.memcpy(to, from, bytes, stream); });
}
int cudaMemcpy(void* to, const void* from, std::size_t bytes, int kind) {
  const int status = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  return status == kSuccess ? ask([](auto& all) { return all.stream_synchronize(nullptr); }) : status;
}

int cudaStreamCreate(void** out) { return ask_for(out, &DroughtRuntime::stream_create); }
int cudaStreamCreateWithFlags(void** out, unsigned) { return cudaStreamCreate(out); }
int cudaStreamCreateWithPriority(void** out, unsigned, int) { return cudaStreamCreate(out); }
int cudaStreamDestroy(void* stream) {
  return ask([&](auto& all) { return all.stream_destroy(stream); });
}
int cudaStreamSynchronize(void* stream) {
  return ask([&](auto& all) { return all.stream_synchronize(stream); });
}
int cudaStreamWaitEvent(void* stream, void* event, unsigned) {
  return ask([&](auto& all) { return all.stream_wait_event(stream, event); });
}
int cudaEventCreate(void** out) { return ask_for(out, &DroughtRuntime::event_create); }
int cudaEventCreateWithFlags(void** out, unsigned) { return cudaEventCreate(out); }
int cudaEventDestroy(void* event) {
  return ask([&](auto& all) { return all.event_destroy(event); });
}
int cudaEventRecord(void* event, void* stream) {
  return ask([&](auto& all) { return all.event_record(event, stream); });
}
int cudaEventQuery(void* event) {
  return ask([&](auto& all) { return all.event_query(event); });
}
int cudaEventSynchronize(void* event) {
  return ask([&](auto& all) { return all.event_synchronize(event); });
}
int cudaDeviceSynchronize() {
  return ask([](auto& all) { return all.synchronize(); });
}

int cudaGetLastError() {
  return ask([](auto& all) { return all.take_last_error(); });
}
int cudaPeekAtLastError() {
  return ask([](auto& all) { return all.peek_last_error(); });
}
const char* cudaGetErrorName(int error) {
  return runtime ? runtime->error_name(error) : "cudaErrorInitializationError";
}
const char* cudaGetErrorString(int error) { return cudaGetErrorName(error); }

/// One library is loaded for one device, which it sees as number 0.
int cudaGetDeviceCount(int* out) { return out ? (*out = 1, kSuccess) : kInvalidValue; }
int cudaGetDevice(int* out) { return out ? (*out = 0, kSuccess) : kInvalidValue; }
int cudaSetDevice(int device) { return device == 0 ? kSuccess : kInvalidDevice; }

// What nvcc puts into every library, kernels or not.
void** __cudaRegisterFatBinary(void* image) { return static_cast<void**>(image); }
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) { return 1; }

}  // extern "C"
