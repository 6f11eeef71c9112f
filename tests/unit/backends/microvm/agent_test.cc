// The guest's agent, told by the host's client over a socket pair.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "unit/backends/microvm/guest_on_host.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
namespace microvm = backends::microvm;
using backends::Outcome;
using testing::HasSubstr;

std::string Read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

class GuestAgent : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string why = WhyNoAgent(); !why.empty()) GTEST_SKIP() << why;
  }
  GuestOnHost guest_;
};

TEST_F(GuestAgent, KeepsTheStreamsApartAndTellsTheExitAsItWas) {  // L17, L18
  auto ran = guest_.Run(guest_.Shell("printf 'a\\000b'; printf c >&2; echo $SECRET >&2; exit 7"));
  ASSERT_EQ(ran.lost, "");
  ASSERT_TRUE(ran.ended);
  EXPECT_EQ(ran.out, std::string("a\0b", 3));
  EXPECT_EQ(ran.err, "cs3cret\n");
  EXPECT_EQ(ran.ended->kind, Outcome::Kind::kExited) << ran.ended->reason;
  ASSERT_TRUE(ran.ended->status);
  EXPECT_EQ(ran.ended->status->code, 7);
  EXPECT_THAT(ran.ended->leaks, testing::IsEmpty());
}

TEST_F(GuestAgent, TellsASignalAsASignal) {
  auto ran = guest_.Run(guest_.Shell("kill -SEGV $$"));
  ASSERT_TRUE(ran.ended) << ran.lost;
  EXPECT_EQ(ran.ended->kind, Outcome::Kind::kSignalled);
  ASSERT_TRUE(ran.ended->status);
  EXPECT_TRUE(ran.ended->status->signalled);
  EXPECT_EQ(ran.ended->status->signal, SIGSEGV);
}

