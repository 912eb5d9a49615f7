// The KV cache and the table that says which request's tokens lie where.
//
// One buffer holds, for each layer, the keys of all slots and then their values. Slot number `tokens`, one
// past the last that is ever handed out, belongs to the padded request: rows that fill a batch up to a
// captured size read it and nothing else. Everything is poison until it is written, and the host keeps
// what it wrote, so that a kernel which reads another's memory, or memory of a former cache, is seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "harness/memory/buffer.hpp"
#include "harness/scenario/rig.hpp"
#include "scenarios/models/model.hpp"

namespace drought {

class KvCache {
 public:
  enum class Half : std::uint8_t { keys, values };

  /// Allocates (tokens + 1) cells and poisons them. Throws what the resource throws, DeviceError.
  KvCache(Rig& rig, int rank, Resource& memory, const Model& model, std::uint64_t tokens);

  std::uint64_t tokens() const { return tokens_; }
  std::uint64_t hold_slot() const { return tokens_; }
  /// Where a half of a layer begins; it is half_bytes() long.
  std::byte* at(std::size_t layer, Half half) const;
  std::size_t half_bytes() const { return (tokens_ + 1) * model_.row_bytes(); }

  /// Writes seeded contents into the slots [0, count) of a layer. Full mode only. Throws DeviceError.
  void write(std::size_t layer, std::uint64_t count);
  /// Zeroes the padded request's slot of a layer. Throws DeviceError.
  void zero_hold_slot(std::size_t layer);
  /// What should be there, half_bytes() of it: what write() wrote, zeros in the padded request's slot and
  /// poison elsewhere. Full mode only; empty before write().
  std::span<const std::byte> expected(std::size_t layer, Half half) const;

  Lease lease(std::string holder) const { return buffer_.lease(std::move(holder)); }

 private:
  std::vector<std::byte>& mirror(std::size_t layer, Half half);

  Rig& rig_;
  const int rank_;
  const Model& model_;
  const std::uint64_t tokens_;
  Buffer buffer_;
  std::vector<std::vector<std::byte>> mirrors_;  ///< Of each layer's two halves; empty until written.
};

/// Row r holds the slots of request r in order; the last row is the padded request's.
class RequestTable {
 public:
  /// `requests` live requests and the padded one, `width` tokens at most each. Starts as zeros.
  RequestTable(Rig& rig, int rank, Resource& memory, std::size_t requests, std::size_t width);

  std::size_t padded_row() const { return requests_; }

  /// Gives each live request `length` slots, dealt out in turn so that no request's lie side by side, and
  /// the padded request the slot `hold` (unless `skips_padded`, a bug), and uploads the table.
  struct Layout {
    std::size_t length = 0;
    std::uint64_t hold = 0;
    bool skips_padded = false;
  };
  void lay_out(const Layout& layout);

  /// A page table of pages of one token: the first `length` entries of `rows` requests and one row of the
  /// padded request, -1 past a row's end. As the device has it, which costs a download; as it should be.
  std::vector<std::int32_t> gather(std::size_t rows, std::size_t length) const;
  std::vector<std::int32_t> expected(std::size_t rows, std::size_t length) const;

  Lease lease(std::string holder) const { return buffer_.lease(std::move(holder)); }

 private:
  std::vector<std::int32_t> pages_of(const std::vector<std::int32_t>& table, std::size_t rows,
                                     std::size_t length) const;

  Rig& rig_;
  const int rank_;
  const std::size_t requests_, width_;
  std::vector<std::int32_t> mirror_;
  Buffer buffer_;
};

}  // namespace drought
