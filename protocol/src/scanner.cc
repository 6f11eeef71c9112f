#include "scanner.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "utf8.h"

namespace writ::json {
namespace {

constexpr std::size_t kDepthCeiling = 512;                // recursion of this file is bounded by it
constexpr std::size_t kByteCeiling = 0xFFFFFFFFull - 64;  // offsets are 32 bits wide
constexpr std::uint32_t kSmallObject = 12;                // up to here names are compared in pairs

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

// The first position from `at` on that is a quotation mark, a backslash, a control character or not
// ASCII.
std::size_t SkipPlain(std::string_view text, std::size_t at) {
#if defined(__SSE2__)
  const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'),
                space = _mm_set1_epi8(0x20);
  while (at + 16 <= text.size()) {
    const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + at));
    // Signed: below 0x20 are the controls and everything from 0x80 on.
    const __m128i special =
        _mm_or_si128(_mm_cmplt_epi8(block, space),
                     _mm_or_si128(_mm_cmpeq_epi8(block, quote), _mm_cmpeq_epi8(block, backslash)));
    const int mask = _mm_movemask_epi8(special);
    if (mask != 0) return at + static_cast<std::size_t>(__builtin_ctz(static_cast<unsigned>(mask)));
    at += 16;
  }
#endif
  while (at < text.size()) {
    const auto c = static_cast<unsigned char>(text[at]);
    if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') break;
    ++at;
  }
  return at;
}

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Four hex digits at `at`; -1 where they are not there.
int HexUnit(std::string_view text, std::size_t at) {
  if (at + 4 > text.size()) return -1;
  int unit = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const int digit = HexValue(text[at + i]);
    if (digit < 0) return -1;
    unit = unit << 4 | digit;
  }
  return unit;
}

std::string_view Slice(std::string_view text, const Node& node) {
  return text.substr(node.begin, node.end - node.begin);
}

}  // namespace

std::string DecodeText(std::string_view text, const Node& node) {
  const std::string_view in = Slice(text, node);
  if (!node.flagged) return std::string(in);
  std::string out;
  out.reserve(in.size());
  for (std::size_t i = 0; i < in.size();) {
    if (in[i] != '\\') {
      out.push_back(in[i++]);
      continue;
    }
    const char c = in[i + 1];
    i += 2;
    switch (c) {
      case 'b':
        out.push_back('\b');
        break;
      case 'f':
        out.push_back('\f');
        break;
      case 'n':
        out.push_back('\n');
        break;
      case 'r':
        out.push_back('\r');
        break;
      case 't':
        out.push_back('\t');
        break;
      case 'u': {
        auto unit = static_cast<std::uint32_t>(HexUnit(in, i));
        i += 4;
        if (unit >= 0xD800 && unit < 0xDC00) {
          const auto low = static_cast<std::uint32_t>(HexUnit(in, i + 2));
          i += 6;
          unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
        }
        AppendUtf8(unit, out);
        break;
      }
      default:
        out.push_back(c);
    }
  }
  return out;
}

bool ReadNumber(std::string_view digits, double& number) {
  const char* last = digits.data() + digits.size();
  const auto [end, status] = std::from_chars(digits.data(), last, number);
  if (status == std::errc() && end == last) return true;
  // Too large or too small: the decimal exponent of the first digit that is not zero tells.
  std::int64_t exponent = 0;
  const std::size_t mark = digits.find_first_of("eE");
  if (mark != std::string_view::npos) {
    std::size_t i = mark + 1;
    const bool negative = digits[i] == '-';
    if (digits[i] == '-' || digits[i] == '+') ++i;
    for (; i < digits.size(); ++i)
      exponent = std::min<std::int64_t>(exponent * 10 + (digits[i] - '0'), 1ll << 40);
    if (negative) exponent = -exponent;
  }
  const std::string_view mantissa = digits.substr(
      digits[0] == '-' ? 1 : 0,
      mark == std::string_view::npos ? std::string_view::npos : mark - (digits[0] == '-' ? 1 : 0));
  const std::size_t point = std::min(mantissa.find('.'), mantissa.size());
  const std::size_t first = mantissa.find_first_of("123456789");
  if (first != std::string_view::npos) {
    const auto p = static_cast<std::int64_t>(point), f = static_cast<std::int64_t>(first);
    if (exponent + (f < p ? p - f - 1 : p - f) > 0) return false;
  }
  number = digits[0] == '-' ? -0.0 : 0.0;
  return true;
}

