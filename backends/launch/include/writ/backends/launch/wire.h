// The bytes between a backend and writ-launch: numbers as 8 bytes little-endian, texts as a length
// and bytes, lists as a count. Reading is total: any input gives a value or an error, never more
// memory than the input has bytes (fuzzed: tests/fuzz/launch_wire.cc).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace writ::backends::launch {

class Writer {
 public:
  void Number(std::uint64_t value);
  void Text(std::string_view text);
  void Texts(const std::vector<std::string>& texts);
  const std::string& bytes() const { return bytes_; }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// After the first failure every read gives zero or an empty value and ok() stays false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  std::uint64_t Number();
  std::uint64_t NumberAtMost(std::uint64_t highest);
  std::string Text();
  std::vector<std::string> Texts();
  // A list's count, refused where the rest cannot hold that many entries of `least_bytes` each.
  std::uint64_t Count(std::uint64_t least_bytes);
  bool ok() const { return ok_; }
  // Everything was read and nothing is left.
  bool AtEnd() const { return ok_ && rest_.empty(); }
  void Fail() { ok_ = false; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace writ::backends::launch
