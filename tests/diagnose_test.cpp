// What a log tells is read as the figures it holds, and the figures as the shortage they show: in the words
// of every release, with decoys, damage and lines without end.
#include "harness/diagnose/diagnosis.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <set>
#include <sstream>

#include "harness/diagnose/log_reader.hpp"
#include "harness/diagnose/phrase.hpp"
#include "harness/diagnose/trace_figures.hpp"
#include "harness/diagnose/wordings.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/sched/random.hpp"
#include "tests/named.hpp"
#include "tests/oom_texts.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

Figures figures_in(const std::string& text) {
  std::istringstream in(text);
  LogReader reader;
  reader.read(in);
  return reader.figures();
}

class OomTexts : public testing::TestWithParam<OomText> {};

TEST_P(OomTexts, AreDiagnosedWithTheirNumbers) {
  const Diagnosis diagnosis = diagnose(figures_in(GetParam().text));
  EXPECT_EQ(name(diagnosis.shortage), name(GetParam().shortage)) << diagnosis.sentence;
  EXPECT_THAT(diagnosis.sentence, HasSubstr(GetParam().says));
}
INSTANTIATE_TEST_SUITE_P(Real, OomTexts, testing::ValuesIn(oom_texts()), by_name);
INSTANTIATE_TEST_SUITE_P(Decoy, OomTexts, testing::ValuesIn(oom_decoys()), by_name);

// What comes before, and lines about other things, change nothing.
TEST_P(OomTexts, AreDiagnosedTheSameInTheMiddleOfALog) {
  const std::string before = "INFO 11-21 12:00:00 loading 37 shards, 4.00 GiB each\n\n",
                    after = "\nshut down\n";
  EXPECT_EQ(diagnose(figures_in(before + GetParam().text + after)).sentence,
            diagnose(figures_in(GetParam().text)).sentence);
}

TEST(OomWordings, AreEachFoundInSomeText) {
  std::set<std::string_view> unseen;
  std::vector<Capture> captures;
  for (const Wording& wording : wordings()) {
    bool seen = false;
    for (const auto* texts : {&oom_texts(), &oom_decoys()})
      for (const OomText& each : *texts) {
        std::istringstream in(each.text);
        for (std::string line; std::getline(in, line);)
          seen = seen || Phrase(wording.text).match(line, 0, captures) != Phrase::npos;
      }
    if (!seen) unseen.insert(wording.text);
  }
  EXPECT_THAT(unseen, testing::IsEmpty());
}

TEST(OomRules, AreEachTheFirstToSpeakForSomeText) {
  // The others need figures that no log tells: they speak for scenarios, which tests/reports_test.cpp runs.
  std::set<std::string_view> spoken;
  for (const OomText& each : oom_texts()) spoken.insert(diagnose(figures_in(each.text)).rule);
  EXPECT_GE(spoken.size(), 12u) << testing::PrintToString(spoken);
}

