#include "allocators/caching_conf.hpp"

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <vector>

namespace drought {
namespace {

struct Token {
  std::string text;
  std::size_t position = 0;  ///< Of its first character, counted from 1.
};

/// Words and the signs , : [ ]; spaces count for nothing, even inside a word.
std::vector<Token> tokens_of(std::string_view text) {
  std::vector<Token> tokens;
  bool in_word = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == ' ') continue;
    const bool is_sign = c == ',' || c == ':' || c == '[' || c == ']';
    if (is_sign || !in_word) tokens.push_back({"", i + 1});
    tokens.back().text += c;
    in_word = !is_sign;
  }
  return tokens;
}

class Parser;
using Setter = void (Parser::*)();
struct Setting {
  std::string_view name;
  Setter parse;
};

class Parser {
 public:
  Parser(std::string_view text, DivisionsRest rest)
      : tokens_(tokens_of(text)), end_(text.size() + 1), rest_(rest) {}

  CachingConf parse() {
    // The segment size is a bound of other settings, so it counts wherever it stands.
    for (std::size_t i = 0; i + 2 < tokens_.size(); ++i)
      if (tokens_[i].text == "large_segment_size_mb" && tokens_[i + 1].text == ":") {
        at_ = i + 1;
        large_segment_size();
      }
    at_ = 0;
    while (at_ < tokens_.size()) {
      const Token& name = tokens_[at_++];
      (this->*setting(name).parse)();
      if (at_ < tokens_.size()) expect(",");
    }
    conf_.divides = std::any_of(conf_.roundup_divisions.begin(), conf_.roundup_divisions.end(),
                                [](std::size_t divisions) { return divisions > 1; });
    return conf_;
  }

 private:
  [[noreturn]] void refuse(std::size_t position, const std::string& what) const {
    throw std::invalid_argument("conf: position " + std::to_string(position) + ": " + what);
  }
  [[noreturn]] void refuse(const Token& token, const std::string& what) const {
    refuse(token.position, what + ", got '" + token.text.substr(0, 40) + "'");
  }

  const Setting& setting(const Token& name) const {
    for (const Setting& known : kSettings)
      if (known.name == name.text) return known;
    std::string known;
    for (const Setting& one : kSettings) known += (known.empty() ? "" : ", ") + std::string(one.name);
    refuse(name.position, "unknown setting '" + name.text.substr(0, 40) + "'; known: " + known);
  }

  const Token& next(const std::string& wanted) {
    if (at_ == tokens_.size()) refuse(end_, "expected " + wanted + ", got the end");
    return tokens_[at_++];
  }

  void expect(const std::string& sign) {
    const Token& token = next("'" + sign + "'");
    if (token.text != sign) refuse(token, "expected '" + sign + "'");
  }

  std::size_t whole_number(const Token& token, const std::string& what) const {
    std::uint32_t value = 0;
    const char* const end = token.text.data() + token.text.size();
    const auto [stop, error] = std::from_chars(token.text.data(), end, value);
    if (error != std::errc() || stop != end || value > 0x7fffffff)
      refuse(token, "expected " + what + ", a whole number below 2^31");
    return value;
  }

  std::size_t megabytes(std::size_t least, const std::string& what) {
    expect(":");
    const Token& token = next(what);
    const std::size_t value = whole_number(token, what);
    if (value < least) refuse(token, "expected " + what + " of at least " + std::to_string(least));
    return value * 1_MiB;
  }

  double real_number(const std::string& what, bool ends_allowed) {
    expect(":");
    const Token& token = next(what);
    double value = -1;
    const char* const end = token.text.data() + token.text.size();
    const auto [stop, error] = std::from_chars(token.text.data(), end, value);
    const bool is_inside = ends_allowed ? value >= 0 && value <= 1 : value > 0 && value < 1;
    if (error != std::errc() || stop != end || !is_inside) refuse(token, "expected " + what);
    return value;
  }

  bool truth() {
    expect(":");
    const Token& token = next("True or False");
    if (token.text != "True" && token.text != "False") refuse(token, "expected True or False");
    return token.text == "True";
  }

  std::size_t divisions() {
    const Token& token = next("divisions");
    const std::size_t value = whole_number(token, "divisions");
    if (value != 0 && !std::has_single_bit(value)) refuse(token, "expected a power of two or 0");
    return value;
  }

