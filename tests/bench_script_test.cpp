// ci/bench and what it joins: our figures with PyTorch's, shape by shape, and what each kernel must reach.
// The measuring itself takes a GPU; what is made of the figures does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "harness/device/child.hpp"
#include "tests/folder.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

/// What a shell in the root of the sources prints for `words`, and its status at the end.
std::string said_by(const std::string& words) {
  Child::Options options;
  options.program = "/bin/sh";
  options.arguments = {"-c", "cd '" + source_path("") + "' && (" + words + ") 2>&1; echo \"exit $?\""};
  return Child(options).finish().record;
}

class BenchScripts : public testing::Test {
 protected:
  void SetUp() override {
    if (!said_by("command -v python3").ends_with("exit 0\n"))
      GTEST_SKIP() << "python3 is not here, which joins the figures";
  }

  std::string table_of(const std::string& figures) const {
    return said_by("python3 tests/bench/peers/kernel_table.py '" + folder_.file("figures", figures) + "'");
  }

  /// A drought_bench that knows these benchmarks and answers each with `json`.
  std::string bench_folder(const std::string& names, const std::string& json) const {
    const std::string path =
        folder_.file("drought_bench", "#!/bin/sh\ncase \"$*\" in\n*--benchmark_list_tests*) echo '" + names +
                                          "' ;;\n*) echo '" + json + "' ;;\nesac\n");
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return folder_.path();
  }

  Folder folder_;
};

TEST_F(BenchScripts, SetTheBestPeerBesideAKernelInTheKernelsOwnUnit) {
  const std::string table = table_of(
      R"({"name": "kernels/gpu/prefill/hopper/D128/causal/4096", "us": 500, "rate": 600, "unit": "TFLOP/s",)"
      R"( "peers": {"fa2": 1000, "cudnn": 600}})"
      "\n");
  EXPECT_THAT(table, ContainsRegex("prefill/hopper/D128/causal/4096 +500.0 us +600 TFLOP/s +500 cudnn +1.20 "
                                   " best peer x 0.95: 1.20 met"));
  EXPECT_THAT(table, HasSubstr("1 met, 0 MISSED, 0 not measured\nexit 0"));
}

TEST_F(BenchScripts, JudgeAKernelByWhatItIsMeasuredAgainst) {
  const auto line = [](const std::string& name, const std::string& us, const std::string& rate,
                       const std::string& peers) {
    return R"({"name": "kernels/gpu/)" + name + R"(", "us": )" + us + R"(, "rate": )" + rate +
           R"(, "unit": "GB/s", "peers": {)" + peers + "}}\n";
  };
  const std::string table = table_of(
      line("decode/read", "450", "4400", "") +
      line("decode/bf16/B64/N8192", "500", "4300", R"("cudnn": 480, "fa2": 900)") +
      line("decode/bf16/B64/N8192/page16", "600", "3600", "") +
      line("decode/q8_0/B64/N8192", "300", "3900", "") +
      line("vision/hopper/D80/full/64", "60", "2800", R"("fa2-varlen": 108, "cudnn": 90)") +
      line("decode/bf16/B1/N8192/page16", "20", "1500", "") + line("rope/text/D128", "70", "4000", ""));
  EXPECT_THAT(table,
              HasSubstr("4479 cudnn   0.96  best peer x 0.97: 0.96 MISSED; decode/read x 0.95: 0.98 met"));
  EXPECT_THAT(table, HasSubstr("decode/bf16/B64/N8192 x 0.97: 0.83 MISSED"));
  EXPECT_THAT(table, HasSubstr("decode/bf16/B64/N8192/page16 x 1.61: 2.00 met"));
  EXPECT_THAT(table, HasSubstr("1.50  fa2-varlen x 2.00: 1.80 MISSED"));
  EXPECT_THAT(table, HasSubstr("decode/bf16/B1/N8192 x 0.97 not measured"));
  EXPECT_THAT(table, ContainsRegex("rope/text/D128 +70.0 us +4000 GB/s +- +-  -\n"));
  EXPECT_THAT(table, HasSubstr("2 met, 3 MISSED, 1 not measured"));
}

TEST_F(BenchScripts, MakeOneTableOfWhatTheBenchmarksSay) {
  const std::string folder =
      bench_folder("kernels/gpu/decode/q8_0/B64/N8192/iterations:1/manual_time\npair/caching/live:0",
                   R"({"benchmarks": [{"name": "x", "real_time": 310.5, "GB/s": 3700.0}]})");
  const std::string said = said_by("ci/bench '" + folder + "'");
  EXPECT_THAT(said, ContainsRegex("decode/q8_0/B64/N8192 +310.5 us +3700 GB/s"));
  EXPECT_THAT(said, AllOf(HasSubstr("1 not measured\nexit 0"), Not(HasSubstr("iterations"))));
}

TEST_F(BenchScripts, NameTheBenchmarkThatFailedAndEndWithOne) {
  const std::string folder =
      bench_folder("kernels/gpu/rope/text/D128/iterations:1/manual_time",
                   "{\"benchmarks\": [{\"error_message\": \"a launch was refused\"}]}");
  const std::string said = said_by("ci/bench '" + folder + "'");
  EXPECT_THAT(said, HasSubstr("kernels/gpu/rope/text/D128/iterations:1/manual_time: a launch was refused"));
  EXPECT_THAT(said, HasSubstr("exit 1"));
}

TEST_F(BenchScripts, SayThatNothingIsCalledSo) {
  const std::string said = said_by("ci/bench '" + bench_folder("", "") + "' nothing");
  EXPECT_THAT(said, HasSubstr("ci/bench: nothing is called nothing\nexit 77"));
}

}  // namespace
}  // namespace drought
