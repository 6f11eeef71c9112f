// The table itself: whole, strict, and the one that the threat model shows.
#include "hostile/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "support/places.h"
#include "writ/base/child.h"
#include "writ/base/file.h"

namespace writ::test {
namespace {

using testing::IsEmpty;

constexpr char kStart[] = "<!-- from tests/hostile/table.txt; WRIT_ACCEPT=1 hostile_test -->\n";
constexpr char kEnd[] = "<!-- end of the table -->\n";

std::set<std::string> Programs(const std::string& program) {
  auto pipe = MakePipe();
  SpawnOptions options;
  options.path = writ::test::BinDir() + "/" + program;
  options.argv = {program, "--list"};
  options.fds = {{pipe->write_end.get(), 1}};
  auto child = Child::Spawn(options);
  pipe->write_end.reset();
  auto text = ReadAll(pipe->read_end.get(), 1u << 20);
  std::istringstream in(text ? *text : "");
  return {std::istream_iterator<std::string>(in), std::istream_iterator<std::string>()};
}

std::string ReadText(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

TEST(HostileTable, IsReadWhole) {
  ASSERT_TRUE(TheTable()) << TheTable().error().ToString();
  EXPECT_EQ(TheTable()->tiers.size(), 3u);
}

TEST(HostileTable, HasARowForEveryAttackAndAnAttackForEveryRow) {
  ASSERT_TRUE(TheTable());
  const std::set<std::string> attacks = Programs("hostile");
  const std::set<std::string> gluttons = Programs("glutton");
  std::set<std::string> rows;
  for (const TableRow& row : TheTable()->rows) rows.insert(row.attack);
  std::vector<std::string> unmatched;
  for (const std::string& attack : attacks)
    if (!rows.contains(attack)) unmatched.push_back("no row: " + attack);
  for (const std::string& row : rows)
    if (!attacks.contains(row) && !gluttons.contains(row)) unmatched.push_back("no attack: " + row);
  EXPECT_GT(attacks.size(), 200u);
  EXPECT_THAT(unmatched, IsEmpty());
}

TEST(HostileTable, TakesNoCellThatIsMissingUnknownOrUnexplained) {
  const std::string head = "tiers process sandbox\n[A]\n";
  const std::string tail = "[Without newer system calls]\nopenat2 holds refuses\n: why\n";
  EXPECT_TRUE(ParseTable(head + "x through refused own - openat2\n" + tail));
  for (const char* row :
       {"x through refused - -\n", "x through refused own other - -\n",
        "x through refused maybe - -\n", "x sometimes refused own - -\n",
        "x cap:everything refused own - -\n", "x through refused own landlock-x -\n",
        "x through refused own - clone9\n", "x through possible own - -\n",
        "x through refused own/ - -\n", "x through refused own/refused/own - -\n",
        "x@somebody through refused own - -\n",
        "x through refused own - -\nx through refused own - -\n"})
    EXPECT_FALSE(ParseTable(head + row + tail)) << row;
  EXPECT_FALSE(ParseTable(head + "x through refused own - -\n"));
  EXPECT_FALSE(ParseTable("[A]\nx through refused own - -\n" + tail));
}

// WRIT_ACCEPT=1 writes the table into the document anew.
TEST(HostileTable, IsTheOneOfTheThreatModel) {
  ASSERT_TRUE(TheTable());
  const std::string path = writ::test::SourceDir() + "/docs/threat-model.md";
  std::string document = ReadText(path);
  const auto start = document.find(kStart);
  const auto end = document.find(kEnd);
  ASSERT_NE(start, std::string::npos);
  ASSERT_NE(end, std::string::npos);
  const auto from = start + sizeof kStart - 1;
  const std::string wanted = TableAsMarkdown(*TheTable());
  if (std::getenv("WRIT_ACCEPT") != nullptr) {
    document.replace(from, end - from, wanted);
    std::ofstream(path) << document;
    return;
  }
  EXPECT_EQ(document.substr(from, end - from), wanted);
}

}  // namespace
}  // namespace writ::test
