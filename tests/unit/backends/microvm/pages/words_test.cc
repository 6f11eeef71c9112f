#include "writ/backends/microvm/pages/words.h"

#include <gtest/gtest.h>

#include "writ/backends/microvm/pages/guest_regions.h"
#include "writ/backends/microvm/pages/working_set.h"

namespace writ::test {
namespace {

using namespace backends::microvm::pages;

constexpr std::uint64_t kMemory = 1u << 20;

std::string Region(std::uint64_t address, std::uint64_t size, std::uint64_t offset,
                   std::uint64_t page_size = 4096) {
  return "{\"base_host_virt_addr\":" + std::to_string(address) +
         ",\"size\":" + std::to_string(size) + ",\"offset\":" + std::to_string(offset) +
         ",\"page_size\":" + std::to_string(page_size) + "}";
}

TEST(PageServerWords, ComeBackAsTheyWere) {
  FaultCounters counters;
  counters.faults = 7;
  counters.latency[3] = 9;
  for (const ClonesWord& word :
       {ClonesWord(Ready{}), ClonesWord(Attached{12, 2, 1u << 30}),
        ClonesWord(Failed{ErrorKind::kIntegrity, "pages.leaf", "no"}),
        ClonesWord(Counters{counters}), ClonesWord(Over{true, counters})}) {
    const auto read = DecodeClonesWord(Encode(word));
    ASSERT_TRUE(read);
    EXPECT_EQ(read->index(), word.index());
    EXPECT_EQ(Encode(*read), Encode(word));
  }
  const auto serve = DecodeOwnerWord(Encode(OwnerWord(Serve{Serve::By::kListener, 3})));
  ASSERT_TRUE(serve);
  EXPECT_EQ(std::get<Serve>(*serve).cpu, 3u);
  EXPECT_FALSE(DecodeOwnerWord(Encode(OwnerWord(AskCounters{})) + "x"));
  EXPECT_FALSE(DecodeOwnerWord(""));
}

TEST(GuestRegions, FindAPageByItsAddressAndTheOtherWayRound) {
  const auto regions = GuestRegions::Parse(
      "[" + Region(0x10000000, 0x8000, 0x4000) + "," + Region(0x7000000, 0x4000, 0) + "]", kMemory);
  ASSERT_TRUE(regions) << regions.error().ToString();
  EXPECT_EQ(regions->PageAt(0x7000000), 0u);
  EXPECT_EQ(regions->PageAt(0x10001000), 5u);
  EXPECT_EQ(regions->PageAt(0x7004000), std::nullopt);
  EXPECT_EQ(regions->PageAt(0x10008000), std::nullopt);
  EXPECT_EQ(regions->PageAt(0), std::nullopt);
  EXPECT_EQ(regions->PlaceOf(3)->address, 0x7003000u);
  EXPECT_EQ(regions->PlaceOf(3)->pages, 1u);
  EXPECT_EQ(regions->PlaceOf(4)->address, 0x10000000u);
  EXPECT_FALSE(regions->PlaceOf(12));
  EXPECT_EQ(regions->bytes(), 0xc000u);
}

// L32: an untrusted VMM's words, checked at both ends.
TEST(GuestRegions, RefuseWhatIsNotPlainlyGuestMemory) {
  const std::string good = Region(0x10000, 0x4000, 0);
  EXPECT_TRUE(GuestRegions::Parse("[" + good + "]", kMemory));
  std::string many = "[" + good;
  for (int i = 1; i <= 64; ++i)
    many += "," + Region(0x10000u + 0x4000u * static_cast<unsigned>(i), 0x1000,
                         0x4000u + 0x1000u * static_cast<unsigned>(i));
  const std::string refused[] = {
      "",
      "{}",
      "[]",
      "[" + good,
      "[" + good + "]x",
      "[" + good + "," + good + "]",                             // twice the same
      "[" + good + "," + Region(0x13000, 0x1000, 0x8000) + "]",  // addresses overlap
      "[" + good + "," + Region(0x20000, 0x1000, 0x3000) + "]",  // offsets overlap
      "[" + Region(0x10001, 0x1000, 0) + "]",                    // not whole pages
      "[" + Region(0x10000, 0x1001, 0) + "]",
      "[" + Region(0x10000, 0x1000, 1) + "]",
      "[" + Region(0x10000, 0, 0) + "]",
      "[" + Region(0, 0x1000, 0) + "]",
      "[" + Region(0x10000, kMemory + 4096, 0) + "]",  // past the snapshot
      "[" + Region(0x10000, 0x1000, kMemory) + "]",
      "[" + Region(0x10000, 0x2000, kMemory - 0x1000) + "]",
      "[" + Region((1ull << 47) - 4096, 0x2000, 0) + "]",  // past all addresses
      "[" + Region(9007199254736896, 0x1000, 0) + "]",
      "[{\"base_host_virt_addr\":18446744073709547520,\"size\":8192,\"offset\":0,\"page_size\":"
      "4096}]",
      "[{\"base_host_virt_addr\":65536,\"size\":-4096,\"offset\":0,\"page_size\":4096}]",
      "[{\"base_host_virt_addr\":65536.5,\"size\":4096,\"offset\":0,\"page_size\":4096}]",
      "[{\"base_host_virt_addr\":65536,\"size\":4096,\"offset\":0}]",
      "[{\"base_host_virt_addr\":65536,\"size\":4096,\"size\":4096,\"offset\":0,\"page_size\":4096}"
      "]",
      "[{\"base_host_virt_addr\":65536,\"size\":4096,\"offset\":0,\"page_size\":4096,\"fd\":3}]",
      "[{\"base_host_virt_addr\":65536,\"size\":4096,\"offset\":0,\"page_size\":4096,\"page_size_"
      "kib\":4}]",
      "[[[[1]]]]",
      many + "]",
  };
  for (const std::string& words : refused)
    EXPECT_FALSE(GuestRegions::Parse(words, kMemory)) << words;
  const auto huge =
      GuestRegions::Parse("[" + Region(0x200000, 0x200000, 0, 2u << 20) + "]", 2u << 20);
  ASSERT_FALSE(huge);
  EXPECT_EQ(huge.error().kind, ErrorKind::kUnsupported);
  EXPECT_EQ(huge.error().code, "pages.page_size");
}

TEST(WorkingSet, KeepsTheOrderOfFirstTouchAndSurvivesItsFile) {
  WorkingSet set;
  const std::uint32_t first[] = {200, 201, 5, 202};
  const std::uint32_t second[] = {6, 1000, 5};
  set.AddRecording(first);
  set.AddRecording(second);
  ASSERT_EQ(set.pieces().size(), 3u);
  EXPECT_EQ(set.pieces()[0].index, 200u / 64);
  EXPECT_EQ(set.pieces()[0].mask, 7ull << (200 % 64));
  EXPECT_EQ(set.pieces()[1].index, 0u);
  EXPECT_EQ(set.pieces()[1].mask, 3ull << 5);
  const protocol::Digest root = protocol::Sha256("root");
  const std::string bytes = set.Encode(root, 1024 * 4096);
  const auto read = WorkingSet::Decode(bytes, root, 1024 * 4096);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->Encode(root, 1024 * 4096), bytes);
  EXPECT_EQ(read->recordings(), 2u);
  // Of another snapshot, of another size, damaged anywhere, or cut.
  EXPECT_FALSE(WorkingSet::Decode(bytes, protocol::Sha256("other"), 1024 * 4096));
  EXPECT_FALSE(WorkingSet::Decode(bytes, root, 512 * 4096));
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string bad = bytes;
    bad[at] = static_cast<char>(bad[at] ^ 4);
    ASSERT_FALSE(WorkingSet::Decode(bad, root, 1024 * 4096)) << at;
    ASSERT_FALSE(WorkingSet::Decode(bytes.substr(0, at), root, 1024 * 4096)) << at;
  }
}

TEST(WorkingSet, IsTrimmedWhileItsWasteIsHigh) {
  WorkingSet set;
  std::vector<std::uint32_t> pages;
  for (std::uint32_t page = 0; page < 64 * 64; ++page) pages.push_back(page);
  set.AddRecording(pages);
  EXPECT_EQ(set.Prefetched().size(), 64u);
  EXPECT_FALSE(set.Adapt(4, 0));  // too few to tell
  EXPECT_TRUE(set.Adapt(4, 0));   // together with those
  EXPECT_EQ(set.Prefetched().size(), 32u);
  EXPECT_EQ(set.Prefetched()[0].index, 0u);  // what is touched first stays
  for (int i = 0; i < 10; ++i) set.Adapt(100, 0);
  EXPECT_EQ(set.Prefetched().size(), 4u);
  EXPECT_FALSE(set.Adapt(10, 7));
  for (int i = 0; i < 10; ++i) set.Adapt(10, 10);
  EXPECT_EQ(set.Prefetched().size(), 64u);
}

}  // namespace
}  // namespace writ::test
