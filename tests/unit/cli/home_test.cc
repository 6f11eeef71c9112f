#include "home.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "context.h"
#include "duration.h"

namespace writ::cli {
namespace {

TEST(StateDirectory, IsTheOneThatALinkLeadsTo) {
  std::string place = "/var/tmp/writ-link-XXXXXX";
  ASSERT_NE(::mkdtemp(place.data()), nullptr);
  std::filesystem::create_directory(place + "/moved");
  std::filesystem::create_directory_symlink(place + "/moved", place + "/home");
  EXPECT_EQ(RealDir(place + "/home"), place + "/moved");
  EXPECT_EQ(RealDir(place + "/home/./not/there"), place + "/moved/not/there");
  ::setenv("WRIT_DIR", (place + "/home/state").c_str(), 1);
  EXPECT_EQ(DefaultDir().value(), place + "/moved/state");
  ::unsetenv("WRIT_DIR");
  std::filesystem::remove_all(place);
}

TEST(StateDirectory, OneThatMayNotBeReadIsNotOneThatIsNotThere) {
  for (const int errno_value : {EACCES, EPERM}) {
    Error found{ErrorKind::kNotFound, "plane.not_initialized", "there is none", "run writ init"};
    found.sys_errno = errno_value;
    const Error said = ExplainDirError(found, "/srv/writ");
    EXPECT_EQ(said.code, "cli.dir_unreadable");
    EXPECT_EQ(ExitCodeFor(said), kUsage);
    EXPECT_NE(said.ToString().find("/srv/writ"), std::string::npos);
    EXPECT_EQ(said.hint.find("init"), std::string::npos) << said.hint;
  }
  const Error missing = ExplainDirError(
      Error{ErrorKind::kNotFound, "plane.not_initialized", "there is none", ""}, "/srv/writ");
  EXPECT_EQ(missing.code, "plane.not_initialized");
  EXPECT_NE(missing.hint.find("writ init"), std::string::npos);
  const Error other{ErrorKind::kIntegrity, "plane.key_mismatch", "two keys", "look"};
  EXPECT_EQ(ExplainDirError(other, "/srv/writ").ToString(), other.ToString());
}

TEST(ExitCodes, AFullDiskIsNeitherBadInputNorAPlaneOutOfReach) {
  for (const char* code : {"workspace.disk_full", "workspace.cache_unwritable", "plane.blob"}) {
    Error error{ErrorKind::kUnavailable, code, "there is no room", "make room on the disk"};
    error.sys_errno = ENOSPC;
    EXPECT_EQ(ExitCodeFor(error), kFailed) << code;
  }
}

TEST(ShellWord, IsOneWordWhateverItHolds) {
  EXPECT_EQ(ShellWord("run_12-ab"), "run_12-ab");
  EXPECT_EQ(ShellWord("/srv/my state"), "'/srv/my state'");
  EXPECT_EQ(ShellWord(""), "''");
  EXPECT_EQ(ShellWord("$(id)"), "'$(id)'");
  EXPECT_EQ(ShellWord("it's;id"), "'it'\\''s;id'");
  EXPECT_EQ(ShellWord("~root"), "'~root'");
}

TEST(Durations, WholeMinutesHaveNoSeconds) {
  using namespace std::chrono_literals;
  EXPECT_EQ(FormatDuration(5min), "5 min");
  EXPECT_EQ(FormatDuration(200s), "3 min 20 s");
}

}  // namespace
}  // namespace writ::cli
