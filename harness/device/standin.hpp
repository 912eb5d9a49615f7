// The table through which a stand-in for CUDA's runtime library asks drought. The library carries the
// runtime's name (libcudart.so.13), so that a user's shared library that was linked against the real one
// is served by it; it holds nothing but this table. C types only: it is a file of its own on the disk of
// nobody, and shares no symbol with the program.
//
// Handles are what the table's owner makes of them; errors are cudaError_t's numbers.
#pragma once

#include <cstddef>

extern "C" {

struct DroughtRuntime {
  int (*malloc)(void** out, std::size_t bytes);
  int (*free)(void* block);
  int (*malloc_async)(void** out, std::size_t bytes, void* stream);
  int (*free_async)(void* block, void* stream);
  int (*malloc_managed)(void** out, std::size_t bytes);
  int (*malloc_host)(void** out, std::size_t bytes);
  int (*free_host)(void* block);
  int (*mem_info)(std::size_t* free_bytes, std::size_t* total_bytes);
  int (*memset)(void* to, int value, std::size_t bytes, void* stream);
  int (*memcpy)(void* to, const void* from, std::size_t bytes, void* stream);
  int (*stream_create)(void** out);
  int (*stream_destroy)(void* stream);
  int (*stream_synchronize)(void* stream);
  int (*stream_wait_event)(void* stream, void* event);
  int (*event_create)(void** out);
  int (*event_destroy)(void* event);
  int (*event_record)(void* event, void* stream);
  int (*event_query)(void* event);
  int (*event_synchronize)(void* event);
  int (*synchronize)();
  int (*take_last_error)();
  int (*peek_last_error)();
  const char* (*error_name)(int error);
};

}  // extern "C"
