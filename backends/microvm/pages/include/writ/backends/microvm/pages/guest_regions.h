// GuestRegions: where a VMM has put which part of its guest's memory.
//
// The words of Firecracker's handshake (src/vmm/src/persist.rs, GuestRegionUffdMapping): one
// message on a stream socket, the userfaultfd beside it by SCM_RIGHTS, and as bytes a JSON array of
//   {"base_host_virt_addr", "size", "offset", "page_size"[, "page_size_kib"]}
// all numbers, in bytes ("page_size_kib" too, in spite of its name). Offsets are into the
// snapshot's memory. From an untrusted process: strict JSON of at most kMaxHandshakeBytes, no
// unknown member, at most kMaxRegions, everything whole pages, nothing overlaps in addresses or in
// offsets. Fuzzed (tests/fuzz/pages_words.cc). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "writ/base/result.h"

namespace writ::backends::microvm::pages {

inline constexpr std::size_t kMaxHandshakeBytes = 16 * 1024;
inline constexpr std::size_t kMaxRegions = 64;

struct GuestRegion {
  std::uint64_t address = 0;  // in the VMM
  std::uint64_t bytes = 0;
  std::uint64_t offset = 0;  // in the snapshot's memory
};

class GuestRegions {
 public:
  // kInvalid "pages.handshake"; kUnsupported "pages.page_size" for huge pages.
  static Result<GuestRegions> Parse(std::string_view json, std::uint64_t memory_bytes);

  const std::vector<GuestRegion>& list() const { return by_address_; }
  std::uint64_t bytes() const;

  // The page of the snapshot behind an address; nullopt outside of all regions.
  std::optional<std::uint64_t> PageAt(std::uint64_t address) const;
  struct Place {
    std::uint64_t address = 0;
    std::uint64_t pages = 0;  // from it to the end of its region
  };
  // Where the VMM has a page of the snapshot; nullopt where it has none.
  std::optional<Place> PlaceOf(std::uint64_t page) const;

 private:
  std::vector<GuestRegion> by_address_;
  std::vector<GuestRegion> by_offset_;
};

}  // namespace writ::backends::microvm::pages
