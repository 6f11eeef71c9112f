// PageBits: one bit for each page of a guest.
#pragma once

#include <cstdint>
#include <vector>

namespace writ::backends::microvm::pages {

class PageBits {
 public:
  explicit PageBits(std::uint64_t pages) : words_((pages + 63) / 64) {}
  bool Has(std::uint64_t page) const { return ((words_[page / 64] >> (page % 64)) & 1) != 0; }
  void Set(std::uint64_t page) { words_[page / 64] |= 1ull << (page % 64); }
  void Set(std::uint64_t page, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) Set(page + i);
  }
  void Clear(std::uint64_t page) { words_[page / 64] &= ~(1ull << (page % 64)); }

 private:
  std::vector<std::uint64_t> words_;
};

}  // namespace writ::backends::microvm::pages
