// The working set: recorded on the first restores, stored, placed ahead of the faults later.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "served_vmm.h"
#include "writ/backends/microvm/pages/working_set.h"
#include "writ/base/file.h"

namespace writ::test {
namespace {

using namespace backends::microvm::pages;

constexpr std::uint64_t kPages = 8192;
constexpr std::uint64_t kTouched = 4096;  // the first half

class WorkingSets : public ::testing::Test {
 protected:
  void SetUp() override {
    WRIT_REQUIRE_USERFAULT();
    BoundTest();
    files_.emplace(kPages, nullptr, ServerUid());
    files_->Seal();
    Restart();
  }
  void Restart() {
    service_.reset();
    auto started = StartPages({.observe = std::chrono::minutes(5)});
    ASSERT_TRUE(started);
    service_.emplace(std::move(started).value());
    ASSERT_TRUE(files_->OpenIn(*service_, 1));
  }
  std::string SetPath() const { return files_->folder() + "/" + kWorkingSetName; }
  WorkingSet Stored() const {
    const auto bytes = ReadFile(SetPath(), kMaxWorkingSetBytes);
    auto set = bytes ? WorkingSet::Decode(*bytes, files_->root(), files_->bytes())
                     : Result<WorkingSet>(bytes.error());
    EXPECT_TRUE(set);
    return set ? *set : WorkingSet();
  }
  // A restore that touches `pages` once all that will be prefetched is there.
  FaultCounters Restore(std::uint64_t pages, std::uint64_t expect_prefetched) {
    auto served = ServeVmm(*service_, 1, {.bytes = files_->bytes()});
    EXPECT_TRUE(served);
    EXPECT_TRUE(Eventually([&] {
      const FaultCounters seen = served->client.ReadCounters().value();
      return seen.prefetched_pages + seen.sampled * kLeafPages >= expect_prefetched;
    }));
    served->vmm.Walk(0, pages * kPageBytes);
    EXPECT_TRUE(served->vmm.TakeAnswer());
    if (pages > 0) {
      EXPECT_EQ(served->vmm.ReadNow(1000, 100), files_->expected().substr(1000, 100));
    }
    served->vmm.Kill();
    return served->client.End().value();
  }
  std::optional<MemoryFiles> files_;
  std::optional<PageService> service_;
};

TEST_F(WorkingSets, AreRecordedStoredAndPlacedAheadOfTheFaults) {
  const FaultCounters first = Restore(kTouched, 0);
  EXPECT_EQ(first.faults, kTouched / kLeafPages);  // one for each leaf, which comes whole
  EXPECT_EQ(first.prefetched_pages, 0u);
  EXPECT_EQ(Stored().recordings(), 1u);
  EXPECT_EQ(Stored().pieces().size(), kTouched / kPiecePages);
  Restart();  // it is on the disk, not in the server
  const FaultCounters second = Restore(kTouched, kTouched);
  EXPECT_EQ(second.prefetched_pages + second.sampled * kLeafPages, kTouched);
  EXPECT_EQ(second.bytes_prefetched, second.prefetched_pages * kPageBytes);
  // The leaves that were left out are all that faulted, and all were touched: no waste.
  EXPECT_EQ(second.faults, second.sampled);
  EXPECT_EQ(second.sampled_touched, second.sampled);
  EXPECT_EQ(PrefetchHits(second), second.sampled == 0 ? 0 : second.prefetched_pages);
  // One that shows nothing, as nothing was left out, is no recording.
  std::uint64_t touched = kTouched;
  for (std::uint64_t i = 1; i < kRecordings && Stored().recordings() < kRecordings; ++i)
    Restore(touched += kLeafPages, kTouched);
  EXPECT_EQ(Stored().recordings(), kRecordings);
  const std::size_t pieces = Stored().pieces().size();
  Restore(touched + 2 * kPiecePages, kTouched);
  EXPECT_EQ(Stored().recordings(), kRecordings);  // no more after that
  EXPECT_EQ(Stored().pieces().size(), pieces);
}

// What waits in a pool shows nothing until it goes on, and one that never does is no recording.
TEST_F(WorkingSets, LearnNothingOfAMachineThatWaits) {
  for (const bool goes_on : {false, true}) {
    auto served = ServeVmm(*service_, 1, {.bytes = files_->bytes()}, std::nullopt, true);
    ASSERT_TRUE(served);
    if (goes_on) {
      ASSERT_TRUE(served->client.GoOn());
      ASSERT_TRUE(served->client.ReadCounters());  // it has been heard
    }
    served->vmm.Walk(0, kTouched * kPageBytes);
    EXPECT_TRUE(served->vmm.TakeAnswer());
    served->vmm.Kill();
    EXPECT_TRUE(served->client.End());
    EXPECT_EQ(::access(SetPath().c_str(), F_OK) == 0, goes_on);
  }
}

TEST_F(WorkingSets, GrowByWhatLaterRestoresTouchBeside) {
  Restore(64, 0);
  Restore(128, 64);
  EXPECT_EQ(Stored().pieces().size(), 2u);
  const FaultCounters third = Restore(128, 128);  // but for what is left out
  EXPECT_EQ(third.prefetched_pages + third.sampled * kLeafPages, 128u);
}

TEST_F(WorkingSets, AreTrimmedWhenWhatTheyPlaceIsNotUsed) {
  Restore(kTouched, 0);
  std::uint64_t placed = Restore(0, kTouched).prefetched_pages;
  const std::uint64_t whole = placed;
  // Some leaves are left out each time: some restores are enough to see it.
  for (int i = 0; i < 20 && placed > whole / 2; ++i)
    placed = Restore(0, Stored().Prefetched().size() * kPiecePages).prefetched_pages;
  EXPECT_LE(placed, whole / 2 + kPiecePages);
}

TEST_F(WorkingSets, ThatAreDamagedAreRecordedAnew) {
  Restore(kTouched, 0);
  std::string bytes = ReadFile(SetPath(), kMaxWorkingSetBytes).value();
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  std::ofstream(SetPath()) << bytes;
  Restart();
  EXPECT_EQ(Restore(kTouched, 0).prefetched_pages, 0u);
  EXPECT_EQ(Stored().recordings(), 1u);
}

// L31: what was removed before it was prefetched stays zero.
TEST_F(WorkingSets, NeverBringBackWhatTheMachineRemoved) {
  Restore(kTouched, 0);
  for (int i = 0; i < 8; ++i) {
    auto served = ServeVmm(*service_, 1, {.bytes = files_->bytes()});
    ASSERT_TRUE(served);
    // Against the prefetch, which is on its way.
    served->vmm.Remove(0, kTouched * kPageBytes);
    ASSERT_TRUE(served->vmm.TakeAnswer());
    for (std::uint64_t page = 0; page < kTouched; page += 37)
      ASSERT_EQ(served->vmm.ReadNow(page * kPageBytes, 16), std::string(16, '\0')) << page;
    ASSERT_EQ(served->vmm.ReadNow(kTouched * kPageBytes, 16),
              files_->expected().substr(kTouched * kPageBytes, 16));
  }
}

}  // namespace
}  // namespace writ::test
