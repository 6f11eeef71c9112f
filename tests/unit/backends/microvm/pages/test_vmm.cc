#include "test_vmm.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

#include "writ/base/close_descriptors.h"
#include "writ/base/unix_socket.h"

namespace writ::test {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kMaxOrder = 1u << 17;
constexpr std::uint64_t kMaxAnswer = 1u << 16;

[[noreturn]] void Die(const char* what) {
  std::perror(what);
  ::_exit(1);
}

// In the new process.
class Machine {
 public:
  Machine(const TestVmmOptions& options, int device, UniqueFd orders, UniqueFd stream)
      : options_(options), orders_(std::move(orders)), stream_(std::move(stream)) {
    memory_ = static_cast<char*>(::mmap(nullptr, options.bytes, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (memory_ == MAP_FAILED) Die("mmap");
    ::madvise(memory_, options.bytes, MADV_NOHUGEPAGE);
    const int flags = O_CLOEXEC | (options.blocking ? 0 : O_NONBLOCK);
    uffd_ = device >= 0 ? ::ioctl(device, USERFAULTFD_IOC_NEW, flags)
                        : static_cast<int>(::syscall(SYS_userfaultfd, flags));
    uffdio_api api{};
    api.api = UFFD_API;
    api.features = options.features;
    uffdio_register range{};
    range.range = {reinterpret_cast<std::uint64_t>(memory_), options.bytes};
    range.mode = UFFDIO_REGISTER_MODE_MISSING;
    if (uffd_ < 0 || ::ioctl(uffd_, UFFDIO_API, &api) != 0 ||
        ::ioctl(uffd_, UFFDIO_REGISTER, &range) != 0)
      Die("userfaultfd");
  }

  [[noreturn]] void Obey() {
    for (;;) {
      auto order = ReceiveWithFds(orders_.get(), kMaxOrder);
      if (!order || order->bytes.empty()) ::_exit(0);
      std::thread([this, bytes = std::move(order->bytes)] { Do(bytes); }).detach();
    }
  }

 private:
  void Do(const std::string& order) {
    std::uint64_t a = 0;
    std::uint64_t b = 0;
    std::memcpy(&a, order.data() + 1, sizeof a);
    std::memcpy(&b, order.data() + 9, sizeof b);
    const std::string more = order.substr(17);
    std::string answer = "done";
    switch (order[0]) {
      case 'r':
        answer.assign(memory_ + a, b);
        break;
      case 'W':
        answer = Walk(a, b);
        break;
      case 'w':
        std::memcpy(memory_ + a, more.data(), more.size());
        break;
      case 'd':
        ::madvise(memory_ + a, b, MADV_DONTNEED);
        break;
      case 'D':
        for (std::uint64_t i = 0; i < std::stoull(more); ++i)
          ::madvise(memory_ + a, b, MADV_DONTNEED);
        break;
      case 'u':
        ::munmap(memory_ + a, b);
        break;
      case 'f': {
        // The copy lives as long as the machine: it holds the test's output open.
        pollfd machine{static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)), POLLIN, 0};
        if (::fork() == 0) {
          while (::poll(&machine, 1, -1) < 0 && errno == EINTR) continue;
          ::_exit(0);
        }
        ::close(machine.fd);
        break;
      }
      case 'c': {
        auto stream = ConnectToUnixPath(more);
        if (stream) {
          stream_ = std::move(stream).value();
          Show();
        } else {
          answer = stream.error().ToString();
        }
        break;
      }
      case 's': {
        Show();
        char go = 0;
        if (::recv(stream_.get(), &go, 1, 0) != 1) answer = "refused";
        break;
      }
      default:
        ::_exit(1);
    }
    (void)SendWithFds(orders_.get(), answer, {}).has_value();
  }

  std::string Walk(std::uint64_t offset, std::uint64_t bytes) {
    using Clock = std::chrono::steady_clock;
    std::vector<std::int64_t> times;
    times.reserve(bytes / kPage);
    const auto start = Clock::now();
    auto before = start;
    for (std::uint64_t at = offset; at < offset + bytes; at += kPage) {
      (void)*const_cast<volatile char*>(memory_ + at);
      const auto now = Clock::now();
      times.push_back((now - before).count());
      before = now;
    }
    std::sort(times.begin(), times.end());
    const auto at = [&](std::size_t percent) {
      return times.empty() ? "0" : std::to_string(times[(times.size() - 1) * percent / 100]);
    };
    return std::to_string((before - start).count()) + " " + at(50) + " " + at(99);
  }

  void Show() {
    const auto address = reinterpret_cast<std::uint64_t>(memory_);
    const std::string words = options_.words
                                  ? options_.words(address, options_.bytes)
                                  : "[{\"base_host_virt_addr\":" + std::to_string(address) +
                                        ",\"size\":" + std::to_string(options_.bytes) +
                                        ",\"offset\":0,\"page_size\":4096,\"page_size_kib\":4096}]";
    (void)SendWithFds(stream_.get(), words, {uffd_}).has_value();
  }

