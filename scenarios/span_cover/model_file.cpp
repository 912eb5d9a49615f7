#include "scenarios/span_cover/model_file.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace drought {
namespace {

std::runtime_error refused(const char* call) {
  return std::runtime_error(std::string("a model file: ") + call + ": " +
                            std::generic_category().message(errno));
}

}  // namespace

ModelFile::ModelFile(std::uint64_t bytes) : bytes_(bytes), descriptor_(::memfd_create("model", MFD_CLOEXEC)) {
  if (descriptor_ < 0) throw refused("memfd_create");
  if (::ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0) {
    const std::runtime_error error = refused("ftruncate");
    ::close(descriptor_);
    throw error;
  }
  void* const mapped = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED | MAP_NORESERVE, descriptor_, 0);
  if (mapped == MAP_FAILED) {
    const std::runtime_error error = refused("mmap");
    ::close(descriptor_);
    throw error;
  }
  base_ = static_cast<const std::byte*>(mapped);
}

ModelFile::~ModelFile() {
  ::munmap(const_cast<std::byte*>(base_), bytes_);
  ::close(descriptor_);
}

void ModelFile::write(std::uint64_t offset, std::span<const std::byte> content) {
  while (!content.empty()) {
    const ssize_t done = ::pwrite(descriptor_, content.data(), content.size(), static_cast<off_t>(offset));
    if (done <= 0) throw refused("pwrite");
    offset += static_cast<std::uint64_t>(done);
    content = content.subspan(static_cast<std::size_t>(done));
  }
}

void ModelFile::read(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t done = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
    if (done <= 0) throw refused("pread");
    offset += static_cast<std::uint64_t>(done);
    out = out.subspan(static_cast<std::size_t>(done));
  }
}

}  // namespace drought
