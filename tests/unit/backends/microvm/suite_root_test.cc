#include "writ/backends/microvm/suite_root.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>

#include "writ/backends/image/oci_documents.h"
#include "writ/backends/microvm/build_stage.h"
#include "writ/base/file.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using namespace backends::microvm;

TEST(SuiteRoot, TakesNamesOfSuitesAndPackagesAlone) {
  EXPECT_TRUE(CheckSuite({"bookworm", {"git", "libstdc++6", "python3=3.11.2-1+b1"}, ""}));
  for (const char* suite : {"", "-x", "a b", "../a", "A", "http://x"})
    EXPECT_EQ(CheckSuite({suite, {}, ""}).error().code, "suite.name") << suite;
  for (const char* package : {"", "-x", "a", "a,b", "a b", "?x", "git=", "git=$(x)", "git/sid"})
    EXPECT_EQ(CheckSuite({"bookworm", {package}, ""}).error().code, "suite.package") << package;
}

TEST(SuiteRoot, TakesTheHostsSourcesOfThatSuiteAndItsUpdates) {
  const std::string targets =
      "uri:/a/|bookworm|main\nuri:/a/|bookworm|main\nuri:/a/|bookworm-updates|main\n"
      "uri:/s/|bookworm-security|main\nuri:/a/|bookworm-backports|main\nuri:/a/|trixie|main\n"
      "nonsense\n|\n";
  auto lines = SourcesFor("bookworm", targets);
  ASSERT_TRUE(lines);
  EXPECT_EQ(*lines,
            "deb uri:/a/ bookworm main\ndeb uri:/a/ bookworm-updates main\n"
            "deb uri:/s/ bookworm-security main\n");
  auto none = SourcesFor("book", targets);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, "suite.unknown");
  EXPECT_FALSE(none.error().hint.empty());
}

// What apt of this host knows of packages.
std::set<std::string> Lists() {
  std::set<std::string> out;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator("/var/lib/apt/lists", none))
    out.insert(entry.path().filename());
  return out;
}

// The suite of this host, twice: needs mmdebstrap and its packages' sources in reach.
TEST(SuiteRoot, IsTheSameForTheSamePackages) {
  if (::getenv("WRIT_TEST_SUITE") == nullptr)
    GTEST_SKIP() << "it takes minutes and packages from afar: set WRIT_TEST_SUITE=1";
  if (::access("/usr/bin/mmdebstrap", X_OK) != 0) GTEST_SKIP() << "mmdebstrap is not installed";
  auto stage = BuildStage::Make();
  ASSERT_TRUE(stage);
  const backends::image::ImageStore first(stage->path() + "/1");
  const backends::image::ImageStore second(stage->path() + "/2");
  const SuiteOrder order{"bookworm", {"bsdextrautils"}, ""};
  const std::set<std::string> lists = Lists();
  auto made = ImportSuite(first, order, {});
  if (!made && (made.error().code == "suite.unknown" || made.error().code == "suite.failed" ||
                made.error().code == "suite.no_apt"))
    GTEST_SKIP() << "no packages of bookworm are in reach: " << made.error().ToString();
  ASSERT_TRUE(made) << made.error().ToString();
  EXPECT_EQ(Lists(), lists) << "what is tidied up is the new root's alone";
  auto again = ImportSuite(second, order, {});
  ASSERT_TRUE(again) << again.error().ToString();
  EXPECT_EQ(made->id, again->id);
  EXPECT_EQ(made->tree, again->tree);
  auto held = first.Hold(backends::image::ImageDigestText(made->id));
  ASSERT_TRUE(held);
  EXPECT_TRUE(fs::exists(held->root + "/usr/bin/hexdump"));
  // Nothing of this host: no address that packages came from, no name, no log.
  EXPECT_TRUE(fs::is_empty(held->root + "/etc/apt/sources.list.d"));
  EXPECT_EQ(ReadFile(held->root + "/etc/hostname", 100).value_or(""), "");
  EXPECT_EQ(ReadFile(held->root + "/etc/resolv.conf", 100).value_or(""), "");
  for (const auto& entry : fs::recursive_directory_iterator(held->root + "/var/log"))
    EXPECT_FALSE(entry.is_regular_file()) << entry.path();
}

}  // namespace
}  // namespace writ::test