  void large_segment_size() {
    conf_.large_segment_bytes = megabytes(11, "large_segment_size_mb");
    conf_.max_non_split_rounding_bytes = conf_.large_segment_bytes;
  }
  // Read before all others.
  void large_segment_size_again() { (void)megabytes(11, "large_segment_size_mb"); }
  void max_split_size() {
    conf_.max_split_bytes = megabytes(conf_.large_segment_bytes / 1_MiB, "max_split_size_mb");
  }
  void max_non_split_rounding() {
    conf_.max_non_split_rounding_bytes =
        megabytes(conf_.large_segment_bytes / 1_MiB, "max_non_split_rounding_mb");
  }
  void garbage_collection_threshold() {
    conf_.garbage_collection_threshold = real_number("a number above 0 and below 1", false);
  }
  void memory_fraction() {
    conf_.memory_fraction = real_number("a number from 0 to 1", true);
    conf_.has_memory_fraction = conf_.memory_fraction < 1;
  }
  void expandable_segments() { conf_.expandable_segments = truth(); }
  void throw_on_cudamalloc_oom() { conf_.throw_on_cudamalloc_oom = truth(); }
  void ignored_truth() { (void)truth(); }
  void ignored_number() {
    expect(":");
    (void)whole_number(next("a number"), "a number");
  }
  void register_threads() {
    expect(":");
    const Token& token = next("a number");
    const std::size_t value = whole_number(token, "a number");
    if (value > 128 || !std::has_single_bit(value)) refuse(token, "expected a power of two up to 128");
  }
  void backend() {
    expect(":");
    const Token& token = next("native");
    if (token.text != "native") refuse(token, "expected native, the only backend that this allocator is");
  }

  void roundup_divisions() {
    expect(":");
    if (at_ < tokens_.size() && tokens_[at_].text == "[") return division_list();
    const Token& token = next("divisions or a list of them");
    const std::size_t value = whole_number(token, "divisions");
    if (!std::has_single_bit(value)) refuse(token, "expected a power of two");
    conf_.roundup_divisions.fill(value);
  }

  void division_list() {
    expect("[");
    auto& slots = conf_.roundup_divisions;
    std::size_t last = 0;
    bool is_first = true;
    while (true) {
      const Token& size = next("a size in MB, '>' or ']'");
      if (size.text == "]") return;
      if (size.text == ">") {
        expect(":");
        const auto from = rest_ == DivisionsRest::after_last ? std::min(last + 1, slots.size()) : last;
        std::fill(slots.begin() + static_cast<std::ptrdiff_t>(from), slots.end(), divisions());
      } else {
        const std::size_t megabytes = whole_number(size, "a size in MB");
        if (!std::has_single_bit(megabytes)) refuse(size, "expected a power of two");
        expect(":");
        last = std::min<std::size_t>(static_cast<std::size_t>(std::countr_zero(megabytes)), 15);
        slots[last] = divisions();
        if (is_first) std::fill_n(slots.begin(), last, slots[last]);
        is_first = false;
      }
      if (at_ < tokens_.size() && tokens_[at_].text != "]") expect(",");
    }
  }

  static constexpr Setting kSettings[] = {
      {"max_split_size_mb", &Parser::max_split_size},
      {"max_non_split_rounding_mb", &Parser::max_non_split_rounding},
      {"large_segment_size_mb", &Parser::large_segment_size_again},
      {"garbage_collection_threshold", &Parser::garbage_collection_threshold},
      {"roundup_power2_divisions", &Parser::roundup_divisions},
      {"expandable_segments", &Parser::expandable_segments},
      {"per_process_memory_fraction", &Parser::memory_fraction},
      {"throw_on_cudamalloc_oom", &Parser::throw_on_cudamalloc_oom},
      {"backend", &Parser::backend},
      {"release_lock_on_cudamalloc", &Parser::ignored_truth},
      {"graph_capture_record_stream_reuse", &Parser::ignored_truth},
      {"pinned_use_cuda_host_register", &Parser::ignored_truth},
      {"pinned_use_background_threads", &Parser::ignored_truth},
      {"pinned_num_register_threads", &Parser::register_threads},
      {"pinned_reserve_segment_size_mb", &Parser::ignored_number},
  };

  const std::vector<Token> tokens_;
  const std::size_t end_;
  const DivisionsRest rest_;
  std::size_t at_ = 0;
  CachingConf conf_;
};

}  // namespace

std::size_t CachingConf::round_by_divisions(std::size_t bytes) const {
  if (bytes < kMinBlockSize) return kMinBlockSize;
  const std::size_t floor = std::bit_floor(bytes);
  const auto power = static_cast<std::size_t>(std::countr_zero(floor));
  const std::size_t divisions = roundup_divisions[std::clamp<std::size_t>(power, 20, 35) - 20];
  if (divisions <= 1 || bytes <= kMinBlockSize * divisions) return round_up(bytes, kMinBlockSize);
  if (bytes == floor) return bytes;
  return round_up(bytes, floor / divisions);
}

CachingConf parse_caching_conf(std::string_view text, DivisionsRest rest) {
  return Parser(text, rest).parse();
}

}  // namespace drought
