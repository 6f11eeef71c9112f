// Secret: a secret value with no formatter, wiped when it goes (L8).
//
// The bytes are reached only through Reveal(), so one grep lists every place that touches them. It
// cannot be copied, compared with ==, streamed or formatted by accident.
#pragma once

#include <string.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace writ {

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string_view value) : bytes_(value.begin(), value.end()) {}
  // Takes over the value of a string and wipes that string.
  static Secret Consume(std::string& value) {
    Secret secret{std::string_view(value)};
    explicit_bzero(value.data(), value.size());
    value.clear();
    return secret;
  }
  ~Secret() { Wipe(); }
  Secret(Secret&& other) noexcept : bytes_(std::move(other.bytes_)) { other.bytes_.clear(); }
  Secret& operator=(Secret&& other) noexcept {
    if (this != &other) {
      Wipe();
      bytes_ = std::move(other.bytes_);
      other.bytes_.clear();
    }
    return *this;
  }
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  bool operator==(const Secret&) const = delete;

  Secret Clone() const { return Secret(Reveal()); }
  bool empty() const { return bytes_.empty(); }
  std::size_t size() const { return bytes_.size(); }
  std::string_view Reveal() const { return {bytes_.data(), bytes_.size()}; }

 private:
  void Wipe() {
    if (!bytes_.empty()) explicit_bzero(bytes_.data(), bytes_.size());
    bytes_.clear();
  }
  std::vector<char> bytes_;  // a vector: no small-string buffer that a move would leave behind
};

}  // namespace writ
