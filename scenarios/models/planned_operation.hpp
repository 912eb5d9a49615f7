// An operation of which drought has the plan and no kernel: experts' routing, latent attention, a linear
// layer's recurrence. It takes exactly the memory that the real one takes, and its launch declares all of it,
// so that the ledger judges it and faults strike it; in full work its launch is refused, for nothing
// computes.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "harness/simt/kernel.hpp"

namespace drought {

class PlannedOperation final : public Kernel {
 public:
  /// `name` and the parts' names are of static storage.
  PlannedOperation(std::string_view name, std::vector<Part> plan) : name_(name), plan_(std::move(plan)) {}

  std::string_view name() const override { return name_; }
  std::vector<Part> plan() const override { return plan_; }
  void fill(std::size_t, std::uint64_t, std::span<std::byte>) const override { refuse(); }
  Comparison compare(std::span<const std::span<const std::byte>>) const override { refuse(); }
  double flops() const override { return 0; }

  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override {
    std::vector<Operand> operands;
    for (std::size_t i = 0; i < plan_.size(); ++i) {
      const Access access = plan_[i].role == Part::Role::input    ? Access::read
                            : plan_[i].role == Part::Role::output ? Access::write
                                                                  : Access::read_write;
      if (plan_[i].bytes != 0) operands.push_back({plan_[i].name, parts[i], plan_[i].bytes, access});
    }
    return device.launch({.kernel = name_,
                          .stream = stream,
                          .operands = operands,
                          .host = [](const Launch&) { return Status::not_supported; },
                          .cuda = [](const Launch&, void*) { return Status::not_supported; }});
  }

 private:
  [[noreturn]] void refuse() const {
    throw std::logic_error(std::string(name_) + " is planned and not computed");
  }

  const std::string_view name_;
  const std::vector<Part> plan_;
};

}  // namespace drought
