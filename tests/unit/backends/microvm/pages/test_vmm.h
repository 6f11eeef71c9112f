// TestVmm: a process with memory that a page server fills - what a VMM is to it, without a guest.
//
// Forks (the caller has no threads), maps memory, registers it, shows it, and does what it is told;
// every order runs in a thread of its own there, so that one may block on a fault while others go
// on.
#pragma once

#include <linux/userfaultfd.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "patience.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::test {

struct TestVmmOptions {
  std::uint64_t bytes = 0;
  uid_t uid = 0;           // what it becomes; 0: it stays as it is
  bool by_device = false;  // its userfaultfd comes from a descriptor of /dev/userfaultfd
  std::uint64_t features = UFFD_FEATURE_EVENT_REMOVE;
  std::optional<int> cpu{};  // all its threads stay there
  // What it says instead of its one region.
  std::function<std::string(std::uint64_t address, std::uint64_t bytes)> words{};
  bool blocking = false;                      // its userfaultfd is one that blocks
  std::chrono::seconds patience = kPatience;  // for an answer of its; 0: without end
};

class TestVmm {
 public:
  // Forked and mapped, but not yet shown to anybody.
  static Result<TestVmm> Start(const TestVmmOptions& options);
  TestVmm(TestVmm&& other) noexcept;
  TestVmm& operator=(TestVmm&&) = delete;
  ~TestVmm();  // kills and reaps it

  pid_t pid() const { return pid_; }

  // Shows its memory by connecting there, or over the other end of the pair that it was born with.
  void ConnectTo(const std::string& path);
  int server_end() const { return server_end_.get(); }  // for Serve::By::kStream
  void ShowOnStream();  // and waits for the byte: Done comes after it

  // Orders. An answer is awaited by TakeAnswer, in the order of their ends.
  void Read(std::uint64_t offset, std::uint64_t bytes);  // at most 64 KiB: answers with them
  void Walk(std::uint64_t offset, std::uint64_t bytes);  // a byte of each page: nanoseconds taken
                                                         // by all, by the median one, at 99 %
  void Write(std::uint64_t offset, std::string_view bytes);
  void Remove(std::uint64_t offset, std::uint64_t bytes);  // MADV_DONTNEED
  void RemoveAgainAndAgain(std::uint64_t offset, std::uint64_t bytes, std::uint64_t times);
  void Unmap(std::uint64_t offset, std::uint64_t bytes);
  void Fork();

  // nullopt: the process has ended, or has said nothing for as long as it may.
  std::optional<std::string> TakeAnswer();
  bool HasAnswer() const;  // without waiting
  std::string ReadNow(std::uint64_t offset, std::uint64_t bytes);

  void Kill();
  // Waits until `threads` of its threads sit in faults that nobody has answered; fails the test
  // where they never do.
  void AwaitBlocked(std::size_t threads) const;

 private:
  TestVmm() = default;
  void Order(char what, std::uint64_t a, std::uint64_t b, std::string_view more = {});

  pid_t pid_ = -1;
  UniqueFd orders_;
  UniqueFd server_end_;
};

}  // namespace writ::test