Scanner::Scanner(std::string_view text, const ParseOptions& options, ElementHook* hook,
                 const ValueLimits& values)
    : text_(text), options_(options), hook_(hook), limits_(values) {
  options_.max_depth = std::min(options_.max_depth, kDepthCeiling);
  options_.max_bytes = std::min(options_.max_bytes, kByteCeiling);
}

bool Scanner::Scan(Tape& tape) {
  tape.clear();
  tape_ = &tape;
  if (text_.size() > options_.max_bytes) {
    return Fail("json.too_large", "more than " + std::to_string(options_.max_bytes) + " bytes",
                options_.max_bytes);
  }
  SkipSpace();
  if (!ScanValue(tape)) return false;
  SkipSpace();
  if (at_ != text_.size()) return Fail("json.trailing_bytes", "bytes after the value", at_);
  return true;
}

void Scanner::SkipSpace() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return;
    ++at_;
  }
}

bool Scanner::Fail(std::string_view code, std::string_view what, std::size_t at) {
  std::string pointer;
  for (const Frame& frame : frames_) {
    if (frame.is_object) {
      if (frame.name_node != 0)
        pointer = PointerTo(pointer, DecodeText(text_, (*tape_)[frame.name_node]));
    } else {
      pointer = PointerTo(pointer, frame.index);
    }
    if (pointer.size() > 512) {
      pointer.resize(512);
      pointer = ToWellFormedUtf8(pointer) + "...";
      break;
    }
  }
  error_ = Error{.kind = ErrorKind::kInvalid,
                 .code = std::string(code),
                 .message = "JSON is refused: " + std::string(what) + " at " +
                            (pointer.empty() ? "the root" : pointer) + " (byte " +
                            std::to_string(at) + ")"};
  return false;
}

bool Scanner::FailUnexpected(std::string_view wanted) {
  if (at_ >= text_.size())
    return Fail("json.truncated", "the text ends where " + std::string(wanted) + " should be", at_);
  return Fail("json.syntax", "no " + std::string(wanted), at_);
}

bool Scanner::ScanValue(Tape& tape) {
  if (++values_ > limits_.in_all)
    return Fail("json.too_many_values", "more than " + std::to_string(limits_.in_all) + " values",
                at_);
  if (tape.size() >= limits_.on_tape)
    return Fail("json.too_many_values",
                "more than " + std::to_string(limits_.on_tape) + " names and values in one part",
                at_);
  if (at_ >= text_.size()) return FailUnexpected("value");
  switch (text_[at_]) {
    case '{':
      return ScanObject(tape);
    case '[':
      return ScanArray(tape);
    case '"':
      return ScanString(tape, Node::kString);
    case 't':
      return ScanWord(tape, "true", Node::kTrue);
    case 'f':
      return ScanWord(tape, "false", Node::kFalse);
    case 'n':
      return ScanWord(tape, "null", Node::kNull);
    default:
      return ScanNumber(tape);
  }
}

bool Scanner::ScanWord(Tape& tape, std::string_view word, Node::Kind kind) {
  if (text_.substr(at_, word.size()) != word) {
    const std::string_view rest = text_.substr(at_);
    if (word.starts_with(rest))
      return Fail("json.truncated", "the text ends within a word", text_.size());
    return FailUnexpected("value");
  }
  const auto begin = static_cast<std::uint32_t>(at_);
  at_ += word.size();
  tape.push_back({.kind = kind,
                  .begin = begin,
                  .end = static_cast<std::uint32_t>(at_),
                  .next = static_cast<std::uint32_t>(tape.size() + 1)});
  return true;
}

