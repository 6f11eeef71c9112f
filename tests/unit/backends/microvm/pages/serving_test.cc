// A page server and machines that it serves: what a guest sees, and what happens when one of the
// three - server, machine, owner - goes. Every machine here is a process of its own.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <fstream>
#include <string>
#include <vector>

#include "served_vmm.h"
#include "writ/base/unix_socket.h"

namespace writ::test {
namespace {

using namespace backends::microvm::pages;

constexpr std::uint64_t kPages = 256;
constexpr std::uint64_t kLeaves = kPages / kLeafPages;

bool EveryThird(std::uint64_t page) {
  return page % 3 == 0 || (page >= 64 && page < 96);
}

class PageServing : public ::testing::Test {
 protected:
  void SetUp() override {
    WRIT_REQUIRE_USERFAULT();
    BoundTest();
    auto started = StartPages();
    ASSERT_TRUE(started) << started.error().ToString();
    service_.emplace(std::move(started).value());
  }
  void Open(MemoryFiles& files) {
    files.Seal();
    auto opened = files.OpenIn(*service_, 1);
    ASSERT_TRUE(opened) << opened.error().ToString();
  }
  ServedVmm Clone(const TestVmmOptions& options) {
    auto served = ServeVmm(*service_, 1, options);
    if (!served) {
      ADD_FAILURE() << served.error().ToString();
      std::abort();
    }
    return std::move(served).value();
  }
  std::optional<PageService> service_;
};

TEST_F(PageServing, GivesEveryPageAsTheSnapshotHasIt) {
  MemoryFiles files(kPages, EveryThird);
  Open(files);
  ServedVmm clone = Clone({.bytes = files.bytes()});
  EXPECT_TRUE(clone.vmm.ReadNow(0, files.bytes() / 2) ==
              files.expected().substr(0, files.bytes() / 2));
  // Writing stays the machine's own, before and after the page came.
  clone.vmm.Write(files.bytes() - 4096, "written");
  clone.vmm.TakeAnswer();
  EXPECT_EQ(clone.vmm.ReadNow(files.bytes() - 4096, 7), "written");
  EXPECT_EQ(clone.vmm.ReadNow(files.bytes() - 4089, 8),
            files.expected().substr(files.bytes() - 4089, 8));
  const auto counters = clone.client.ReadCounters();
  ASSERT_TRUE(counters);
  EXPECT_GT(counters->faults, 0u);
  EXPECT_GT(counters->bytes_zero, 0u);
  EXPECT_GT(counters->bytes_file, 0u);
  std::uint64_t timed = 0;
  for (std::uint64_t count : counters->latency) timed += count;
  EXPECT_EQ(timed, counters->faults);
  clone.vmm.Kill();
  ServedVmm other = Clone({.bytes = files.bytes()});
  EXPECT_EQ(other.vmm.ReadNow(files.bytes() - 4096, 4096),
            files.expected().substr(files.bytes() - 4096));
}

// Firecracker's way: the machine connects to a listener. As root and as an ordinary user, whose
// userfaultfd comes from a descriptor of the device.
TEST_F(PageServing, ServesAMachineThatConnectsWhoeverItRunsAs) {
  MemoryFiles files(kPages, EveryThird);
  Open(files);
  // The sockets lie there too: whoever the machine runs as has to get to its own.
  ASSERT_EQ(::chmod(files.folder().c_str(), 0711), 0);
  for (const bool ordinary : {false, true}) {
    if (ordinary && ::geteuid() != 0) continue;
    auto vmm = TestVmm::Start(
        {.bytes = files.bytes(), .uid = ordinary ? kNobody : 0, .by_device = ordinary});
    ASSERT_TRUE(vmm) << vmm.error().ToString();
    const std::string path = files.folder() + "/faults" + std::to_string(ordinary);
    auto listener = ListenAtUnixPath(path, 0666);
    ASSERT_TRUE(listener);
    auto control = AddClone(*service_, 1, ordinary ? kNobody : ::geteuid());
    ASSERT_TRUE(control);
    PageClient client(std::move(control).value());
    ASSERT_TRUE(client.Serve({Serve::By::kListener, std::nullopt}, listener->get()));
    listener->reset();
    vmm->ConnectTo(path);
    const auto word = client.Receive();
    ASSERT_TRUE(word);
    ASSERT_TRUE(std::holds_alternative<Attached>(*word));
    EXPECT_EQ(std::get<Attached>(*word).pid, static_cast<std::uint64_t>(vmm->pid()));
    EXPECT_EQ(std::get<Attached>(*word).ram_bytes, files.bytes());
    for (std::uint64_t at = 0; at < files.bytes(); at += kLeafBytes)
      ASSERT_TRUE(vmm->ReadNow(at, kLeafBytes) == files.expected().substr(at, kLeafBytes));
    // Nobody else can connect there any more: the socket is the two's.
    EXPECT_FALSE(ConnectToUnixPath(path));
  }
}

// L31
TEST_F(PageServing, GivesZerosForWhatTheMachineRemoved) {
  MemoryFiles files(kPages);
  Open(files);
  ServedVmm clone = Clone({.bytes = files.bytes()});
  const std::string zeros(kLeafBytes, '\0');
  ASSERT_EQ(clone.vmm.ReadNow(0, 100), files.expected().substr(0, 100));
  clone.vmm.Remove(0, kLeafBytes);  // with pages that were never touched
  clone.vmm.TakeAnswer();
  EXPECT_TRUE(clone.vmm.ReadNow(0, kLeafBytes) == zeros);
  EXPECT_TRUE(clone.vmm.ReadNow(kLeafBytes, kLeafBytes) ==
              files.expected().substr(kLeafBytes, kLeafBytes));
  EXPECT_EQ(clone.client.ReadCounters()->removed_pages, kLeafPages);
  // And again, by a write this time.
  clone.vmm.Remove(0, kLeafBytes);
  clone.vmm.TakeAnswer();
  clone.vmm.Write(5, "new");
  clone.vmm.TakeAnswer();
  EXPECT_EQ(clone.vmm.ReadNow(0, 10), std::string("\0\0\0\0\0new\0\0", 10));
}

// L31: a machine that does not tell of it.
TEST_F(PageServing, NeverGivesAPageOfTheSnapshotTwice) {
  MemoryFiles files(kPages);
  Open(files);
  ServedVmm clone = Clone({.bytes = files.bytes(), .features = 0});
  ASSERT_EQ(clone.vmm.ReadNow(4096, 100), files.expected().substr(4096, 100));
  clone.vmm.Remove(4096, 4096);
  clone.vmm.TakeAnswer();
  EXPECT_EQ(clone.vmm.ReadNow(4096, 100), std::string(100, '\0'));
}

// L32: EAGAIN while memory is being removed, EEXIST, partial copies; every reader gets on, with
// the snapshot's page or zeros, and afterwards all that was removed is zero.
TEST_F(PageServing, CopesWithMemoryThatIsRemovedWhileItFaults) {
  MemoryFiles files(kPages);
  Open(files);
  ServedVmm clone = Clone({.bytes = files.bytes()});
  constexpr std::uint64_t kReaders = 24;
  clone.vmm.RemoveAgainAndAgain(0, files.bytes() / 2, 300);
  for (std::uint64_t i = 0; i < kReaders; ++i) clone.vmm.Read((i % 8) * kLeafBytes, kLeafBytes);
  for (std::uint64_t i = 0; i < kReaders + 1; ++i) {
    const auto answer = clone.vmm.TakeAnswer();
    ASSERT_TRUE(answer);
    if (*answer == "done") continue;
    ASSERT_EQ(answer->size(), kLeafBytes);
    const char first = (*answer)[0];
    EXPECT_TRUE(first == '\0' || first == 'p') << first;
  }
  EXPECT_TRUE(clone.vmm.ReadNow(0, kLeafBytes) == std::string(kLeafBytes, '\0'));
  const std::uint64_t kept = files.bytes() / 2;
  EXPECT_TRUE(clone.vmm.ReadNow(kept, kLeafBytes) == files.expected().substr(kept, kLeafBytes));
}

// L32: many threads that fault on one page are all woken.
TEST_F(PageServing, WakesAllWhoWaitForOnePage) {
  MemoryFiles files(kPages);
  Open(files);
  ServedVmm clone = Clone({.bytes = files.bytes()});
  constexpr int kReaders = 64;
  for (int i = 0; i < kReaders; ++i) clone.vmm.Read(3 * 4096, 50);
  for (int i = 0; i < kReaders; ++i)
    ASSERT_EQ(clone.vmm.TakeAnswer(), files.expected().substr(3 * 4096, 50));
}

// L30: the byte never reaches a guest; whoever waits for it waits until its VM is killed.
TEST_F(PageServing, FailsTheMachineThatWouldGetAFlippedByte) {
  MemoryFiles files(kPages);
  Open(files);
  files.FlipByte(5 * kLeafBytes + 4096 * 3 + 77, files.base());
  ServedVmm clone = Clone({.bytes = files.bytes()});
  ServedVmm other = Clone({.bytes = files.bytes()});
  EXPECT_EQ(clone.vmm.ReadNow(0, 100), files.expected().substr(0, 100));
  clone.vmm.Read(5 * kLeafBytes, 100);  // another page of that leaf
  const Failed failed = TakeFailed(clone.client);
  EXPECT_EQ(failed.kind, ErrorKind::kIntegrity);
  EXPECT_EQ(failed.code, "pages.leaf");
  clone.vmm.AwaitBlocked(1);
  EXPECT_FALSE(clone.vmm.HasAnswer());
  // No further machine is started from it.
  EXPECT_EQ(service_->AddClone(1, 0).error().kind, ErrorKind::kIntegrity);
  // The other machine has not met it, and lives on.
  EXPECT_EQ(other.vmm.ReadNow(6 * kLeafBytes, 100), files.expected().substr(6 * kLeafBytes, 100));
  clone.vmm.AwaitBlocked(1);
  EXPECT_FALSE(clone.vmm.HasAnswer());
}

// "When it dies its VMs die with a reason, never hang, never read zeros" (L32, L37).
TEST_F(PageServing, IsMissedByTheOwnerAndLeavesNoZerosWhenItIsKilled) {
  MemoryFiles files(kPages);
  Open(files);
  ServedVmm clone = Clone({.bytes = files.bytes()});
  ASSERT_EQ(clone.vmm.ReadNow(0, 100), files.expected().substr(0, 100));
  ASSERT_TRUE(service_->process().Signal(SIGKILL));
  const auto word = clone.client.Receive();
  ASSERT_FALSE(word);
  EXPECT_EQ(word.error().code, "pages.lost");
  clone.vmm.Read(9 * kLeafBytes, 100);
  clone.vmm.AwaitBlocked(1);
  EXPECT_FALSE(clone.vmm.HasAnswer());
  clone.vmm.Kill();  // what an owner does; a blocked machine can be killed
}

TEST_F(PageServing, TellsTheOwnerWhenTheMachineHasEnded) {
  MemoryFiles files(kPages);
  Open(files);
  ServedVmm clone = Clone({.bytes = files.bytes()});
  ASSERT_EQ(clone.vmm.ReadNow(0, 100), files.expected().substr(0, 100));
  clone.vmm.Kill();
  const auto word = clone.client.Receive();
  ASSERT_TRUE(word && std::holds_alternative<Over>(*word));
  EXPECT_TRUE(std::get<Over>(*word).vmm_ended);
  EXPECT_GT(std::get<Over>(*word).counters.faults, 0u);
}

// L32: it lives exactly as long as its VM.
TEST_F(PageServing, ForgetsACloneWhoseOwnerHasGone) {
  auto one = StartPages({.clones = 1});
  ASSERT_TRUE(one);
  service_.emplace(std::move(one).value());
  MemoryFiles files(kPages);
  Open(files);
  for (int i = 0; i < 3; ++i) {
    // Over says that a clone is forgotten; nothing tells when that of a dead owner is.
    std::optional<Result<ServedVmm>> served;
    EXPECT_TRUE(Eventually([&] {
      served.emplace(ServeVmm(*service_, 1, {.bytes = files.bytes()}));
      return i < 2 || *served || served->error().kind != ErrorKind::kOverloaded;
    }));
    ASSERT_TRUE(*served) << served->error().ToString();
    ServedVmm& clone = **served;
    EXPECT_EQ(service_->AddClone(1, 0).error().kind, ErrorKind::kOverloaded);
    ASSERT_EQ(clone.vmm.ReadNow(0, 100), files.expected().substr(0, 100));
    if (i == 1) continue;  // the owner dies with its machine
    clone.vmm.Kill();
    ASSERT_TRUE(clone.client.End());
  }
}

TEST_F(PageServing, RefusesMemoryThatIsForkedOrMoved) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may ask to be told of forks";
  MemoryFiles files(kPages);
  Open(files);
  ServedVmm clone = Clone(
      {.bytes = files.bytes(), .features = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMOVE});
  clone.vmm.Fork();
  EXPECT_EQ(TakeFailed(clone.client).code, "pages.fork");
}

TEST_F(PageServing, CopesWithMemoryThatIsUnmapped) {
  MemoryFiles files(kPages);
  Open(files);
  ServedVmm clone = Clone(
      {.bytes = files.bytes(), .features = UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMOVE});
  clone.vmm.Unmap(0, kLeafBytes);
  ASSERT_EQ(clone.vmm.TakeAnswer(), "done");
  EXPECT_EQ(clone.vmm.ReadNow(kLeafBytes, 100), files.expected().substr(kLeafBytes, 100));
}

TEST_F(PageServing, ServesAMachineWhoseDescriptorBlocks) {
  MemoryFiles files(kPages);
  Open(files);
  ServedVmm clone = Clone({.bytes = files.bytes(), .blocking = true});
  ASSERT_EQ(clone.vmm.ReadNow(0, 100), files.expected().substr(0, 100));
  clone.vmm.Kill();
  EXPECT_TRUE(clone.client.End());
}

// L31: a differential snapshot.
TEST_F(PageServing, TakesEachPageFromTheTopmostLayer) {
  MemoryFiles files(kPages, EveryThird);
  files.AddOverlay({1, 2, 3, 70}, {4, 5}, 1);
  files.AddOverlay({2, 5, 200}, {70, 1}, 2);
  Open(files);
  ServedVmm clone = Clone({.bytes = files.bytes()});
  for (std::uint64_t at = 0; at < files.bytes(); at += kLeafBytes)
    ASSERT_TRUE(clone.vmm.ReadNow(at, kLeafBytes) == files.expected().substr(at, kLeafBytes)) << at;
}

// L35: all at once; one mapping of the file, each leaf hashed once.
TEST_F(PageServing, ServesSixteenClonesOfOneFileAtOnce) {
  MemoryFiles files(kPages, EveryThird);
  Open(files);
  std::vector<ServedVmm> clones;
  for (int i = 0; i < 16; ++i) clones.push_back(Clone({.bytes = files.bytes()}));
  for (ServedVmm& clone : clones) clone.vmm.Walk(0, files.bytes());
  for (ServedVmm& clone : clones) ASSERT_TRUE(clone.vmm.TakeAnswer());
  for (std::size_t i = 0; i < clones.size(); ++i) {
    const std::uint64_t at = i * kLeafBytes;
    clones[i].vmm.Write(at, "mine " + std::to_string(i));
    clones[i].vmm.TakeAnswer();
  }
  for (std::size_t i = 0; i < clones.size(); ++i) {
    std::string expected = files.expected();
    const std::string mine = "mine " + std::to_string(i);
    expected.replace(i * kLeafBytes, mine.size(), mine);
    for (std::uint64_t at = 0; at < files.bytes(); at += kLeafBytes)
      ASSERT_TRUE(clones[i].vmm.ReadNow(at, kLeafBytes) == expected.substr(at, kLeafBytes));
  }
  std::ifstream maps("/proc/" + std::to_string(service_->process().pid()) + "/maps");
  int mappings = 0;
  for (std::string line; std::getline(maps, line);)
    if (line.ends_with(files.base())) ++mappings;
  if (::geteuid() == 0) {
    EXPECT_EQ(mappings, 1);  // nobody else may look
  }
  // Two leaves are all hole: nothing to hash.
  EXPECT_EQ(clones[0].client.ReadCounters()->hashed_leaves, kLeaves - 2);
}

TEST_F(PageServing, GivesANewSnapshotAndClosesAnOldOne) {
  MemoryFiles files(kPages);
  Open(files);
  ServedVmm clone = Clone({.bytes = files.bytes()});
  EXPECT_EQ(files.OpenIn(*service_, 1).error().kind, ErrorKind::kConflict);
  EXPECT_TRUE(service_->Close(1));
  EXPECT_EQ(service_->AddClone(1, 0).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(clone.vmm.ReadNow(0, 100), files.expected().substr(0, 100));  // keeps what it has
}

// L30: a snapshot with a foreign or damaged part is not opened.
TEST_F(PageServing, RefusesASnapshotWhoseTableIsNotItsManifests) {
  MemoryFiles files(kPages);
  files.Seal();
  files.FlipByte(40, files.folder() + "/" + kLeafTableName);
  EXPECT_EQ(files.OpenIn(*service_, 1).error().kind, ErrorKind::kIntegrity);
}

}  // namespace
}  // namespace writ::test
