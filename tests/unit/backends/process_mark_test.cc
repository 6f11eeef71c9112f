// A process that was written down is found again, and nobody else in its place (L38).
#include "writ/backends/linux/process_mark.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "writ/base/child.h"

namespace writ::backends {
namespace {

Child Sleeper() {
  SpawnOptions options;
  options.path = "/bin/sleep";
  options.argv = {"sleep", "600"};
  return Child::Spawn(options).value();
}

TEST(ProcessMark, KillsTheProcessThatWasWrittenDown) {
  Child child = Sleeper();
  auto mark = ProcessMark::Parse(ProcessMark::Of(child.pid())->Text());
  ASSERT_TRUE(mark);
  EXPECT_TRUE(KillMarked(*mark));
  auto status = child.Wait(std::chrono::seconds(10));
  ASSERT_TRUE(status && *status);
  EXPECT_EQ((*status)->signal, SIGKILL);
  EXPECT_FALSE(KillMarked(*mark));  // gone
  EXPECT_FALSE(ProcessMark::Of(child.pid()));
}

TEST(ProcessMark, LeavesAProcessAloneThatOnlyHasThePidNow) {
  Child child = Sleeper();
  ProcessMark mark = *ProcessMark::Of(child.pid());
  ProcessMark earlier = mark, other_boot = mark;
  --earlier.start_ticks;
  other_boot.boot_id = "00000000-0000-0000-0000-000000000000";
  EXPECT_FALSE(KillMarked(earlier));
  EXPECT_FALSE(KillMarked(other_boot));
  EXPECT_TRUE(child.running());
  EXPECT_FALSE(*child.Wait(std::chrono::milliseconds(0)));
}

TEST(ProcessMark, TakesNoTextThatIsNone) {
  for (const char* text : {"", "1", "0 5 boot", "-7 5 boot", "1 5 boot", "77 0 boot", "77 5",
                           "77 5 boot more", "x 5 boot"})
    EXPECT_FALSE(ProcessMark::Parse(text)) << text;
}

}  // namespace
}  // namespace writ::backends
