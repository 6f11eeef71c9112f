// libwrit-uffd.so in a real QEMU: its guest's memory comes from a page server.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>

#include "served_vmm.h"
#include "writ/base/child.h"

namespace writ::test {
namespace {

using namespace backends::microvm::pages;

constexpr char kQemu[] = "/usr/bin/qemu-system-x86_64";
constexpr std::uint64_t kPages = 16 * 1024;  // 64 MiB

class PreloadedQemu : public ::testing::Test {
 protected:
  void SetUp() override {
    WRIT_REQUIRE_USERFAULT();
    BoundTest();
    if (::access(kQemu, X_OK) != 0) GTEST_SKIP() << "no " << kQemu;
    // The machine's start changes its low memory; what we look at lies above.
    files_.emplace(kPages, [](std::uint64_t page) { return page < 4096 || page > 4352; });
    files_->Seal();
    auto started = StartPages();
    ASSERT_TRUE(started);
    service_.emplace(std::move(started).value());
    ASSERT_TRUE(files_->OpenIn(*service_, 1));
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    server_end_.reset(ends[0]);
    qemu_end_.reset(ends[1]);
  }
  // Paused before its first instruction, its monitor on a socket of ours.
  void StartQemu() {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    monitor_.reset(ends[0]);
    BoundReads(ends[0]);
    UniqueFd theirs(ends[1]);
    SpawnOptions spawn;
    spawn.path = kQemu;
    const std::string size = std::to_string(files_->bytes() >> 20) + "M";
    spawn.argv = {kQemu,         "-S",
                  "-M",          "microvm,memory-backend=ram0",
                  "-accel",      "tcg",
                  "-m",          size,
                  "-object",     "memory-backend-ram,id=ram0,size=" + size,
                  "-nodefaults", "-no-user-config",
                  "-display",    "none",
                  "-monitor",    "stdio"};
    spawn.env = {"LD_PRELOAD=" + BinDir() + "/libwrit-uffd.so", "WRIT_UFFD_FD=7",
                 "WRIT_UFFD_RAM_BYTES=" + std::to_string(files_->bytes())};
    spawn.fds = {{theirs.get(), 0}, {theirs.get(), 1}, {2, 2}, {qemu_end_.get(), 7}};
    auto child = Child::Spawn(spawn);
    ASSERT_TRUE(child);
    qemu_ = std::move(child).value();
    qemu_end_.reset();
  }
  std::string ReadUntil(const std::string& end) {
    std::string text;
    char buffer[4096];
    while (text.find(end) == std::string::npos) {
      const ssize_t n = ::read(monitor_.get(), buffer, sizeof buffer);
      if (n <= 0) return text + "(ended)";
      text.append(buffer, static_cast<std::size_t>(n));
    }
    return text;
  }
  std::optional<MemoryFiles> files_;
  std::optional<PageService> service_;
  UniqueFd server_end_;
  UniqueFd qemu_end_;
  UniqueFd monitor_;
  Child qemu_;
};

TEST_F(PreloadedQemu, HasItsMemoryFromThePageServer) {
  PageClient client(AddClone(*service_, 1, ::geteuid()).value());
  ASSERT_TRUE(client.Serve({Serve::By::kStream, std::nullopt}, server_end_.get()));
  server_end_.reset();
  StartQemu();
  const auto word = client.Receive();
  ASSERT_TRUE(word && std::holds_alternative<Attached>(*word));
  EXPECT_EQ(std::get<Attached>(*word).pid, static_cast<std::uint64_t>(qemu_.pid()));
  EXPECT_EQ(std::get<Attached>(*word).ram_bytes, files_->bytes());
  ReadUntil("(qemu) ");
  const std::string order = "xp /4xb 0x" + [] {
    char hex[32];
    std::snprintf(hex, sizeof hex, "%llx", 4200ull * 4096);
    return std::string(hex);
  }() + "\n";
  ASSERT_EQ(::write(monitor_.get(), order.data(), order.size()),
            static_cast<ssize_t>(order.size()));
  // "page", as each page of our files begins.
  EXPECT_NE(ReadUntil("\n(qemu) ").find("0x70 0x61 0x67 0x65"), std::string::npos);
  EXPECT_GT(client.ReadCounters()->faults, 0u);
  ASSERT_TRUE(qemu_.Signal(SIGKILL));
  auto over = client.Receive();
  ASSERT_TRUE(over && std::holds_alternative<Over>(*over));
  EXPECT_TRUE(std::get<Over>(*over).vmm_ended);
}

// L32: without a server it ends, instead of running with empty memory.
TEST_F(PreloadedQemu, EndsWhenNobodyServesIt) {
  server_end_.reset();
  StartQemu();
  const auto status = qemu_.Wait(kPatience);
  ASSERT_TRUE(status && *status);
  EXPECT_EQ((*status)->ShellCode(), 1);
}

}  // namespace
}  // namespace writ::test
