// What a page server reads from others: a VMM's handshake, the words of owners and runners, a
// stored working set, a leaf table. The first byte says as what the rest is read. Held: a value is
// written as it was read, and regions are whole pages that overlap neither in addresses nor in the
// snapshot.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "writ/backends/microvm/pages/guest_regions.h"
#include "writ/backends/microvm/pages/memory_digest.h"
#include "writ/backends/microvm/pages/words.h"
#include "writ/backends/microvm/pages/working_set.h"

namespace {

using namespace writ::backends::microvm::pages;

constexpr std::uint64_t kMemory = 1u << 20;

void ReadRegions(std::string_view bytes) {
  const auto regions = GuestRegions::Parse(bytes, kMemory);
  if (!regions) return;
  std::uint64_t before = 0;
  for (const GuestRegion& region : regions->list()) {
    if (region.address < before || region.bytes == 0 || region.offset + region.bytes > kMemory)
      std::abort();
    before = region.address + region.bytes;
    for (std::uint64_t at : {std::uint64_t{0}, region.bytes - kPageBytes}) {
      const auto page = regions->PageAt(region.address + at);
      if (!page || *page >= kMemory / kPageBytes) std::abort();
      const auto place = regions->PlaceOf(*page);
      if (!place || place->address != region.address + at) std::abort();
    }
  }
}

void ReadWords(std::string_view bytes) {
  if (auto word = DecodeOwnerWord(bytes); word && Encode(*word) != bytes) std::abort();
  if (auto word = DecodeClonesWord(bytes); word && Encode(*word) != bytes) std::abort();
  if (auto word = DecodeRunnerWord(bytes); word && Encode(*word) != bytes) std::abort();
  if (auto word = DecodeServiceWord(bytes); word && Encode(*word) != bytes) std::abort();
}

// Everything but the check sums, which no fuzzer would guess: they are put right.
void ReadStored(std::string_view bytes) {
  const writ::protocol::Digest root = writ::protocol::Sha256("root");
  const auto raw = [](const writ::protocol::Digest& digest) {
    return std::string(reinterpret_cast<const char*>(digest.bytes().data()), 32);
  };
  std::string set = "writws1\n" + raw(root) + std::string(bytes);
  set += raw(writ::protocol::Sha256(set));
  if (auto read = WorkingSet::Decode(set, root, kMemory)) {
    if (read->Encode(root, kMemory) != set) std::abort();
    for (const WorkingSet::Piece& piece : read->Prefetched())
      for (std::uint64_t i = 0; i < kPiecePages; ++i)
        if ((piece.mask >> i & 1) != 0 && piece.index * kPiecePages + i >= kMemory / kPageBytes)
          std::abort();
  }
  if (auto table = DecodeLeafTable(bytes, root); table) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      ReadRegions(bytes);
      break;
    case 1:
      ReadWords(bytes);
      break;
    default:
      ReadStored(bytes);
  }
  return 0;
}