bool Scanner::ScanNumber(Tape& tape) {
  const std::size_t begin = at_;
  std::size_t at = at_;
  const auto peek = [&] { return at < text_.size() ? text_[at] : '\0'; };
  const bool negative = peek() == '-';
  if (negative) ++at;
  const std::size_t digits = at;
  if (!IsDigit(peek())) {
    if (at > begin) at_ = at;
    return FailUnexpected(at > begin ? "digit" : "value");
  }
  if (peek() == '0') {
    ++at;
  } else {
    while (IsDigit(peek())) ++at;
  }
  bool flagged = at - digits > 15 || (negative && text_[digits] == '0');
  if (peek() == '.') {
    flagged = true;
    ++at;
    if (!IsDigit(peek())) {
      at_ = at;
      return FailUnexpected("digit");
    }
    while (IsDigit(peek())) ++at;
  }
  if (peek() == 'e' || peek() == 'E') {
    flagged = true;
    ++at;
    if (peek() == '+' || peek() == '-') ++at;
    if (!IsDigit(peek())) {
      at_ = at;
      return FailUnexpected("digit");
    }
    while (IsDigit(peek())) ++at;
  }
  double number = 0;
  if (flagged && !ReadNumber(text_.substr(begin, at - begin), number)) {
    return Fail("json.number_range", "a number past the range of a double", begin);
  }
  at_ = at;
  tape.push_back({.kind = Node::kNumber,
                  .flagged = flagged,
                  .begin = static_cast<std::uint32_t>(begin),
                  .end = static_cast<std::uint32_t>(at),
                  .next = static_cast<std::uint32_t>(tape.size() + 1)});
  return true;
}

// At the character after the backslash; moves `at` behind the escape.
bool Scanner::ScanEscape(std::size_t& at) {
  if (at >= text_.size()) return Fail("json.truncated", "the text ends within a string", at);
  const char c = text_[at];
  if (c != 'u') {
    if (c == '\0' || std::strchr("\"\\/bfnrt", c) == nullptr)
      return Fail("json.syntax", "no such escape", at - 1);
    ++at;
    return true;
  }
  const int unit = HexUnit(text_, at + 1);
  if (unit < 0) return Fail("json.syntax", "no four hex digits after \\u", at - 1);
  at += 5;
  if (unit < 0xD800 || unit > 0xDFFF) return true;
  if (unit < 0xDC00 && text_.substr(at, 2) == "\\u") {
    const int low = HexUnit(text_, at + 2);
    if (low >= 0xDC00 && low <= 0xDFFF) {
      at += 6;
      return true;
    }
  }
  return Fail("json.lone_surrogate", "half of a surrogate pair", at - 6);
}

bool Scanner::ScanString(Tape& tape, Node::Kind kind) {
  const std::size_t begin = at_ + 1;
  std::size_t at = begin;
  bool flagged = false;
  while (true) {
    at = SkipPlain(text_, at);
    if (at >= text_.size()) return Fail("json.truncated", "the text ends within a string", at);
    const auto c = static_cast<unsigned char>(text_[at]);
    if (c == '"') break;
    if (c == '\\') {
      flagged = true;
      ++at;
      if (!ScanEscape(at)) return false;
    } else if (c < 0x20) {
      return Fail("json.syntax", "a control character within a string", at);
    } else {
      // Non-ASCII text comes in runs: stay here as long as it lasts.
      while (at < text_.size() && static_cast<unsigned char>(text_[at]) >= 0x80) {
        const std::size_t length = SequenceLength(text_, at);
        if (length == 0) return Fail("json.invalid_utf8", "ill-formed UTF-8", at);
        at += length;
      }
    }
  }
  at_ = at + 1;
  tape.push_back({.kind = kind,
                  .flagged = flagged,
                  .begin = static_cast<std::uint32_t>(begin),
                  .end = static_cast<std::uint32_t>(at),
                  .next = static_cast<std::uint32_t>(tape.size() + 1)});
  return true;
}

bool Scanner::ScanArray(Tape& tape) {
  if (frames_.size() >= options_.max_depth) {
    return Fail("json.too_deep",
                "more than " + std::to_string(options_.max_depth) + " levels of nesting", at_);
  }
  const auto node = static_cast<std::uint32_t>(tape.size());
  const bool hooked = hook_ != nullptr && frames_.size() == 1 && frames_[0].is_object &&
                      Slice(text_, tape[frames_[0].name_node]) == hook_->member;
  tape.push_back({.kind = Node::kArray, .begin = static_cast<std::uint32_t>(at_)});
  frames_.push_back({});
  ++at_;
  SkipSpace();
  std::uint32_t count = 0;
  if (at_ < text_.size() && text_[at_] == ']') {
    ++at_;
  } else {
    while (true) {
      const auto element = static_cast<std::uint32_t>(tape.size());
      if (!ScanValue(tape)) return false;
      if (hooked) {
        hook_->OnElement(tape, element, count);
        tape.resize(element);
      }
      ++count;
      frames_.back().index = count;
      SkipSpace();
      if (at_ < text_.size() && text_[at_] == ',') {
        ++at_;
        SkipSpace();
        continue;
      }
      if (at_ < text_.size() && text_[at_] == ']') {
        ++at_;
        break;
      }
      --frames_.back().index;
      return FailUnexpected("comma or closing bracket");
    }
  }
  frames_.pop_back();
  tape[node].end = static_cast<std::uint32_t>(at_);
  tape[node].next = static_cast<std::uint32_t>(tape.size());
  tape[node].count = count;
  return true;
}