  const TestVmmOptions& options_;
  UniqueFd orders_;
  UniqueFd stream_;
  char* memory_ = nullptr;
  int uffd_ = -1;
};

// A machine holds nothing of another one, nor of an owner.
void KeepOnly(std::vector<int> kept) {
  std::sort(kept.begin(), kept.end());
  unsigned first = 3;
  for (const int fd : kept) {
    if (fd < 0) continue;
    const auto next = static_cast<unsigned>(fd);
    if (next > first && !CloseDescriptors(first, next - 1)) Die("close_range");
    first = next + 1;
  }
  if (!CloseDescriptors(first)) Die("close_range");
}

}  // namespace

Result<TestVmm> TestVmm::Start(const TestVmmOptions& options) {
  int orders[2];
  int stream[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) != 0 ||
      ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) != 0)
    return SysError(errno, "test.vmm", "cannot make sockets");
  UniqueFd device;
  if (options.by_device) {
    device.reset(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
    if (!device) return SysError(errno, "test.vmm", "cannot open /dev/userfaultfd");
  }
  const pid_t pid = ::fork();
  if (pid < 0) return SysError(errno, "test.vmm", "cannot fork");
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    KeepOnly({orders[1], stream[1], device.get()});
    if (options.cpu) {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(*options.cpu, &one);
      ::sched_setaffinity(0, sizeof one, &one);
    }
    if (options.uid != 0 && (::setresgid(options.uid, options.uid, options.uid) != 0 ||
                             ::setresuid(options.uid, options.uid, options.uid) != 0))
      Die("setresuid");
    Machine(options, device.get(), UniqueFd(orders[1]), UniqueFd(stream[1])).Obey();
  }
  ::close(orders[1]);
  ::close(stream[1]);
  TestVmm vmm;
  vmm.pid_ = pid;
  vmm.orders_.reset(orders[0]);
  BoundReads(orders[0], options.patience);
  vmm.server_end_.reset(stream[0]);
  return vmm;
}

TestVmm::TestVmm(TestVmm&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      orders_(std::move(other.orders_)),
      server_end_(std::move(other.server_end_)) {}

TestVmm::~TestVmm() {
  Kill();
}

void TestVmm::Kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void TestVmm::Order(char what, std::uint64_t a, std::uint64_t b, std::string_view more) {
  std::string bytes(17, what);
  std::memcpy(bytes.data() + 1, &a, sizeof a);
  std::memcpy(bytes.data() + 9, &b, sizeof b);
  bytes += more;
  (void)SendWithFds(orders_.get(), bytes, {}).has_value();
}

void TestVmm::ConnectTo(const std::string& path) {
  Order('c', 0, 0, path);
  EXPECT_EQ(TakeAnswer(), "done");
}
void TestVmm::ShowOnStream() {
  server_end_.reset();
  Order('s', 0, 0);
}
void TestVmm::Read(std::uint64_t offset, std::uint64_t bytes) {
  Order('r', offset, bytes);
}
void TestVmm::Walk(std::uint64_t offset, std::uint64_t bytes) {
  Order('W', offset, bytes);
}
void TestVmm::Write(std::uint64_t offset, std::string_view bytes) {
  Order('w', offset, 0, bytes);
}
void TestVmm::Remove(std::uint64_t offset, std::uint64_t bytes) {
  Order('d', offset, bytes);
}
void TestVmm::RemoveAgainAndAgain(std::uint64_t offset, std::uint64_t bytes, std::uint64_t times) {
  Order('D', offset, bytes, std::to_string(times));
}
void TestVmm::Unmap(std::uint64_t offset, std::uint64_t bytes) {
  Order('u', offset, bytes);
}
void TestVmm::Fork() {
  Order('f', 0, 0);
}

std::optional<std::string> TestVmm::TakeAnswer() {
  auto answer = ReceiveWithFds(orders_.get(), kMaxOrder);
  if (!answer || answer->bytes.empty()) return std::nullopt;
  return answer->bytes;
}

bool TestVmm::HasAnswer() const {
  pollfd fd{orders_.get(), POLLIN, 0};
  return ::poll(&fd, 1, 0) == 1;
}

std::string TestVmm::ReadNow(std::uint64_t offset, std::uint64_t bytes) {
  std::string out;
  for (std::uint64_t done = 0; done < bytes; done += kMaxAnswer) {
    Read(offset + done, std::min(kMaxAnswer, bytes - done));
    out += TakeAnswer().value_or("ended");
  }
  return out;
}

void TestVmm::AwaitBlocked(std::size_t threads) const {
  const std::string tasks = "/proc/" + std::to_string(pid_) + "/task";
  EXPECT_TRUE(Eventually([&] {
    std::size_t blocked = 0;
    for (const auto& task : std::filesystem::directory_iterator(tasks)) {
      std::ifstream file(task.path() / "wchan");
      std::string where;
      std::getline(file, where);
      if (where == "handle_userfault") ++blocked;
    }
    return blocked >= threads;
  }));
}

}  // namespace writ::test
