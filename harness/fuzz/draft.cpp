#include "harness/fuzz/draft.hpp"

#include <rapidcheck.h>

#include <algorithm>
#include <functional>

namespace drought {
namespace {

constexpr std::size_t kStepsMax = 24, kSwitchesMax = 12, kStrikesMax = 2, kPeersMax = 2;
constexpr std::uint64_t kContextMib = 768;  // Above every profile's.
constexpr std::uint64_t kSwitchAtMost = 400, kPlaces = 100'000, kWays = 64;

/// Every one as often, however large the draw is to be.
rc::Gen<std::size_t> below(std::size_t count) {
  return rc::gen::resize(rc::kNominalSize, rc::gen::inRange<std::size_t>(0, count));
}

rc::Gen<Draft::Step> steps_of(const Drawn& drawn) {
  return rc::gen::apply(
      [verbs = drawn.verbs](std::size_t verb, std::uint64_t slot, std::uint64_t number) {
        const DrawnVerb& made = verbs[verb];
        return Draft::Step{verb, made.slots ? slot % made.slots : 0,
                           made.number_max ? 1 + number % made.number_max : 0};
      },
      below(drawn.verbs.size()), rc::gen::inRange<std::uint64_t>(0, 4),
      rc::gen::inRange<std::uint64_t>(0, 256));
}

template <typename Made>
rc::Gen<std::vector<Made>> at_most(std::size_t most, rc::Gen<Made> one) {
  return rc::gen::map(rc::gen::container<std::vector<Made>>(std::move(one)), [most](std::vector<Made> made) {
    if (made.size() > most) made.resize(most);
    return made;
  });
}

/// Each between its bounds or among its values, shrinking to the first.
rc::Gen<std::vector<std::uint64_t>> options_of(std::span<const DrawnOption> drawn) {
  rc::Gen<std::vector<std::uint64_t>> all = rc::gen::just(std::vector<std::uint64_t>());
  for (const DrawnOption& option : drawn)
    all = rc::gen::apply(
        [](std::vector<std::uint64_t> before, std::uint64_t next) {
          before.push_back(next);
          return before;
        },
        std::move(all),
        option.values.empty() ? rc::gen::inRange<std::uint64_t>(option.min, option.max + 1)
                              : rc::gen::cast<std::uint64_t>(below(option.values.size())));
  return all;
}

rc::Gen<Draft::Allocator> one_of(const std::vector<const AllocatorEntry*>& entries) {
  return rc::gen::mapcat(below(entries.size()), [entries](std::size_t index) {
    auto options = options_of(entries[index] ? entries[index]->drawn : std::span<const DrawnOption>());
    return rc::gen::map(std::move(options), [index](std::vector<std::uint64_t> numbers) {
      return Draft::Allocator{index, std::move(numbers)};
    });
  });
}

std::string lines_of(std::span<const DrawnOption> drawn, const std::vector<std::uint64_t>& options,
                     const std::function<bool(std::string_view)>& is_set) {
  std::string text;
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    const DrawnOption& option = drawn[i];
    if (is_set(option.key)) continue;
    text += std::string(option.key) + " = ";
    text += option.values.empty() ? std::to_string(options[i]) : std::string(option.values[options[i]]);
    text += "\n";
  }
  return text;
}

std::string resource_of(const std::vector<const AllocatorEntry*>& entries, const Draft::Allocator& drawn) {
  const AllocatorEntry* const entry = entries[drawn.index];
  if (!entry) return "";
  return "\n[[resource]]\nkind = \"" + std::string(entry->name) + "\"\n" +
         lines_of(entry->drawn, drawn.options, [](std::string_view) { return false; });
}

std::string device_of(const Draft::Device& device, const DraftSubject& subject) {
  std::uint64_t mib = kContextMib + device.spare_mib;
  std::string peers;
  for (const std::uint64_t peer : device.peers_mib) {
    mib += kContextMib + peer;
    peers += (peers.empty() ? "\"" : ", \"") + std::to_string(peer) + " MiB\"";
  }
  std::string text = "[device]\nprofile = \"" + std::string(subject.profiles[device.profile]) +
                     "\"\ncapacity_bytes = \"" + std::to_string(mib) + " MiB\"\nsteps_max = 1000000\n";
  if (subject.workload->drawn.shapes) text += "work = \"shapes\"\n";
  if (!peers.empty()) text += "peer_bytes = [" + peers + "]\n";
  return text;
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
      rc::gen::inRange<std::uint64_t>(0, kPlaces), rc::gen::cast<std::uint64_t>(below(kWays)),
      rc::gen::arbitrary<bool>());
  auto device = rc::gen::apply(
      [](std::size_t profile, std::uint64_t spare_mib, std::vector<std::uint64_t> peers_mib) {
        return Draft::Device{profile, spare_mib, std::move(peers_mib)};
      },
      below(subject.profiles.size()), rc::gen::inRange<std::uint64_t>(8, 4096),
      at_most(kPeersMax, rc::gen::inRange<std::uint64_t>(1, 4096)));
  return rc::gen::apply(
      [](Draft::Device on, Draft::Allocator base, Draft::Allocator above, std::vector<std::uint64_t> options,
         std::vector<std::vector<Draft::Step>> processes, std::vector<std::uint64_t> switches,
         std::vector<Draft::Strike> strikes) {
        std::sort(switches.begin(), switches.end());
        switches.erase(std::unique(switches.begin(), switches.end()), switches.end());
        return Draft{std::move(on),        std::move(base),     std::move(above),  std::move(options),
                     std::move(processes), std::move(switches), std::move(strikes)};
      },
      std::move(device), one_of(subject.bases), one_of(subject.aboves), options_of(drawn.options),
      std::move(processes), at_most(kSwitchesMax, rc::gen::inRange<std::uint64_t>(1, kSwitchAtMost)),
      at_most(kStrikesMax, strike));
}

std::string toml_of(const Draft& draft, const DraftSubject& subject, const std::string& title) {
  const Drawn& drawn = subject.workload->drawn;
  std::string text = "title = \"" + title + "\"\n\n" + device_of(draft.device, subject) +
                     resource_of(subject.bases, draft.base) + resource_of(subject.aboves, draft.above) +
                     "\n[workload]\nkind = \"" + std::string(subject.workload->name) + "\"\n";
  text += lines_of(drawn.options, draft.options, [&](std::string_view key) {
    return std::any_of(subject.set.begin(), subject.set.end(),
                       [&](const auto& option) { return option.first == key; });
  });
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
