#include "scenarios/models/program.hpp"

#include <stdexcept>

#include "harness/simt/needs_library.hpp"
#include "scenarios/device_calls.hpp"

namespace drought {
namespace {

constexpr std::uint8_t kPoison = 0xFF;  // Every IEEE format reads it as NaN.

}  // namespace

Program::Value Program::given(std::string_view tag, void* data, std::size_t bytes) {
  values_.push_back({.tag = tag, .bytes = bytes, .last_use = kNever, .is_given = true, .data = data});
  return values_.size() - 1;
}

Program::Value Program::made(std::string_view tag, std::size_t bytes) {
  values_.push_back({.tag = tag, .bytes = bytes});
  return values_.size() - 1;
}

void Program::call(std::string what, std::unique_ptr<Kernel> kernel, const std::vector<Value>& parts) {
  Operation operation{std::move(what), std::move(kernel), {}, {}, {}};
  operation.plan = operation.kernel->plan();
  std::size_t next = 0;
  for (const Part& part : operation.plan) {
    Value value = kNever;
    if (part.role == Part::Role::workspace && part.bytes != 0) {
      value = made(part.name, part.bytes);
    } else if (part.bytes != 0) {
      value = next < parts.size() ? parts[next] : kNever;
      ++next;
      if (value == kNever || values_[value].bytes < part.bytes)
        throw std::logic_error(operation.what + " has too little for its part '" + std::string(part.name) +
                               "' of " + std::to_string(part.bytes) + " bytes");
    }
    operation.values.push_back(value);
    if (value != kNever && values_[value].last_use != kNever) values_[value].last_use = operations_.size();
  }
  if (next != parts.size()) throw std::logic_error(operation.what + " was given parts that it does not have");
  operations_.push_back(std::move(operation));
}

void Program::allocate(Held& held) {
  const auto found = idle_.find(held.bytes);
  if (found != idle_.end()) {
    held.buffer = std::move(found->second);
    idle_.erase(found);
  } else {
    held.buffer = Buffer(*where_.memory, {.bytes = held.bytes, .stream = where_.stream, .tag = held.tag});
    where_.meter->note();
  }
  held.data = held.buffer.data();
}

void Program::give_back(Held& held) noexcept {
  if (held.is_given || !held.buffer) return;
  held.data = nullptr;
  if (where_.keeps_memory) {
    idle_.emplace(held.bytes, std::move(held.buffer));
  } else {
    held.buffer.reset();
  }
}

void Program::run(Operation& operation) {
  Device& device = where_.rig->device();
  const bool full = where_.rig->full();
  if (const auto* const needs = dynamic_cast<const NeedsLibrary*>(operation.kernel.get()); needs && full)
    needs->open_library(device.lane());
  std::vector<void*> pointers;
  for (std::size_t i = 0; i < operation.plan.size(); ++i) {
    const Part& part = operation.plan[i];
    if (operation.values[i] == kNever) {
      pointers.push_back(nullptr);
      continue;
    }
    Held& held = values_[operation.values[i]];
    const bool is_new = !held.data;
    if (is_new) allocate(held);
    if (is_new && (full || part.zeroed))
      must(device.memset(held.data, part.zeroed ? 0 : kPoison, part.bytes, where_.stream), "cudaMemset");
    pointers.push_back(held.data);
  }
  must(operation.kernel->launch(device, where_.stream, pointers), operation.what);
  if (where_.judges_each && full) judge(operation, pointers);
  for (const Value value : operation.dead) give_back(values_[value]);
}

void Program::judge(const Operation& operation, const std::vector<void*>& pointers) {
  Device& device = where_.rig->device();
  std::vector<std::vector<std::byte>> host(operation.plan.size());
  for (std::size_t i = 0; i < host.size(); ++i) {
    if (operation.plan[i].bytes == 0 || operation.plan[i].role == Part::Role::workspace) continue;
    host[i].resize(operation.plan[i].bytes);
    must(device.memcpy(host[i].data(), pointers[i], host[i].size(), where_.stream), "cudaMemcpy");
  }
  must(device.stream_synchronize(where_.stream), "cudaStreamSynchronize");
  const std::vector<std::span<const std::byte>> views(host.begin(), host.end());
  std::string wrong = operation.kernel->wrong_inputs(views);
  const bool readable = wrong.empty();
  const Comparison comparison = readable ? operation.kernel->compare(views) : Comparison{};
  where_.rig->record().comparisons.push_back(
      {operation.what, readable && comparison.within, readable ? comparison.text : std::move(wrong)});
}

void Program::run() {
  if (!is_closed_)
    for (Value value = 0; value < values_.size(); ++value)
      if (values_[value].last_use != kNever) operations_[values_[value].last_use].dead.push_back(value);
  is_closed_ = true;
  for (Held& held : values_) give_back(held);
  for (Operation& operation : operations_) run(operation);
}

std::vector<Lease> Program::leases(const std::string& holder) const {
  std::vector<Lease> leases;
  for (const Held& held : values_)
    if (held.buffer) leases.push_back(held.buffer.lease(holder));
  for (const auto& idle : idle_) leases.push_back(idle.second.lease(holder));
  return leases;
}

void Program::release() noexcept {
  for (Held& held : values_) {
    if (!held.is_given) held.data = nullptr;
    held.buffer.reset();
  }
  idle_.clear();
}

}  // namespace drought
