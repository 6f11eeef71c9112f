#include "writ/backends/microvm/pages/guest_regions.h"

#include <algorithm>
#include <string>
#include <utility>

#include "writ/backends/microvm/pages/layered_memory.h"
#include "writ/protocol/json.h"
#include "writ/protocol/reader.h"

namespace writ::backends::microvm::pages {
namespace {

constexpr std::uint64_t kAddressEnd = 1ull << 47;  // of a process of x86-64 and arm64

Error Refused(std::string message) {
  return Error{ErrorKind::kInvalid, "pages.handshake", std::move(message)};
}

bool InPages(std::uint64_t bytes) {
  return bytes % kPageBytes == 0;
}

Status Check(const GuestRegion& region, std::uint64_t memory_bytes) {
  if (region.bytes == 0 || !InPages(region.address) || !InPages(region.bytes) ||
      !InPages(region.offset))
    return Refused("a region of guest memory is not one of whole pages");
  if (region.address == 0 || region.address >= kAddressEnd ||
      region.bytes > kAddressEnd - region.address)
    return Refused("a region of guest memory is outside of a process's addresses");
  if (region.offset > memory_bytes || region.bytes > memory_bytes - region.offset)
    return Refused("a region of guest memory is outside of the snapshot");
  return {};
}

template <typename Start>
Status SortedWithoutOverlap(std::vector<GuestRegion>& regions, Start start) {
  std::sort(regions.begin(), regions.end(),
            [&](const GuestRegion& a, const GuestRegion& b) { return start(a) < start(b); });
  for (std::size_t i = 1; i < regions.size(); ++i)
    if (start(regions[i - 1]) + regions[i - 1].bytes > start(regions[i]))
      return Refused("two regions of guest memory overlap");
  return {};
}

const GuestRegion* Holder(const std::vector<GuestRegion>& regions, std::uint64_t at,
                          std::uint64_t GuestRegion::*start) {
  auto after = std::upper_bound(
      regions.begin(), regions.end(), at,
      [&](std::uint64_t value, const GuestRegion& region) { return value < region.*start; });
  if (after == regions.begin()) return nullptr;
  const GuestRegion& region = *std::prev(after);
  return at - region.*start < region.bytes ? &region : nullptr;
}

}  // namespace

Result<GuestRegions> GuestRegions::Parse(std::string_view json, std::uint64_t memory_bytes) {
  WRIT_ASSIGN(const json::Value value,
              json::Parse(json, {.max_depth = 3, .max_bytes = kMaxHandshakeBytes}));
  const json::Array* array = value.if_array();
  if (array == nullptr || array->empty() || array->size() > kMaxRegions)
    return Refused("the handshake is not a list of 1 to 64 regions of guest memory");
  GuestRegions regions;
  json::Issues issues;
  for (std::size_t i = 0; i < array->size(); ++i) {
    json::ObjectReader reader(issues, (*array)[i], json::PointerTo("", i));
    GuestRegion region;
    region.address = static_cast<std::uint64_t>(reader.Integer("base_host_virt_addr"));
    region.bytes = static_cast<std::uint64_t>(reader.Integer("size"));
    region.offset = static_cast<std::uint64_t>(reader.Integer("offset"));
    const auto page_size = static_cast<std::uint64_t>(reader.Integer("page_size"));
    const auto again = reader.OptionalInteger("page_size_kib");
    reader.RefuseUnknown();
    WRIT_TRY(issues.ToStatus("the handshake of a page server"));
    if (page_size != kPageBytes)
      return Error{ErrorKind::kUnsupported, "pages.page_size",
                   "guest memory is in pages of " + std::to_string(page_size) +
                       " bytes, and the page server serves pages of 4096 alone",
                   "restore the machine without huge pages"};
    if (again && static_cast<std::uint64_t>(*again) != page_size)
      return Refused("the two page sizes of a region are not the same");
    WRIT_TRY(Check(region, memory_bytes));
    regions.by_address_.push_back(region);
  }
  regions.by_offset_ = regions.by_address_;
  WRIT_TRY(SortedWithoutOverlap(regions.by_address_, [](const auto& r) { return r.address; }));
  WRIT_TRY(SortedWithoutOverlap(regions.by_offset_, [](const auto& r) { return r.offset; }));
  return regions;
}

std::uint64_t GuestRegions::bytes() const {
  std::uint64_t total = 0;
  for (const GuestRegion& region : by_address_) total += region.bytes;
  return total;
}

std::optional<std::uint64_t> GuestRegions::PageAt(std::uint64_t address) const {
  const GuestRegion* region = Holder(by_address_, address, &GuestRegion::address);
  if (region == nullptr) return std::nullopt;
  return (region->offset + (address - region->address)) / kPageBytes;
}

std::optional<GuestRegions::Place> GuestRegions::PlaceOf(std::uint64_t page) const {
  const std::uint64_t at = page * kPageBytes;
  const GuestRegion* region = Holder(by_offset_, at, &GuestRegion::offset);
  if (region == nullptr) return std::nullopt;
  const std::uint64_t in = at - region->offset;
  return Place{region->address + in, (region->bytes - in) / kPageBytes};
}

}  // namespace writ::backends::microvm::pages
