// A model file of any size that takes no room: a sparse file in memory, mapped read-only as a server maps
// its model. Only what is written to it exists, the rest reads as zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace drought {

class ModelFile {
 public:
  /// `bytes` > 0. Throws std::runtime_error when the operating system refuses.
  explicit ModelFile(std::uint64_t bytes);
  ~ModelFile();
  ModelFile(const ModelFile&) = delete;
  ModelFile& operator=(const ModelFile&) = delete;

  /// The map's first byte. Bytes past the end of the file up to the end of its page are mapped too.
  const std::byte* base() const { return base_; }
  std::uint64_t bytes() const { return bytes_; }
  /// The range lies inside the file. Throws std::runtime_error.
  void write(std::uint64_t offset, std::span<const std::byte> content);
  /// As pread does it; the range lies inside the file. Throws std::runtime_error.
  void read(std::uint64_t offset, std::span<std::byte> out) const;

 private:
  std::uint64_t bytes_;
  int descriptor_ = -1;
  const std::byte* base_ = nullptr;
};

}  // namespace drought
