// Every barrier, and every wait for asynchronous copies, in the source of a kernel is left out of it, one at
// a time. A missing barrier is a data race, which ThreadSanitizer must report although simulated threads
// never run at the same time; a missing wait must spoil the output in any build, since copies arrive no
// sooner than they have to. The kernels as they are must neither be reported nor spoilt.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <compare>
#include <functional>
#include <optional>
#include <ostream>
#include <regex>
#include <set>

#include "harness/sched/sanitizers.hpp"
#include "harness/simt/host_context.hpp"
#include "harness/simt/launch.hpp"
#include "kernels/decode_attention.hpp"
#include "kernels/decode_variants.hpp"
#include "kernels/norm.hpp"
#include "kernels/patch_embedding.hpp"
#include "kernels/prefill_attention.hpp"
#include "kernels/reference_attention.hpp"
#include "kernels/rope.hpp"
#include "kernels/rope_block.hpp"
#include "kernels/sampling.hpp"
#include "tests/kernel_memory.hpp"
#include "tests/named.hpp"
#include "tests/source_tree.hpp"

namespace drought {
namespace {

/// A line of a kernel's source where threads meet, or where one waits for its copies.
struct Place {
  std::string file;  ///< From the root of the sources.
  int line = 0;
  bool is_wait = false;
  auto operator<=>(const Place&) const = default;
};

void PrintTo(const Place& place, std::ostream* out) {
  *out << (place.is_wait ? "the wait at " : "the barrier at ") << place.file << ":" << place.line;
}

/// What a launch went through, and what it leaves out.
struct Places {
  std::optional<Place> left_out;
  std::set<Place> seen;

  /// Whether what stands there is to happen.
  bool pass(const char* file, int line, bool is_wait) {
    const sanitizers::Untracked bookkeeping;
    const Place place{file, line, is_wait};
    seen.insert(place);
    return place != left_out;
  }
};

class MutantContext : public HostContext {
 public:
  MutantContext(const HostContext& real, Places& places) : HostContext(real), places_(places) {}

  void sync(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    if (places_.pass(file, line, false)) HostContext::sync();
  }
  void sync_warp(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    if (places_.pass(file, line, false)) HostContext::sync_warp();
  }
  /// Left out, one group more may still be under way: the least of the mistakes that can be made here.
  template <int groups_left>
  void wait(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    if (places_.pass(file, line, true)) return HostContext::wait<groups_left>();
    HostContext::wait<groups_left + 1>();
  }

 private:
  Places& places_;
};

template <typename Functor>
Status launch_mutant(const Launch& launch, Places& places) {
  struct Given {
    Places* places;
    typename Functor::Arguments arguments;
  } given{&places, {}};
  if (launch.arguments_bytes != sizeof given.arguments) return Status::invalid_value;
  std::memcpy(&given.arguments, launch.arguments, sizeof given.arguments);
  const auto body = [](HostContext& context, const void* argument) {
    const auto& of = *static_cast<const Given*>(argument);
    MutantContext mutant(context, *of.places);
    Functor::body(mutant, of.arguments);
  };
  return run_on_host(launch, body, &given);
}

/// A kernel, and which of its launches is changed how.
struct Subject {
  const char* name;
  std::shared_ptr<const Kernel> kernel;
  HostBody original;
  Status (*mutant)(const Launch&, Places&);
};

void PrintTo(const Subject& subject, std::ostream* out) { *out << subject.name; }

template <typename List, typename Functor, typename Listed>
Subject subject_of(const char* name, const typename Listed::Shape& shape) {
  return {name, std::make_shared<Listed>(shape), bodies_of<List, Functor>().host, launch_mutant<Functor>};
}

/// Each body that has a barrier, at a shape that takes every one of them more than once.
std::vector<Subject> subjects() {
  const PrefillAttention::Shape prefill{.cu_seqlens_q = {0, 150, 170},  // The second sees no key.
                                        .cu_seqlens_k = {0, 150, 150},
                                        .heads = 1,
                                        .causal = false,
                                        .body = "portable"};
  const auto decode = [](DecodeAttention::Shape shape) {
    shape.seqlens = {150, 0, 70, 33}, shape.splits = 0, shape.parts = 2, shape.body = "portable";
    return shape;
  };
  return {
      subject_of<PrefillVariants, PrefillBlock<bf16, 64>, PrefillAttention>("prefill", prefill),
      subject_of<DecodeVariants, DecodeBlock<bf16, PlainRows<bf16>, 64>, DecodeAttention>("decode",
                                                                                          decode({})),
      subject_of<DecodeVariants, DecodeBlock<bf16, Q8_0Rows, 64>, DecodeAttention>("decode_quantised",
                                                                                   decode({.cache = "q8_0"})),
      subject_of<DecodeVariants, MlaBlock<bf16>, DecodeAttention>(
          "decode_latent", decode({.head_dim = 576, .value_dim = 512, .latent = true})),
      subject_of<ReferenceVariants, ReferenceBlock<bf16>, ReferenceAttention>(
          "reference", {.queries = 3, .prefix = 300, .heads = 1}),
      subject_of<PatchEmbeddingVariants, PatchEmbeddingBlock<bf16>, PatchEmbedding>(
          "patch_embedding", {.patches = 65, .channels = 3, .patch = 8, .columns = 64}),
      subject_of<RopeVariants, RopeBlock<bf16>, Rope>("rope", {.tokens = 3}),
      subject_of<NormVariants, NormBlock<bf16, NormKind::layer>, Norm>("norm", {.kind = "layer"}),
      subject_of<SamplingVariants, SamplingBlock, Sampling>("sampling", {}),
  };
}

class MutantDevice final : public PlainDevice {
 public:
  MutantDevice(const Subject& subject, Places& places) : subject_(subject), places_(places) {}