TEST(Quantity, KnowsUnitsCommasAndHowExactItIs) {
  std::size_t length = 0;
  const auto read = [&](std::string_view text) { return read_quantity(text, "B", length); };
  EXPECT_EQ(read("1.63 GiB total").value, 1'750'199'173);
  EXPECT_EQ(length, 8u);
  EXPECT_EQ(read("1.63 GiB").rounding, 5'368'709);
  EXPECT_EQ(read("120.12MiB (").value, 125'954'949);
  EXPECT_EQ(read("40231108608\n").value, 40'231'108'608);
  EXPECT_EQ(read("40231108608").rounding, 0);
  EXPECT_EQ(read("150,745 tokens").value, 150'745);
  EXPECT_EQ(read("80,81").value, 80) << "a comma that sets off no thousands ends the number";
  EXPECT_EQ(read("12 Bicycles").value, 12) << "a word that begins like a unit is none";
  EXPECT_EQ(read("1.5 GB").value, 1'500'000'000);
  for (const char* none : {"", "GiB", ".5", "17179869184.00 GiB", "99999999999999999999999999999"}) {
    read(none);
    EXPECT_EQ(length, 0u) << none;
  }
}

TEST(Phrases, RefuseATemplateThatIsNone) {
  EXPECT_THROW(Phrase("{requested} first"), std::invalid_argument);
  EXPECT_THROW(Phrase("a {requesed}"), std::invalid_argument);
  EXPECT_THROW(Phrase("a {requested"), std::invalid_argument);
}

TEST(Phrases, AreNotThereWhereASlotHasNoNumber) {
  std::vector<Capture> captures;
  const Phrase phrase("Tried to allocate {requested}");
  EXPECT_EQ(phrase.match("Tried to allocate 2 GiB", 0, captures), 23u);
  EXPECT_EQ(phrase.match("Tried to allocate much", 0, captures), Phrase::npos);
  EXPECT_EQ(phrase.match("Tried to allocate", 0, captures), Phrase::npos);
}

TEST(LogReader, NamesTheLineOfEachFigure) {
  const Figures figures = figures_in("one\ntwo\nLimit:   1000\nInUse:   10\n");
  EXPECT_EQ(figures.limit->line, 3u);
  EXPECT_EQ(figures.live->line, 4u);
}

TEST(LogReader, LooksAtTheFirst64KiBOfALineWithoutEndAndGoesOnAfterIt) {
  const std::string message = "CUDA out of memory. Tried to allocate 2.00 GiB";
  LogReader reader;
  const std::string late = " Process 1 has 2.00 GiB memory in use";
  std::istringstream in(message + std::string(10 << 20, 'x') + late + "\nLimit: 7\n");
  reader.read(in);
  EXPECT_EQ(reader.lines(), 2u);
  EXPECT_EQ(reader.figures().refusals->value, 1);
  EXPECT_FALSE(reader.figures().peer);
  EXPECT_EQ(reader.figures().limit->value, 7);
}

TEST(LogReader, SumsTheProcessesThatOneLineNames) {
  const Figures figures = figures_in(
      "Tried to allocate 42.00 MiB. Process 1 has 1.00 GiB memory in use. Process 2 has 2.00 GiB memory in "
      "use.");
  EXPECT_EQ(figures.peer->value, std::int64_t(3_GiB));
}

/// Texts with bytes dropped, doubled and turned, as a terminal or a scraper damages them.
TEST(LogReader, SaysSomethingOfADamagedLogAndNeverFails) {
  Random random(test_seed());
  std::size_t same = 0, runs = 0;
  for (int round = 0; round < 60; ++round)
    for (const OomText& each : oom_texts()) {
      std::string text = each.text.substr(0, 4000);
      const std::size_t at = random.below(text.size());
      switch (random.below(3)) {
        case 0:
          text.erase(at, 1 + random.below(8));
          break;
        case 1:
          text.insert(at, 1 + random.below(8), static_cast<char>(random.below(256)));
          break;
        default:
          text[at] = static_cast<char>(random.below(256));
          break;
      }
      const Diagnosis diagnosis = diagnose(figures_in(text));
      EXPECT_FALSE(diagnosis.sentence.empty());
      same += diagnosis.shortage == each.shortage;
      ++runs;
    }
  EXPECT_GT(same * 2, runs) << "most damage misses the numbers";
}

TEST(LogReader, ReadsNoiseOfAnyBytesWithoutFindingAnything) {
  EXPECT_TRUE(rc::check([](const std::string& noise) {
    const Figures figures = figures_in(noise);
    RC_ASSERT(!figures.requested);
  }));
}

/// "1.23 GiB", as frameworks round.
std::string gib(std::int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GiB", static_cast<double>(bytes) / (1 << 30));
  return text;
}

struct Known {
  Shortage shortage;
  std::string text;
};

/// A message of PyTorch 2 for a shortage of a known kind with drawn numbers, each beyond its rounding.
Known drawn_shortage() {
  const auto in = [](std::int64_t low, std::int64_t high) {
    return *rc::gen::inRange<std::int64_t>(low, high) * static_cast<std::int64_t>(1_MiB);
  };
  const std::int64_t total = in(12'000, 190'000), free = in(0, 900), requested = free + in(64, 8'000);
  const int kind = *rc::gen::inRange(0, 3);
  std::int64_t process = 0, idle = 0;
  if (kind == 0) {  // Its own memory fills the device, and next to nothing is idle.
    process = total - free;
    idle = *rc::gen::inRange<std::int64_t>(0, total / 128 / static_cast<std::int64_t>(1_MiB)) *
           static_cast<std::int64_t>(1_MiB);
    if (idle > requested - static_cast<std::int64_t>(32_MiB)) idle = 0;
  } else if (kind == 1) {  // It fills the device, and more is idle than was asked for.
    process = total - free;
    idle = std::min(requested + in(64, 2'000), process - static_cast<std::int64_t>(1_GiB));
    if (idle < requested + static_cast<std::int64_t>(32_MiB)) return drawn_shortage();
  } else {  // Others hold more than is missing.
    const std::int64_t others = requested - free + in(64, 2'000);
    process = total - free - others;
    if (process < static_cast<std::int64_t>(2_GiB)) return drawn_shortage();
  }
  const std::int64_t live = process - idle - static_cast<std::int64_t>(512_MiB);
  constexpr Shortage kKinds[] = {Shortage::capacity, Shortage::fragmentation, Shortage::peer};
  return {kKinds[kind], "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate " + gib(requested) +
                            ". GPU 0 has a total capacity of " + gib(total) + " of which " + gib(free) +
                            " is free. Including non-PyTorch memory, this process has " + gib(process) +
                            " memory in use. Of the allocated memory " + gib(live) +
                            " is allocated by PyTorch, and " + gib(idle) +
                            " is reserved by PyTorch but unallocated.\n"};
}

TEST(Diagnosis, FindsTheKindOfAnyShortageThatAMessageTells) {
  EXPECT_TRUE(rc::check([] {
    const Known known = drawn_shortage();
    const Diagnosis diagnosis = diagnose(figures_in(known.text));
    RC_LOG() << known.text << diagnosis.sentence;
    RC_ASSERT(diagnosis.shortage == known.shortage);
  }));
}

Figure exact(std::int64_t value) { return {.value = value}; }

TEST(Diagnosis, SeesMoreLentThanThereIsWithoutAnyRefusal) {
  Figures figures;
  figures.total = exact(100);
  figures.live = exact(101);
  EXPECT_EQ(diagnose(figures).rule, "oversubscribed");
  figures.live = exact(100);
  EXPECT_EQ(diagnose(figures).shortage, Shortage::no_shortage);
}

TEST(Diagnosis, TellsNoAmountBelowNothingWhereRoundingHidesTheRest) {
  Figures figures;
  figures.requested = exact(64_MiB);
  figures.limit = exact(1000_MiB);
  figures.live = {.value = 1001_MiB, .rounding = 2_MiB};
  const Diagnosis diagnosis = diagnose(figures);
  EXPECT_EQ(diagnosis.rule, "pool_is_full");
  EXPECT_THAT(diagnosis.sentence, testing::StartsWith("512.00 KiB of 1000.00 MiB are not lent"));
}

TEST(Diagnosis, TurnsOnASingleByte) {
  Figures figures;
  figures.requested = exact(1000);
  figures.limit = exact(5000);
  figures.live = exact(4000);
  figures.reserved = exact(5000);
  EXPECT_EQ(diagnose(figures).shortage, Shortage::fragmentation);
  figures.live = exact(4001);
  EXPECT_EQ(diagnose(figures).shortage, Shortage::capacity);
  figures.requested->rounding = 1;
  EXPECT_EQ(diagnose(figures).shortage, Shortage::undecided) << "what was rounded away decides nothing";
}

TEST(TraceFigures, AreThoseOfTheLastRefusal) {
  Trace trace;
  trace.device_traces.push_back({{.action = TraceAction::segment_alloc, .address = 0x1000, .bytes = 100},
                                 {.action = TraceAction::alloc, .address = 0x1000, .bytes = 60},
                                 {.action = TraceAction::oom, .address = 30, .bytes = 50},
                                 {.action = TraceAction::alloc, .address = 0x1040, .bytes = 30}});
  const Figures figures = figures_of(trace);
  EXPECT_EQ(figures.requested->value, 50);
  EXPECT_EQ(figures.free->value, 30);
  EXPECT_EQ(figures.live->value, 60);
  EXPECT_EQ(figures.reserved->value, 100);
  // A recording that frees what it never saw lent is not believed: the segments of its end are.
  trace.device_traces[0] = {{.action = TraceAction::free_completed, .address = 0x9000, .bytes = 60},
                            {.action = TraceAction::oom, .address = 30, .bytes = 50}};
  trace.segments.push_back(
      {.address = 0x1000,
       .bytes = 100,
       .blocks = {{.address = 0x1000, .bytes = 45, .state = BlockState::inactive},
                  {.address = 0x102d, .bytes = 10, .state = BlockState::active_allocated},
                  {.address = 0x1037, .bytes = 45, .state = BlockState::inactive}}});
  EXPECT_EQ(diagnose(figures_of(trace)).shortage, Shortage::fragmentation);
}

}  // namespace
}  // namespace drought
