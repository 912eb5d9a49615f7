// What every kernel of the catalogue makes of input that is no input: shapes it is not compiled for, parts
// that are missing, crooked or too small, indices that point elsewhere, numbers that are none. Each is
// refused in one line or answered as defined, and never computes something else in silence.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <regex>
#include <set>

#include "harness/memory/buffer.hpp"
#include "harness/memory/ledger.hpp"
#include "kernels/catalogue.hpp"
#include "kernels/shape.hpp"
#include "tests/kernel_memory.hpp"
#include "tests/named.hpp"
#include "tests/tried_kernels.hpp"

namespace drought {
namespace {

using testing::HasSubstr;
using testing::Not;

class EveryKernel : public TriedKernel {};

INSTANTIATE_TEST_SUITE_P(Catalogue, EveryKernel,
                         testing::ValuesIn(kernel_catalogue().begin(), kernel_catalogue().end()), by_name);

/// The keys of a kernel's shape, as the text of a tested one names them.
std::set<std::string> keys_of(std::string_view kernel) {
  std::set<std::string> keys;
  for (const TestedShape& shape : tested_shapes()) {
    if (shape.kernel->name() != kernel) continue;
    for (std::size_t at = 0; (at = shape.text.find(" = ", at)) != std::string::npos; ++at) {
      const std::size_t begin = shape.text.find_last_of(' ', at - 1) + 1;
      keys.insert(shape.text.substr(begin, at - begin));
    }
  }
  return keys;
}

TEST_P(EveryKernel, RefusesAShapeInOneLineOrComputesItRight) {
  std::size_t refused = 0, computed = 0;
  for (const std::string& key : keys_of(GetParam().name)) {
    for (const char* const value :
         {"-1", "0", "1", "3", "65", "1073741825", "4611686018427387904", "nan", "1e300", "'fp16'", "'int7'",
          "true", "[7]", "[3, 1]", "[0, 5, 2]", "[]"}) {
      SCOPED_TRACE(key + " = " + value);
      std::unique_ptr<Kernel> kernel;
      try {
        kernel = GetParam().make(parse_toml(key + " = " + value, "shape.toml"));
      } catch (const std::logic_error& error) {
        ASSERT_NE(dynamic_cast<const std::invalid_argument*>(&error), nullptr) << error.what();
        EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
        ++refused;
        continue;
      } catch (const UserError& error) {
        EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
        ++refused;
        continue;
      }
      const std::vector<Part> plan = kernel->plan();
      const double bytes = std::accumulate(plan.begin(), plan.end(), 0.0, [](double sum, const Part& part) {
        return sum + static_cast<double>(part.bytes);
      });
      ASSERT_LT(bytes, 0x1p63);
      if (bytes > 64 << 20) continue;
      KernelMemory memory(*kernel, 3);
      ASSERT_EQ(memory.launch(0), Status::success) << host_launch_report();
      EXPECT_TRUE(memory.compare().within) << memory.compare().text;
      ++computed;
    }
  }
  EXPECT_GT(refused, 0u);
  EXPECT_GT(computed, 0u);
}

/// Launches nothing, and counts that it was asked to.
class CountingDevice final : public PlainDevice {
 public:
  int launches = 0;

 private:
  Status do_launch(const Launch&) override {
    ++launches;
    return Status::success;
  }
};

TEST_P(EveryKernel, RefusesAPartThatIsMissingOrCrookedBeforeAnyLaunch) {
  ask_all("place", [](const Kernel& kernel, const Tried&) {
    const std::vector<Part> plan = kernel.plan();
    std::size_t asked = 0;
    for (std::size_t i = 0; i < plan.size(); ++i) {
      if (plan[i].bytes == 0) continue;
      for (const auto& [place, status] : {std::pair{std::uintptr_t{0}, Status::invalid_value},
                                          std::pair{std::uintptr_t{4096 + 2}, Status::misaligned_address},
                                          std::pair{std::uintptr_t{4096 + 8}, Status::misaligned_address}}) {
        std::vector<void*> parts(plan.size(), reinterpret_cast<void*>(std::uintptr_t{4096}));
        parts[i] = reinterpret_cast<void*>(place);
        CountingDevice device;
        EXPECT_EQ(kernel.launch(device, {}, parts), status) << plan[i].name << " at " << place;
        EXPECT_EQ(device.launches, 0) << plan[i].name << " at " << place;
        ++asked;
      }
    }
    return asked;
  });
}

/// Lends addresses of nothing.
class Addresses final : public Resource {
 public:
  void* allocate(Request request) override {
    next_ += round_up(request.bytes, 256) + 256;
    return reinterpret_cast<void*>(next_ - round_up(request.bytes, 256) - 256);
  }
  void deallocate(void*, Request) noexcept override {}