TEST_F(GuestAgent, BringsTheChangesOutAndNothingElse) {  // L14
  guest_.WriteBase("kept", "kept");
  guest_.WriteBase("changed", "before");
  guest_.WriteBase("gone", "gone");
  guest_.WriteBase("dir/inside", "inside");
  guest_.WriteBase("emptied/old", "old");
  auto ran = guest_.Run(guest_.Shell(
      "echo after > changed; rm gone; echo new > dir/new; chmod 750 dir/new; ln -s /etc/passwd "
      "link; "
      "mkfifo pipe; rm -r emptied; mkdir emptied; echo e > emptied/new; truncate -s 1000000000 "
      "hole; "
      "printf x >> hole; touch 'odd name\n'; mkdir shut; echo s > shut/in; chmod 0 shut"));
  ASSERT_EQ(ran.lost + ran.changes_error, "");
  const std::string root = guest_.workspace() + "/";
  EXPECT_EQ(Read(root + "kept"), "kept");
  EXPECT_EQ(Read(root + "changed"), "after\n");
  EXPECT_FALSE(fs::exists(root + "gone"));
  EXPECT_EQ(Read(root + "dir/inside"), "inside");
  EXPECT_EQ(Read(root + "dir/new"), "new\n");
  EXPECT_FALSE(fs::exists(root + "emptied/old"));
  EXPECT_EQ(Read(root + "emptied/new"), "e\n");
  EXPECT_EQ(fs::read_symlink(root + "link"), "/etc/passwd");
  EXPECT_TRUE(fs::is_fifo(root + "pipe"));
  EXPECT_TRUE(fs::exists(root + "odd name\n"));
  EXPECT_EQ(Read(root + "shut/in"), "s\n");
  struct stat st {};
  ASSERT_EQ(::lstat((root + "dir/new").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0750u);
  ASSERT_EQ(::lstat((root + "hole").c_str(), &st), 0);
  EXPECT_EQ(st.st_size, 1000000001);
  EXPECT_LT(st.st_blocks, 1024) << "holes are carried as holes";
}

TEST_F(GuestAgent, GivesAFileAllItsNamesOutside) {  // L14
  auto ran = guest_.Run(guest_.Shell(
      "echo a > one; ln one two; mkdir d; ln one d/three; echo b > d/other; ln d/other last; "
      "i=0; while [ $i -lt 200 ]; do echo $i > z$i; ln z$i zz$i; i=$((i+1)); done"));
  ASSERT_EQ(ran.lost + ran.changes_error, "");
  const std::string root = guest_.workspace() + "/";
  EXPECT_EQ(fs::hard_link_count(root + "one"), 3u);
  EXPECT_TRUE(fs::equivalent(root + "two", root + "d/three"));
  EXPECT_TRUE(fs::equivalent(root + "d/other", root + "last"));
  // More than are told at once: nothing is lost of those that come out as files of their own.
  for (int i = 0; i < 200; ++i)
    EXPECT_EQ(Read(root + "zz" + std::to_string(i)), std::to_string(i) + "\n");
}

// What a requester changed lies above the base that all runs share: files and folders that are
// gone, a folder for a file, a file for a folder, an empty folder.
TEST_F(GuestAgent, SeesTheRequestersChangesAboveTheBase) {  // L14
  guest_.WriteBeneath("kept", "kept");
  guest_.WriteBeneath("changed", "before");
  guest_.WriteBeneath("gone", "gone");
  guest_.WriteBeneath("dir/inside", "inside");
  guest_.WriteBeneath("dir/gone", "gone");
  guest_.WriteBeneath("away/file", "file");
  guest_.WriteBeneath("file-then-folder", "file");
  guest_.WriteBeneath("folder-then-file/in", "in");
  guest_.WriteBase("changed", "after");
  guest_.WriteBase("new/file", "new");
  guest_.WriteBase("file-then-folder/in", "folder");
  guest_.WriteBase("folder-then-file", "file");
  for (const char* path : {"gone", "dir/gone", "away"}) guest_.HideBeneath(path);
  auto order = guest_.Shell(
      "find . | LC_ALL=C sort; cat changed file-then-folder/in folder-then-file; "
      "mkdir away; echo w > away/mine; rm kept; echo g > gone; rm -r folder-then-file dir");
  order.on_base = true;
  auto ran = guest_.Run(std::move(order));
  ASSERT_EQ(ran.lost + ran.changes_error, "");
  EXPECT_EQ(ran.out,
            ".\n./changed\n./dir\n./dir/inside\n./file-then-folder\n./file-then-folder/in\n"
            "./folder-then-file\n./kept\n./new\n./new/file\nafterfolderfile")
      << ran.err;
  const std::string root = guest_.workspace() + "/";
  EXPECT_FALSE(fs::exists(root + "kept"));
  EXPECT_EQ(ran.err, "");
  EXPECT_FALSE(fs::exists(root + "dir"));
  EXPECT_FALSE(fs::exists(root + "folder-then-file"));
  EXPECT_EQ(Read(root + "gone"), "g\n");
  EXPECT_EQ(Read(root + "away/mine"), "w\n");
  EXPECT_FALSE(fs::exists(root + "away/file")) << "what the requester has taken away stays so";
}

TEST_F(GuestAgent, RefusesMoreChangesThanMayBeCarriedOut) {
  GuestOnHost::Options options;
  options.limits.bytes = 100'000;
  auto ran = guest_.Run(guest_.Shell("head -c 200000 /dev/zero | tr '\\0' x > big"), options);
  EXPECT_EQ(ran.lost, "");
  EXPECT_THAT(ran.changes_error, HasSubstr("more than may be carried out"));
}

TEST_F(GuestAgent, LosesNothingOfABurst) {  // L18
  auto ran = guest_.Run(guest_.Shell("head -c 4000000 /dev/zero | tr '\\0' y; printf end"));
  ASSERT_EQ(ran.lost, "");
  ASSERT_EQ(ran.out.size(), 4000003u);
  EXPECT_EQ(ran.out.substr(ran.out.size() - 4), "yend");
}

TEST_F(GuestAgent, CancelsWithTheGraceAndEndsTheWholeTree) {  // L16
  GuestOnHost::Options options;
  options.cancel_at_output = true;
  auto ran =
      guest_.Run(guest_.Shell("trap 'echo cleaned; exit 3' TERM; (setsid sleep 600 &); echo up; "
                              "while :; do sleep 0.05; done"),
                 options);
  ASSERT_TRUE(ran.ended) << ran.lost;
  EXPECT_EQ(ran.ended->kind, Outcome::Kind::kCancelled);
  EXPECT_THAT(ran.out, HasSubstr("cleaned"));
  ASSERT_TRUE(ran.ended->status);
  EXPECT_EQ(ran.ended->status->code, 3);
  EXPECT_THAT(ran.ended->leaks, testing::IsEmpty());
}

TEST_F(GuestAgent, ConnectsTheJobToItsProxyAndToNothingElse) {  // L26
  GuestOnHost::Options options;
  options.proxied = true;
  options.echo = "from the proxy\n";
  auto order = guest_.Shell("");
  order.argv = {"/bin/bash", "-c",
                "exec 3<>/dev/tcp/127.0.0.1/3128; cat <&3; "
                "(exec 4<>/dev/tcp/203.0.113.7/443) 2>/dev/null || echo refused"};
  auto ran = guest_.Run(std::move(order), options);
  ASSERT_EQ(ran.lost, "");
  EXPECT_EQ(ran.out, "from the proxy\nrefused\n") << ran.err;
  ASSERT_FALSE(ran.refused.empty());
  EXPECT_EQ(ran.refused.front().address, "203.0.113.7:443");
}

// What is put beside the guest's job: its ends, and what it said at the end of its own output.
struct Beside {
  bool started = false;
  std::optional<microvm::EntryFailed> failed;
  std::optional<ExitStatus> ended;
  UniqueFd in, out, err, sizes;
};

std::shared_ptr<Beside> PutBeside(microvm::GuestClient& client, std::uint64_t id,
                                  backends::launch::EntryRequest request,
                                  std::function<void()> over) {
  auto beside = std::make_shared<Beside>();
  auto in = MakePipe();
  auto out = MakePipe();
  auto err = MakePipe();
  auto sizes = MakeSeqpacketPair();
  if (!in || !out || !err || !sizes) std::abort();
  beside->in = std::move(in->write_end);
  beside->out = std::move(out->read_end);
  beside->err = std::move(err->read_end);
  beside->sizes = std::move(sizes->first);
  ::fcntl(beside->out.get(), F_SETFL, O_NONBLOCK);
  ::fcntl(beside->err.get(), F_SETFL, O_NONBLOCK);
  microvm::GuestEntryFds fds{std::move(in->read_end), std::move(out->write_end), UniqueFd(),
                             UniqueFd()};
  if (request.terminal)
    fds.sizes = std::move(sizes->second);
  else
    fds.err = std::move(err->write_end);
  microvm::GuestEntries::Events events;
  events.on_started = [beside] { beside->started = true; };
  events.on_failed = [beside, over](const microvm::EntryFailed& failed) {
    beside->failed = failed;
    over();
  };
  events.on_ended = [beside, over](const ExitStatus& status) {
    beside->ended = status;
    over();
  };
  Status entered = client.Enter(id, std::move(request), std::move(fds), std::move(events));
  EXPECT_TRUE(entered) << (entered ? "" : entered.error().ToString());
  return beside;
}

std::string Taken(const UniqueFd& fd) {
  std::string out;
  std::array<char, 65536> buffer{};
  for (ssize_t n; (n = ::read(fd.get(), buffer.data(), buffer.size())) > 0;)
    out.append(buffer.data(), static_cast<std::size_t>(n));
  return out;
}

backends::launch::EntryRequest ShellRequest(const std::string& script) {
  backends::launch::EntryRequest request;
  request.argv = {"/bin/sh", "-c", script};
  request.environment = {"PATH=/usr/bin:/bin", "OWN=1"};
  request.cwd = "/workspace";
  return request;
}

TEST_F(GuestAgent, RunsACommandBesideItsJob) {  // L17, L18
  std::shared_ptr<Beside> beside;
  GuestOnHost::Options options;
  options.on_started = [&](microvm::GuestClient& client, microvm::EventLoop&) {
    beside = PutBeside(client, 7,
                       ShellRequest("(sleep 600 &); cat; echo $OWN $SECRET; echo err >&2; exit 42"),
                       [&client] { client.Cancel(); });
    ASSERT_EQ(::write(beside->in.get(), "a\0b", 3), 3);
    beside->in.reset();
  };
  auto order = guest_.Shell("echo up; exec sleep 600");
  order.entries = true;
  auto ran = guest_.Run(std::move(order), options);
  ASSERT_EQ(ran.lost, "");
  ASSERT_TRUE(beside && beside->started && beside->ended);
  EXPECT_EQ(beside->ended->code, 42);
  // All that it had written was there before its end was told, though what it left writes on.
  EXPECT_EQ(Taken(beside->out), std::string("a\0b1\n", 5));
  EXPECT_EQ(Taken(beside->err), "err\n");
  ASSERT_TRUE(ran.ended);
  EXPECT_EQ(ran.ended->kind, Outcome::Kind::kCancelled);
  EXPECT_THAT(ran.ended->leaks, testing::IsEmpty());
}

TEST_F(GuestAgent, PutsNothingBesideAJobThatAcceptsNothing) {  // L4
  std::shared_ptr<Beside> beside;
  GuestOnHost::Options options;
  options.on_started = [&](microvm::GuestClient& client, microvm::EventLoop&) {
    beside = PutBeside(client, 1, ShellRequest("true"), [&client] { client.Cancel(); });
  };
  auto ran = guest_.Run(guest_.Shell("exec sleep 600"), options);
  ASSERT_EQ(ran.lost, "");
  ASSERT_TRUE(beside && beside->failed);
  EXPECT_FALSE(beside->started);
}

TEST_F(GuestAgent, EndsWhatIsBesideItsJobWithASignalAndWithTheJob) {  // L16
  std::shared_ptr<Beside> first, second;
  GuestOnHost::Options options;
  options.on_started = [&](microvm::GuestClient& client, microvm::EventLoop&) {
    // A signal that comes before it runs is kept for it.
    first = PutBeside(client, 1, ShellRequest("sleep 600"), [&client] { client.Cancel(); });
    client.SignalEntry(1, SIGKILL);
    second = PutBeside(client, 2, ShellRequest("trap '' TERM HUP; sleep 600"), [] {});
  };
  auto order = guest_.Shell("exec sleep 600");
  order.entries = true;
  auto ran = guest_.Run(std::move(order), options);
  ASSERT_EQ(ran.lost, "");
  ASSERT_TRUE(first->ended);
  EXPECT_TRUE(first->ended->signalled);
  EXPECT_EQ(first->ended->signal, SIGKILL);
  ASSERT_TRUE(ran.ended);
  EXPECT_THAT(ran.ended->leaks, testing::IsEmpty());
}

TEST_F(GuestAgent, TakesTheTimeAfterAPause) {  // L36
  bool set = false;
  GuestOnHost::Options options;
  options.on_started = [&](microvm::GuestClient& client, microvm::EventLoop&) {
    client.HoldStill([&] {
      client.GoOn([&] {
        set = true;
        client.Cancel();
      });
    });
  };
  auto ran = guest_.Run(guest_.Shell("exec sleep 600"), options);
  EXPECT_EQ(ran.lost, "");
  EXPECT_TRUE(set);
}

TEST_F(GuestAgent, TellsALimitThatWasPassed) {
  auto order = guest_.Shell("i=0; while [ $i -lt 60 ]; do sleep 30 & i=$((i+1)); done; sleep 30");
  order.limits.processes = 20;
  auto ran = guest_.Run(std::move(order));
  ASSERT_TRUE(ran.ended) << ran.lost;
  EXPECT_EQ(ran.ended->kind, Outcome::Kind::kViolated);
  EXPECT_EQ(ran.ended->limit, backends::LimitKind::kProcesses);
}

TEST_F(GuestAgent, AnswersNobodyWithoutTheToken) {
  GuestOnHost::Options options;
  options.agent_token = std::string(64, 'a');
  auto ran = guest_.Run(guest_.Shell("echo ran"), options);
  EXPECT_THAT(ran.lost, HasSubstr("refused /hello"));
  EXPECT_EQ(ran.out, "");
  EXPECT_FALSE(ran.ended);
}

TEST_F(GuestAgent, TellsWhyAJobCannotBePrepared) {
  auto order = guest_.Shell("true");
  order.cwd = "missing";
  auto ran = guest_.Run(std::move(order));
  ASSERT_TRUE(ran.ended) << ran.lost;
  EXPECT_EQ(ran.ended->kind, Outcome::Kind::kSetupFailed);
  EXPECT_THAT(ran.ended->reason, HasSubstr("working directory"));
}

}  // namespace
}  // namespace writ::test
