// L32: a VMM that runs a hostile guest, and an owner that was taken over, against a page server
// that serves others.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <filesystem>
#include <string>
#include <vector>

#include "served_vmm.h"
#include "writ/backends/microvm/pages/guest_regions.h"
#include "writ/base/unix_socket.h"

namespace writ::test {
namespace {

using namespace backends::microvm::pages;

constexpr std::uint64_t kPages = 64;

class HostileToPages : public ::testing::Test {
 protected:
  void SetUp() override {
    WRIT_REQUIRE_USERFAULT();
    BoundTest();
    if (::geteuid() != 0) GTEST_SKIP() << "only root may count a page server's descriptors";
    auto started = StartPages();
    ASSERT_TRUE(started);
    service_.emplace(std::move(started).value());
    files_.emplace(kPages);
    files_->Seal();
    ASSERT_TRUE(files_->OpenIn(*service_, 1));
  }
  void TearDown() override {
    if (!service_) return;
    // Whatever was tried: others are served.
    auto good = ServeVmm(*service_, 1, {.bytes = files_->bytes()});
    ASSERT_TRUE(good) << good.error().ToString();
    EXPECT_TRUE(good->vmm.ReadNow(0, files_->bytes()) == files_->expected());
  }
  // A clone that serves on one end of a pair; the other one is ours.
  struct Stream {
    PageClient client;
    UniqueFd end;
  };
  Stream OnStream(uid_t uid = ::geteuid()) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    UniqueFd theirs(ends[0]);
    PageClient client(AddClone(*service_, 1, uid).value());
    EXPECT_TRUE(client.Serve({Serve::By::kStream, std::nullopt}, theirs.get()));
    return {std::move(client), UniqueFd(ends[1])};
  }
  std::string Words() const {
    return "[{\"base_host_virt_addr\":65536,\"size\":" + std::to_string(files_->bytes()) +
           ",\"offset\":0,\"page_size\":4096}]";
  }
  std::size_t Descriptors() const {
    std::size_t count = 0;
    const std::string fds = "/proc/" + std::to_string(service_->process().pid()) + "/fd";
    for ([[maybe_unused]] const auto& fd : std::filesystem::directory_iterator(fds)) ++count;
    return count;
  }
  // A clone is let go after its last word.
  void AwaitDescriptors(std::size_t count) const {
    EXPECT_TRUE(Eventually([&] { return Descriptors() == count; })) << Descriptors();
  }
  std::optional<PageService> service_;
  std::optional<MemoryFiles> files_;
};

TEST_F(HostileToPages, HandshakesThatAreNoneFailTheirCloneAlone) {
  UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  UniqueFd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const Pipe pipe = MakePipe().value();
  struct Case {
    std::string bytes;
    std::vector<int> fds;
  };
  const Case cases[] = {
      {Words(), {}},
      {Words(), {event.get()}},
      {Words(), {file.get()}},
      {Words(), {pipe.read_end.get()}},
      {Words(), {event.get(), file.get()}},
      {Words(), std::vector<int>(16, event.get())},
      {"", {event.get()}},
      {"[", {event.get()}},
      {std::string(kMaxHandshakeBytes + 1, ' '), {event.get()}},
      {std::string(1u << 20, '['), {event.get()}},
      {std::string("\0\xff\xfe", 3), {event.get()}},
  };
  const std::size_t before = Descriptors();
  for (const Case& one : cases) {
    Stream stream = OnStream();
    ::fcntl(stream.end.get(), F_SETFL, O_NONBLOCK);
    (void)SendWithFds(stream.end.get(), one.bytes, one.fds).has_value();
    if (one.bytes.empty()) ::shutdown(stream.end.get(), SHUT_WR);
    const Failed failed = TakeFailed(stream.client);
    EXPECT_EQ(failed.code, "pages.handshake") << one.bytes.substr(0, 100);
    // Closed, and without the byte that lets a VMM go on.
    char byte = 0;
    EXPECT_LE(::recv(stream.end.get(), &byte, 1, MSG_WAITALL), 0);
    EXPECT_TRUE(stream.client.End());
  }
  AwaitDescriptors(before);  // none that was sent is kept
}

TEST_F(HostileToPages, WordsAboutOtherMemoryAreRefused) {
  struct Case {
    std::function<std::string(std::uint64_t, std::uint64_t)> words;
    std::string code;
  };
  const auto region = [](std::uint64_t address, std::uint64_t size, std::uint64_t offset,
                         std::uint64_t page) {
    return "[{\"base_host_virt_addr\":" + std::to_string(address) +
           ",\"size\":" + std::to_string(size) + ",\"offset\":" + std::to_string(offset) +
           ",\"page_size\":" + std::to_string(page) + "}]";
  };
  const Case cases[] = {
      {[&](auto a, auto n) { return region(a, n + 4096, 0, 4096); }, "pages.handshake"},
      {[&](auto a, auto n) { return region(a, n, 4096, 4096); }, "pages.handshake"},
      {[&](auto a, auto n) { return region(a, n, 0, 2u << 20); }, "pages.page_size"},
  };
  for (const Case& one : cases) {
    auto served = ServeVmm(*service_, 1, {.bytes = files_->bytes(), .words = one.words});
    ASSERT_FALSE(served);
    EXPECT_EQ(served.error().code, one.code);
  }
}

// A region that is shown in part only: a fault outside of it is no page of the snapshot's.
TEST_F(HostileToPages, AFaultOutsideOfWhatWasShownFailsTheClone) {
  const auto half = [](std::uint64_t address, std::uint64_t bytes) {
    return "[{\"base_host_virt_addr\":" + std::to_string(address) +
           ",\"size\":" + std::to_string(bytes / 2) + ",\"offset\":0,\"page_size\":4096}]";
  };
  auto vmm = TestVmm::Start({.bytes = files_->bytes(), .words = half});
  ASSERT_TRUE(vmm);
  PageClient client(AddClone(*service_, 1, ::geteuid()).value());
  ASSERT_TRUE(client.Serve({Serve::By::kStream, std::nullopt}, vmm->server_end()));
  vmm->ShowOnStream();
  ASSERT_TRUE(std::holds_alternative<Attached>(client.Receive().value()));
  vmm->TakeAnswer();
  vmm->Read(files_->bytes() / 2, 100);
  EXPECT_EQ(TakeFailed(client).code, "pages.fault");
  EXPECT_FALSE(vmm->HasAnswer());
}

TEST_F(HostileToPages, OthersThanTheVmmAreNotListenedTo) {
  Stream stream = OnStream(::geteuid() + 1);
  UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  ASSERT_TRUE(SendWithFds(stream.end.get(), Words(), {event.get()}));
  EXPECT_EQ(TakeFailed(stream.client).code, "pages.peer");
  const std::string path = files_->folder() + "/faults";
  auto listener = ListenAtUnixPath(path, 0666);
  ASSERT_TRUE(listener);
  PageClient client(AddClone(*service_, 1, ::geteuid() + 1).value());
  ASSERT_TRUE(client.Serve({Serve::By::kListener, std::nullopt}, listener->get()));
  for (int i = 0; i < 8; ++i) (void)ConnectToUnixPath(path).has_value();
  EXPECT_EQ(TakeFailed(client).code, "pages.peer");
}

TEST_F(HostileToPages, AnOwnerCannotConfuseIt) {
  UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  const std::string serve = Encode(OwnerWord(Serve{}));
  struct Case {
    std::string bytes;
    std::vector<int> fds;
    std::string code;
  };
  const Case cases[] = {
      {serve, {}, "pages.word"},
      {serve, {event.get()}, "pages.socket"},
      {serve, {event.get(), event.get()}, "pages.word"},
      {serve + "x", {event.get()}, "pages.word"},
      {std::string(kMaxWordBytes + 1, 'x'), {}, "base.message_too_long"},
      {"x", {}, "pages.word"},
  };
  for (const Case& one : cases) {
    UniqueFd control = AddClone(*service_, 1, ::geteuid()).value();
    const int raw = control.get();
    PageClient client(std::move(control));
    ASSERT_TRUE(SendWithFds(raw, one.bytes, one.fds));
    EXPECT_EQ(TakeFailed(client).code, one.code);
    // A clone that has failed is not served any more.
    ASSERT_TRUE(SendWithFds(raw, serve, {event.get()}));
    EXPECT_TRUE(client.End());
  }
  // A second Serve fails a clone that is served.
  Stream stream = OnStream();
  EXPECT_FALSE(stream.client.Serve({}, stream.end.get()));
  // One that asks and never listens is left.
  UniqueFd deaf = service_->AddClone(1, ::geteuid()).value();
  ::fcntl(deaf.get(), F_SETFL, O_NONBLOCK);
  while (SendWithFds(deaf.get(), Encode(OwnerWord(AskCounters{})), {})) continue;
}

TEST_F(HostileToPages, AnOwnerMayLeaveWhileAVmmSaysNothing) {
  const std::size_t before = Descriptors();
  for (int i = 0; i < 10; ++i) {
    Stream stream = OnStream();
    EXPECT_TRUE(stream.client.End());
  }
  AwaitDescriptors(before);
}

// Fairness: one machine that makes its own life hard does not make another's so.
TEST_F(HostileToPages, AMachineThatFaultsAndRemovesWithoutEndOnlyHarmsItself) {
  auto wild = ServeVmm(*service_, 1, {.bytes = files_->bytes()});
  ASSERT_TRUE(wild);
  for (int i = 0; i < 4; ++i) wild->vmm.RemoveAgainAndAgain(0, files_->bytes(), 1000000000);
  for (int i = 0; i < 100; ++i) wild->vmm.Walk(0, files_->bytes());
  for (int i = 0; i < 8; ++i) {
    auto good = ServeVmm(*service_, 1, {.bytes = files_->bytes()});
    ASSERT_TRUE(good) << good.error().ToString();
    EXPECT_TRUE(good->vmm.ReadNow(0, files_->bytes()) == files_->expected());
  }
  wild->vmm.Kill();
  EXPECT_TRUE(wild->client.End());
}

}  // namespace
}  // namespace writ::test
