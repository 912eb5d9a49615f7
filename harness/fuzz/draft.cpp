#include "harness/fuzz/draft.hpp"

#include <rapidcheck.h>

#include <algorithm>

namespace drought {
namespace {

constexpr std::size_t kStepsMax = 24, kSwitchesMax = 12, kStrikesMax = 2;
constexpr std::uint64_t kSwitchAtMost = 400, kPlaces = 100'000;

rc::Gen<Draft::Step> steps_of(const Drawn& drawn) {
  return rc::gen::apply(
      [verbs = drawn.verbs](std::size_t verb, std::uint64_t slot, std::uint64_t number) {
        const DrawnVerb& made = verbs[verb];
        return Draft::Step{verb, made.slots ? slot % made.slots : 0,
                           made.number_max ? 1 + number % made.number_max : 0};
      },
      rc::gen::inRange<std::size_t>(0, drawn.verbs.size()), rc::gen::inRange<std::uint64_t>(0, 4),
      rc::gen::inRange<std::uint64_t>(0, 256));
}

template <typename Made>
rc::Gen<std::vector<Made>> at_most(std::size_t most, rc::Gen<Made> one) {
  return rc::gen::map(rc::gen::container<std::vector<Made>>(std::move(one)), [most](std::vector<Made> made) {
    if (made.size() > most) made.resize(most);
    return made;
  });
}

/// Each number between its bounds, shrinking to the lower.
rc::Gen<std::vector<std::uint64_t>> numbers_of(const Drawn& drawn) {
  rc::Gen<std::vector<std::uint64_t>> all = rc::gen::just(std::vector<std::uint64_t>());
  for (const DrawnNumber& number : drawn.numbers)
    all = rc::gen::apply(
        [](std::vector<std::uint64_t> before, std::uint64_t next) {
          before.push_back(next);
          return before;
        },
        std::move(all), rc::gen::inRange<std::uint64_t>(number.min, number.max + 1));
  return all;
}

}  // namespace

std::size_t Draft::steps() const {
  std::size_t count = 0;
  for (const auto& process : processes) count += process.size();
  return count;
}

rc::Gen<Draft> drafts(const DraftSubject& subject) {
  const Drawn& drawn = subject.workload->drawn;
  auto processes = drawn.verbs.empty() ? rc::gen::just(std::vector<std::vector<Draft::Step>>())
                                       : at_most(drawn.processes_max, at_most(kStepsMax, steps_of(drawn)));
  const auto strike = rc::gen::apply(
      [](std::uint64_t place, std::uint64_t way, bool forever) {
        return Draft::Strike{place, way, forever};
      },
      rc::gen::inRange<std::uint64_t>(0, kPlaces), rc::gen::inRange<std::uint64_t>(0, 4),
      rc::gen::arbitrary<bool>());
  return rc::gen::apply(
      [](std::uint64_t spare_mib, std::size_t base, std::size_t above, std::vector<std::uint64_t> numbers,
         std::vector<std::vector<Draft::Step>> processes, std::vector<std::uint64_t> switches,
         std::vector<Draft::Strike> strikes) {
        std::sort(switches.begin(), switches.end());
        switches.erase(std::unique(switches.begin(), switches.end()), switches.end());
        return Draft{
            spare_mib,         base, above, std::move(numbers), std::move(processes), std::move(switches),
            std::move(strikes)};
      },
      rc::gen::inRange<std::uint64_t>(8, 4096), rc::gen::inRange<std::size_t>(0, subject.bases.size()),
      rc::gen::inRange<std::size_t>(0, subject.aboves.size() + 1), numbers_of(drawn), std::move(processes),
      at_most(kSwitchesMax, rc::gen::inRange<std::uint64_t>(1, kSwitchAtMost)), at_most(kStrikesMax, strike));
}

std::string toml_of(const Draft& draft, const DraftSubject& subject, const std::string& title) {
  const Drawn& drawn = subject.workload->drawn;
  std::string text = "title = \"" + title + "\"\n\n[device]\nprofile = \"h100-80g\"\ncapacity_bytes = \"" +
                     std::to_string(768 + draft.spare_mib) + " MiB\"\nsteps_max = 20000\n";
  if (subject.bases[draft.base] != "direct")
    text += "\n[[resource]]\nkind = \"" + subject.bases[draft.base] + "\"\n";
  if (draft.above != 0) text += "\n[[resource]]\nkind = \"" + subject.aboves[draft.above - 1] + "\"\n";
  text += "\n[workload]\nkind = \"" + std::string(subject.workload->name) + "\"\n";
  const auto is_set = [&](std::string_view key) {
    return std::any_of(subject.set.begin(), subject.set.end(),
                       [&](const auto& option) { return option.first == key; });
  };
  for (std::size_t i = 0; i < draft.numbers.size(); ++i)
    if (!is_set(drawn.numbers[i].key))
      text += std::string(drawn.numbers[i].key) + " = " + std::to_string(draft.numbers[i]) + "\n";
  for (const auto& [key, value] : subject.set) text += key + " = " + value + "\n";
  for (const auto& process : draft.processes) {
    text += "\n[[workload." + std::string(drawn.process) + "]]\nsteps = [";
    for (std::size_t i = 0; i < process.size(); ++i) {
      const DrawnVerb& verb = drawn.verbs[process[i].verb];
      text += (i ? ", \"" : "\"") + std::string(verb.verb);
      if (verb.slots) text += " " + std::to_string(process[i].slot);
      if (verb.number_max) text += " " + std::to_string(process[i].number);
      text += "\"";
    }
    text += "]\n";
  }
  text += "\n[schedule]\nswitches = [";
  for (std::size_t i = 0; i < draft.switches.size(); ++i)
    text += (i ? ", " : "") + std::to_string(draft.switches[i]);
  return text + "]\n";
}

}  // namespace drought