 private:
  std::uintptr_t next_ = std::uintptr_t{1} << 40;
};

/// Has every launch judged by a ledger, and runs none.
class JudgedDevice final : public PlainDevice {
 public:
  explicit JudgedDevice(Ledger& ledger) : ledger_(ledger) {}

 private:
  Status do_launch(const Launch& launch) override {
    Call call{.site = Site::launch, .operands = launch.operands, .kernel = launch.kernel};
    ledger_.judge(call);
    return call.refused.value_or(Status::success);
  }
  Ledger& ledger_;
};

TEST_P(EveryKernel, IsRefusedByNameWhereAPartOrAWorkspaceIsOneByteTooSmall) {
  ask_all("size", [](const Kernel& kernel, const Tried&) {
    const std::vector<Part> plan = kernel.plan();
    const auto launched = [&](std::size_t short_part, Record& record) {
      Ledger ledger(record);
      JudgedDevice device(ledger);
      Addresses addresses;
      Account account(ledger, "memory", addresses, device, nullptr);
      std::vector<Buffer> buffers;
      std::vector<void*> parts;
      for (std::size_t i = 0; i < plan.size(); ++i) {
        const std::size_t bytes = plan[i].bytes - (i == short_part ? 1 : 0);
        buffers.push_back(bytes == 0 ? Buffer() : Buffer(account, {.bytes = bytes, .tag = plan[i].name}));
        parts.push_back(buffers.back().data());
      }
      return kernel.launch(device, {}, parts);
    };
    Record untouched;
    EXPECT_EQ(launched(plan.size(), untouched), Status::success);
    EXPECT_TRUE(untouched.violations.empty()) << untouched.violations.front().text;
    std::size_t asked = 0;
    for (std::size_t i = 0; i < plan.size(); ++i) {
      if (plan[i].bytes == 0) continue;
      Record record;
      EXPECT_EQ(launched(i, record), Status::invalid_value) << plan[i].name;
      const std::string text = record.violations.empty() ? "" : record.violations.front().text;
      EXPECT_THAT(text, HasSubstr(" operand '" + std::string(plan[i].name)));
      EXPECT_THAT(text, HasSubstr("' runs 1 B past the end of '" + std::string(plan[i].name) + "'"));
      ++asked;
    }
    return asked;
  });
}

/// The indices that a kernel is given are looked at before the launch, where the host has them. Where it has
/// not, simulated threads end at the first byte that is not an operand's.
TEST_P(EveryKernel, IsToldOfIndicesThatPointElsewhereAndFollowsNoneOutOfItsOperands) {
  ask_all("content", [](const Kernel& kernel, const Tried&) {
    static const std::regex both_nan("is -?nan, the oracle says -?nan");
    const std::vector<Part> plan = kernel.plan();
    KernelMemory memory(kernel, 7);
    EXPECT_EQ(kernel.wrong_inputs(memory.views()), "");
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < plan.size(); ++i) {
      if (plan[i].payload || plan[i].role != Part::Role::input || plan[i].bytes == 0) continue;
      const std::vector<std::int32_t> good = integers(memory.bytes(i));
      for (const std::size_t at : {std::size_t{0}, good.size() / 2, good.size() - 1}) {
        for (const std::int32_t value : {-1, -2, good[at] + 1, 100, 1 << 30}) {
          std::vector<std::int32_t> bad = good;
          bad[at] = value;
          fill_integers(bad, memory.bytes(i));
          const std::string told = kernel.wrong_inputs(memory.views());
          const Status status = memory.launch(0);
          const std::string what = std::string(plan[i].name) + "[" + std::to_string(at) +
                                   "] = " + std::to_string(value) + ": " + told;
          EXPECT_THAT(told, Not(HasSubstr("\n")));
          EXPECT_TRUE(status == Status::success || status == Status::illegal_address)
              << what << host_launch_report();
          if (told.empty()) {  // Another index as good, though it may be of memory of nobody, all NaN.
            EXPECT_EQ(status, Status::success) << what << host_launch_report();
            const Comparison comparison = memory.compare();
            EXPECT_TRUE(comparison.within || std::regex_search(comparison.text, both_nan))
                << what << comparison.text;
          }
          wrong += told.empty() ? 0 : 1;
        }
      }
      fill_integers(good, memory.bytes(i));
    }
    return wrong;
  });
}

}  // namespace
}  // namespace drought
