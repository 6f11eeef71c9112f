#include "writ/backends/launch/wire.h"

namespace writ::backends::launch {

void Writer::Number(std::uint64_t value) {
  for (int i = 0; i < 8; ++i) bytes_.push_back(static_cast<char>((value >> (8 * i)) & 0xff));
}

void Writer::Text(std::string_view text) {
  Number(text.size());
  bytes_.append(text);
}

void Writer::Texts(const std::vector<std::string>& texts) {
  Number(texts.size());
  for (const std::string& text : texts) Text(text);
}

std::uint64_t Reader::Number() {
  if (!ok_ || rest_.size() < 8) {
    ok_ = false;
    return 0;
  }
  std::uint64_t value = 0;
  for (int i = 0; i < 8; ++i)
    value |=
        static_cast<std::uint64_t>(static_cast<unsigned char>(rest_[static_cast<std::size_t>(i)]))
        << (8 * i);
  rest_.remove_prefix(8);
  return value;
}

std::uint64_t Reader::NumberAtMost(std::uint64_t highest) {
  std::uint64_t value = Number();
  if (value > highest) ok_ = false;
  return ok_ ? value : 0;
}

std::string Reader::Text() {
  std::uint64_t size = Number();
  if (!ok_ || size > rest_.size()) {
    ok_ = false;
    return {};
  }
  std::string text(rest_.substr(0, static_cast<std::size_t>(size)));
  rest_.remove_prefix(static_cast<std::size_t>(size));
  return text;
}

std::uint64_t Reader::Count(std::uint64_t least_bytes) {
  std::uint64_t count = Number();
  if (ok_ && count > rest_.size() / least_bytes) ok_ = false;
  return ok_ ? count : 0;
}

std::vector<std::string> Reader::Texts() {
  std::uint64_t count = Count(8);
  std::vector<std::string> texts;
  for (std::uint64_t i = 0; i < count && ok_; ++i) texts.push_back(Text());
  return texts;
}

}  // namespace writ::backends::launch
