// The table itself: whole, strict, and the one that the threat model shows.
#include "hostile/table.h"

#include "hostile/host_paths.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "support/places.h"
#include "writ/base/child.h"
#include "writ/base/file.h"
#include "writ/base/unique_fd.h"

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
  EXPECT_EQ(TheTable()->tiers.size(), 6u);
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
       {"x through refused - -\n", "x through refused untried - -\n",
        "x through refused lacking - -\n", "x through refused lost - -\n",
        "x through refused own other - -\n", "x through refused maybe - -\n",
        "x sometimes refused own - -\n", "x cap:everything refused own - -\n",
        "x through refused own landlock-x -\n", "x through refused own - clone9\n",
        "x through possible own - -\n", "x through refused refused/- - -\n",
        "x through refused own - openat2:possible\n", "x through refused -/refused - -\n: why\n",
        "x through refused own/ - -\n", "x through refused own/refused/own - -\n",
        "x@somebody through refused own - -\n",
        "x through refused own - -\nx through refused own - -\n"})
    EXPECT_FALSE(ParseTable(head + row + tail)) << row;
  EXPECT_FALSE(ParseTable(head + "x through refused own - -\n"));
  EXPECT_FALSE(ParseTable("[A]\nx through refused own - -\n" + tail));
}

// In the tiers with namespaces: what host_in_reach cannot put within reach there, and nothing else.
// In the process tier hostile_test shows under host_in_reach that each such cell gets through.
TEST(HostileTable, LeavesUntriedInMachinesOnlyWhatHasAReason) {
  const std::string head = "tiers process microvm microvm_root\n[A]\n";
  const std::string gluttons = "x through refused refused own - -\n[Too much of it]\n";
  const std::string tail = "[Without newer system calls]\nopenat2 holds\n: why\n";
  EXPECT_TRUE(ParseTable(head + "x@supervisor through refused refused untried - -\n" + tail));
  EXPECT_TRUE(ParseTable(head + gluttons + "y through own untried untried slow -\n" + tail));
  for (const std::string& rows : {std::string("x through refused untried own - -\n"),
                                  std::string("x through refused refused untried - -\n"),
                                  std::string("x through untried refused own - -\n"),
                                  std::string("x@supervisor through refused untried untried - -\n"),
                                  gluttons + "y through own untried untried - -\n",
                                  gluttons + "y through untried own own slow -\n"})
    EXPECT_FALSE(ParseTable(head + rows + tail)) << rows;
}

TEST(HostileTable, LeavesUnmeasuredOnlyWhatCannotBePutWithinReach) {
  ASSERT_TRUE(TheTable());
  for (const TableRow& row : TheTable()->rows) {
    const bool stand_in = row.guard_off == GuardOff::kStandIn;
    const std::vector<std::string> paths =
        stand_in ? HostPathsOf(row.attack) : std::vector<std::string>();
    EXPECT_EQ(stand_in, !paths.empty()) << row.name;
    const bool kept = stand_in && std::all_of(paths.begin(), paths.end(), IsBelowProc);
    for (std::size_t tier = 0; tier < row.cells.size(); ++tier) {
      if (IsOfMachines(TheTable()->tiers[tier])) continue;  // the files are the guest's
      const bool unmeasured = row.cells[tier].with_user.kind == Expected::Kind::kUnmeasured;
      if (tier > 0) {
        EXPECT_EQ(unmeasured, kept) << row.name << " in " << TheTable()->tiers[tier];
      } else {
        EXPECT_TRUE(stand_in || !unmeasured) << row.name;
      }
    }
  }
}

int EndOfAttack(const std::string& attack, int port) {
  SpawnOptions options;
  options.path = writ::test::BinDir() + "/hostile";
  options.argv = {"hostile"};
  if (::geteuid() == 0) options.argv.insert(options.argv.end(), {"--as", "65534", "65534"});
  options.argv.push_back(attack);
  options.env = {"TCP_PORT=" + std::to_string(port)};
  auto child = Child::Spawn(options);
  auto status = child ? child->Wait(std::chrono::seconds(60)) : std::move(child).error();
  return status && *status ? (*status)->ShellCode() : -1;
}

// "refused" in a cell is a refusal at once: an attempt that nobody answers ends in another way
// (L25).
TEST(HostileTable, CallsNothingRefusedThatIsLeftWaiting) {
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&at), &size), 0);
  const int port = ntohs(at.sin_port);
  for (const char* attack : {"tcp-other-port", "tcp-nonblocking"})
    EXPECT_EQ(EndOfAttack(attack, port), 1) << attack;
  // A full queue: the kernel drops what comes, as a host does that is not there.
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  std::vector<UniqueFd> waiting;
  for (int i = 0; i < 4; ++i) {
    waiting.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    (void)::connect(waiting.back().get(), reinterpret_cast<sockaddr*>(&at), sizeof at);
  }
  for (const char* attack : {"tcp-other-port", "tcp-nonblocking"})
    EXPECT_EQ(EndOfAttack(attack, port), 4) << attack;
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
