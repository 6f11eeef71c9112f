#include "writ/egress/chunked.h"

#include <algorithm>

#include "header_rules.h"

namespace writ::egress {
namespace {

constexpr std::size_t kMaxSizeLine = 1024;
constexpr std::size_t kMaxTrailerLine = 8 * 1024;
constexpr std::size_t kMaxTrailers = 32 * 1024;

// *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ), but without the optional white
// space: RFC 9112 allows it for reading old senders only, and parsers differ on it.
bool IsExtensionList(std::string_view text) {
  while (!text.empty()) {
    if (text.front() != ';') return false;
    text.remove_prefix(1);
    std::size_t end = std::min(text.find_first_of(";="), text.size());
    if (!IsToken(text.substr(0, end))) return false;
    text.remove_prefix(end);
    if (text.empty() || text.front() == ';') continue;
    text.remove_prefix(1);  // '='
    if (!text.empty() && text.front() == '"') {
      std::size_t i = 1;
      for (; i < text.size() && text[i] != '"'; ++i) {
        if (text[i] == '\\') ++i;
        if (i >= text.size() || !IsFieldValue(text.substr(i, 1))) return false;
      }
      if (i >= text.size()) return false;
      text.remove_prefix(i + 1);
    } else {
      end = std::min(text.find(';'), text.size());
      if (!IsToken(text.substr(0, end))) return false;
      text.remove_prefix(end);
    }
  }
  return true;
}

}  // namespace

std::optional<HttpRefusal> ChunkedDecoder::TakeSizeLine() {
  std::string_view line = line_;
  std::size_t digits = std::min(line.find_first_not_of("0123456789abcdefABCDEF"), line.size());
  if (digits == 0 || digits > 15) return HttpRefusal{"chunk.size", 400};
  std::uint64_t size = 0;
  for (char c : line.substr(0, digits)) {
    int value = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    size = size * 16 + static_cast<std::uint64_t>(value);
  }
  std::string_view extensions = line.substr(digits);
  if (!extensions.empty() && extensions.front() != ';') return HttpRefusal{"chunk.size", 400};
  if (!IsExtensionList(extensions)) return HttpRefusal{"chunk.extension", 400};
  left_ = size;
  state_ = size == 0 ? State::kTrailer : State::kData;
  line_.clear();
  return std::nullopt;
}

ChunkedDecoder::Step ChunkedDecoder::Next(std::string_view input) {
  Step step;
  auto refuse = [&](std::string_view code) {
    step.refused = HttpRefusal{code, 400};
    return step;
  };
  while (step.consumed < input.size()) {
    if (state_ == State::kData) {
      std::size_t take = static_cast<std::size_t>(
          std::min<std::uint64_t>(left_, static_cast<std::uint64_t>(input.size() - step.consumed)));
      step.data = input.substr(step.consumed, take);
      step.consumed += take;
      left_ -= take;
      if (left_ == 0) state_ = State::kDataCr;
      return step;
    }
    char c = input[step.consumed++];
    if (state_ == State::kDataCr) {
      if (c != '\r') return refuse("chunk.data_end");
      state_ = State::kDataLf;
      continue;
    }
    if (state_ == State::kDataLf) {
      if (c != '\n') return refuse("chunk.data_end");
      state_ = State::kLine;
      continue;
    }
    if (!saw_cr_) {
      if (c == '\n') return refuse("chunk.line_end");
      if (c == '\r') {
        saw_cr_ = true;
        continue;
      }
      bool trailer = state_ == State::kTrailer;
      if (line_.size() == (trailer ? kMaxTrailerLine : kMaxSizeLine))
        return refuse(trailer ? "chunk.trailer_too_long" : "chunk.line_too_long");
      line_ += c;
      continue;
    }
    saw_cr_ = false;
    if (c != '\n') return refuse("chunk.line_end");
    if (state_ == State::kLine) {
      if (auto refused = TakeSizeLine()) {
        step.refused = refused;
        return step;
      }
      continue;
    }
    if (line_.empty()) {
      step.done = true;
      return step;
    }
    trailer_bytes_ += line_.size();
    if (trailer_bytes_ > kMaxTrailers) return refuse("chunk.trailer_too_long");
    auto field = ParseHeaderLine(line_);
    if (std::holds_alternative<HttpRefusal>(field)) return refuse("chunk.trailer");
    line_.clear();
  }
  return step;
}

}  // namespace writ::egress