bool Scanner::ScanObject(Tape& tape) {
  if (frames_.size() >= options_.max_depth) {
    return Fail("json.too_deep",
                "more than " + std::to_string(options_.max_depth) + " levels of nesting", at_);
  }
  const auto node = static_cast<std::uint32_t>(tape.size());
  tape.push_back({.kind = Node::kObject, .begin = static_cast<std::uint32_t>(at_)});
  frames_.push_back({.is_object = true});
  ++at_;
  SkipSpace();
  std::uint32_t count = 0;
  if (at_ < text_.size() && text_[at_] == '}') {
    ++at_;
  } else {
    while (true) {
      if (at_ >= text_.size() || text_[at_] != '"') return FailUnexpected("member name");
      const auto name = static_cast<std::uint32_t>(tape.size());
      if (!ScanString(tape, Node::kName)) return false;
      frames_.back().name_node = name;
      SkipSpace();
      if (at_ >= text_.size() || text_[at_] != ':') return FailUnexpected("colon");
      ++at_;
      SkipSpace();
      if (!ScanValue(tape)) return false;
      ++count;
      SkipSpace();
      if (at_ < text_.size() && text_[at_] == ',') {
        ++at_;
        SkipSpace();
        continue;
      }
      if (at_ < text_.size() && text_[at_] == '}') {
        ++at_;
        break;
      }
      return FailUnexpected("comma or closing brace");
    }
  }
  tape[node].end = static_cast<std::uint32_t>(at_);
  tape[node].next = static_cast<std::uint32_t>(tape.size());
  tape[node].count = count;
  if (count > 1 && !CheckNames(tape, node)) return false;
  frames_.pop_back();
  return true;
}

// Refuses the first name that an earlier member has too.
bool Scanner::CheckNames(const Tape& tape, std::uint32_t object) {
  const auto refuse = [&](std::uint32_t name) {
    frames_.back().name_node = name;
    return Fail("json.duplicate_name", "a member name for the second time", tape[name].begin);
  };
  const std::uint32_t count = tape[object].count;
  if (count <= kSmallObject) {
    std::uint32_t names[kSmallObject];
    bool escaped = false;
    std::uint32_t at = object + 1;
    for (std::uint32_t i = 0; i < count; ++i) {
      names[i] = at;
      escaped |= tape[at].flagged;
      at = tape[at + 1].next;
    }
    if (!escaped) {
      for (std::uint32_t i = 1; i < count; ++i) {
        const Node& later = tape[names[i]];
        const std::uint32_t length = later.end - later.begin;
        for (std::uint32_t j = 0; j < i; ++j) {
          const Node& earlier = tape[names[j]];
          if (earlier.end - earlier.begin == length &&
              std::memcmp(text_.data() + earlier.begin, text_.data() + later.begin, length) == 0) {
            return refuse(names[i]);
          }
        }
      }
      return true;
    }
  }
  std::vector<std::pair<std::string, std::uint32_t>> names;
  names.reserve(count);
  for (std::uint32_t i = 0, at = object + 1; i < count; ++i, at = tape[at + 1].next)
    names.emplace_back(DecodeText(text_, tape[at]), at);
  std::sort(names.begin(), names.end());
  std::uint32_t first = 0;
  for (std::size_t i = 1; i < names.size(); ++i) {
    // Equal names stand in the order of their nodes; only the second of each counts.
    if (names[i].first == names[i - 1].first && (first == 0 || names[i].second < first))
      first = names[i].second;
  }
  return first == 0 || refuse(first);
}

}  // namespace writ::json