 protected:
  Status do_launch(const Launch& launch) override {
    return launch.host == subject_.original ? subject_.mutant(launch, places_) : launch.host(launch);
  }

 private:
  const Subject& subject_;
  Places& places_;
};

/// Whether the launch ended, and as the oracle says.
bool is_right(const Subject& subject, Places& places) {
  KernelMemory memory(*subject.kernel, 4);
  MutantDevice device(subject, places);
  return memory.launch_on(device, 9) == Status::success && memory.compare().within;
}

std::set<Place> places_of(const Subject& subject) {
  Places places;
  EXPECT_TRUE(is_right(subject, places));
  return places.seen;
}

class EveryKernelBarrier : public testing::TestWithParam<Subject> {};
INSTANTIATE_TEST_SUITE_P(Kernels, EveryKernelBarrier, testing::ValuesIn(subjects()), by_name);
using EveryKernelBarrierDeathTest = EveryKernelBarrier;
INSTANTIATE_TEST_SUITE_P(Kernels, EveryKernelBarrierDeathTest, testing::ValuesIn(subjects()), by_name);

TEST_P(EveryKernelBarrier, IsNotReportedWhereItStands) { EXPECT_FALSE(places_of(GetParam()).empty()); }

TEST_P(EveryKernelBarrierDeathTest, IsADataRaceWhereItIsMissing) {
  if (!sanitizers::thread) GTEST_SKIP() << "only a build with ThreadSanitizer sees a missing barrier";
  for (const Place& place : places_of(GetParam())) {
    if (place.is_wait) continue;
    SCOPED_TRACE(testing::PrintToString(place) + " may be left out");
    Places without{.left_out = place, .seen = {}};
    EXPECT_EXIT(
        {
          static_cast<void>(is_right(GetParam(), without));
          std::exit(0);  // ThreadSanitizer turns it into its own status when it has reported.
        },
        testing::ExitedWithCode(66), "data race");
  }
}

/// A body that brings nothing asynchronously may wait for nothing, as a quantised cache's does at the lines
/// of a plain one's.
TEST(KernelWaits, SpoilTheOutputWhereTheyAreMissing) {
  std::set<Place> waits, needed;
  for (const Subject& subject : subjects())
    for (const Place& place : places_of(subject)) {
      if (!place.is_wait) continue;
      waits.insert(place);
      Places without{.left_out = place, .seen = {}};
      if (!is_right(subject, without)) needed.insert(place);
    }
  EXPECT_EQ(needed, waits);
}

TEST(KernelBarriers, AreAllLeftOutByOneOfTheseTests) {
  static const std::regex kBarrier(R"(context\.(sync\(\)|sync_warp\(\)|template (wait)<))");
  std::set<Place> in_source, reached;
  for (const Source& source : sources()) {
    if (!source.path.starts_with("kernels/") || !source.path.ends_with(".hpp")) continue;
    for (std::size_t i = 0; i < source.lines.size(); ++i) {
      std::smatch found;
      const std::string code = code_of(source.lines[i]);
      if (std::regex_search(code, found, kBarrier))
        in_source.insert({source.path, static_cast<int>(i) + 1, found[2].matched});
    }
  }
  for (const Subject& subject : subjects()) reached.merge(places_of(subject));
  EXPECT_EQ(reached, in_source);
}

}  // namespace
}  // namespace drought
