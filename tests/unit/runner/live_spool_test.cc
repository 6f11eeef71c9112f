#include "session/live_spool.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <thread>

namespace writ::runner {
namespace {

UniqueFd File() {
  return UniqueFd(memfd_create("spool", MFD_CLOEXEC));
}

TEST(LiveSpool, GivesAnyPieceByItsOffset) {
  LiveSpool spool(File(), 1000);
  spool.Append("hello ");
  spool.Append(std::string_view("w\0rld", 5));
  EXPECT_EQ(spool.size(), 11u);
  EXPECT_EQ(*spool.Read(0, 100), std::string("hello w\0rld", 11));
  EXPECT_EQ(*spool.Read(4, 4), "o w" + std::string(1, '\0'));
  EXPECT_EQ(*spool.Read(11, 100), "");
  EXPECT_EQ(*spool.Read(1'000'000, 100), "");
}

// L18: bounded, and it says so once.
TEST(LiveSpool, EndsAtItsLimitWithOneLine) {
  LiveSpool spool(File(), 8);
  spool.Append("12345");
  spool.Append("6789012345");
  const std::string all = *spool.Read(0, 1000);
  EXPECT_TRUE(all.starts_with("12345678\n[writ: live output ends here")) << all;
  spool.Append("more");
  EXPECT_EQ(*spool.Read(0, 1000), all);
}

// Whoever waits for more than will come is let go.
TEST(LiveSpool, IsNotWaitedForOnceItIsComplete) {
  LiveSpool spool(File(), 1000);
  spool.Append("all");
  std::jthread reader([&spool] { spool.WaitPast(3, std::chrono::hours(24), {}); });
  std::jthread beyond([&spool] { spool.WaitPast(1000, std::chrono::hours(24), {}); });
  spool.Complete();
  reader.join();
  beyond.join();
  EXPECT_EQ(*spool.Read(0, 100), "all");
}

TEST(LiveSpool, EndsQuietlyWhereTheDiskTakesNoMore) {
  UniqueFd full(open("/dev/full", O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(full.valid());
  LiveSpool spool(std::move(full), 1000);
  spool.Append("hello");
  EXPECT_EQ(spool.size(), 0u);
  spool.Append("again");
  EXPECT_EQ(spool.size(), 0u);
}

}  // namespace
}  // namespace writ::runner
